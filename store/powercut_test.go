//go:build unix

package store

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

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

// namingDisk knows which directories have names of files in them that no sync has made durable.
type namingDisk struct {
	osDisk
	unsynced map[string]string // directory to a file in it
}

func (d *namingDisk) open(path string, flag int) (diskFile, error) {
	there, err := exists(path)
	if err == nil && !there && flag&os.O_CREATE != 0 {
		d.unsynced[filepath.Dir(path)] = filepath.Base(path)
	}
	return d.osDisk.open(path, flag)
}

func (d *namingDisk) syncDir(path string) error {
	delete(d.unsynced, path)
	return d.osDisk.syncDir(path)
}

// TestShardThatIsMadeAnewKeepsItsName: it was synced with all that was put into it again, and its directory was not.
func TestShardThatIsMadeAnewKeepsItsName(t *testing.T) {
	t.Parallel()
	s := newSample(6, 4, 700)
	path := s.build(t, WriteOptions{SealSize: 16_000})
	for _, lost := range []uint32{1, uint32(len(shardSizes(t, path)))} { //nolint:gosec // a few
		if err := os.Remove(shardPath(path, lost)); err != nil {
			t.Fatal(err)
		}
		disk := &namingDisk{unsynced: map[string]string{}}
		w := openWriterForTest(t, path, WriteOptions{SealSize: 16_000, Mend: true, disk: disk})
		s.put(t, w)
		closeWriter(t, w)
		for directory, name := range disk.unsynced {
			t.Errorf("%s of %s is lost in a power cut", name, filepath.Base(directory))
		}
		mustBeSound(t, path)
	}
}

// TestEveryNewDirectoryKeepsItsName: of several that a bundle's path needed the last two were made durable.
func TestEveryNewDirectoryKeepsItsName(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	disk := &syncingDisk{synced: map[string]bool{}}
	closeWriter(t, openWriterForTest(t, filepath.Join(root, "a", "b", "c", "d"), WriteOptions{disk: disk}))
	for _, name := range []string{".", "a", "a/b", "a/b/c", "a/b/c/d"} {
		if !disk.synced[filepath.Join(root, filepath.FromSlash(name))] {
			t.Errorf("what is made in %s is lost in a power cut", name)
		}
	}
}

// syncingDisk knows which directories were synced.
type syncingDisk struct {
	osDisk
	synced map[string]bool
}

func (d *syncingDisk) syncDir(path string) error {
	d.synced[path] = true
	return d.osDisk.syncDir(path)
}
