package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// indexFile is index.db, open and locked.
//
// bbolt remembers of every page that a handle has allocated by which transaction, as long as the handle is open. A Writer
// therefore renews its handle now and then, so that its memory does not grow with the bundle.
type indexFile struct {
	mu   sync.RWMutex // held for reading by who reads through db, for writing while it is exchanged
	db   *bbolt.DB
	file *os.File // of db

	pages      int64 // allocated since it was last renewed, or that was tried
	renewAfter int64 // pages
}

// renewPages is how many pages a handle may allocate until it is renewed: noting them takes it some 300 kB.
const renewPages = 8192

// openIndex opens and locks index.db.
func openIndex(path string, readOnly bool) (_ *indexFile, err error) {
	defer guard(&err)()
	file := filepath.Join(path, indexName)
	if err := requireRegular(file); err != nil {
		return nil, err
	}
	if err := checkMetaPages(file); err != nil {
		return nil, err
	}
	x, err := openHandle(file, readOnly, os.OpenFile)
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout) && readOnly:
		return nil, fmt.Errorf("%w: it is being written to (a running fetch?); try again when that has ended", ErrLocked)
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: a running fetch, or a load, verify, inspect or serve that reads it; try again when that has ended", ErrLocked)
	case errors.Is(err, bbolterrors.ErrInvalid), errors.Is(err, bbolterrors.ErrChecksum), errors.Is(err, bbolterrors.ErrVersionMismatch):
		return nil, corruptf("%s: %w", indexName, err)
	}
	return x, err
}

// openHandle opens an index with the file that open returns, and keeps hold of that.
func openHandle(path string, readOnly bool, open func(string, int, os.FileMode) (*os.File, error)) (*indexFile, error) {
	x := &indexFile{renewAfter: renewPages}
	options := indexOptions(readOnly)
	options.OpenFile = func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
		x.file, err = open(name, flag, mode)
		return x.file, err
	}
	db, err := bbolt.Open(path, fileMode, options)
	if err != nil {
		return nil, err
	}
	db.AllocSize = growth
	x.db = db
	return x, nil
}

func indexOptions(readOnly bool) *bbolt.Options {
	return &bbolt.Options{
		Timeout: lockTimeout, ReadOnly: readOnly, PageSize: pageSize, FreelistType: bbolt.FreelistMapType, NoStatistics: true,
	}
}

// view runs a read transaction.
func (x *indexFile) view(read func(tx *bbolt.Tx) error) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.db.View(read)
}

// begin begins a write transaction. Only one goroutine may write.
func (x *indexFile) begin() (*bbolt.Tx, error) { return x.db.Begin(true) }

// committed is to be told of each write transaction after its commit.
func (x *indexFile) committed(tx *bbolt.Tx) error {
	stats := tx.Stats()
	if x.pages += stats.GetPageCount(); x.pages < x.renewAfter {
		return nil
	}
	x.pages = 0
	return x.renew()
}

// renew exchanges the handle for a new one of the same locked file, between two transactions. Nobody can take the lock
// meanwhile. Where the file cannot be opened a second time (openAgain) the old handle stays: it only takes more memory. Any other
// failure is an error after which nothing may be written: bbolt unlocks a file that it fails to open.
func (x *indexFile) renew() (err error) {
	defer guard(&err)()
	again, err := openAgain(x.file)
	if err != nil {
		return nil //nolint:nilerr // as promised
	}
	fresh, err := openHandle(x.db.Path(), false, func(string, int, os.FileMode) (*os.File, error) { return again, nil })
	if err != nil {
		return fmt.Errorf("open the index anew: %w", err)
	}
	x.mu.Lock()
	db, file := x.db, x.file
	x.db, x.file = fresh.db, fresh.file
	x.mu.Unlock()
	// The lock belongs to both: the old handle must have no file left when it closes, because bbolt unlocks that.
	_ = file.Close()
	_ = db.Close() // says that it has no file
	return nil
}

// Close releases the lock.
func (x *indexFile) Close() error { return x.db.Close() }
