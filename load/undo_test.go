package load

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/annotate"
	"pyrobundle/load/annotation"
)

// fullDisk is an undo file on a disk that is full now and then: a write ends after a part.
type fullDisk struct {
	*os.File
	full, stuck, unsynced bool // no room; no way back either; nothing reaches the disk
}

func (f *fullDisk) WriteAt(p []byte, at int64) (int, error) {
	if !f.full {
		return f.File.WriteAt(p, at)
	}
	n, err := f.File.WriteAt(p[:len(p)/2], at)
	return n, errors.Join(err, syscall.ENOSPC)
}

func (f *fullDisk) Sync() error {
	if f.unsynced {
		return syscall.EIO
	}
	return f.File.Sync()
}

func (f *fullDisk) Truncate(size int64) error {
	if f.stuck {
		return syscall.EIO
	}
	return f.File.Truncate(size)
}

// saveOf saves an annotation of the sequence.
func saveOf(u *undoLog, sequence int64) error {
	return u.save(annotation.Sequence{AlertAPIID: sequence},
		annotation.SequenceAnnotation{SequenceID: sequence, Verbatim: []byte(`{"id":1}`)}, annotate.Document{})
}

// savedIn lists the sequences whose annotations an undo file holds.
func savedIn(t *testing.T, path string) []int64 {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewReader(file)
	var header undoHeader
	if _, err := readLine(lines, &header); err != nil || header.Format != undoFormat {
		t.Fatalf("header %+v, %v", header, err)
	}
	var ids []int64
	for {
		var s saved
		more, err := readLine(lines, &s)
		if err != nil {
			t.Fatalf("after %v: %v", ids, err)
		}
		if !more {
			return ids
		}
		ids = append(ids, s.AlertAPIID)
	}
}

// TestAFailedSaveSpoilsNoOther: neither the one before it nor the one after.
func TestAFailedSaveSpoilsNoOther(t *testing.T) {
	for name, c := range map[string]struct {
		fail func(*fullDisk)
		want []int64 // that are in the file after saving 1, 2 (which fails), 3
	}{
		"no room":         {func(f *fullDisk) { f.full = true }, []int64{1, 3}},
		"not synced":      {func(f *fullDisk) { f.unsynced = true }, []int64{1, 3}},
		"and no way back": {func(f *fullDisk) { f.full, f.stuck = true, true }, []int64{1}},
	} {
		t.Run(name, func(t *testing.T) {
			u := &undoLog{dir: t.TempDir(), target: "http://localhost:5050", mask: asItIs}
			if err := saveOf(u, 1); err != nil {
				t.Fatal(err)
			}
			disk := &fullDisk{File: u.file.(*os.File)}
			u.file = disk
			c.fail(disk)
			if err := saveOf(u, 2); err == nil {
				t.Error("saving 2 is said to have worked")
			}
			*disk = fullDisk{File: disk.File} // there is room again
			if err := saveOf(u, 3); (err == nil) != (len(c.want) == 2) {
				t.Errorf("saving 3: %v", err)
			}
			path := u.path()
			if err := u.close(); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(c.want, savedIn(t, path)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestAFileInWhichNothingCouldBeSavedIsNone: the report would say that what was replaced is in it, and nothing was replaced.
func TestAFileInWhichNothingCouldBeSavedIsNone(t *testing.T) {
	u := &undoLog{dir: t.TempDir(), target: "http://localhost:5050", mask: asItIs}
	if err := u.create(); err != nil {
		t.Fatal(err)
	}
	u.file = &fullDisk{File: u.file.(*os.File), full: true}
	if err := saveOf(u, 1); err == nil {
		t.Error("saving 1 is said to have worked")
	}
	if path := u.path(); path != "" {
		t.Errorf("path = %q", path)
	}
	if err := u.close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(u.dir); err != nil || len(left) != 0 {
		t.Errorf("left there: %v, %v", left, err)
	}
}

// TestUndoDirectoriesAreMade, as many as are missing, and closed to others.
func TestUndoDirectoriesAreMade(t *testing.T) {
	base := t.TempDir()
	u := &undoLog{dir: filepath.Join(base, "a", "b", "undo"), target: "http://localhost:5050", mask: asItIs}
	if err := saveOf(u, 1); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = u.close() }()
	for dir := u.dir; dir != base; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
	}
}

// FuzzUndoLine: an undo file may come from anywhere.
func FuzzUndoLine(f *testing.F) {
	for _, seed := range []string{
		`{"format":"pyrobundle-undo/1","target":"http://localhost:5050","at":"2026-08-01T10:00:00Z"}` + "\n",
		`{"alert_api_id":41,"sequence_id":1,"annotation":{"id":1,"annotation":{"sequences_bbox":null}}}` + "\n{",
		"\n\n", `{"annotation":7}` + "\n", strings.Repeat("x", 200<<10) + "\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data string) {
		lines := bufio.NewReaderSize(strings.NewReader(data), 16)
		for {
			var s saved
			more, err := readLine(lines, &s)
			if !more {
				return
			}
			if err == nil {
				var old annotation.SequenceAnnotation
				if json.Unmarshal(s.Annotation, &old) == nil {
					digestOf(old.Document)
				}
			}
		}
	})
}

// FuzzWithoutSecrets: an annotation is saved as it came, unless a secret is in one of its texts; then it is not there any more,
// and the numbers and words that restore needs are.
func FuzzWithoutSecrets(f *testing.F) {
	for _, seed := range []string{
		`{"id":12345678901234567890,"processing_stage":"annotated","contributors":[{"username":"canary-1"}]}`, `{"canary-1":{"x":"a\u0063anary-1"}}`,
		`{"a": 1.50 , "b":["c\u0061nary-1 and more",null,true]}`, `"canary-1"`, `[]`, `{`, ``, `{} {}`,
	} {
		f.Add(seed)
	}
	mask := func(text string) string { return strings.ReplaceAll(text, "canary-1", "***") }
	f.Fuzz(func(t *testing.T, object string) {
		got := withoutSecrets(json.RawMessage(object), mask)
		var before, after any
		if json.Unmarshal([]byte(object), &before) != nil {
			return // what the client has decoded is JSON
		}
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%q: %q: %v", object, got, err)
		}
		plain := func(value any) string {
			var b strings.Builder
			encoder := json.NewEncoder(&b)
			encoder.SetEscapeHTML(false)
			if err := encoder.Encode(value); err != nil {
				t.Fatal(err)
			}
			return b.String()
		}
		switch secret := strings.Contains(plain(before), "canary-1"); {
		case !secret && string(got) != object:
			t.Errorf("%q was saved as %q", object, got)
		case secret && (strings.Contains(plain(after), "canary-1") || strings.Contains(string(got), "canary-1")):
			t.Errorf("%q was saved as %q", object, got)
		}
	})
}
