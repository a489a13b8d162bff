package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"pyrobundle/store"
)

// openBundle opens the bundle of --bundle for reading; its error says what to do next.
func openBundle(path string) (*store.Bundle, error) {
	if err := checkThere(path, "fetch creates one, --bundle names another"); err != nil {
		return nil, err
	}
	return store.Open(path)
}

// openNamed opens a bundle that an argument names.
func openNamed(path string) (*store.Bundle, error) {
	if err := checkNamed(path); err != nil {
		return nil, err
	}
	return store.Open(path)
}

// checkNamed is checkThere for a bundle that an argument names.
func checkNamed(path string) error { return checkThere(path, "check its name, or fetch it first") }

// checkThere says of a bundle that is not there what to do next.
func checkThere(path, next string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open bundle %s: %w; %s", path, fs.ErrNotExist, next)
	}
	return nil
}
