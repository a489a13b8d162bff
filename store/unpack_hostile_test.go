package store

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A member of a hostile archive.
type evil struct {
	header tar.Header
	data   []byte
}

// archiveOf writes members as they are.
func archiveOf(t testing.TB, members ...evil) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range members {
		h := m.header
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Size == 0 {
			h.Size = int64(len(m.data))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(m.data); err != nil {
			t.Fatal(err)
		}
	}
	_ = w.Close() // members may be shorter than their headers say
	return out.Bytes()
}

// membersIn reads an archive back.
func membersIn(t testing.TB, archive []byte) []evil {
	t.Helper()
	var out []evil
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, evil{*h, data})
	}
}

func TestUnpackRefusesHostileArchives(t *testing.T) {
	sound := membersIn(t, packed(t, packable(t)))
	file := func(name string) evil { return evil{tar.Header{Name: name, Mode: 0o600}, []byte("x")} }
	insert := func(at int, what ...evil) []evil { return slices.Insert(slices.Clone(sound), at, what...) }
	replace := func(at int, what evil) []evil {
		out := slices.Clone(sound)
		out[at] = what
		return out
	}
	last := len(sound) - 1
	withHeader := func(at int, change func(h *tar.Header)) []evil {
		m := sound[at]
		change(&m.header)
		return replace(at, m)
	}
	link := func(kind byte, to string) evil {
		return evil{header: tar.Header{Name: "images/000001.tar", Typeflag: kind, Linkname: to}}
	}
	for _, test := range []struct {
		name    string
		members []evil
		want    error
	}{
		{"empty", nil, ErrNotBundle},
		{"another archive", []evil{file("thesis.tex")}, ErrNotBundle},
		{"no manifest first", sound[1:], ErrNotBundle},
		{"anybody's manifest", replace(0, evil{sound[0].header, []byte(`{"type":"other"}`)}), ErrNotBundle},
		{"a newer format's manifest", replace(0, evil{sound[0].header, bytes.Replace(sound[0].data, []byte(`"min_reader": 1`), []byte(`"min_reader": 9`), 1)}), ErrVersion},
		{"a changed manifest", replace(0, evil{sound[0].header, bytes.Replace(sound[0].data, []byte(`"writing": false`), []byte(`"writing": true `), 1)}), ErrCorrupt},
		{"a manifest that lists other files", replace(0, evil{header: sound[0].header, data: remade(t, sound[0].data, func(m *manifest) { m.Shards[0].Name = "../../evil" })}), ErrNotBundle},
		{"a manifest that lists a file twice", replace(0, evil{header: sound[0].header, data: remade(t, sound[0].data, func(m *manifest) { m.Shards[1].Name = m.Shards[0].Name })}), ErrNotBundle},
		{"a manifest of absurd sizes", replace(0, evil{header: sound[0].header, data: remade(t, sound[0].data, func(m *manifest) { m.Shards[0].Size = 1 << 50 })}), ErrNotBundle},
		{"a manifest of negative sizes", replace(0, evil{header: sound[0].header, data: remade(t, sound[0].data, func(m *manifest) { m.OpenShard.Size = -512 })}), ErrNotBundle},
		{"a manifest that lists a shard without a hash", replace(0, evil{header: sound[0].header, data: remade(t, sound[0].data, func(m *manifest) { m.Shards[0].SHA256 = Hash{} })}), ErrNotBundle},
		{"a file outside", insert(2, file("../evil")), ErrNotBundle},
		{"a file outside, by a longer way", insert(2, file("images/../../evil")), ErrNotBundle},
		{"a file at the root", insert(2, file("/tmp/evil")), ErrNotBundle},
		{"a file by a backslash", insert(2, file(`images\000001.tar`)), ErrNotBundle},
		{"a file too many", insert(2, file("images/readme.txt")), ErrNotBundle},
		{"a shard too many", insert(last, file("images/000099.tar")), ErrNotBundle},
		{"a shard in other letters", insert(2, file("IMAGES/000001.TAR")), ErrNotBundle},
		{"a shard twice", insert(3, sound[2]), ErrNotBundle},
		{"the index twice", insert(2, sound[1]), ErrNotBundle},
		{"shards out of order", insert(last, sound[2]), ErrNotBundle},
		{"a shard less", slices.Delete(slices.Clone(sound), 2, 3), ErrNotBundle},
		{"a symbolic link", replace(2, link(tar.TypeSymlink, "/etc/passwd")), ErrNotBundle},
		{"a hard link", replace(2, link(tar.TypeLink, "index.db")), ErrNotBundle},
		{"a device", replace(2, link(tar.TypeChar, "")), ErrNotBundle},
		{"a pipe", replace(2, link(tar.TypeFifo, "")), ErrNotBundle},
		{"a directory", insert(2, evil{header: tar.Header{Name: "images/", Typeflag: tar.TypeDir}}), ErrNotBundle},
		{"extended headers", withHeader(2, func(h *tar.Header) {
			h.PAXRecords, h.Format = map[string]string{"PYROBUNDLE.x": "y"}, tar.FormatPAX
		}), ErrNotBundle},
		{"a name from an extended header", withHeader(2, func(h *tar.Header) {
			h.Name, h.Format = strings.Repeat("a/", 200)+"images/000001.tar", tar.FormatPAX
		}), ErrNotBundle},
		{"a size that is absurd", []evil{sound[0], {header: tar.Header{Name: indexName, Size: 1 << 60, Format: tar.FormatGNU}}}, ErrNotBundle},
		{"a manifest that is too large", []evil{{header: tar.Header{Name: manifestName}, data: make([]byte, maxManifest+1)}}, ErrNotBundle},
		{"an index that is too small", replace(1, evil{sound[1].header, make([]byte, pageSize)}), ErrNotBundle},
		{"an index of zeros", replace(1, evil{sound[1].header, make([]byte, len(sound[1].data))}), ErrCorrupt},
		{"another index, and the list as it should be", relisted(t, replace(1, evil{sound[1].header, otherMeta(sound[1].data)})), ErrCorrupt},
		{"a list that is too long", replace(last, evil{sound[last].header, append(slices.Clone(sound[last].data), "x"...)}), ErrNotBundle},
		{"a changed list", replace(last, evil{sound[last].header, flipped(sound[last].data, 0)}), ErrCorrupt},
		{"no list", sound[:last], ErrCorrupt},
		{"something behind the list", insert(last+1, file(manifestName)), ErrNotBundle},
	} {
		t.Run(test.name, func(t *testing.T) {
			for i := range test.members { // sizes as the data says, unless it is the size that is hostile
				if m := &test.members[i]; len(m.data) > 0 {
					m.header.Size = int64(len(m.data))
				}
			}
			dir := t.TempDir()
			out := filepath.Join(dir, "deep", "out")
			_, err := Unpack(t.Context(), bytes.NewReader(archiveOf(t, test.members...)), out, UnpackOptions{})
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			noBundleIn(t, dir, errors.Is(err, errEndsEarly))
		})
	}
}

// otherMeta changes the index where it matters: which of its bytes nothing depends on varies with the timing of commits.
func otherMeta(index []byte) []byte {
	return bytes.ReplaceAll(index, []byte(`"generation"`), []byte(`"Generation"`))
}

// noBundleIn proves that a refused archive has left nothing that looks like a bundle, and nothing outside of its directory.
// Of one that ends early there may be parts.
func noBundleIn(t *testing.T, dir string, early bool) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		proven, _ := filepath.Match(filepath.Join("deep", "out.unpacking", "images", "*.tar"), name)
		part := early && filepath.Ext(name) == partSuffix
		if !e.IsDir() && !proven && !part {
			t.Errorf("%s is left", name)
		}
		if _, err := Open(path); e.IsDir() && err == nil {
			t.Errorf("%s can be opened as a bundle", name)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// remade is a manifest with something changed and its checksum right.
func remade(t testing.TB, text []byte, change func(*manifest)) []byte {
	t.Helper()
	m, err := decodeManifest(text)
	if err != nil {
		t.Fatal(err)
	}
	change(&m)
	return must(m.encode())
}

// relisted makes the list of hashes that of the members.
func relisted(t testing.TB, members []evil) []evil {
	t.Helper()
	var list bytes.Buffer
	last := len(members) - 1
	for _, m := range members[:last] {
		fmt.Fprintf(&list, "%s  %s\n", hashOf(m.data), m.header.Name)
	}
	members[last].data = list.Bytes()
	return members
}

func flipped(data []byte, at int) []byte {
	out := slices.Clone(data)
	out[at] ^= 1
	return out
}

func TestEveryByteOfAnArchiveIsGuarded(t *testing.T) {
	path := newSample(1, 2, 300).build(t, WriteOptions{SealSize: 2000})
	archive := packed(t, path)
	want := snapshot(t, path)
	step := 997
	if torture() {
		step = 1
	}
	dir := t.TempDir()
	tried := 0
	for at := 0; at < len(archive); at += step {
		out := filepath.Join(dir, "deep", fmt.Sprint(at))
		_, err := Unpack(t.Context(), bytes.NewReader(flipped(archive, at)), out, UnpackOptions{})
		switch {
		case errors.Is(err, ErrCorrupt), errors.Is(err, ErrNotBundle), errors.Is(err, ErrVersion):
			if _, err := Open(out + unpackingSuffix); err == nil {
				t.Errorf("byte %d: a bundle is left", at)
			}
			if _, err := os.Lstat(out); !isMissing(err) {
				t.Errorf("byte %d: %v", at, err)
			}
		case err != nil:
			t.Errorf("byte %d: an error that says nothing of damage: %v", at, err)
		case cmp.Diff(want, snapshot(t, out)) != "":
			t.Errorf("byte %d: what was unpacked differs", at)
		}
		tried++
	}
	t.Logf("%d of %d bytes flipped", tried, len(archive))
}
