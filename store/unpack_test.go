package store

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestUnpackGivesTheSameBundle(t *testing.T) {
	path := packable(t)
	archive := packed(t, path)
	out := filepath.Join(t.TempDir(), "some", "where", "b.bundle")
	var done, total int64
	result, err := Unpack(t.Context(), iotest.OneByteReader(bytes.NewReader(archive)), out, UnpackOptions{Progress: func(d, all int64) { done, total = d, all }})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(snapshot(t, path), snapshot(t, out)); diff != "" {
		t.Errorf("-packed +unpacked:\n%s", diff)
	}
	if done != total || total != result.Bytes || result.Kept != 0 || result.AlreadyThere {
		t.Errorf("progress %d of %d, %+v", done, total, result)
	}
	info, err := os.Stat(out)
	if err != nil || info.Mode().Perm() != 0o700 && runtime.GOOS != "windows" {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	left, err := filepath.Glob(out + ".*")
	if err != nil || left != nil {
		t.Errorf("%q is left, %v", left, err)
	}

	again, err := Unpack(t.Context(), bytes.NewReader(archive), out, UnpackOptions{})
	if err != nil || !again.AlreadyThere {
		t.Errorf("unpacked again: %+v, %v", again, err)
	}
	other := packed(t, newSample(1, 1, 100).build(t, WriteOptions{}))
	if _, err := Unpack(t.Context(), bytes.NewReader(other), out, UnpackOptions{}); !errors.Is(err, fs.ErrExist) || errors.Is(err, ErrCorrupt) {
		t.Errorf("over another bundle: %v", err)
	}
	spoil(t, out, bucketSequences, idKey(1))
	if _, err := Unpack(t.Context(), bytes.NewReader(archive), out, UnpackOptions{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("over a damaged copy of the bundle: %v", err)
	}
}

func TestUnpackIntoAnEmptyDirectory(t *testing.T) {
	out := t.TempDir()
	if _, err := Unpack(t.Context(), bytes.NewReader(packed(t, packable(t))), out, UnpackOptions{}); err != nil {
		t.Fatal(err)
	}
	mustBeSound(t, out)
}

func TestLockOfAKilledUnpackIsTakenOver(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	lock := out + unpackingSuffix + ".lock"
	if err := os.WriteFile(lock, []byte("killed while it was made"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Unpack(t.Context(), bytes.NewReader(packed(t, packable(t))), out, UnpackOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(lock); !isMissing(err) {
		t.Errorf("the lock is left: %v", err)
	}
}

// TestUnpackThatWaitedFindsTheBundle: it got the lock of a file that was removed meanwhile, unpacked all once more, failed because
// the bundle was there, and left what it had unpacked.
func TestUnpackThatWaitedFindsTheBundle(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells which files are open")
	}
	archive := packed(t, packable(t))
	dir := t.TempDir()
	first, out := filepath.Join(dir, "first"), filepath.Join(dir, "out")
	if _, err := Unpack(t.Context(), bytes.NewReader(archive), first, UnpackOptions{}); err != nil {
		t.Fatal(err)
	}
	lock := out + unpackingSuffix + ".lock"
	unlock, err := lockOut(lock)
	if err != nil {
		t.Fatal(err)
	}
	var result Unpacked
	ended := make(chan error, 1)
	go func() {
		var err error
		result, err = Unpack(t.Context(), bytes.NewReader(archive), out, UnpackOptions{})
		ended <- err
	}()
	for len(ended) == 0 && openings(t, lock) < 2 {
		runtime.Gosched()
	}
	if err := errors.Join(os.Rename(first, out), unlock()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; errors.Is(err, ErrLocked) {
		t.Skip("it waited for too long: the machine is busy")
	} else if err != nil || !result.AlreadyThere {
		t.Errorf("%+v, %v", result, err)
	}
	left, err := filepath.Glob(out + ".*")
	if err != nil || left != nil {
		t.Errorf("%q is left, %v", left, err)
	}
}

// TestLockIsTheOneThatHasTheName: a lock that was got of a file without a name keeps nobody out.
func TestLockIsTheOneThatHasTheName(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells which files are open")
	}
	file := filepath.Join(t.TempDir(), "lock")
	for range 3 {
		unlock, err := lockOut(file)
		if err != nil {
			t.Fatal(err)
		}
		waiting := make(chan error, 1)
		go func() {
			again, err := lockOut(file)
			if err == nil {
				if _, lost := os.Lstat(file); lost != nil {
					err = lost
				}
				err = errors.Join(err, again())
			}
			waiting <- err
		}()
		for len(waiting) == 0 && openings(t, file) < 2 {
			runtime.Gosched()
		}
		if err := unlock(); err != nil {
			t.Fatal(err)
		}
		if err := <-waiting; err != nil && !errors.Is(err, ErrLocked) {
			t.Error(err)
		}
	}
}

func TestUnpackJoinsParts(t *testing.T) {
	path := packable(t)
	dir := t.TempDir()
	to := filepath.Join(dir, "week.31.tar")
	packFile(t, path, to, PackOptions{SplitSize: 9000})
	packFile(t, path, filepath.Join(dir, "one.tar"), PackOptions{})
	for i, name := range []string{"week.31.tar", "week.31.tar.001", "week.31.tar.002", "one.tar"} {
		out := filepath.Join(dir, fmt.Sprint("out", i))
		if _, err := UnpackFile(t.Context(), filepath.Join(dir, name), out, UnpackOptions{}); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(snapshot(t, path), snapshot(t, out)); diff != "" {
			t.Errorf("%s: -packed +unpacked:\n%s", name, diff)
		}
	}
}

func TestPartsReadAsOne(t *testing.T) {
	archive := packed(t, packable(t))
	for _, split := range []int{7000, 30_001, len(archive)} {
		name := filepath.Join(t.TempDir(), "b.tar")
		for at, n := 0, 1; at < len(archive); at, n = at+split, n+1 {
			if err := os.WriteFile(partName(name, n), archive[at:min(at+split, len(archive))], 0o600); err != nil {
				t.Fatal(err)
			}
		}
		p, err := openParts(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(p, archive); err != nil {
			t.Errorf("parts of %d bytes: %v", split, err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestUnpackNamesTheMissingPart(t *testing.T) {
	path := packable(t)
	for _, test := range []struct {
		name string
		lose func(t *testing.T, to string)
		want []string
	}{
		{"one in the middle", func(t *testing.T, to string) { remove(t, partName(to, 2)) }, []string{"part ", "b.tar.002 is missing (copy it beside the others)"}},
		{"the last one, which the list of hashes names", func(t *testing.T, to string) { removeLast(t, to, 1) }, []string{"is missing"}},
		{"the last one, and the list", func(t *testing.T, to string) {
			removeLast(t, to, 1)
			remove(t, to+sumsSuffix)
		}, []string{"is missing", "ends too early"}},
		{"all but the first, and the list", func(t *testing.T, to string) {
			removeLast(t, to, 100)
			remove(t, to+sumsSuffix)
		}, []string{"b.tar.002 is missing"}},
		{"the first", func(t *testing.T, to string) { remove(t, partName(to, 1)) }, []string{"b.tar.001 is missing"}},
		{"one that is not complete yet", func(t *testing.T, to string) {
			if err := os.Rename(partName(to, 3), partName(to, 3)+partSuffix); err != nil {
				t.Fatal(err)
			}
		}, []string{"b.tar.003 is missing (b.tar.003.part is there: packing was interrupted, run pack again)"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			to, out := filepath.Join(dir, "b.tar"), filepath.Join(dir, "out")
			packFile(t, path, to, PackOptions{SplitSize: 9000})
			test.lose(t, to)
			_, err := UnpackFile(t.Context(), to, out, UnpackOptions{})
			if !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("got %v, want that a part is missing", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
			if _, err := os.Stat(out); !isMissing(err) {
				t.Errorf("a bundle is there: %v", err)
			}
			packFile(t, path, to, PackOptions{SplitSize: 9000}) // brings back what is lost
			if _, err := UnpackFile(t.Context(), to, out, UnpackOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := UnpackFile(t.Context(), filepath.Join(t.TempDir(), "none.tar"), t.TempDir(), UnpackOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of nothing: %v", err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// removeLast removes the last n parts, never the first.
func removeLast(t *testing.T, to string, n int) {
	t.Helper()
	parts, err := filepath.Glob(to + ".0*")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range parts[max(1, len(parts)-n):] {
		remove(t, part)
	}
}

func TestTruncatedArchiveIsGoneOnWith(t *testing.T) {
	path := packable(t)
	archive := packed(t, path)
	dir := t.TempDir()
	for _, size := range []int{0, 100, 512, 3000, 30_000, 45_000, 52_000, 60_000, len(archive) - 1500} {
		out := filepath.Join(dir, fmt.Sprint(size))
		_, err := Unpack(t.Context(), bytes.NewReader(archive[:size]), out, UnpackOptions{})
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotBundle) {
			t.Errorf("%d bytes: %v", size, err)
		}
		if _, err := Open(out + unpackingSuffix); err == nil {
			t.Errorf("%d bytes: a bundle is left", size)
		}
		result, err := Unpack(t.Context(), bytes.NewReader(archive), out, UnpackOptions{})
		if err != nil {
			t.Errorf("%d bytes, then all: %v", size, err)
			continue
		}
		if size > len(archive)-2000 && result.Kept != result.Members-2 {
			t.Errorf("%d bytes, then all: %d of %d members kept", size, result.Kept, result.Members)
		}
		if diff := cmp.Diff(snapshot(t, path), snapshot(t, out)); diff != "" {
			t.Errorf("%d bytes, then all: -packed +unpacked:\n%s", size, diff)
		}
	}
}

func TestUnpackGoesOnAfterAFullDisk(t *testing.T) {
	path := packable(t)
	archive := packed(t, path)
	counting := full(1 << 30)
	if _, err := Unpack(t.Context(), bytes.NewReader(archive), filepath.Join(t.TempDir(), "out"), UnpackOptions{folder: counting.before}); err != nil {
		t.Fatal(err)
	}
	for n := range counting.seen {
		out := filepath.Join(t.TempDir(), "out")
		_, err := Unpack(t.Context(), bytes.NewReader(archive), out, UnpackOptions{folder: full(n).before})
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free space and run it again") {
			t.Fatalf("operation %d: %v", n, err)
		}
		if _, err := os.Stat(out); !isMissing(err) {
			t.Fatalf("operation %d: %v", n, err)
		}
		if _, err := Unpack(t.Context(), bytes.NewReader(archive), out, UnpackOptions{}); err != nil {
			t.Fatalf("operation %d, then again: %v", n, err)
		}
		if diff := cmp.Diff(snapshot(t, path), snapshot(t, out)); diff != "" {
			t.Fatalf("operation %d, then again: -packed +unpacked:\n%s", n, diff)
		}
	}
	t.Logf("%d operations failed one after another", counting.seen)
}

func TestInterruptedUnpackKeepsWhatIsComplete(t *testing.T) {
	path := packable(t)
	dir := t.TempDir()
	to, out := filepath.Join(dir, "b.tar"), filepath.Join(dir, "out")
	packFile(t, path, to, PackOptions{SplitSize: 11_000})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := UnpackFile(ctx, to, out, UnpackOptions{Progress: func(done, total int64) {
		if done > total-3000 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want an interruption", err)
	}
	// A shard that was damaged meanwhile is written again; what another archive left is removed.
	patch(t, filepath.Join(out+unpackingSuffix, "images", "000002.tar"), 700, 'X')
	if err := os.WriteFile(filepath.Join(out+unpackingSuffix, "images", "000099.tar"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	result, err := UnpackFile(t.Context(), to, out, UnpackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if result.Kept < 2 || result.Kept > result.Members-3 {
		t.Errorf("%d of %d members kept", result.Kept, result.Members)
	}
	if diff := cmp.Diff(snapshot(t, path), snapshot(t, out)); diff != "" {
		t.Errorf("-packed +unpacked:\n%s", diff)
	}
}

func TestUnpackReportsAnErrorOfTheReader(t *testing.T) {
	archive := packed(t, packable(t))
	broken := io.MultiReader(bytes.NewReader(archive[:40_000]), iotest.ErrReader(syscall.EIO))
	out := filepath.Join(t.TempDir(), "out")
	if _, err := Unpack(t.Context(), broken, out, UnpackOptions{}); !errors.Is(err, syscall.EIO) || errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v, want the reader's error", err)
	}
	endless := io.MultiReader(bytes.NewReader(archive), zeros{})
	if _, err := Unpack(t.Context(), endless, out, UnpackOptions{}); !errors.Is(err, ErrNotBundle) {
		t.Errorf("of an archive without end: %v", err)
	}
	padded := io.MultiReader(bytes.NewReader(archive), bytes.NewReader(make([]byte, 10_240)))
	if _, err := Unpack(t.Context(), padded, out, UnpackOptions{}); err != nil {
		t.Errorf("with the padding of a tape: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestUnpackingLocksOut(t *testing.T) {
	archive := packed(t, packable(t))
	out := filepath.Join(t.TempDir(), "out")
	tried := false
	if _, err := Unpack(t.Context(), bytes.NewReader(archive), out, UnpackOptions{Progress: func(done, _ int64) {
		if tried || done < 20_000 {
			return
		}
		tried = true
		if _, err := Unpack(t.Context(), bytes.NewReader(archive), out, UnpackOptions{}); !errors.Is(err, ErrLocked) {
			t.Errorf("a second one: %v", err)
		}
	}}); err != nil || !tried {
		t.Error(err, tried)
	}
}

func TestUnpackLeavesForeignFilesAlone(t *testing.T) {
	archive := packed(t, packable(t))
	for _, test := range []struct {
		name  string
		setUp func(out string) error
	}{
		{"a file in its place", func(out string) error { return os.WriteFile(out, []byte("x"), 0o600) }},
		{"a directory in its place", func(out string) error { return os.MkdirAll(filepath.Join(out, "x"), 0o700) }},
		{"a file beside it", func(out string) error { return os.WriteFile(out+unpackingSuffix, []byte("x"), 0o600) }},
		{"a link beside it", func(out string) error { return os.Symlink(filepath.Dir(out), out+unpackingSuffix) }},
		{"something in the directory beside it", func(out string) error {
			return errors.Join(os.Mkdir(out+unpackingSuffix, 0o700), os.WriteFile(filepath.Join(out+unpackingSuffix, "x"), nil, 0o600))
		}},
		{"a link for the images", func(out string) error {
			return errors.Join(os.Mkdir(out+unpackingSuffix, 0o700), os.Symlink("/tmp", filepath.Join(out+unpackingSuffix, "images")))
		}},
		{"a lock that is a link", func(out string) error { return os.Symlink("/dev/null", out+unpackingSuffix+".lock") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			if err := test.setUp(out); err != nil {
				t.Skip(err) // of links, on Windows
			}
			before := regularFiles(t, filepath.Dir(out))
			if _, err := Unpack(t.Context(), bytes.NewReader(archive), out, UnpackOptions{}); err == nil || errors.Is(err, ErrNotBundle) {
				t.Errorf("got %v", err)
			}
			after := regularFiles(t, filepath.Dir(out))
			for name, data := range before {
				if after[name] != data {
					t.Errorf("%s was changed", name)
				}
			}
		})
	}
}

func regularFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = string(data)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return files
}

// Whatever an archive holds: a bundle that can be opened, or a refusal that leaves none, and never a file outside.
func FuzzUnpack(f *testing.F) {
	path := newSample(1, 1, 100).build(f, WriteOptions{SealSize: 100})
	archive := packed(f, path)
	f.Add(archive)
	f.Add(archive[:len(archive)/2])
	f.Add(append(slices.Clone(archive), archive...))
	members := membersIn(f, archive)
	f.Add(archiveOf(f, members[0], evil{tar.Header{Name: "../evil"}, []byte("x")}))
	f.Add(archiveOf(f, members[0], members[1], evil{header: tar.Header{Name: "images/000001.tar", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		out := filepath.Join(dir, "deep", "out")
		_, err := Unpack(t.Context(), bytes.NewReader(data), out, UnpackOptions{})
		switch {
		case err == nil:
			b, err := Open(out)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
		case errors.Is(err, ErrNotBundle), errors.Is(err, ErrVersion), errors.Is(err, ErrCorrupt):
			if _, err := os.Lstat(out); !isMissing(err) {
				t.Errorf("a refused archive left something: %v", err)
			}
			if _, err := Open(out + unpackingSuffix); err == nil {
				t.Error("a refused archive left a bundle")
			}
		default:
			t.Errorf("an error that says nothing of the archive: %v", err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) > 1 || len(entries) == 1 && entries[0].Name() != "deep" {
			t.Errorf("%v lies outside", entries)
		}
	})
}
