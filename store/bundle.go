package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// Bundle is a bundle opened for reading. It is safe for concurrent use.
type Bundle struct {
	path     string
	manifest string // name of its file: of a bundle that is being unpacked not the final one yet
	index    *indexFile
	codec    *codec

	mu      sync.RWMutex
	meta    indexMeta
	pending pending // of a Writer: images that no transaction holds yet
}

// pending are images in the open shard, and keys, that no transaction holds yet. Only a Writer's owner changes them.
type pending struct {
	images map[Hash]location
	keys   map[string]Hash // by bucketKey
}

func newPending() pending { return pending{images: map[Hash]location{}, keys: map[string]Hash{}} }

func (p pending) any() bool { return len(p.images)+len(p.keys) > 0 }

// lockTimeout is how long an open waits for another process to let go of the bundle.
const lockTimeout = time.Second

// growth is by how much the index's file grows at once, in bytes: bbolt's own 16 MiB would outweigh a small bundle.
const growth = 512 << 10

// Open opens the bundle at path read-only, with a shared lock; several may read at once, from read-only media too.
//
// It returns ErrNotBundle, ErrVersion, ErrLocked or ErrCorrupt, wrapped; a path that does not exist is fs.ErrNotExist.
func Open(path string) (b *Bundle, err error) {
	defer func() {
		if err != nil {
			b, err = nil, fmt.Errorf("open bundle %s: %w", path, err)
		}
	}()
	defer guard(&err)()
	if err := mustBeBundle(path); err != nil {
		return nil, err
	}
	return openBundle(path, manifestName)
}

func openBundle(path, manifest string) (b *Bundle, err error) {
	defer guard(&err)()
	index, err := openIndex(path, true)
	if err != nil {
		return nil, err
	}
	b = &Bundle{path: path, manifest: manifest, index: index, codec: newCodec()}
	if err := b.check(); err != nil {
		return nil, errors.Join(err, index.Close())
	}
	return b, nil
}

// check compares index and manifest, after the index has been opened.
func (b *Bundle) check() (err error) {
	defer guard(&err)()
	if err := checkPages(filepath.Join(b.path, indexName), branchPages); err != nil {
		return err
	}
	if err := b.index.view(func(tx *bbolt.Tx) (err error) { b.meta, err = readMeta(tx); return err }); err != nil {
		return err
	}
	m, err := readManifest(b.path, b.manifest)
	if err != nil {
		return err
	}
	return m.agrees(b.meta)
}

// mustBeBundle tells a bundle from what is none: fs.ErrNotExist, ErrNotBundle, or ErrCorrupt where only a part is left.
func mustBeBundle(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: it is not a directory", ErrNotBundle)
	}
	hasManifest, err := exists(filepath.Join(path, manifestName))
	if err != nil {
		return err
	}
	hasIndex, err := exists(filepath.Join(path, indexName))
	switch {
	case err != nil:
		return err
	case hasManifest && !hasIndex:
		if _, err := readManifest(path, manifestName); err != nil {
			return err // somebody else's manifest.json makes no damaged bundle
		}
		return corruptf("%s is missing", indexName)
	case !hasManifest && hasIndex:
		return fmt.Errorf("%w: %s is missing (half created? fetch into it to complete it; lost? fetch --repair writes it again)", ErrNotBundle, manifestName)
	case !hasManifest:
		return fmt.Errorf("%w: it has neither %s nor %s", ErrNotBundle, manifestName, indexName)
	}
	if _, err := readManifest(path, manifestName); errors.Is(err, ErrVersion) {
		return err // first of all: of another format the rest may look like damage
	}
	return requireImages(path)
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Close releases the lock.
func (b *Bundle) Close() error { return b.index.Close() }

// Path returns where the bundle lies, as it was given to Open.
func (b *Bundle) Path() string { return b.path }

// Source returns the platform that the bundle mirrors.
func (b *Bundle) Source() Source {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.meta.Source
}

// view runs a read transaction; read must not call back into code outside this package.
func (b *Bundle) view(read func(tx *bbolt.Tx) error) (err error) {
	defer guard(&err)()
	if err := b.index.view(read); errors.Is(err, bbolterrors.ErrDatabaseNotOpen) {
		return fmt.Errorf("read bundle %s: %w", b.path, fs.ErrClosed)
	} else if err != nil {
		return err
	}
	return nil
}

// get returns a copy of a checked body, nil where there is none.
func (b *Bundle) get(ctx context.Context, bucket string, key []byte) (body []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = b.view(func(tx *bbolt.Tx) error {
		found, err := lookup(tx, bucket, key)
		if found != nil {
			body = append(make([]byte, 0, len(found)), found...)
		}
		return err
	})
	return body, err
}

// Sequence returns one sequence, or ErrNotFound.
func (b *Bundle) Sequence(ctx context.Context, id int64) (SequenceRecord, error) {
	body, err := b.get(ctx, bucketSequences, idKey(id))
	if err != nil {
		return SequenceRecord{}, fmt.Errorf("read sequence %d: %w", id, err)
	}
	if body == nil {
		return SequenceRecord{}, fmt.Errorf("read sequence %d: %w", id, ErrNotFound)
	}
	r, err := b.codec.openRecord(id, body)
	if err != nil {
		return SequenceRecord{}, fmt.Errorf("read sequence %d: %w", id, err)
	}
	return r, nil
}

// ImageOf finds the image of a platform bucket key, or ErrNotFound.
func (b *Bundle) ImageOf(ctx context.Context, organizationID int64, key string) (Image, error) {
	image, err := b.imageOf(ctx, organizationID, key)
	if err != nil {
		return Image{}, fmt.Errorf("find image %s of organization %d: %w", key, organizationID, err)
	}
	return image, nil
}

func (b *Bundle) imageOf(ctx context.Context, organizationID int64, key string) (Image, error) {
	k := bucketKey(organizationID, key)
	b.mu.RLock()
	h, ok := b.pending.keys[string(k)]
	b.mu.RUnlock()
	if !ok {
		body, err := b.get(ctx, bucketKeys, k)
		if err != nil {
			return Image{}, err
		}
		if body == nil {
			return Image{}, ErrNotFound
		}
		if h, err = decodeHash(body); err != nil {
			return Image{}, err
		}
	}
	image, err := b.StatImage(ctx, h)
	if errors.Is(err, ErrNotFound) {
		return Image{}, corruptf("index: its image %s is missing", h)
	}
	return image, err
}

// StatImage describes an image by its hash, or ErrNotFound.
func (b *Bundle) StatImage(ctx context.Context, h Hash) (Image, error) {
	at, err := b.locate(ctx, h)
	if err != nil {
		return Image{}, fmt.Errorf("find image %s: %w", h, err)
	}
	return Image{Hash: h, Size: at.size, Format: at.format}, nil
}

// locate finds an image by its hash, or ErrNotFound.
func (b *Bundle) locate(ctx context.Context, h Hash) (location, error) {
	b.mu.RLock()
	at, ok := b.pending.images[h]
	b.mu.RUnlock()
	if ok {
		return at, nil
	}
	body, err := b.get(ctx, bucketImages, h[:])
	if err != nil {
		return location{}, err
	}
	if body == nil {
		return location{}, ErrNotFound
	}
	return decodeLocation(body)
}

// ReadImage returns an image's bytes, hashed again on the way: ErrCorrupt if they are not what was stored.
func (b *Bundle) ReadImage(ctx context.Context, h Hash) ([]byte, error) {
	data, err := b.readImage(ctx, h)
	if err != nil {
		return nil, fmt.Errorf("read image %s: %w", h, err)
	}
	return data, nil
}

func (b *Bundle) readImage(ctx context.Context, h Hash) (data []byte, err error) {
	at, err := b.locate(ctx, h)
	if err != nil {
		return nil, err
	}
	f, err := openRegular(shardPath(b.path, at.shard))
	if isMissing(err) {
		return nil, corruptf("shard %06d is missing", at.shard)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data = make([]byte, at.size)
	if err := readFull(f, data, at.offset); errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, corruptf("shard %06d is shorter than it was", at.shard)
	} else if err != nil {
		return nil, err
	}
	if sha256.Sum256(data) != h {
		return nil, corruptf("its bytes in shard %06d are not what was stored", at.shard)
	}
	return data, nil
}
