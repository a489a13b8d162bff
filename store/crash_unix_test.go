//go:build unix

package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// childDiskFull writes with files limited to so many bytes (after a colon in the path): what bbolt does about a full disk.
func childDiskFull(argument string) error {
	path, limit, _ := strings.Cut(argument, ":")
	n, err := strconv.ParseUint(limit, 10, 63)
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGXFSZ)
	if err := setFileLimit(n); err != nil {
		return err
	}
	ctx := context.Background()
	w, err := OpenWriter(ctx, path, WriteOptions{Source: testSource()})
	if err != nil {
		return err
	}
	err = newSample(20, 4, 900).putTo(ctx, w)
	return errors.Join(err, w.Close())
}

func setFileLimit(n uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	limit.Cur = n
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)
}

func TestFullDiskUnderTheIndex(t *testing.T) {
	t.Parallel()
	s := newSample(20, 4, 900)
	whole := s.build(t, WriteOptions{})
	want := digestOf(t, whole)
	size := must(os.Stat(filepath.Join(whole, indexName))).Size()
	failed := 0
	for limit := int64(1000); limit < size; limit += size / 12 {
		path := filepath.Join(t.TempDir(), "b")
		out, err := runChild(t, "full", fmt.Sprintf("%s:%d", path, limit)).CombinedOutput()
		if err == nil {
			continue
		}
		if !strings.Contains(string(out), "file too large") {
			t.Fatalf("limit %d: %v: %s", limit, err, out)
		}
		failed++
		if b, err := Open(path); err == nil {
			if report := verifyAll(t, b); len(report.Findings) > 0 {
				t.Fatalf("limit %d: %+v", limit, report.Findings)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
		} else if !errors.Is(err, ErrNotBundle) && !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("limit %d: %v", limit, err)
		}
		w := openWriterForTest(t, path, WriteOptions{})
		s.put(t, w)
		closeWriter(t, w)
		mustBeSound(t, path)
		if got := digestOf(t, path); got != want {
			t.Fatalf("limit %d: digest %s, want %s", limit, got, want)
		}
	}
	if failed < 5 {
		t.Errorf("only %d limits were too small", failed)
	}
}

// childRead verifies a bundle, as a user who may not write to it; then tries to.
func childRead(path string) error {
	b, err := Open(path)
	if err != nil {
		return err
	}
	other, err := Open(path) // a second reader
	if err != nil {
		return err
	}
	report, err := b.Verify(context.Background(), VerifyOptions{ReadData: true})
	if err != nil {
		return err
	}
	if len(report.Findings) > 0 || report.Images == 0 {
		return fmt.Errorf("verify: %+v", report)
	}
	if err := errors.Join(b.Close(), other.Close()); err != nil {
		return err
	}
	w, err := OpenWriter(context.Background(), path, WriteOptions{})
	if err == nil {
		return errors.Join(errors.New("read-only media were opened for writing"), w.Close())
	}
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("open for writing: %w", err)
	}
	return nil
}

// asNobody makes a command run without our rights, if we have those of root; else we have no more than nobody.
func asNobody(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	for dir := filepath.Dir(filepath.Clean(os.TempDir())); ; dir = filepath.Dir(dir) { // which are not ours to open
		if must(os.Stat(dir)).Mode().Perm()&0o001 == 0 {
			t.Skipf("nobody may pass through %s", dir)
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	// Others must get at the binary and at the directory of the test.
	copied := filepath.Join(t.TempDir(), "store.test")
	if err := os.WriteFile(copied, must(os.ReadFile(cmd.Path)), 0o755); err != nil { //nolint:gosec // nobody must run it
		t.Fatal(err)
	}
	for dir := filepath.Dir(copied); dir != filepath.Dir(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if info := must(os.Stat(dir)); info.Mode().Perm()&0o005 != 0o005 {
			if err := os.Chmod(dir, info.Mode().Perm()|0o055); err != nil { //nolint:gosec // nobody must enter it
				t.Fatal(err)
			}
		}
	}
	cmd.Path = copied
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}

func TestReadOnlyMedia(t *testing.T) {
	path := newSample(5, 3, 500).build(t, WriteOptions{SealSize: 5000})
	setModes(t, path, 0o555, 0o444)
	t.Cleanup(func() { setModes(t, path, dirMode, fileMode) })
	cmd := runChild(t, "read", path)
	asNobody(t, cmd)
	openParents(t, path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestNoPermission(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to take rights away from a child")
	}
	path := newSample(5, 3, 500).build(t, WriteOptions{})
	cmd := runChild(t, "read", path)
	asNobody(t, cmd)
	openParents(t, path)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "permission denied") || strings.Contains(string(out), "damaged") {
		t.Errorf("%v: %s", err, out)
	}
}

// childUnpack unpacks into the directory of the archive.
func childUnpack(archive string) error {
	_, err := UnpackFile(context.Background(), archive, filepath.Join(filepath.Dir(archive), "b"), UnpackOptions{})
	return err
}

// TestUnpackWhereNobodyMayWriteSaysSo: the error was that a file which nobody had asked for could not be removed, as there is none.
func TestUnpackWhereNobodyMayWriteSaysSo(t *testing.T) {
	archive := filepath.Join(t.TempDir(), "b.tar")
	packFile(t, newSample(2, 2, 300).build(t, WriteOptions{}), archive, PackOptions{})
	cmd := runChild(t, "unpack", archive)
	asNobody(t, cmd)
	openParents(t, archive)
	if err := os.Chmod(archive, 0o444); err != nil { //nolint:gosec // nobody must read it
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(archive), 0o555); err != nil { //nolint:gosec // likewise
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Dir(archive), dirMode) })
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "permission denied") || strings.Contains(string(out), "remove") {
		t.Errorf("%v: %s", err, out)
	}
}

// openParents lets others pass to a path below the test's directory.
func openParents(t *testing.T, path string) {
	t.Helper()
	for dir := filepath.Dir(path); dir != filepath.Dir(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if info := must(os.Stat(dir)); info.Mode().Perm()&0o005 != 0o005 {
			if err := os.Chmod(dir, info.Mode().Perm()|0o055); err != nil { //nolint:gosec // a child must pass
				t.Fatal(err)
			}
		}
	}
}

func setModes(t *testing.T, root string, dir, file fs.FileMode) {
	t.Helper()
	var dirs []string
	if err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, path)
			return nil
		}
		return os.Chmod(path, file)
	}); err != nil {
		t.Fatal(err)
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := os.Chmod(dirs[i], dir); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLinksAndPipesAreRefused: opening a pipe would block for ever, a link would lead out of the bundle.
func TestLinksAndPipesAreRefused(t *testing.T) {
	for _, name := range []string{manifestName, indexName, shardName(1)} {
		path := newSample(2, 2, 300).build(t, WriteOptions{})
		file := filepath.Join(path, filepath.FromSlash(name))
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(file, fileMode); err != nil {
			t.Fatal(err)
		}
		b, err := Open(path)
		if err == nil {
			_, err = b.ReadImage(t.Context(), newSample(2, 2, 300).sequences[0].Frames[0].Image)
			if report := verifyAll(t, b); len(report.Findings) == 0 {
				t.Errorf("%s as a pipe: verify finds nothing", name)
			}
			if cerr := b.Close(); cerr != nil {
				t.Fatal(cerr)
			}
		}
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s as a pipe: %v", name, err)
		}
		if _, err := OpenWriter(t.Context(), path, WriteOptions{}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s as a pipe, for writing: %v", name, err)
		}
	}
}
