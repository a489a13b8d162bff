package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// What a packing may replace: an earlier one of the same name, whole or begun. Anything else under one of its names is somebody's
// file and stays as it is. A packed bundle is known by how it begins, so are its first part and its list of hashes; the other parts
// look like anything, and are taken for what they are where the first one is there or the list names them.

// mostParts is how many parts a packed bundle can have: the number of each has up to six digits.
const mostParts = 999_999

// maxSums bounds the list of hashes, in bytes: a part's line has some hundred.
const maxSums = 64 << 20

// mayReplace looks at everything under the names that an archive of total bytes will take, before any of it is touched. It leaves
// in old which parts the list of an earlier packing names.
func (w *partWriter) mayReplace(total int64) error {
	first, last, otherwise := w.name, int64(1), partName(w.name, 1)
	if w.split > 0 {
		first, last, otherwise = partName(w.name, 1), (total+w.split-1)/w.split, w.name
	}
	if last > mostParts {
		return fmt.Errorf("parts of %d bytes would be %d, at most %d can be; name a larger size", w.split, last, mostParts)
	}
	if info, err := w.in.stat(otherwise); err == nil && info.Mode().IsRegular() { // the list of hashes would no longer know it
		return fmt.Errorf("%s is there, and could be taken for what is to be packed; remove it, or name another", otherwise)
	} else if err != nil && !isMissing(err) {
		return err
	}
	begun := false
	for _, name := range []string{first, first + partSuffix} {
		text, there, err := w.beginning(name, blockSize)
		if err != nil {
			return err
		}
		head := []byte(manifestName + "\x00")
		if !bytes.HasPrefix(text, head[:min(len(text), len(head))]) {
			return fmt.Errorf("%s is there and is no packed bundle; name another", name)
		}
		begun = begun || there
	}
	for _, name := range []string{w.name + sumsSuffix, w.name + sumsSuffix + partSuffix} {
		text, _, err := w.beginning(name, maxSums)
		if err != nil {
			return err
		}
		listed, ours := partsListed(w.name, string(text))
		if begun := len(text) > 0 && text[len(text)-1] != '\n'; !ours || begun && !strings.HasSuffix(name, partSuffix) {
			return fmt.Errorf("%s is there and is not the list of a packed bundle's hashes; name another", name)
		}
		if name == w.name+sumsSuffix {
			w.old = listed
		}
	}
	if w.split == 0 {
		return nil
	}
	return w.mayReplaceParts(begun, last)
}

// mayReplaceParts looks at the parts behind the first one.
func (w *partWriter) mayReplaceParts(begun bool, last int64) error {
	names, err := w.in.list()
	if err != nil {
		return err
	}
	for _, name := range names {
		whole := strings.TrimSuffix(name, partSuffix)
		n, ok := partNumber(w.name, whole)
		if !ok || n == 1 || slices.Contains(w.old, whole) {
			continue
		}
		if int64(n) <= last && !begun {
			return fmt.Errorf("%s is there, and of the packed bundle whose part it would be nothing else is; name another", name)
		}
		if int64(n) > last && name == whole {
			return fmt.Errorf("%s is in the way: it would be taken for a part; remove it, or name another", name)
		}
	}
	return nil
}

// beginning reads up to most bytes of a file; there is false where there is none.
func (w *partWriter) beginning(name string, most int64) (text []byte, there bool, err error) {
	info, err := w.in.stat(name)
	if isMissing(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if !info.Mode().IsRegular() {
		return nil, false, fmt.Errorf("%s is there and is not a regular file; name another", name)
	}
	f, err := w.in.open(name, os.O_RDONLY)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text = make([]byte, min(info.Size(), most))
	if err := readFull(f, text, 0); err != nil {
		return nil, false, fmt.Errorf("read %s: %w", name, err)
	}
	return text, true, nil
}

// partsListed reads a list of hashes, or the beginning of one that was interrupted; ours is false for any other text.
func partsListed(name, text string) (listed []string, ours bool) {
	for line := range strings.Lines(text) {
		digits := line[:min(len(line), 2*hashSize)]
		if strings.Trim(digits, "0123456789abcdef") != "" {
			return nil, false
		}
		file, whole := strings.CutSuffix(line[len(digits):], "\n")
		if !whole {
			begun := strings.HasPrefix("  "+name, file) // or the number of a part is cut
			if number, cut := strings.CutPrefix(file, "  "+name+"."); cut {
				begun = strings.Trim(number, "0123456789") == ""
			}
			return listed, begun
		}
		file, ok := strings.CutPrefix(file, "  ")
		if _, part := partNumber(name, file); !ok || len(digits) < 2*hashSize || !part && file != name {
			return nil, false
		}
		listed = append(listed, file)
	}
	return listed, true
}

// partNumber returns which part of a packed bundle a file is by its name.
func partNumber(name, file string) (int, bool) {
	match := partPattern.FindStringSubmatch(file)
	if match == nil || match[1] != name {
		return 0, false
	}
	n, err := strconv.Atoi(match[2])
	return n, err == nil && n > 0 && partName(match[1], n) == file
}

// removeStale removes the parts that an earlier packing of the name had beyond those of this one.
func (w *partWriter) removeStale() error {
	for _, name := range w.old {
		if n, ok := partNumber(w.name, name); !ok || w.split == 0 || n <= len(w.parts) {
			continue
		}
		info, err := w.in.stat(name)
		if isMissing(err) {
			continue
		}
		if err != nil || !info.Mode().IsRegular() {
			return fmt.Errorf("%s is in the way: it would be taken for a part", name)
		}
		if err := w.in.remove(name); err != nil {
			return fmt.Errorf("remove the old part %s: %w", name, err)
		}
	}
	return nil
}

// writeSums writes the list of hashes.
func (w *partWriter) writeSums() error {
	var list strings.Builder
	for _, p := range w.parts {
		fmt.Fprintf(&list, "%s  %s\n", p.SHA256, p.Name)
	}
	o, err := settleWhole(w.in, w.name+sumsSuffix, []byte(list.String()))
	if err == nil {
		err = o.publish()
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", w.name+sumsSuffix, err)
	}
	return nil
}
