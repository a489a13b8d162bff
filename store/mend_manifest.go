package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// Restored says what RestoreManifest did.
type Restored struct {
	Written bool // the manifest did not fit
	Older   bool // the index is that of before the last transaction: what that stored is lost, but for whole images
}

// RestoreManifest writes the manifest of the bundle at path anew from its index, where it is damaged, missing, or does not describe
// the index. The bundle then looks as if a run had been interrupted; the next Writer takes it up.
//
// It returns ErrNotBundle, ErrVersion, ErrLocked or ErrCorrupt, wrapped; the latter where the index cannot be used, is that of another
// bundle, or is older than its manifest by more than the last transaction: adopting what the shards hold since might cut off more
// than it finds.
func RestoreManifest(path string) (Restored, error) {
	restored, err := restoreManifest(path)
	if err != nil {
		return Restored{}, fmt.Errorf("restore the manifest of bundle %s: %w", path, err)
	}
	return restored, nil
}

func restoreManifest(path string) (restored Restored, err error) {
	defer guard(&err)()
	if hasIndex, err := exists(filepath.Join(path, indexName)); err != nil {
		return restored, err
	} else if !hasIndex {
		return restored, mustBeBundle(path)
	}
	if err := checkBeforeWriting(path); err != nil {
		return restored, err
	}
	index, err := openIndex(path, false)
	if err != nil {
		return restored, err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	o := &owner{
		w:    &Writer{Bundle: &Bundle{path: path, manifest: manifestName, index: index}},
		disk: osDisk{}, now: time.Now, doubtful: map[uint32]bool{},
	}
	if err := index.view(func(tx *bbolt.Tx) (err error) {
		if o.meta, err = readMeta(tx); err != nil {
			return err
		}
		o.shards, err = o.knownShards(tx)
		return err
	}); err != nil {
		return restored, err
	}
	if err := mayWrite(o.meta); err != nil {
		return restored, err
	}
	m, err := readManifest(path, manifestName)
	if err == nil {
		mismatch := m.agrees(o.meta)
		if mismatch == nil {
			return restored, nil
		}
		if restored.Older = m.Generation == o.meta.Generation+1; m.ID != o.meta.ID || m.Generation > o.meta.Generation && !restored.Older {
			return restored, mismatch
		}
	} else if !isMissing(err) && !errors.Is(err, ErrCorrupt) {
		return restored, err
	}
	if err := o.noFurtherShard(); err != nil {
		return restored, err
	}
	restored.Written = true
	return restored, o.writeManifest(true)
}

// noFurtherShard makes sure that no shard follows the open one: an index is written before the shard that it makes the open one.
func (o *owner) noFurtherShard() error {
	next := o.meta.OpenShard + 1
	further, err := exists(shardPath(o.w.path, next))
	if err == nil && further {
		err = corruptf("%s is older than the shards: it does not know shard %06d", indexName, next)
	}
	return err
}
