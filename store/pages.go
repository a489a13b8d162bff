package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// bbolt trusts the pages of its file: a page that points back to its parent makes it recurse until the process dies, a free list
// with a wrong count makes it allocate whatever it says, and neither can be recovered from. So the pages are checked here,
// without bbolt, before it sees them.
//
// A page is 4096 bytes, or several with overflow: number (8 bytes), flags (2), count of elements (2), further pages (4), then the
// elements. All integers are little-endian.
const (
	pageHeaderSize  = 16
	pageElementSize = 16
	branchPage      = 0x01
	leafPage        = 0x02
	metaPage        = 0x04
	freelistPage    = 0x10
	bucketElement   = 0x01
	bucketSize      = 16      // of its value; behind it lies its page, if that is small
	maxDepth        = 64      // of a tree; real ones have up to 5 levels
	maxKeySize      = 32768   // bbolt's, in bytes
	maxBranch       = 1 << 18 // bytes of a branch page: bbolt splits one of more than 4 keys that exceeds a page
	mostPages       = 1 << 28 // of an index: 1 TiB, of which the set of used pages takes 32 MiB
	quickPages      = 1 << 16 // pages up to which opening looks at leaves too: 256 MiB, some 50 ms
)

// pageScope says how much of the index is checked.
type pageScope int

const (
	branchPages pageScope = iota // what look-ups recurse through, and of the rest that it ends there; of a small index every page
	allPages                     // every page, and the free list
)

// The meta of a bbolt file, on its first two pages behind the page header: magic, version, page size, flags (4 bytes each), root page and its
// sequence, free list page, number of pages, transaction (8 bytes each), FNV-1a of all that (8 bytes).
const (
	boltMagic      = 0xED0CDAED
	boltVersion    = 2
	boltMetaSize   = 64
	boltNoFreelist = ^uint64(0)
)

type boltMeta struct {
	root, freelist, pages, transaction uint64
}

// parseBoltMeta reads a meta page, false if it is invalid or of another page size.
func parseBoltMeta(page []byte) (boltMeta, bool) {
	b := page[pageHeaderSize : pageHeaderSize+boltMetaSize]
	le := binary.LittleEndian
	sum := fnv.New64a()
	sum.Write(b[:boltMetaSize-8])
	valid := le.Uint32(b) == boltMagic && le.Uint32(b[4:]) == boltVersion && le.Uint32(b[8:]) == pageSize &&
		le.Uint64(b[56:]) == sum.Sum64()
	return boltMeta{
		root: le.Uint64(b[16:]), freelist: le.Uint64(b[32:]), pages: le.Uint64(b[40:]), transaction: le.Uint64(b[48:]),
	}, valid
}

// readMetaPages returns the newer valid meta, and how many of the two are valid.
func readMetaPages(r io.ReaderAt) (newest boltMeta, valid int, err error) {
	var page [pageSize]byte
	for n := range int64(2) {
		if err := readFull(r, page[:], n*pageSize); errors.Is(err, io.ErrUnexpectedEOF) {
			return boltMeta{}, 0, corruptf("%s is truncated", indexName)
		} else if err != nil {
			return boltMeta{}, 0, err
		}
		le := binary.LittleEndian
		proper := le.Uint64(page[:]) == uint64(n) && le.Uint16(page[8:]) == metaPage
		if m, ok := parseBoltMeta(page[:]); ok && proper {
			if valid++; valid == 1 || m.transaction > newest.transaction {
				newest = m
			}
		}
	}
	if valid == 0 {
		return boltMeta{}, 0, corruptf("%s has no valid meta page", indexName)
	}
	return newest, valid, nil
}

// checkMetaPages makes sure that bbolt can open the file. It runs before the lock is taken: one of the two pages is
// valid at any moment, also while another process writes.
func checkMetaPages(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, _, err = readMetaPages(f)
	return err
}

// checkPages checks the pages of an index that nobody is writing to; the error says the first thing that is wrong.
func checkPages(path string, scope pageScope) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var first error
	if err := walkPages(f, info.Size(), scope, func(reason string) {
		if first == nil {
			first = corruptf("%s: %s", indexName, reason)
		}
	}); err != nil {
		return err
	}
	return first
}

// walkPages reports everything that is wrong with the pages of an index, in memory of a bit or two per page. Its error means
// that it could not look.
func walkPages(f io.ReaderAt, size int64, scope pageScope, report func(reason string)) error {
	meta, _, err := readMetaPages(f)
	if errors.Is(err, ErrCorrupt) {
		report(err.Error())
		return nil
	} else if err != nil {
		return err
	}
	if meta.pages < 4 || meta.pages > uint64(size)/pageSize || meta.pages > mostPages {
		report(fmt.Sprintf("truncated to %d pages of %d", size/pageSize, meta.pages))
		return nil
	}
	w := &pageWalk{r: f, pages: meta.pages, used: newPageSet(meta.pages), leaves: scope == allPages || meta.pages <= quickPages, report: report}
	if !w.leaves {
		w.unread = newPageSet(meta.pages)
	}
	w.used.set(0)
	w.used.set(1)
	w.tree(meta.root, 0, true, nil)
	w.ends()
	if scope == allPages && w.err == nil {
		w.freelist(meta.freelist)
	}
	return w.err
}

// pageWalk visits the pages of an index.
type pageWalk struct {
	r      io.ReaderAt
	pages  uint64
	used   pageSet
	leaves bool    // look at leaves, not only at what leads to them
	unread pageSet // pages that must be leaves, as the first of their row is; they are looked at in the end, in the file's order
	report func(reason string)
	err    error          // of reading
	buffer [pageSize]byte // the page that was read last, without overflow
}

// pageSet is a set of page numbers.
type pageSet []uint64

func newPageSet(n uint64) pageSet   { return make(pageSet, n/64+1) }
func (b pageSet) has(n uint64) bool { return b[n/64]&(1<<(n%64)) != 0 }
func (b pageSet) set(n uint64)      { b[n/64] |= 1 << (n % 64) }
func (w *pageWalk) wrong(f string, args ...any) bool {
	w.report(fmt.Sprintf(f, args...))
	return false
}

// page is a page's header and elements.
type page struct {
	id       uint64
	flags    uint16
	count    int
	span     int64 // bytes, with overflow
	elements []byte
}

// inRange reports whether a page can be part of a tree: the first two are the meta pages.
func (w *pageWalk) inRange(id uint64) bool { return id >= 2 && id < w.pages }

// load reads a page's header and elements and marks its pages as used.
func (w *pageWalk) load(id uint64) (page, bool) {
	if w.err != nil {
		return page{}, false
	}
	if !w.inRange(id) {
		return page{}, w.wrong("page %d is out of range", id)
	}
	buffer := &w.buffer
	if w.err = readFull(w.r, buffer[:], int64(id)*pageSize); w.err != nil {
		return page{}, false
	}
	le := binary.LittleEndian
	p := page{id: id, flags: le.Uint16(buffer[8:]), count: int(le.Uint16(buffer[10:]))}
	overflow := uint64(le.Uint32(buffer[12:]))
	if le.Uint64(buffer[:]) != id {
		return page{}, w.wrong("page %d says that it is page %d", id, le.Uint64(buffer[:]))
	}
	if overflow >= w.pages-id {
		return page{}, w.wrong("page %d has %d further pages, beyond the end", id, overflow)
	}
	p.span = int64(overflow+1) * pageSize
	for n := id; n <= id+overflow; n++ {
		if w.used.has(n) {
			return page{}, w.wrong("page %d is used twice", n)
		}
		w.used.set(n)
	}
	if p.flags == freelistPage {
		return p, true
	}
	size := int64(p.count) * pageElementSize
	if pageHeaderSize+size > p.span {
		return page{}, w.wrong("page %d has %d elements, more than fit", id, p.count)
	}
	if pageHeaderSize+size <= pageSize {
		p.elements = append([]byte(nil), buffer[pageHeaderSize:pageHeaderSize+size]...)
	} else {
		p.elements = make([]byte, size)
		w.err = readFull(w.r, p.elements, int64(id)*pageSize+pageHeaderSize)
	}
	return p, w.err == nil
}

// key reads a key of the page that was read last. It lies within the page.
func (w *pageWalk) key(id uint64, start, size int64) ([]byte, bool) {
	if size > maxKeySize {
		return nil, w.wrong("page %d has a key of %d bytes", id, size)
	}
	key := make([]byte, size)
	if start+size <= pageSize {
		copy(key, w.buffer[start:])
	} else {
		w.err = readFull(w.r, key, int64(id)*pageSize+start)
	}
	return key, w.err == nil
}

// tree checks a page and all below it; key is that which leads to it, nil for a root.
func (w *pageWalk) tree(id uint64, depth int, top bool, key []byte) {
	if depth > maxDepth {
		w.wrong("page %d lies too deep", id)
		return
	}
	p, ok := w.load(id)
	if !ok {
		return
	}
	switch p.flags {
	case branchPage:
		w.branch(p, depth, top, key)
	case leafPage:
		if key != nil && !w.leafBegins(p, key) {
			return
		}
		if where := w.leaf(p.elements, p.count, p.span, top, func(value []byte, at int64) bool {
			w.err = readFull(w.r, value, int64(id)*pageSize+at)
			return w.err == nil
		}); where != "" {
			w.wrong("page %d: %s", id, where)
		}
	default:
		w.wrong("page %d is of unknown kind %#x", id, p.flags)
	}
}

// leafBegins checks that a leaf, whose elements have not been checked, begins with the key that leads to it.
func (w *pageWalk) leafBegins(p page, key []byte) bool {
	if p.count == 0 {
		return w.wrong("leaf page %d is empty", p.id)
	}
	le := binary.LittleEndian
	start, size := pageHeaderSize+int64(le.Uint32(p.elements[4:])), int64(le.Uint32(p.elements[8:]))
	if start+size > p.span {
		return w.wrong("page %d: element 0 lies outside it", p.id)
	}
	first, ok := w.key(p.id, start, size)
	return ok && w.begins(p, first, key)
}

// begins checks that a page begins with the key that its parent gives it. Look-ups forgive another one, but a writer that
// changes the page would leave the parent with two entries for it.
func (w *pageWalk) begins(p page, first, key []byte) bool {
	return bytes.Equal(first, key) || w.wrong("page %d does not begin with the key that leads to it", p.id)
}

func (w *pageWalk) branch(p page, depth int, top bool, key []byte) {
	if p.count == 0 {
		w.wrong("branch page %d is empty", p.id)
		return
	}
	if p.span > maxBranch {
		w.wrong("branch page %d has %d bytes", p.id, p.span)
		return
	}
	room := p.span - pageHeaderSize - int64(p.count)*pageElementSize // for keys
	children, keys := make([]uint64, 0, p.count), make([][]byte, 0, p.count)
	le := binary.LittleEndian
	for i := range p.count {
		e := p.elements[i*pageElementSize:]
		start := pageHeaderSize + int64(i)*pageElementSize + int64(le.Uint32(e))
		if size := int64(le.Uint32(e[4:])); size == 0 || start+size > p.span {
			w.wrong("element %d of branch page %d lies outside it", i, p.id)
			return
		} else if room -= size; room < 0 {
			w.wrong("elements of branch page %d lie over one another", p.id)
			return
		} else if k, ok := w.key(p.id, start, size); ok {
			children, keys = append(children, le.Uint64(e[8:])), append(keys, k)
		} else {
			return
		}
	}
	if key != nil && !w.begins(p, keys[0], key) {
		return
	}
	if !w.leaves && !top && w.isLeaf(children[0]) {
		for _, child := range children {
			if !w.inRange(child) {
				w.wrong("page %d is out of range", child)
				return
			}
			w.unread.set(child)
		}
		return
	}
	for i, child := range children {
		w.tree(child, depth+1, top, keys[i])
	}
}

// isLeaf reports whether a page is a leaf. Its siblings are leaves then, too: bbolt's trees are equally deep everywhere.
func (w *pageWalk) isLeaf(id uint64) bool {
	header := w.buffer[:pageHeaderSize]
	if w.err != nil || !w.inRange(id) {
		return false // tree reports it
	}
	if w.err = readFull(w.r, header, int64(id)*pageSize); w.err != nil {
		return false
	}
	return binary.LittleEndian.Uint16(header[8:]) == leafPage
}

// ends makes sure of the siblings: one that is a branch page may lead back to itself.
func (w *pageWalk) ends() {
	for n := range uint64(len(w.unread)) * 64 {
		if w.unread.has(n) && !w.isLeaf(n) && w.err == nil {
			w.wrong("page %d lies among leaves and is none", n)
		}
	}
}

// leaf checks the elements of a leaf page; in the top tree it follows them into their buckets. The result says what is wrong.
func (w *pageWalk) leaf(elements []byte, count int, span int64, top bool, read func(value []byte, at int64) bool) string {
	le := binary.LittleEndian
	var roots []uint64
	room := span - pageHeaderSize - int64(count)*pageElementSize // for keys and values
	for i := range count {
		e := elements[i*pageElementSize:]
		start := pageHeaderSize + int64(i)*pageElementSize + int64(le.Uint32(e[4:]))
		keySize, valueSize := int64(le.Uint32(e[8:])), int64(le.Uint32(e[12:]))
		if keySize == 0 || start+keySize+valueSize > span {
			return fmt.Sprintf("element %d lies outside it", i)
		}
		if room -= keySize + valueSize; room < 0 {
			return "its elements lie over one another"
		}
		isBucket := le.Uint32(e) == bucketElement
		if !isBucket && le.Uint32(e) != 0 || isBucket != top {
			return fmt.Sprintf("element %d is of unknown kind %#x", i, le.Uint32(e))
		}
		if !isBucket {
			continue
		}
		if valueSize < bucketSize || valueSize > pageSize {
			return fmt.Sprintf("element %d is no bucket", i)
		}
		value := make([]byte, valueSize)
		if !read(value, start+keySize) {
			return ""
		}
		if root := le.Uint64(value); root != 0 {
			if valueSize != bucketSize {
				return fmt.Sprintf("element %d is longer than a bucket", i)
			}
			roots = append(roots, root)
		} else if where := w.inline(value[bucketSize:]); where != "" {
			return fmt.Sprintf("element %d: %s", i, where)
		}
	}
	for _, root := range roots {
		w.tree(root, 1, false, nil)
	}
	return ""
}

// inline checks a bucket that is small enough to lie in its parent.
func (w *pageWalk) inline(b []byte) string {
	if len(b) < pageHeaderSize {
		return "its page is cut short"
	}
	le := binary.LittleEndian
	count := int(le.Uint16(b[10:]))
	if le.Uint64(b) != 0 || le.Uint16(b[8:]) != leafPage || pageHeaderSize+count*pageElementSize > len(b) {
		return "its page is damaged"
	}
	size := pageHeaderSize // of a page as it is written: nothing lies between its parts, nor behind them
	for i := range count {
		e := b[pageHeaderSize+i*pageElementSize:]
		size += pageElementSize + int(le.Uint32(e[8:])) + int(le.Uint32(e[12:]))
	}
	if size != len(b) {
		return "its page has another size than its elements"
	}
	return w.leaf(b[pageHeaderSize:], count, int64(len(b)), false, nil)
}

// freelist checks that the free pages are those that nothing uses, each listed once.
func (w *pageWalk) freelist(id uint64) {
	if id == boltNoFreelist {
		return // bbolt makes it anew when it opens the file for writing
	}
	p, ok := w.load(id)
	if !ok {
		return
	}
	if p.flags != freelistPage {
		w.wrong("page %d is not the free list that it should be", id)
		return
	}
	count, at := uint64(p.count), int64(id)*pageSize+pageHeaderSize
	end := int64(id)*pageSize + p.span
	var word [8]byte
	next := func() (uint64, bool) {
		if at+8 > end {
			return 0, w.wrong("the free list is longer than its pages")
		}
		if w.err = readFull(w.r, word[:], at); w.err != nil {
			return 0, false
		}
		at += 8
		return binary.LittleEndian.Uint64(word[:]), true
	}
	if count == 0xFFFF { // the first number is the count
		if count, ok = next(); !ok {
			return
		}
	}
	for range count {
		free, ok := next()
		if !ok {
			return
		}
		if free < 2 || free >= w.pages || w.used.has(free) {
			w.wrong("page %d is listed as free but is used", free)
			return
		}
		w.used.set(free)
	}
	for n := range w.pages {
		if !w.used.has(n) {
			w.wrong("page %d is neither used nor free", n)
			return
		}
	}
}
