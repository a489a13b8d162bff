package store

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"
)

// watchedFolder tells of every name that a file gets.
type watchedFolder struct {
	folder
	named func(name string)
}

func (f watchedFolder) rename(from, to string) error {
	err := f.folder.rename(from, to)
	f.named(to)
	return err
}

// TestUnpackedBundleIsNoneUntilItIsProven: whenever an unpack ends before its time, what it leaves cannot be opened, and the next
// one goes on with it.
func TestUnpackedBundleIsNoneUntilItIsProven(t *testing.T) {
	t.Parallel()
	path := packable(t)
	archive := packed(t, path)
	for _, at := range []string{shardName(1), indexName} {
		ctx, cancel := context.WithCancel(t.Context())
		out := filepath.Join(t.TempDir(), "b")
		_, err := Unpack(ctx, bytes.NewReader(archive), out, UnpackOptions{folder: func(in folder) folder {
			return watchedFolder{in, func(name string) {
				if name == at {
					cancel()
				}
				if name == manifestName {
					t.Errorf("stopped at %s, and the manifest has its name", at)
				}
			}}
		}})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped at %s: %v", at, err)
		}
		if _, err := Open(out + unpackingSuffix); !errors.Is(err, ErrNotBundle) {
			t.Errorf("stopped at %s, what is left opens: %v", at, err)
		}
		result, err := Unpack(t.Context(), bytes.NewReader(archive), out, UnpackOptions{})
		if err != nil || result.Kept == 0 {
			t.Errorf("stopped at %s, then again: %+v, %v", at, result, err)
		}
		if digestOf(t, out) != digestOf(t, path) {
			t.Errorf("stopped at %s, then again: another digest", at)
		}
	}
}
