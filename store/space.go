package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Room on the disk. What is kept free lets a run that stops for want of it end properly: the batch of images that is
// pending, a chunk by which bbolt lets the index grow, the manifest. Other programs write to the same disk, so it is looked
// at before every batch of requests and not only once.
const (
	spaceToBegin = 80_000_000 // bytes: a writer that would have to stop after a minute does not begin
	spaceKept    = 40_000_000 // bytes: 16 MiB of images, 16 MiB of index, and some for others
)

// roomToBegin returns ErrSpace where the disk of a bundle, which need not exist yet, has too little room to begin.
func roomToBegin(d disk, path string) error {
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	for {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) || filepath.Dir(path) == path {
			return enoughRoom(d, path, spaceToBegin)
		}
		path = filepath.Dir(path)
	}
}

// enoughRoom returns ErrSpace where less than need bytes are free on the disk of path. A disk that does not tell has room.
func enoughRoom(d disk, path string, need int64) error {
	free, err := d.free(path)
	if err != nil || free >= need {
		return nil //nolint:nilerr // the write itself will tell
	}
	return fmt.Errorf("%w: %.1f MB are free, at least %d MB must be; make room and run it again", ErrSpace, float64(free)/1e6, need/1_000_000)
}
