//go:build unix

package store

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The test binary runs itself as a child, told by this variable what to do.
const childVariable = "PYROBUNDLE_STORE_CHILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(childVariable); role != "" {
		os.Exit(child(role))
	}
	os.Exit(m.Run())
}

// child does what role says with the bundle named by its first argument.
func child(role string) int {
	path := os.Args[len(os.Args)-1]
	var err error
	switch role {
	case "write":
		err = childWrite(path)
	case "read":
		err = childRead(path)
	case "full":
		err = childDiskFull(path)
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// runChild is the command of a child.
func runChild(t *testing.T, role, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$", path)
	cmd.Env = append(os.Environ(), childVariable+"="+role)
	return cmd
}

// tortured is what the child writes: several shards, several sequences that share images.
func tortured() *sample {
	s := newSample(60, 8, 9000)
	for i := 10; i < 60; i += 10 {
		key := fmt.Sprintf("shared-%d", i)
		s.sequences[i].Frames = append(s.sequences[i].Frames, Frame{Key: key, Image: s.sequences[0].Frames[0].Image})
		s.images[key] = s.images[s.sequences[0].Frames[0].Key]
	}
	return s
}

const torturedSeal = 700_000 // bytes; some seven shards

// childWrite writes what is not there yet, announcing each committed sequence.
func childWrite(path string) error {
	ctx := context.Background()
	w, err := OpenWriter(ctx, path, WriteOptions{Source: testSource(), SealSize: torturedSeal, renewAfter: 50})
	if err != nil {
		return err
	}
	fmt.Println("open")
	s := tortured()
	if err := resume(ctx, w, s, func(id int64) { fmt.Println(id) }); err != nil {
		return err
	}
	return w.Close()
}

// resume is a small fetch: it puts what the bundle lacks, four sequences at a time.
func resume(ctx context.Context, w *Writer, s *sample, committed func(id int64)) error {
	if err := w.PutOrganizations(ctx, s.organizations); err != nil {
		return err
	}
	if err := w.PutCameras(ctx, s.cameras); err != nil {
		return err
	}
	work := make(chan SequenceRecord)
	errs := make(chan error, 4)
	var group sync.WaitGroup
	for range cap(errs) {
		group.Go(func() {
			var failed error
			for r := range work {
				if failed == nil {
					failed = resumeOne(ctx, w, s, r, committed)
				}
			}
			errs <- failed
		})
	}
	for _, r := range s.sequences {
		work <- r
	}
	close(work)
	group.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return all
}

func resumeOne(ctx context.Context, w *Writer, s *sample, r SequenceRecord, committed func(id int64)) error {
	if _, err := w.Sequence(ctx, r.Sequence.ID); err == nil {
		return nil
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	for _, f := range r.Frames {
		if _, err := w.ImageOf(ctx, r.OrganizationID(), f.Key); err == nil {
			continue
		} else if !errors.Is(err, ErrNotFound) {
			return err
		}
		if _, err := w.PutImage(ctx, r.OrganizationID(), f.Key, JPEG, s.images[f.Key]); err != nil {
			return err
		}
	}
	if err := w.PutSequence(ctx, r); err != nil {
		return err
	}
	committed(r.Sequence.ID)
	return nil
}

// undisturbed is the digest of the tortured sample written in one go.
func undisturbed(t *testing.T) Hash {
	t.Helper()
	path := filepath.Join(t.TempDir(), "undisturbed")
	w := openWriterForTest(t, path, WriteOptions{SealSize: torturedSeal, renewAfter: 50})
	if err := resume(t.Context(), w, tortured(), func(int64) {}); err != nil {
		t.Fatal(err)
	}
	closeWriter(t, w)
	return digestOf(t, path)
}

func TestKilledWriterLosesNothingCommitted(t *testing.T) {
	t.Parallel()
	kills := 20
	if torture() {
		kills = 400
	}
	if testing.Short() {
		kills = 3
	}
	want := undisturbed(t)
	random := rand.New(rand.NewPCG(11, 4))
	path := filepath.Join(t.TempDir(), "killed")
	committed := map[int64]bool{}
	unfinished := 0
	for range kills {
		cmd := runChild(t, "write", path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(random.IntN(60_000))*time.Microsecond, func() { _ = cmd.Process.Kill() }) // it may have ended
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if id, err := strconv.ParseInt(lines.Text(), 10, 64); err == nil {
				committed[id] = true
			}
		}
		err = cmd.Wait()
		if stderr.Len() > 0 {
			t.Fatalf("the writer failed: %s", stderr.String())
		}
		b, openErr := Open(path)
		if openErr != nil {
			if len(committed) == 0 && (isMissing(openErr) || errors.Is(openErr, ErrNotBundle)) {
				continue // killed while creating
			}
			t.Fatal(openErr)
		}
		if report := verifyAll(t, b); len(report.Findings) > 0 {
			t.Fatalf("after a kill: %+v", report.Findings)
		}
		for id := range committed {
			if _, err := b.Sequence(t.Context(), id); err != nil {
				t.Fatalf("a committed sequence is lost: %v", err)
			}
		}
		if cerr := b.Close(); cerr != nil {
			t.Fatal(cerr)
		}
		if err == nil || len(committed) == 60 { // it got to the end: begin again
			if got := digestOf(t, path); len(committed) == 60 && got != want {
				t.Fatalf("digest %s, undisturbed %s", got, want)
			}
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			committed = map[int64]bool{}
			continue
		}
		unfinished++
	}
	if unfinished < kills/4 {
		t.Errorf("only %d of %d kills came in time", unfinished, kills)
	}
	cmd := runChild(t, "write", path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mustBeSound(t, path)
	if got := digestOf(t, path); got != want {
		t.Errorf("digest %s, undisturbed %s", got, want)
	}
}

// recordingDisk keeps what a power cut would leave at every moment: of each file its synced contents and its current ones.
// Contents of the index are taken as a commit leaves them; bbolt syncs them itself.
type recordingDisk struct {
	osDisk
	root   string
	synced map[string][]byte // shards, by number's name; manifest.json
	index  [][]byte          // after every commit
	moment func(d *recordingDisk)
}

type recordingFile struct {
	diskFile
	disk *recordingDisk
	name string
}

func (d *recordingDisk) open(path string, flag int) (diskFile, error) {
	f, err := d.osDisk.open(path, flag)
	if err != nil {
		return nil, err
	}
	return &recordingFile{f, d, filepath.Base(path)}, nil
}

func (f *recordingFile) Sync() error {
	f.disk.snap()
	if err := f.diskFile.Sync(); err != nil {
		return err
	}
	if !strings.HasSuffix(f.name, ".tar") {
		return nil // the manifest counts once it is renamed
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	data := make([]byte, info.Size())
	if err := readFull(f.diskFile, data, 0); err != nil {
		return err
	}
	f.disk.synced[f.name] = data
	f.disk.snap()
	return nil
}

func (d *recordingDisk) rename(from, to string) error {
	if err := d.osDisk.rename(from, to); err != nil {
		return err
	}
	if filepath.Base(to) == manifestName {
		data, err := os.ReadFile(to)
		if err != nil {
			return err
		}
		d.synced[manifestName] = data
	}
	return nil
}

func (d *recordingDisk) commit(run func() error) error {
	d.snap()
	if err := run(); err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(d.root, indexName))
	if err != nil {
		return err
	}
	d.index = append(d.index, data)
	d.snap()
	return nil
}

func (d *recordingDisk) snap() {
	if d.moment != nil && len(d.index) > 0 {
		d.moment(d)
	}
}

func TestPowerCut(t *testing.T) {
	t.Parallel()
	s := newSample(10, 5, 3000)
	undisturbed := s.build(t, WriteOptions{SealSize: 60_000})
	want := digestOf(t, undisturbed)
	random := rand.New(rand.NewPCG(5, 5))

	// A cut is what the disk holds after one.
	type cut struct {
		name  string
		files map[string][]byte
	}
	var cuts []cut
	disk := &recordingDisk{root: filepath.Join(t.TempDir(), "b"), synced: map[string][]byte{}}
	disk.moment = func(d *recordingDisk) {
		base := map[string][]byte{indexName: d.index[len(d.index)-1]}
		current := map[string][]byte{}
		for name, data := range d.synced {
			base[name] = data
			if strings.HasSuffix(name, ".tar") {
				current[name] = must(os.ReadFile(filepath.Join(d.root, imagesName, name)))
			}
		}
		entries := must(os.ReadDir(filepath.Join(d.root, imagesName)))
		for _, e := range entries {
			if _, ok := base[e.Name()]; !ok {
				current[e.Name()] = must(os.ReadFile(filepath.Join(d.root, imagesName, e.Name())))
			}
		}
		with := func(name string, change func(files map[string][]byte)) {
			files := maps.Clone(base)
			change(files)
			cuts = append(cuts, cut{fmt.Sprintf("%d commits, %s", len(d.index), name), files})
		}
		with("the unsynced is lost", func(map[string][]byte) {})
		tails := func(change func(synced, tail []byte) []byte) func(map[string][]byte) {
			return func(files map[string][]byte) {
				for name, data := range current {
					n := len(files[name])
					files[name] = append(slices.Clone(files[name]), change(files[name], slices.Clone(data[n:]))...)
				}
			}
		}
		with("the unsynced is there", tails(func(_, tail []byte) []byte { return tail }))
		with("the unsynced is torn", tails(func(_, tail []byte) []byte { return tail[:random.IntN(len(tail)+1)] }))
		with("the unsynced is zeroed", tails(func(_, tail []byte) []byte { return make([]byte, len(tail)) }))
		with("the unsynced is zeroed in part", tails(func(_, tail []byte) []byte {
			if len(tail) > 0 {
				from := random.IntN(len(tail))
				clear(tail[from:min(len(tail), from+4096)])
			}
			return tail
		}))
	}
	w, err := OpenWriter(t.Context(), disk.root, WriteOptions{Source: testSource(), SealSize: 60_000, disk: disk, renewAfter: 50})
	if err != nil {
		t.Fatal(err)
	}
	s.put(t, w)
	closeWriter(t, w)

	if len(disk.index) < 20 || len(cuts) < 200 {
		t.Fatalf("%d commits, %d cuts", len(disk.index), len(cuts))
	}
	// The last transaction lost: its commit reached nothing, or a torn meta page makes bbolt fall back to the one before. The
	// manifest is never ahead, and the shard is synced before it.
	for i := 1; i < len(disk.index); i++ {
		torn := slices.Clone(disk.index[i])
		meta := must(newestMetaPage(torn))
		clear(torn[meta*pageSize+40 : meta*pageSize+60])
		for _, c := range cuts {
			if bytes.Equal(c.files[indexName], disk.index[i]) && lagging(c.files[manifestName], disk.index[i-1]) {
				files := maps.Clone(c.files)
				files[indexName] = torn
				cuts = append(cuts, cut{c.name + ", meta page torn", files})
				break
			}
		}
	}
	if torn := slices.IndexFunc(cuts, func(c cut) bool { return strings.HasSuffix(c.name, "meta page torn") }); torn < 0 {
		t.Fatal("no cut tears a meta page")
	}
	every := 1
	if !torture() {
		every = len(cuts)/50 + 1
	}
	for i := 0; i < len(cuts); i += every {
		c := cuts[i]
		path := filepath.Join(t.TempDir(), "cut")
		if err := os.MkdirAll(filepath.Join(path, imagesName), dirMode); err != nil {
			t.Fatal(err)
		}
		for name, data := range c.files {
			if strings.HasSuffix(name, ".tar") {
				name = filepath.Join(imagesName, name)
			}
			if err := os.WriteFile(filepath.Join(path, name), data, fileMode); err != nil {
				t.Fatal(err)
			}
		}
		b, err := Open(path)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if report := verifyAll(t, b); len(report.Findings) > 0 {
			t.Fatalf("%s: %+v", c.name, report.Findings)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		w := openWriterForTest(t, path, WriteOptions{SealSize: 60_000})
		s.put(t, w)
		closeWriter(t, w)
		mustBeSound(t, path)
		if got := digestOf(t, path); got != want {
			t.Fatalf("%s: digest %s, undisturbed %s", c.name, got, want)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d commits, %d of %d cuts tried", len(disk.index), (len(cuts)+every-1)/every, len(cuts))
}

// newestMetaPage is the number of the meta page of the last transaction.
func newestMetaPage(index []byte) (int, error) {
	meta, _, err := readMetaPages(bytes.NewReader(index))
	return int(meta.transaction % 2), err
}

// lagging reports whether the manifest describes an index no newer than the given one.
func lagging(data, index []byte) bool {
	m, err := decodeManifest(data)
	if err != nil {
		return false
	}
	// The generation stands in the JSON of the meta record; the test needs no more than its text.
	for generation := m.Generation; generation < m.Generation+1000; generation++ {
		if bytes.Contains(index, fmt.Appendf(nil, `"generation":%d,`, generation)) {
			return true
		}
	}
	return false
}

// TestIndexCopiedBeforeTheShards: a copy made while a fetch ran has an older index and manifest than shards.
func TestIndexCopiedBeforeTheShards(t *testing.T) {
	t.Parallel()
	s := newSample(10, 5, 3000)
	path := filepath.Join(t.TempDir(), "b")
	half := &sample{s.organizations, s.cameras, s.sequences[:4], s.images}
	w := openWriterForTest(t, path, WriteOptions{SealSize: 60_000})
	half.put(t, w)
	closeWriter(t, w)
	index := must(os.ReadFile(filepath.Join(path, indexName)))
	manifest := must(os.ReadFile(filepath.Join(path, manifestName)))
	w = openWriterForTest(t, path, WriteOptions{SealSize: 60_000})
	s.put(t, w)
	closeWriter(t, w)
	want := digestOf(t, path)
	sizes := shardSizes(t, path)
	if len(sizes) < 3 {
		t.Fatalf("only %d shards", len(sizes))
	}
	for name, data := range map[string][]byte{indexName: index, manifestName: manifest} {
		if err := os.WriteFile(filepath.Join(path, name), data, fileMode); err != nil {
			t.Fatal(err)
		}
	}
	mustBeSound(t, path)
	w = openWriterForTest(t, path, WriteOptions{SealSize: 60_000})
	if stats, err := w.Stats(t.Context()); err != nil || stats.Images != 50 {
		t.Errorf("%d images are adopted, want those of every shard, 50; %v", stats.Images, err)
	}
	s.put(t, w)
	closeWriter(t, w)
	mustBeSound(t, path)
	if got := digestOf(t, path); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	if got := shardSizes(t, path); !slices.Equal(got, sizes) {
		t.Errorf("shards have %v bytes, had %v: their images were not adopted", got, sizes)
	}
}

func TestDiskFullAtEveryWrite(t *testing.T) {
	t.Parallel()
	s := newSample(4, 4, 2000)
	counting := &failingDisk{left: 1 << 30}
	want := digestOf(t, s.build(t, WriteOptions{SealSize: 12_000, disk: counting}))
	step := 1
	if !torture() {
		step = 3
	}
	for n := 0; n < counting.seen; n += step {
		path := filepath.Join(t.TempDir(), "b")
		w, err := OpenWriter(t.Context(), path, WriteOptions{Source: testSource(), SealSize: 12_000, disk: &failingDisk{left: n}, renewAfter: 50})
		if err == nil {
			err = s.putTo(t.Context(), w)
			if cerr := w.Close(); err == nil {
				err = cerr
			}
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("operation %d: %v, want no space", n, err)
		}
		b, err := Open(path)
		switch {
		case err == nil:
			if report := verifyAll(t, b); len(report.Findings) > 0 {
				t.Fatalf("operation %d: %+v", n, report.Findings)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
		case !errors.Is(err, ErrNotBundle) || n > 10:
			t.Fatalf("operation %d: %v", n, err)
		}
		w = openWriterForTest(t, path, WriteOptions{SealSize: 12_000})
		s.put(t, w)
		closeWriter(t, w)
		mustBeSound(t, path)
		if got := digestOf(t, path); got != want {
			t.Fatalf("operation %d: digest %s, want %s", n, got, want)
		}
	}
	t.Logf("%d operations, each %dth failed", counting.seen, step)
}
