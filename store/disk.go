package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// The names inside a bundle.
const (
	manifestName    = "manifest.json"
	manifestNewName = "manifest.json.new"
	indexName       = "index.db"
	indexNewName    = "index.db.new"
	imagesName      = "images"
)

const (
	fileMode = 0o600
	dirMode  = 0o700
)

// disk is what a Writer does to files beside the index. Tests put failures and power cuts behind it.
type disk interface {
	open(path string, flag int) (diskFile, error)
	rename(from, to string) error
	syncDir(path string) error
	// commit runs an index transaction's commit.
	commit(run func() error) error
	// free is how many bytes can still be written to the disk of path.
	free(path string) (int64, error)
}

// diskFile is an open file of a disk.
type diskFile interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
	Stat() (os.FileInfo, error)
}

// osDisk is the real one.
type osDisk struct{}

func (osDisk) open(path string, flag int) (diskFile, error) {
	if err := requireRegular(path); err != nil && !isMissing(err) {
		return nil, err
	}
	f, err := os.OpenFile(path, flag, fileMode)
	if err != nil {
		return nil, err // not f: a nil *os.File is no nil diskFile
	}
	return f, nil
}

func (osDisk) rename(from, to string) error {
	return patiently(func() error { return os.Rename(from, to) }, isInUse)
}
func (osDisk) syncDir(path string) error     { return syncDir(path) }
func (osDisk) commit(run func() error) error { return run() }

func (osDisk) free(path string) (int64, error) { return freeSpace(path) }

// patience is how long a file may be in use by somebody else: nobody holds one for longer who only looks at it.
const patience = 2 * time.Second

// patiently repeats an operation as long as a file is in use.
func patiently(operation func() error, inUse func(error) bool) error {
	wait := time.Millisecond
	for begun := time.Now(); ; wait *= 2 {
		err := operation()
		if err == nil || !inUse(err) || time.Since(begun) > patience {
			return err
		}
		time.Sleep(wait)
	}
}

// shardName is the name of shard n inside the bundle, with slashes.
func shardName(n uint32) string { return fmt.Sprintf("%s/%06d.tar", imagesName, n) }

// shardPath is the path of shard n of the bundle at root.
func shardPath(root string, n uint32) string {
	return filepath.Join(root, filepath.FromSlash(shardName(n)))
}

// openRegular opens a file of a bundle for reading. A link, pipe or device there is not ours: a bundle is untrusted, a link
// leads out of it, and a pipe would block for ever. The error matches fs.ErrNotExist where the file is missing.
func openRegular(path string) (*os.File, error) {
	if err := requireRegular(path); err != nil {
		return nil, err
	}
	return os.Open(path)
}

func requireRegular(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return corruptf("%s is not a regular file", filepath.Base(path))
	}
	return nil
}

// requireImages refuses what stands in the place of the directory of shards and is none: through a link everything below it
// would lie outside of the bundle. An empty bundle's may be missing.
func requireImages(path string) error {
	info, err := os.Lstat(filepath.Join(path, imagesName))
	if isMissing(err) {
		return nil
	}
	if err == nil && !info.IsDir() {
		err = corruptf("%s is not a directory", imagesName)
	}
	return err
}

// makeDirectories makes a directory and those that lead to it, and the names of the new ones durable.
func makeDirectories(path string, sync func(string) error) error {
	var changed []string
	for at := path; filepath.Dir(at) != at; at = filepath.Dir(at) {
		if _, err := os.Stat(at); !isMissing(err) {
			break
		}
		changed = append(changed, filepath.Dir(at))
	}
	if err := os.MkdirAll(path, dirMode); err != nil {
		return err
	}
	for _, directory := range changed {
		if err := sync(directory); err != nil {
			return err
		}
	}
	return nil
}

// replaceFile writes data under a temporary name, syncs it and renames it over path: a reader sees the old or the new
// contents, also after a power cut.
func replaceFile(d disk, path, temporary string, data []byte) (err error) {
	f, err := d.open(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := d.rename(temporary, path); err != nil {
		return err
	}
	return d.syncDir(filepath.Dir(path))
}
