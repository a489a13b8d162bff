package store

import (
	"encoding/binary"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rawIndex makes an index of nothing but the given pages, which begin at page 2, the root. Between these and its end, further
// pages of which nothing is read may be claimed.
func rawIndex(t *testing.T, claimed uint64, pages ...[]byte) string {
	t.Helper()
	le := binary.LittleEndian
	data := make([]byte, 2*pageSize)
	for _, p := range pages {
		le.PutUint64(p, uint64(len(data)/pageSize))
		data = append(data, p...)
	}
	claimed = max(claimed, uint64(len(data)/pageSize))
	for n := range 2 {
		page := data[n*pageSize:]
		le.PutUint64(page, uint64(n)) //nolint:gosec // 0 or 1
		le.PutUint16(page[8:], metaPage)
		m := page[pageHeaderSize:][:boltMetaSize]
		le.PutUint32(m, boltMagic)
		le.PutUint32(m[4:], boltVersion)
		le.PutUint32(m[8:], pageSize)
		le.PutUint64(m[16:], 2)
		le.PutUint64(m[32:], boltNoFreelist)
		le.PutUint64(m[40:], claimed)
		le.PutUint64(m[48:], uint64(n)) //nolint:gosec // likewise
		sum := fnv.New64a()
		sum.Write(m[:boltMetaSize-8])
		le.PutUint64(m[56:], sum.Sum64())
	}
	file := filepath.Join(t.TempDir(), indexName)
	if err := os.WriteFile(file, data, fileMode); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, int64(claimed)*pageSize); err != nil { //nolint:gosec // a small file
		t.Fatal(err)
	}
	return file
}

// rawElement is an element of a page: of a branch page with child, of a leaf with a value. Its key lies at a place of the page.
type rawElement struct {
	at, key, value int
	child          uint64
	bucket         bool
}

func rawPage(kind uint16, span int, elements []rawElement) []byte {
	le := binary.LittleEndian
	page := make([]byte, span)
	le.PutUint16(page[8:], kind)
	le.PutUint16(page[10:], uint16(len(elements)))   //nolint:gosec // as many as a page can have
	le.PutUint32(page[12:], uint32(span/pageSize-1)) //nolint:gosec // a small page
	for i, e := range elements {
		from := pageHeaderSize + i*pageElementSize
		raw := page[from:]
		if kind == branchPage {
			le.PutUint32(raw, uint32(e.at-from)) //nolint:gosec // within the page
			le.PutUint32(raw[4:], uint32(e.key)) //nolint:gosec // likewise
			le.PutUint64(raw[8:], e.child)
			continue
		}
		if e.bucket {
			le.PutUint32(raw, bucketElement)
		}
		le.PutUint32(raw[4:], uint32(e.at-from)) //nolint:gosec // within the page
		le.PutUint32(raw[8:], uint32(e.key))     //nolint:gosec // likewise
		le.PutUint32(raw[12:], uint32(e.value))  //nolint:gosec // likewise
	}
	return page
}

// rawRoot is a leaf that holds one bucket, whose own root is page 3.
func rawRoot() []byte {
	const at = 1000
	root := rawPage(leafPage, pageSize, []rawElement{{at: at, key: 6, value: bucketSize, bucket: true}})
	copy(root[at:], bucketImages)
	binary.LittleEndian.PutUint64(root[at+6:], 3)
	return root
}

// readCounter counts what is read.
type readCounter struct {
	io.ReaderAt
	bytes int64
}

func (r *readCounter) ReadAt(b []byte, off int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(b, off)
	r.bytes += int64(n)
	return n, err
}

// TestElementsThatLieOverOneAnotherAreRefused: an index of a megabyte held keys of two gigabytes in memory when it was opened, and
// values of terabytes were hashed by whoever read it.
func TestElementsThatLieOverOneAnotherAreRefused(t *testing.T) {
	t.Parallel()
	const most = 0xFFFF // elements of a page
	const span = 300 * pageSize
	const at = span - maxKeySize
	branch, leaf := make([]rawElement, most), make([]rawElement, most)
	for i := range most {
		branch[i] = rawElement{at: at, key: maxKeySize, child: 4}
		leaf[i] = rawElement{at: span - most - 8 + i, key: 8, value: most - i}
	}
	for name, page := range map[string][]byte{
		"branch": rawPage(branchPage, span, branch),
		"leaf":   rawPage(leafPage, span, leaf),
		"keys of a small branch page": rawPage(branchPage, pageSize, []rawElement{
			{at: 1000, key: 3000, child: 4}, {at: 1001, key: 3000, child: 5},
		}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := os.Open(rawIndex(t, 0, rawRoot(), page))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }() // it is only read
			size := must(f.Stat()).Size()
			read := &readCounter{ReaderAt: f}
			found, first := 0, ""
			if err := walkPages(read, size, branchPages, func(reason string) {
				if found++; found == 1 {
					first = reason
				}
			}); err != nil {
				t.Fatal(err)
			}
			if found != 1 || !strings.Contains(first, "page 3") {
				t.Errorf("found %d things, the first %q, want one about page 3", found, first)
			}
			if read.bytes > 2*size {
				t.Errorf("%d bytes were read of an index of %d", read.bytes, size)
			}
		})
	}
}

// TestPageAmongLeavesThatLeadsToItselfIsFound: of a large index only the first page of a row was looked at, and bbolt recursed through
// another one until the process died, which nothing can recover from.
func TestPageAmongLeavesThatLeadsToItselfIsFound(t *testing.T) {
	t.Parallel()
	between := rawPage(branchPage, pageSize, []rawElement{{at: 1000, key: 1, child: 4}, {at: 1001, key: 1, child: 5}})
	copy(between[1000:], "ab")
	leaf := rawPage(leafPage, pageSize, []rawElement{{at: 1000, key: 1}})
	copy(leaf[1000:], "a")
	itself := rawPage(branchPage, pageSize, []rawElement{{at: 1000, key: 1, child: 5}})
	copy(itself[1000:], "b")
	for name, claimed := range map[string]uint64{"small": 0, "large": quickPages + 1} {
		file := rawIndex(t, claimed, rawRoot(), between, leaf, itself)
		if err := checkPages(file, branchPages); err == nil || !strings.Contains(err.Error(), "page 5") {
			t.Errorf("%s index: %v, want an error about page 5", name, err)
		}
	}
}
