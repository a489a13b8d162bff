package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// TestPagesOfEveryHistoryPass: whatever was put and deleted, in whatever order, bbolt leaves pages that the walk finds sound. What it
// demands of them, above all that a page begins with the key that leads to it, bbolt does not promise in words.
func TestPagesOfEveryHistoryPass(t *testing.T) {
	t.Parallel()
	histories := 20
	if torture() {
		histories = 400
	}
	deepest := 0
	for seed := range uint64(histories) {
		random := rand.New(rand.NewPCG(seed, 1))
		file := filepath.Join(t.TempDir(), fmt.Sprint(seed))
		db, err := bbolt.Open(file, fileMode, indexOptions(false))
		if err != nil {
			t.Fatal(err)
		}
		db.NoSync = true
		longest, largest, span := 1+random.IntN(400), 1+random.IntN(3000), 1+random.IntN(3000)
		for range 60 {
			growing := random.IntN(3) > 0
			if err := db.Update(func(tx *bbolt.Tx) error {
				b, err := tx.CreateBucketIfNotExists([]byte{'a' + byte(random.IntN(3))})
				if err != nil {
					return err
				}
				for range 1 + random.IntN(120) {
					key := fmt.Appendf(nil, "%06d%s", random.IntN(span), bytes.Repeat([]byte{'k'}, random.IntN(longest)))
					if growing {
						err = b.Put(key, make([]byte, random.IntN(largest)))
					} else if first, _ := b.Cursor().Seek(key[:random.IntN(7)]); first != nil { // often the first of a page
						err = b.Delete(first)
					}
					if err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if err := db.View(func(tx *bbolt.Tx) error {
				return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error { deepest = max(deepest, b.Stats().Depth); return nil })
			}); err != nil {
				t.Fatal(err)
			}
			if err := checkPages(file, allPages); err != nil {
				t.Fatalf("history %d: %v", seed, err)
			}
			walkAsOfALargeIndex(t, file)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if deepest < 3 {
		t.Errorf("no tree was deeper than %d pages", deepest)
	}
}

// walkAsOfALargeIndex makes sure that nothing is wrong where leaves are not read.
func walkAsOfALargeIndex(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // it is only read
	meta, _, err := readMetaPages(f)
	if err != nil {
		t.Fatal(err)
	}
	w := &pageWalk{r: f, pages: meta.pages, used: newPageSet(meta.pages), unread: newPageSet(meta.pages), report: func(reason string) { t.Fatal(reason) }}
	w.tree(meta.root, 0, true, nil)
	w.ends()
	if w.err != nil {
		t.Fatal(w.err)
	}
}

// TestPageThatItsParentMisleadsToIsFound: the first key of a branch page may be another one without any look-up failing. A
// writer would then leave two entries for the page, one of which leads to a free page.
func TestPageThatItsParentMisleadsToIsFound(t *testing.T) {
	t.Parallel()
	path := newSample(60, 4, 300).build(t, WriteOptions{})
	file := filepath.Join(path, indexName)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for at := 2 * pageSize; at < len(data); at += pageSize {
		le := binary.LittleEndian
		if page := data[at:]; le.Uint16(page[8:]) != branchPage || le.Uint16(page[10:]) < 2 || le.Uint64(page) != uint64(at/pageSize) {
			continue
		}
		element := data[at+pageHeaderSize:]
		key := element[le.Uint32(element):][:le.Uint32(element[4:])]
		key[len(key)-1]--
		if err := os.WriteFile(file, data, fileMode); err != nil {
			t.Fatal(err)
		}
		key[len(key)-1]++
		if err := checkPages(file, allPages); err != nil {
			tried++ // of pages that are free nothing is found, rightly
			if b, err := Open(path); err == nil {
				closeBundle(t, b)
				t.Errorf("page %d: the bundle can be opened", at/pageSize)
			}
		}
	}
	if tried == 0 {
		t.Error("no page was found")
	}
}
