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
