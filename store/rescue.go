package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Rescued is what the shards of a bundle still hold, whatever became of its index.
type Rescued struct {
	Images int64 // that are whole: their bytes have the SHA-256 that their name in the shard says
	Bytes  int64 // of these
}

// Rescue reads the shards of the bundle at path without its index and counts the images that are whole. It changes nothing;
// any tar program can extract them. Behind damage it goes on at the next header that it recognises.
func Rescue(ctx context.Context, path string) (Rescued, error) {
	var sum Rescued
	err := requireImages(path)
	var entries []os.DirEntry // by name; not filepath.Glob's, to which a bracket in path is a pattern
	if err == nil {
		entries, err = os.ReadDir(filepath.Join(path, imagesName))
	}
	if err != nil && !isMissing(err) {
		return sum, fmt.Errorf("look for shards in %s: %w", path, err)
	}
	for _, e := range entries {
		shard := filepath.Join(path, imagesName, e.Name())
		if filepath.Ext(shard) != ".tar" {
			continue
		}
		if err := sum.shard(ctx, shard); err != nil {
			return sum, fmt.Errorf("read %s: %w", shard, err)
		}
	}
	return sum, nil
}

func (sum *Rescued) shard(ctx context.Context, path string) (err error) {
	f, err := openRegular(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return sum.members(ctx, f, info.Size())
}

func (sum *Rescued) members(ctx context.Context, f io.ReaderAt, size int64) error {
	buffer := make([]byte, 256<<10)
	inVain := int64(0) // bytes hashed
	for at := int64(0); at+blockSize <= size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := readHeader(f, 1, at)
		if err == nil {
			err = hashMember(f, m, nil, buffer)
		}
		switch {
		case err == nil:
			sum.Images++
			sum.Bytes += m.at.size
			at = m.end()
		case isDamage(err) && inVain <= size:
			inVain += m.at.size
			at += blockSize // the header's size is not to be believed, or the image is not whole
		case isDamage(err): // images that share no byte with one another cannot have had as many
			at = max(at+blockSize, m.end())
		default:
			return err
		}
	}
	return nil
}
