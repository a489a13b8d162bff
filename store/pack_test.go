package store

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// packable is a bundle of a few sealed shards, an open one, and PNGs of no sequence.
func packable(t testing.TB) (path string) {
	t.Helper()
	return newSample(4, 5, 900).build(t, WriteOptions{SealSize: 9000})
}

// packed is its archive.
func packed(t testing.TB, path string) []byte {
	t.Helper()
	var archive bytes.Buffer
	b := openForTest(t, path)
	if _, err := b.Pack(t.Context(), &archive, PackOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

func packFile(t testing.TB, path, to string, o PackOptions) Packed {
	t.Helper()
	b := openForTest(t, path)
	result, err := b.PackFile(t.Context(), to, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return result
}

func TestPackedBundleIsAPlainTar(t *testing.T) {
	path := packable(t)
	archive := packed(t, path)
	sums := map[string]string{}
	var names []string
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Format != tar.FormatUSTAR || h.Typeflag != tar.TypeReg || h.Mode != 0o600 {
			t.Errorf("%s: format %v, type %c, mode %o", h.Name, h.Format, h.Typeflag, h.Mode)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.Name == checksumsName {
			for line := range strings.Lines(string(data)) {
				sum, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
				if sums[name] != sum {
					t.Errorf("the list says %s of %s, its hash is %s", sum, name, sums[name])
				}
				delete(sums, name)
			}
			continue
		}
		sums[h.Name] = fmt.Sprintf("%x", sha256.Sum256(data))
		there, err := os.ReadFile(filepath.Join(path, filepath.FromSlash(h.Name)))
		if err != nil || !bytes.Equal(there, data) {
			t.Errorf("%s is not the bundle's file: %v", h.Name, err)
		}
	}
	if len(names) < 6 || names[0] != manifestName || names[1] != indexName || names[2] != "images/000001.tar" || names[len(names)-1] != checksumsName || len(sums) > 0 {
		t.Errorf("members %q, unlisted %v", names, sums)
	}
	if !bytes.Equal(archive, packed(t, path)) {
		t.Error("packed again, it differs")
	}
}

func TestOtherToolsUnpackIt(t *testing.T) {
	for _, tool := range []string{"tar", "sha256sum"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	path, dir := packable(t), t.TempDir()
	packFile(t, path, filepath.Join(dir, "b.tar"), PackOptions{SplitSize: 10_000})
	script := `sha256sum -c b.tar.sha256 && cat b.tar.0* > joined && mkdir out && tar xf joined -C out && cd out && sha256sum -c SHA256SUMS`
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mustBeSound(t, filepath.Join(dir, "out"))
	if digestOf(t, filepath.Join(dir, "out")) != digestOf(t, path) {
		t.Error("another digest")
	}
}

func TestPackInParts(t *testing.T) {
	path := packable(t)
	archive := packed(t, path)
	for _, split := range []int64{3000, 4096, 7001, int64(len(archive)) - 1, int64(len(archive)), int64(len(archive)) + 1, 0} {
		dir := t.TempDir()
		result := packFile(t, path, filepath.Join(dir, "b.tar"), PackOptions{SplitSize: split})
		var joined []byte
		for i, p := range result.Parts {
			data, err := os.ReadFile(filepath.Join(dir, p.Name))
			if err != nil {
				t.Fatal(err)
			}
			if int64(len(data)) != p.Size || sha256.Sum256(data) != p.SHA256 || split > 0 && i < len(result.Parts)-1 && p.Size != split || p.Kept {
				t.Errorf("split at %d: part %+v of %d bytes", split, p, len(data))
			}
			joined = append(joined, data...)
		}
		if !bytes.Equal(joined, archive) {
			t.Errorf("split at %d: %d bytes joined, want %d", split, len(joined), len(archive))
		}
		if result.Bytes != int64(len(archive)) {
			t.Errorf("split at %d: %d bytes told, want %d", split, result.Bytes, len(archive))
		}
		again := packFile(t, path, filepath.Join(dir, "b.tar"), PackOptions{SplitSize: split})
		if slices.ContainsFunc(again.Parts, func(p Part) bool { return !p.Kept }) {
			t.Errorf("split at %d: packed again, not everything was kept: %+v", split, again.Parts)
		}
	}
}

func TestPackTellsItsProgress(t *testing.T) {
	var done, total int64
	path := packable(t)
	if _, err := openForTest(t, path).Pack(t.Context(), io.Discard, PackOptions{Progress: func(d, all int64) {
		if d < done {
			t.Fatalf("%d after %d", d, done)
		}
		done, total = d, all
	}}); err != nil {
		t.Fatal(err)
	}
	if want := int64(len(packed(t, path))); done != want-endSize || total != want {
		t.Errorf("ended at %d of %d, want %d of %d", done, total, want-endSize, want)
	}
}

func TestPackReplacesAnOlderPacking(t *testing.T) {
	path, dir := packable(t), t.TempDir()
	to := filepath.Join(dir, "b.tar")
	first := packFile(t, path, to, PackOptions{SplitSize: 5000})
	w := openWriterForTest(t, path, WriteOptions{})
	if err := w.PutProblem(t.Context(), Problem{Class: Failed, Kind: "day", ID: "x"}); err != nil {
		t.Fatal(err)
	}
	closeWriter(t, w)
	second := packFile(t, path, to, PackOptions{SplitSize: 20_000})
	if len(second.Parts) >= len(first.Parts) || second.Parts[0].Kept {
		t.Fatalf("%d parts after %d", len(second.Parts), len(first.Parts))
	}
	left, err := filepath.Glob(to + "*")
	if err != nil || len(left) != len(second.Parts)+1 {
		t.Errorf("%q is left, %v", left, err)
	}
	out := filepath.Join(dir, "out")
	if _, err := UnpackFile(t.Context(), to, out, UnpackOptions{}); err != nil {
		t.Fatal(err)
	}
	if digestOf(t, out) != digestOf(t, path) {
		t.Error("another digest")
	}
}

func TestPackDoesNotReplaceForeignFiles(t *testing.T) {
	dir := t.TempDir()
	b := openForTest(t, packable(t))
	for name, data := range map[string]string{"thesis.tar": strings.Repeat("thesis", 1000), "short": "x", "manifest": "manifest.jsonx"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := b.PackFile(t.Context(), file, PackOptions{}); err == nil || !strings.Contains(err.Error(), "is no packed bundle") {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != data {
			t.Errorf("%s is changed", name)
		}
	}
	if err := os.Symlink("thesis.tar", filepath.Join(dir, "link")); err != nil {
		t.Skip(err)
	}
	if _, err := b.PackFile(t.Context(), filepath.Join(dir, "link"), PackOptions{}); err == nil {
		t.Error("a link is written through")
	}
}

func TestPackRefusesDamage(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, path string)
	}{
		{"a sealed shard", func(t *testing.T, path string) { patch(t, filepath.Join(path, "images", "000001.tar"), 600, 'X') }},
		{"the open shard", func(t *testing.T, path string) {
			open, err := filepath.Glob(filepath.Join(path, "images", "*.tar"))
			if err != nil {
				t.Fatal(err)
			}
			patch(t, open[len(open)-1], 600, 'X')
		}},
		{"a missing shard", func(t *testing.T, path string) {
			if err := os.Remove(filepath.Join(path, "images", "000002.tar")); err != nil {
				t.Fatal(err)
			}
		}},
		{"a sequence", func(t *testing.T, path string) { spoil(t, path, bucketSequences, idKey(2)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			path, to := packable(t), filepath.Join(t.TempDir(), "b.tar")
			test.damage(t, path)
			if _, err := openForTest(t, path).PackFile(t.Context(), to, PackOptions{}); !errors.Is(err, ErrCorrupt) {
				t.Errorf("got %v, want ErrCorrupt", err)
			}
			if _, err := os.Stat(to); !isMissing(err) {
				t.Errorf("there is an archive: %v", err)
			}
		})
	}
}

// What an interrupted writer left behind the committed end does not travel, and its manifest is made anew.
func TestPackOfAnInterruptedBundle(t *testing.T) {
	path := newSample(3, 3, 700).build(t, WriteOptions{})
	want := digestOf(t, path)
	shard := filepath.Join(path, "images", "000001.tar")
	f, err := os.OpenFile(shard, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 700)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	old, err := readManifest(path, manifestName)
	if err != nil {
		t.Fatal(err)
	}
	old.Generation, old.Writing = old.Generation-1, true
	text, err := old.encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, manifestName), text, 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	if _, err := Unpack(t.Context(), bytes.NewReader(packed(t, path)), out, UnpackOptions{}); err != nil {
		t.Fatal(err)
	}
	b := openForTest(t, out)
	if report := verifyAll(t, b); len(report.Findings)+len(report.Notes) > 0 {
		t.Errorf("%+v", report)
	}
	if got := digestOf(t, out); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
}

func TestEmptyBundleCanBeMoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "empty")
	closeWriter(t, openWriterForTest(t, path, WriteOptions{}))
	out := filepath.Join(t.TempDir(), "out")
	if _, err := Unpack(t.Context(), bytes.NewReader(packed(t, path)), out, UnpackOptions{}); err != nil {
		t.Fatal(err)
	}
	w := openWriterForTest(t, out, WriteOptions{})
	newSample(1, 1, 100).put(t, w)
	closeWriter(t, w)
	mustBeSound(t, out)
}

// failingFolder fails the operation of a given number, and all after it, as a full disk does; a write then comes half.
type failingFolder struct {
	folder
	left, seen int
	err        error
}

func (f *failingFolder) fails() bool {
	f.seen++
	f.left--
	return f.left < 0
}

func (f *failingFolder) open(name string, flag int) (diskFile, error) {
	if f.fails() {
		return nil, f.err
	}
	file, err := f.folder.open(name, flag)
	if err != nil {
		return nil, err
	}
	return &failingOutput{file, f}, nil
}

func (f *failingFolder) rename(from, to string) error {
	if f.fails() {
		return f.err
	}
	return f.folder.rename(from, to)
}

func (f *failingFolder) syncDir(name string) error {
	if f.fails() {
		return f.err
	}
	return f.folder.syncDir(name)
}

type failingOutput struct {
	diskFile
	folder *failingFolder
}

func (f *failingOutput) WriteAt(p []byte, at int64) (int, error) {
	if f.folder.fails() {
		n, err := f.diskFile.WriteAt(p[:len(p)/2], at)
		return n, errors.Join(err, f.folder.err)
	}
	return f.diskFile.WriteAt(p, at)
}

func (f *failingOutput) Sync() error {
	if f.folder.fails() {
		return f.folder.err
	}
	return f.diskFile.Sync()
}

func (f *failingOutput) Truncate(size int64) error {
	if f.folder.fails() {
		return f.folder.err
	}
	return f.diskFile.Truncate(size)
}

// full is a folder on a disk that fills up at its operation n.
func full(n int) *failingFolder {
	return &failingFolder{left: n, err: &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}}
}

func (f *failingFolder) before(behind folder) folder {
	f.folder = behind
	return f
}

func TestPackGoesOnAfterAFullDisk(t *testing.T) {
	path := packable(t)
	archive := packed(t, path)
	counting := full(1 << 30)
	packFile(t, path, filepath.Join(t.TempDir(), "b.tar"), PackOptions{SplitSize: 6000, folder: counting.before})
	b := openForTest(t, path)
	to := filepath.Join(t.TempDir(), "b.tar") // the same all the time: each run finds what the one before has left
	for n := range counting.seen {
		_, err := b.PackFile(t.Context(), to, PackOptions{SplitSize: 6000, folder: full(n).before})
		if n < 3 && err == nil {
			t.Fatalf("operation %d did not fail", n)
		}
		if err != nil && (!errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free space and run it again")) {
			t.Fatalf("operation %d: %v", n, err)
		}
	}
	result := packFile(t, path, to, PackOptions{SplitSize: 6000})
	var joined []byte
	for _, p := range result.Parts {
		data, err := os.ReadFile(filepath.Join(filepath.Dir(to), p.Name))
		if err != nil {
			t.Fatal(err)
		}
		joined = append(joined, data...)
	}
	if !bytes.Equal(joined, archive) {
		t.Error("what was packed in many runs differs")
	}
	left, err := filepath.Glob(to + "*" + partSuffix)
	if err != nil || left != nil {
		t.Errorf("%q is left, %v", left, err)
	}
}

func TestPackKeepsWhatAnInterruptedRunWrote(t *testing.T) {
	path := packable(t)
	archive := packed(t, path)
	to := filepath.Join(t.TempDir(), "b.tar")
	ctx, cancel := context.WithCancel(t.Context())
	b := openForTest(t, path)
	_, err := b.PackFile(ctx, to, PackOptions{SplitSize: 6000, Progress: func(done, _ int64) {
		if done > 16_000 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want an interruption", err)
	}
	// Of the parts that are complete the second one is damaged, and of the third one there is a half.
	patch(t, partName(to, 2), 100, archive[6100]^1)
	if err := os.Rename(partName(to, 3), partName(to, 3)+partSuffix); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(partName(to, 3)+partSuffix, 3000); err != nil {
		t.Fatal(err)
	}
	result := packFile(t, path, to, PackOptions{SplitSize: 6000})
	var kept []bool
	for _, p := range result.Parts[:3] {
		kept = append(kept, p.Kept)
	}
	if diff := cmp.Diff([]bool{true, false, false}, kept); diff != "" {
		t.Errorf("kept: -want +got:\n%s", diff)
	}
	out := filepath.Join(t.TempDir(), "out")
	if _, err := UnpackFile(t.Context(), partName(to, 1), out, UnpackOptions{}); err != nil {
		t.Fatal(err)
	}
	if digestOf(t, out) != digestOf(t, path) {
		t.Error("another digest")
	}
}

func TestPackKeepsWritersOut(t *testing.T) {
	path := packable(t)
	tried := false
	if _, err := openForTest(t, path).Pack(t.Context(), io.Discard, PackOptions{Progress: func(_, _ int64) {
		if tried {
			return
		}
		tried = true
		if _, err := OpenWriter(t.Context(), path, WriteOptions{}); !errors.Is(err, ErrLocked) {
			t.Errorf("a writer while packing: %v", err)
		}
	}}); err != nil || !tried {
		t.Error(err)
	}
}

// TestPackIntoTheBundleByALink: the archive came to lie among the shards.
func TestPackIntoTheBundleByALink(t *testing.T) {
	t.Parallel()
	path := packable(t)
	at := filepath.Join(t.TempDir(), "usb")
	link(t, filepath.Join(path, imagesName), at)
	b := openForTest(t, path)
	for _, to := range []string{filepath.Join(path, imagesName, "b.tar"), filepath.Join(at, "b.tar")} {
		if _, err := b.PackFile(t.Context(), to, PackOptions{}); err == nil || !strings.Contains(err.Error(), "in the bundle itself") {
			t.Errorf("%s: %v", to, err)
		}
	}
}
