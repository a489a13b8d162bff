package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// region is a range of bytes of one class.
type region struct {
	class      string
	start, end int64
	unused     bool // nothing depends on these bytes
}

func TestEveryByteIsGuarded(t *testing.T) {
	t.Parallel()
	s := newSample(12, 4, 700)
	path := s.build(t, WriteOptions{SealSize: 16_000})
	want := digestOf(t, path)
	last := uint32(len(shardSizes(t, path)))
	if last < 3 {
		t.Fatalf("only %d shards", last)
	}
	for _, name := range []string{manifestName, indexName, shardName(1), shardName(last)} { // the last one is open
		file := filepath.Join(path, filepath.FromSlash(name))
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var regions []region
		switch name {
		case manifestName:
			regions = []region{{class: "manifest", end: int64(len(data))}}
		case indexName:
			regions = indexRegions(t, data)
		default:
			regions = shardRegions(data)
		}
		byClass := map[string][]int64{}
		unused := map[string]bool{}
		for _, r := range regions {
			for at := r.start; at < r.end; at++ {
				byClass[r.class] = append(byClass[r.class], at)
			}
			unused[r.class] = r.unused
		}
		for class, offsets := range byClass {
			t.Run(name+"/"+class, func(t *testing.T) {
				random := rand.New(rand.NewPCG(7, uint64(len(offsets))))
				random.Shuffle(len(offsets), func(i, j int) { offsets[i], offsets[j] = offsets[j], offsets[i] })
				if !torture() {
					offsets = offsets[:min(len(offsets), 25)]
				}
				for _, at := range offsets {
					flip := byte(1 << random.IntN(8))
					if at%3 == 0 {
						flip = byte(1 + random.IntN(255))
					}
					patch(t, file, at, data[at]^flip)
					found, _ := s.examine(t, path, want)
					if !found && !unused[class] {
						t.Errorf("byte %d (%#x, xor %#x) is not found", at, data[at], flip)
					}
					patch(t, file, at, data[at])
				}
			})
		}
	}
	if found, how := s.examine(t, path, want); found {
		t.Fatalf("the test itself did harm: %s", how)
	}
}

func patch(t *testing.T, file string, at int64, value byte) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte{value}, at)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// shardRegions splits a shard into headers, data, padding and end.
func shardRegions(data []byte) []region {
	var out []region
	position := int64(0)
	for position < int64(len(data)) && data[position] != 0 {
		m := must(readHeader(bytes.NewReader(data), 1, position))
		out = append(out, region{class: "header", start: position, end: m.at.offset},
			region{class: "data", start: m.at.offset, end: m.at.offset + m.at.size},
			region{class: "padding", start: m.at.offset + m.at.size, end: m.end()})
		position = m.end()
	}
	if position < int64(len(data)) {
		out = append(out, region{class: "end of archive", start: position, end: int64(len(data))})
	}
	return out
}

// indexRegions classifies the bytes of an index by an own reading of bbolt's format.
func indexRegions(t *testing.T, data []byte) []region {
	t.Helper()
	le := binary.LittleEndian
	var out []region
	add := func(class string, start, size int64, unused bool) {
		out = append(out, region{class, start, start + size, unused})
	}
	meta, valid, err := readMetaPages(bytes.NewReader(data))
	if err != nil || valid != 2 {
		t.Fatal(valid, err)
	}
	for n := range int64(2) {
		add("meta", n*pageSize, 10, false)
		add("meta, unused part of the header", n*pageSize+10, 6, true)
		add("meta", n*pageSize+16, 64, false)
		add("slack", n*pageSize+80, pageSize-80, true)
	}
	seen := map[uint64]bool{0: true, 1: true}
	var visit func(id uint64)
	leafElements := func(class string, base int64, count int) (roots []uint64, end int64) {
		end = base + int64(count)*16 + 16
		for i := range int64(count) {
			e := base + 16 + i*16
			add(class+" element", e, 16, false)
			keyAt := e + int64(le.Uint32(data[e+4:]))
			keySize, valueSize := int64(le.Uint32(data[e+8:])), int64(le.Uint32(data[e+12:]))
			add(class+" key", keyAt, keySize, false)
			value := keyAt + keySize
			end = value + valueSize
			if le.Uint32(data[e:]) == 0 {
				add(class+" value", value, valueSize, false)
				continue
			}
			add("bucket root", value, 8, false)
			add("bucket sequence", value+8, 8, true)
			if root := le.Uint64(data[value:]); root != 0 {
				roots = append(roots, root)
				continue
			}
			add("inline header", value+16, 12, false)
			add("inline, unused part of the header", value+28, 4, true)
			count := int(le.Uint16(data[value+26:]))
			for i := range int64(count) {
				e := value + 32 + i*16
				add("inline element", e, 16, false)
				at := e + int64(le.Uint32(data[e+4:]))
				add("inline key", at, int64(le.Uint32(data[e+8:])), false)
				add("inline value", at+int64(le.Uint32(data[e+8:])), int64(le.Uint32(data[e+12:])), false)
			}
		}
		return roots, end
	}
	visit = func(id uint64) {
		base := int64(id) * pageSize
		overflow := int64(le.Uint32(data[base+12:]))
		for n := id; n <= id+uint64(overflow); n++ {
			seen[n] = true
		}
		span := base + (overflow+1)*pageSize
		count := int(le.Uint16(data[base+10:]))
		switch le.Uint16(data[base+8:]) {
		case branchPage:
			add("branch header", base, 16, false)
			end := base + 16 + int64(count)*16
			for i := range int64(count) {
				e := base + 16 + i*16
				add("branch element", e+8, 8, false)
				keyAt := e + int64(le.Uint32(data[e:]))
				// A separator, and where it lies, may be changed without leading a look-up astray.
				add("branch key", e, 8, false)
				add("branch key", keyAt, int64(le.Uint32(data[e+4:])), false)
				end = max(end, keyAt+int64(le.Uint32(data[e+4:])))
				visit(le.Uint64(data[e+8:]))
			}
			add("slack", end, span-end, true)
		case leafPage:
			add("leaf header", base, 16, false)
			roots, end := leafElements("leaf", base, count)
			add("slack", end, span-end, true)
			for _, root := range roots {
				visit(root)
			}
		}
	}
	visit(meta.root)
	base := int64(meta.freelist) * pageSize
	seen[meta.freelist] = true
	count := int64(le.Uint16(data[base+10:]))
	if count == 0 {
		t.Fatal("the sample has no free pages")
	}
	add("free list header", base, 16, false)
	add("free list", base+16, 8*count, false)
	add("slack", base+16+8*count, pageSize-16-8*count, true)
	for n := range uint64(len(data) / pageSize) {
		if !seen[n] {
			add("free page", int64(n)*pageSize, pageSize, true)
		}
	}
	return out
}
