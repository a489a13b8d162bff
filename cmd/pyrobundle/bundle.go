package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"pyrobundle/store"
)

// openBundle opens a bundle for reading; its error says what to do next.
func openBundle(path string) (*store.Bundle, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open bundle %s: %w; fetch creates one, --bundle names another", path, fs.ErrNotExist)
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

// checkNamed says of a bundle that an argument names, and that is not there, what to do next.
func checkNamed(path string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open bundle %s: %w; check its name, or fetch it first", path, fs.ErrNotExist)
	}
	return nil
}
