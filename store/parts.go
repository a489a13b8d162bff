package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// A packed bundle is one file, or parts of it: name.001, name.002 and so on, which joined are the file. Beside them lies
// name.sha256, for sha256sum -c.

// sumsSuffix is that of the list of parts and their hashes.
const sumsSuffix = ".sha256"

func partName(name string, n int) string { return fmt.Sprintf("%s.%03d", name, n) }

// Part is a file of a packed bundle.
type Part struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"` // bytes
	SHA256 Hash   `json:"sha256"`
	Kept   bool   `json:"kept"` // it was there already
}

// partWriter writes a stream into one file, or into parts.
type partWriter struct {
	in    folder
	name  string
	split int64 // bytes of a part; 0: one file
	parts []Part
	old   []string // files that the list of an earlier packing names

	current *output
	sum     hash.Hash
	size    int64 // of current, so far
}

func (w *partWriter) Write(p []byte) (int, error) {
	n := 0
	for len(p) > 0 {
		if err := w.begin(); err != nil {
			return n, err
		}
		chunk := p
		if w.split > 0 {
			chunk = p[:min(int64(len(p)), w.split-w.size)]
		}
		written, err := w.current.Write(chunk)
		w.sum.Write(chunk[:written])
		w.size += int64(written)
		n += written
		if err != nil {
			return n, fmt.Errorf("write %s: %w", w.current.name, err)
		}
		p = p[written:]
		if w.size == w.split {
			if err := w.end(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (w *partWriter) begin() (err error) {
	if w.current != nil {
		return nil
	}
	name := w.name
	if w.split > 0 {
		name = partName(w.name, len(w.parts)+1)
	}
	w.sum, w.size = sha256.New(), 0
	if w.current, err = openOutput(w.in, name); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// end completes the current part.
func (w *partWriter) end() error {
	o := w.current
	w.current = nil
	defer o.abandon()
	if err := o.settle(); err != nil {
		return fmt.Errorf("write %s: %w", o.name, err)
	}
	kept := o.whole
	if err := o.publish(); err != nil {
		return fmt.Errorf("write %s: %w", o.name, err)
	}
	w.parts = append(w.parts, Part{Name: o.name, Size: w.size, SHA256: Hash(w.sum.Sum(nil)), Kept: kept})
	return nil
}

// finish completes the last part, removes parts of an earlier, longer packing of the name, and writes the list of hashes.
func (w *partWriter) finish() error {
	if w.current != nil {
		if err := w.end(); err != nil {
			return err
		}
	}
	if err := w.removeStale(); err != nil {
		return err
	}
	return w.writeSums()
}

func (w *partWriter) abandon() {
	if w.current != nil {
		w.current.abandon()
	}
}

// partPattern matches the name of a part.
var partPattern = regexp.MustCompile(`^(.+)\.([0-9]{3,6})$`)

// parts reads the files of a packed bundle as one.
type parts struct {
	paths []string
	sizes []int64
	total int64
	name  string // of the whole; with paths[0] equal to it there is one file

	at   int64
	open int // index of file
	file *os.File
}

// openParts finds the files of a packed bundle: path, or the parts of which path is the whole or the first. A part that
// evidently is missing is named, in an error that matches fs.ErrNotExist.
func openParts(path string) (*parts, error) {
	name := path
	if match := partPattern.FindStringSubmatch(path); match != nil {
		if there, err := exists(partName(match[1], 1)); err != nil {
			return nil, err
		} else if n, err := strconv.Atoi(match[2]); err == nil && (there || n == 1) {
			name = match[1]
		}
	}
	p := &parts{name: name, open: -1}
	if info, err := os.Stat(name); err == nil && name == path {
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%w: %s is not a file", ErrNotBundle, path)
		}
		p.paths, p.sizes, p.total = []string{path}, []int64{info.Size()}, info.Size()
		return p, nil
	} else if err != nil && !isMissing(err) {
		return nil, err
	}
	last, err := lastPart(name)
	if err != nil {
		return nil, err
	}
	if last == 0 {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	for n := 1; n <= last; n++ {
		part := partName(name, n)
		info, err := os.Stat(part)
		if isMissing(err) {
			return nil, p.missing(part)
		}
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%w: %s is not a file", ErrNotBundle, part)
		}
		p.paths, p.sizes, p.total = append(p.paths, part), append(p.sizes, info.Size()), p.total+info.Size()
	}
	return p, nil
}

// lastPart is the number of the last part that is there or that the list of hashes names; 0: none.
func lastPart(name string) (int, error) {
	last := 0
	number := func(candidate string) {
		if n, ok := partNumber(filepath.Base(name), candidate); ok {
			last = max(last, n)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(name))
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		number(e.Name())
	}
	if last == 0 {
		return 0, nil
	}
	f, err := openRegular(name + sumsSuffix)
	if err != nil {
		return last, nil //nolint:nilerr // without the list the parts that are there must do
	}
	defer func() { _ = f.Close() }() // it was only read
	list, err := io.ReadAll(io.LimitReader(f, maxSums))
	if err != nil {
		return last, nil //nolint:nilerr // likewise
	}
	for line := range strings.Lines(string(list)) {
		if fields := strings.Fields(line); len(fields) == 2 {
			number(fields[1])
		}
	}
	return last, nil
}

// missing says which part is not there, and where it may be.
func (p *parts) missing(part string) error {
	hint := "copy it beside the others"
	if there, err := exists(part + partSuffix); err == nil && there {
		hint = filepath.Base(part) + partSuffix + " is there: packing was interrupted, run pack again"
	}
	return fmt.Errorf("part %s is missing (%s): %w", part, hint, fs.ErrNotExist)
}

// Read reads on, over the ends of parts.
func (p *parts) Read(b []byte) (int, error) {
	for {
		n, start := p.locate()
		if n == len(p.paths) {
			return 0, io.EOF
		}
		if p.open != n {
			if err := p.Close(); err != nil {
				return 0, err
			}
			f, err := os.Open(p.paths[n])
			if err != nil {
				return 0, err
			}
			p.file, p.open = f, n
		}
		left := start + p.sizes[n] - p.at
		read, err := p.file.ReadAt(b[:min(int64(len(b)), left)], p.at-start)
		p.at += int64(read)
		if errors.Is(err, io.EOF) && int64(read) < left && read < len(b) {
			return read, fmt.Errorf("read %s: %w", p.paths[n], io.ErrUnexpectedEOF) // it has become shorter
		}
		if err != nil && !errors.Is(err, io.EOF) || read > 0 || len(b) == 0 {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return read, err
		}
	}
}

// locate returns the part that holds the next byte, and where it begins.
func (p *parts) locate() (n int, start int64) {
	for n < len(p.sizes) && p.at >= start+p.sizes[n] {
		start += p.sizes[n]
		n++
	}
	return n, start
}

// Seek moves on without reading.
func (p *parts) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += p.at
	case io.SeekEnd:
		offset += p.total
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	p.at = offset
	return offset, nil
}

// Close closes the open part.
func (p *parts) Close() error {
	if p.file == nil {
		return nil
	}
	f := p.file
	p.file, p.open = nil, -1
	return f.Close()
}
