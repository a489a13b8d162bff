package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// RestoreManifest writes the manifest of the bundle at path anew from its index, where it is damaged or missing, or says that the
// index was newer: then older is true, and what was stored since is lost. A manifest that fits is left alone. The bundle looks as if a
// run had been interrupted; the next Writer takes it up.
//
// It returns ErrNotBundle, ErrVersion, ErrLocked or ErrCorrupt, wrapped; the latter where the index cannot be used, or is that of
// another bundle.
func RestoreManifest(path string) (older bool, err error) {
	if older, err = restoreManifest(path); err != nil {
		return false, fmt.Errorf("restore the manifest of bundle %s: %w", path, err)
	}
	return older, nil
}

func restoreManifest(path string) (older bool, err error) {
	defer guard(&err)()
	if hasIndex, err := exists(filepath.Join(path, indexName)); err != nil {
		return false, err
	} else if !hasIndex {
		return false, mustBeBundle(path)
	}
	if err := checkBeforeWriting(path); err != nil {
		return false, err
	}
	index, err := openIndex(path, false)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	o := &owner{w: &Writer{Bundle: &Bundle{path: path, manifest: manifestName, index: index}}, disk: osDisk{}, now: time.Now}
	if err := index.view(func(tx *bbolt.Tx) (err error) {
		if o.meta, err = readMeta(tx); err != nil {
			return err
		}
		o.shards, err = o.knownShards(tx)
		return err
	}); err != nil {
		return false, err
	}
	m, err := readManifest(path, manifestName)
	switch {
	case err == nil && m.ID != o.meta.ID:
		return false, m.agrees(o.meta)
	case err == nil && m.agrees(o.meta) == nil:
		return false, nil
	case err == nil || isMissing(err) || errors.Is(err, ErrCorrupt):
		return err == nil && m.Generation > o.meta.Generation, o.writeManifest(true)
	}
	return false, err
}
