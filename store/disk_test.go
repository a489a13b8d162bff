package store

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// failingDisk fails the operation of a given number, and all after it, as a full disk does; a write then comes half.
type failingDisk struct {
	osDisk
	left int // operations that still succeed
	seen int
}

var errFull = &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}

func (d *failingDisk) fails() bool {
	d.seen++
	d.left--
	return d.left < 0
}

type failingFile struct {
	diskFile
	disk *failingDisk
}

func (d *failingDisk) open(path string, flag int) (diskFile, error) {
	if d.fails() {
		return nil, errFull
	}
	f, err := d.osDisk.open(path, flag)
	return &failingFile{f, d}, err
}

func (d *failingDisk) rename(from, to string) error {
	if d.fails() {
		return errFull
	}
	return d.osDisk.rename(from, to)
}

func (d *failingDisk) syncDir(path string) error {
	if d.fails() {
		return errFull
	}
	return d.osDisk.syncDir(path)
}

func (d *failingDisk) commit(run func() error) error {
	if d.fails() {
		return errFull
	}
	return run()
}

func (f *failingFile) WriteAt(b []byte, off int64) (int, error) {
	if f.disk.fails() {
		n, err := f.diskFile.WriteAt(b[:len(b)/2], off)
		if err != nil {
			return n, err
		}
		return n, errFull
	}
	return f.diskFile.WriteAt(b, off)
}

func (f *failingFile) Sync() error {
	if f.disk.fails() {
		return errFull
	}
	return f.diskFile.Sync()
}

func (f *failingFile) Truncate(size int64) error {
	if f.disk.fails() {
		return errFull
	}
	return f.diskFile.Truncate(size)
}

// strictDisk renames like Windows: no file that this process has open, and nothing over one.
type strictDisk struct {
	osDisk
	t       *testing.T
	renamed []string
}

func (d *strictDisk) rename(from, to string) error {
	for _, path := range []string{from, to} {
		if isOpen(d.t, path) {
			d.t.Errorf("rename %s to %s: %s is open", from, to, filepath.Base(path))
		}
	}
	d.renamed = append(d.renamed, filepath.Base(to))
	return d.osDisk.rename(from, to)
}

// isOpen reports whether this process has the file open.
func isOpen(t *testing.T, path string) bool {
	t.Helper()
	return openings(t, path) > 0
}

// openings is how often this process has the file open.
func openings(t *testing.T, path string) (n int) {
	t.Helper()
	const descriptors = "/proc/self/fd"
	open, err := os.ReadDir(descriptors)
	if err != nil {
		t.Fatal(err)
	}
	for _, descriptor := range open {
		if target, err := os.Readlink(filepath.Join(descriptors, descriptor.Name())); err == nil && target == path {
			n++
		}
	}
	return n
}

func TestWindowsCouldRenameEverythingThatAWriterRenames(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells which files are open")
	}
	s := newSample(4, 4, 2000)
	disk := &strictDisk{t: t}
	path := filepath.Join(t.TempDir(), "b")
	held, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close() }()
	if !isOpen(t, held.Name()) {
		t.Fatal("an open file is not found to be open")
	}
	for range 2 { // a new bundle, and one that is there
		w := openWriterForTest(t, path, WriteOptions{SealSize: 12_000, disk: disk})
		s.put(t, w)
		closeWriter(t, w)
	}
	for _, want := range []string{indexName, manifestName} {
		if !slices.Contains(disk.renamed, want) {
			t.Errorf("%s was never renamed: the test looks in the wrong place", want)
		}
	}
}

// No name inside a bundle means something else to Windows.
func TestNamesInABundleAreOnesThatWindowsTakes(t *testing.T) {
	s := newSample(4, 4, 2000)
	path := s.build(t, WriteOptions{SealSize: 12_000})
	err := filepath.WalkDir(path, func(at string, entry os.DirEntry, err error) error {
		name := entry.Name()
		if strings.ContainsAny(name, `<>:"|?*\`) || strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") || name != strings.ToLower(name) {
			t.Errorf("%s", at)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{"b", "/media/stick/b"} {
		if got, want := shardPath(root, 7), filepath.Join(root, "images", "000007.tar"); got != want {
			t.Errorf("shard 7 of %s: %s, want %s", root, got, want)
		}
	}
}

func TestPatientlyWaitsForAFileThatSomebodyReads(t *testing.T) {
	errBusy := errors.New("somebody reads it")
	isBusy := func(err error) bool { return errors.Is(err, errBusy) }
	for _, test := range []struct {
		name  string
		busy  int // times
		other error
		want  error
		tries int
	}{
		{"free", 0, nil, nil, 1},
		{"busy for a moment", 3, nil, nil, 4},
		{"busy for ever", 1 << 30, nil, errBusy, 0},
		{"another error", 2, os.ErrPermission, os.ErrPermission, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries, started := 0, time.Now()
				err := patiently(func() error {
					if tries++; tries <= test.busy {
						return errBusy
					}
					return test.other
				}, isBusy)
				if !errors.Is(err, test.want) || (test.tries > 0 && tries != test.tries) {
					t.Errorf("%v after %d tries, want %v after %d", err, tries, test.want, test.tries)
				}
				if waited := time.Since(started); waited > 2*patience {
					t.Errorf("waited %v", waited)
				}
			})
		})
	}
}
