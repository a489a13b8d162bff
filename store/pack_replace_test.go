package store

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPackLeavesForeignFilesAlone: what lies under a name that a packing would take, and is none of it, stays as it is, and
// nothing is written beside it.
func TestPackLeavesForeignFilesAlone(t *testing.T) {
	t.Parallel()
	path := packable(t)
	hash := strings.Repeat("a1", 32)
	const split = 8192
	count := len(packFile(t, path, filepath.Join(t.TempDir(), "x"), PackOptions{SplitSize: split}).Parts)
	for _, tt := range []struct {
		name  string
		split int64
		there map[string]string
		want  string // in the error
	}{
		{"the first part", split, map[string]string{"x.001": "mine"}, "x.001 is there and is no packed bundle"},
		{"the first part, begun", split, map[string]string{"x.001.part": "mine"}, "x.001.part is there and is no packed bundle"},
		{"another part", split, map[string]string{"x.002": "mine"}, "x.002 is there"},
		{"another part, begun", split, map[string]string{"x.003.part": "mine"}, "x.003.part is there"},
		{"the last part", split, map[string]string{partName("x", count): "mine"}, "is there, and of the packed bundle"},
		{"a part behind the last one", split, map[string]string{partName("x", count+1): "mine"}, "it would be taken for a part; remove it"},
		{"a part far behind the last one", split, map[string]string{"x.900": "mine"}, "it would be taken for a part; remove it"},
		{"a list of hashes", split, map[string]string{"x.sha256": "mine\n"}, "x.sha256 is there and is not the list"},
		{"a list of other hashes", split, map[string]string{"x.sha256": hash + "  y.001\n"}, "x.sha256 is there and is not the list"},
		{"a list of these and other hashes", split, map[string]string{"x.sha256": hash + "  x.001\n" + hash + "  thesis\n"}, "x.sha256 is there and is not the list"},
		{"a hash alone", split, map[string]string{"x.sha256": hash}, "x.sha256 is there and is not the list"},
		{"a hash alone, in a line", split, map[string]string{"x.sha256": hash + "\n"}, "x.sha256 is there and is not the list"},
		{"a list of hashes, begun", split, map[string]string{"x.sha256.part": "mine"}, "x.sha256.part is there and is not the list"},
		{"one file", 0, map[string]string{"x": "mine"}, "x is there and is no packed bundle"},
		{"one file, begun", 0, map[string]string{"x.part": "mine"}, "x.part is there and is no packed bundle"},
		{"one file, in place of parts", split, map[string]string{"x": "mine"}, "x is there, and could be taken for"},
		{"parts, in place of one file", 0, map[string]string{"x.001": "mine"}, "x.001 is there, and could be taken for"},
		{"the list of one file", 0, map[string]string{"x.sha256": "mine"}, "x.sha256 is there and is not the list"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, text := range tt.there {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			b := openForTest(t, path)
			_, err := b.PackFile(t.Context(), filepath.Join(dir, "x"), PackOptions{SplitSize: tt.split})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			after := regularFiles(t, dir)
			for name, text := range tt.there {
				if after[filepath.Join(dir, name)] != text {
					t.Errorf("%s was changed", name)
				}
			}
			if len(after) != len(tt.there) {
				t.Errorf("%d files, were %d", len(after), len(tt.there))
			}
		})
	}
}

// TestPackLeavesNoArchiveOfAnOlderStateBeside: whoever unpacked the name that was packed before got that.
func TestPackLeavesNoArchiveOfAnOlderStateBeside(t *testing.T) {
	t.Parallel()
	path := packable(t)
	for name, sizes := range map[string][2]int64{"parts after one file": {0, 8192}, "one file after parts": {8192, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := filepath.Join(t.TempDir(), "x")
			packFile(t, path, to, PackOptions{SplitSize: sizes[0]})
			before := regularFiles(t, filepath.Dir(to))
			b := openForTest(t, path)
			if _, err := b.PackFile(t.Context(), to, PackOptions{SplitSize: sizes[1]}); err == nil || !strings.Contains(err.Error(), "could be taken for") {
				t.Errorf("got %v", err)
			}
			if diff := cmp.Diff(before, regularFiles(t, filepath.Dir(to))); diff != "" {
				t.Errorf("files changed:\n%s", diff)
			}
		})
	}
}

// TestPackWritesThroughNoLink: also where only the file that is not complete is one.
func TestPackWritesThroughNoLink(t *testing.T) {
	t.Parallel()
	b := openForTest(t, packable(t))
	for _, at := range []string{"x.001", "x.001.part", "x.004.part", "x.sha256", "x.sha256.part"} {
		dir := t.TempDir()
		if _, err := b.PackFile(t.Context(), filepath.Join(dir, "x"), PackOptions{SplitSize: 8192}); err != nil {
			t.Fatal(err)
		}
		patch(t, filepath.Join(dir, "x.004"), 7, 'X') // so that it is written again
		if err := os.Rename(filepath.Join(dir, "x.sha256"), filepath.Join(dir, "x.sha256.part")); err != nil {
			t.Fatal(err)
		}
		foreign := filepath.Join(dir, "thesis")
		if err := os.WriteFile(foreign, []byte("thesis"), 0o600); err != nil {
			t.Fatal(err)
		}
		link(t, "thesis", filepath.Join(dir, at))
		if _, err := b.PackFile(t.Context(), filepath.Join(dir, "x"), PackOptions{SplitSize: 8192}); err == nil {
			t.Errorf("%s is a link, and no error", at)
		}
		if got := must(os.ReadFile(foreign)); string(got) != "thesis" {
			t.Errorf("%s: the link's target was written to", at)
		}
	}
}

// TestPackTakesUpPartsThatWereMovedAway: those that are left are known by the list.
func TestPackTakesUpPartsThatWereMovedAway(t *testing.T) {
	t.Parallel()
	path, to := packable(t), filepath.Join(t.TempDir(), "x")
	first := packFile(t, path, to, PackOptions{SplitSize: 8192})
	for _, name := range []string{"x.001", "x.002"} {
		if err := os.Remove(filepath.Join(filepath.Dir(to), name)); err != nil {
			t.Fatal(err)
		}
	}
	again := packFile(t, path, to, PackOptions{SplitSize: 8192})
	if len(again.Parts) != len(first.Parts) || again.Parts[1].Kept || !again.Parts[2].Kept {
		t.Errorf("%+v", again.Parts)
	}
}

// TestPackRefusesMorePartsThanCanBeNumbered.
func TestPackRefusesMorePartsThanCanBeNumbered(t *testing.T) {
	t.Parallel()
	w := &partWriter{name: "x", split: 10}
	if err := w.mayReplace(10*mostParts + 1); err == nil || !strings.Contains(err.Error(), "name a larger size") {
		t.Errorf("%v", err)
	}
}
