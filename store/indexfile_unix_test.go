//go:build unix && !solaris && !illumos && !aix && !android

package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
)

// TestNobodyTakesTheLockWhileTheHandleIsRenewed: another reader who came in between would have the running fetch end.
func TestNobodyTakesTheLockWhileTheHandleIsRenewed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "renewed.bundle")
	w := openWriterForTest(t, path, WriteOptions{renewAfter: 1})
	first := w.index.db
	other, err := os.Open(filepath.Join(path, indexName))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	take := func() error { return syscall.Flock(int(other.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) }

	var looks atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{}, 2)
	go func() { // somebody else's serve
		defer func() { ended <- struct{}{} }()
		for ctx.Err() == nil {
			if err := take(); !errors.Is(err, syscall.EWOULDBLOCK) {
				t.Errorf("after %d looks the lock is free: %v", looks.Load(), err)
				return
			}
			looks.Add(1)
		}
	}()
	s := newSample(60, 2, 500)
	go func() { // reads through handles that are exchanged
		defer func() { ended <- struct{}{} }()
		for ctx.Err() == nil {
			for _, r := range s.sequences {
				if _, err := w.Sequence(t.Context(), r.Sequence.ID); err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
					return
				}
			}
		}
	}()
	before := openFiles(t)
	s.put(t, w)
	if after := openFiles(t); after > before+2 { // the shard, and what this test does not see
		t.Errorf("%d files are open after many renewals, %d were before", after, before)
	}
	stop()
	<-ended
	<-ended
	if w.index.db == first {
		t.Fatal("the handle was never renewed")
	}
	if looks.Load() < 100 {
		t.Fatalf("looked %d times only", looks.Load())
	}
	closeWriter(t, w)
	if err := take(); err != nil {
		t.Errorf("the lock is still held after Close: %v", err)
	}
	mustBeSound(t, path)
	if got, want := digestOf(t, path), digestOf(t, s.build(t, WriteOptions{})); got != want {
		t.Errorf("digest %s, without renewals %s", got, want)
	}
}

// TestAHandleIsRenewedByThePagesThatItWrote: a run that changes what is there takes memory for pages as one that adds does.
func TestAHandleIsRenewedByThePagesThatItWrote(t *testing.T) {
	w := openWriterForTest(t, filepath.Join(t.TempDir(), "changed.bundle"), WriteOptions{renewAfter: 100})
	s := newSample(1, 1, 500)
	s.put(t, w)
	first, size := w.index.db, must(os.Stat(filepath.Join(w.Path(), indexName))).Size()
	for i := range 100 { // at least the leaf, the root and the free list each time
		if err := w.MarkGone(t.Context(), s.sequences[0].Sequence.ID, i%2 == 0); err != nil {
			t.Fatal(err)
		}
	}
	if grown := must(os.Stat(filepath.Join(w.Path(), indexName))).Size(); grown > size+growth {
		t.Fatalf("the index grew from %d bytes to %d", size, grown)
	}
	if w.index.db == first {
		t.Error("the handle was not renewed")
	}
}

// TestAHandleThatCannotBeRenewedStays until it can.
func TestAHandleThatCannotBeRenewedStays(t *testing.T) {
	w := openWriterForTest(t, filepath.Join(t.TempDir(), "stays.bundle"), WriteOptions{})
	s := newSample(2, 1, 500)
	s.put(t, w)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Skipf("open files cannot be limited: %v", err)
	}
	first := w.index.db
	failed := w.index.renew()
	stayed := w.index.db == first
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if !stayed || failed != nil {
		t.Errorf("the handle was exchanged without a file, or the writer ends: %v", failed)
	}
	if err := w.MarkGone(t.Context(), s.sequences[0].Sequence.ID, true); err != nil {
		t.Error(err)
	}
	if err := w.index.renew(); err != nil || w.index.db == first {
		t.Errorf("the handle was not renewed when it could be: %v", err)
	}
	if err := w.MarkGone(t.Context(), s.sequences[1].Sequence.ID, true); err != nil {
		t.Error(err)
	}
	closeWriter(t, w)
	mustBeSound(t, w.Path())
}

// TestWritingEndsWhereRenewingFails: bbolt has unlocked the file then, and somebody else may write.
func TestWritingEndsWhereRenewingFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fails.bundle")
	w := openWriterForTest(t, path, WriteOptions{})
	s := newSample(2, 1, 500)
	s.put(t, w)
	index := filepath.Join(path, indexName)
	whole := must(os.ReadFile(index))
	err := w.do(t.Context(), request{own: func(o *owner) error {
		if err := os.Truncate(index, 100); err != nil {
			return err
		}
		defer func() { _ = os.WriteFile(index, whole, fileMode) }()
		return o.w.index.renew()
	}})
	if err == nil {
		t.Fatal("a handle of a file without pages was taken")
	}
	if again := w.MarkGone(t.Context(), s.sequences[0].Sequence.ID, true); again == nil {
		t.Error("the writer goes on")
	}
	if w.Close() == nil {
		t.Error("closing says nothing of it")
	}
	closeWriter(t, openWriterForTest(t, path, WriteOptions{}))
	mustBeSound(t, path)
}

// openFiles counts what the process has open.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Skipf("open files cannot be counted: %v", err)
	}
	return len(entries)
}
