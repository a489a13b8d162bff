package torture

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pyrobundle/internal/faultproxy"
	"pyrobundle/store"
)

// requestLog remembers what was asked for.
type requestLog struct {
	mu    sync.Mutex
	paths []string
}

func (l *requestLog) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		l.paths = append(l.paths, r.URL.Path)
		l.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

func (l *requestLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paths = nil
}

// distinct returns the paths with that part that were asked for, each once.
func (l *requestLog) distinct(part string) (paths []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, path := range l.paths {
		if strings.Contains(path, part) && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}

// members are offset and size, in bytes, of the images in a shard.
func members(t *testing.T, shard string) (out [][2]int64) {
	t.Helper()
	file, err := os.Open(shard)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	reader := tar.NewReader(file)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) { // an open shard has no end mark
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		at, err := file.Seek(0, io.SeekCurrent)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, [2]int64{at, header.Size})
	}
}

// flip changes one byte of a file.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	var one [1]byte
	if _, err = file.ReadAt(one[:], at); err == nil {
		one[0] ^= 0x10
		_, err = file.WriteAt(one[:], at)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}

// findings are what verify finds, by its JSON.
func (s *stage) findings() (found []store.Finding) {
	s.t.Helper()
	e := s.run("verify", "--read-data", "--json", "--bundle", s.bundle)
	var report struct{ Findings []store.Finding }
	s.must(json.Unmarshal([]byte(e.stdout), &report))
	if (e.code == exitDamaged) != (len(report.Findings) > 0) || e.code != exitDone && e.code != exitDamaged {
		s.t.Fatalf("%d findings and exit %d", len(report.Findings), e.code)
	}
	return report.Findings
}

// sequencesOf are the sequences that findings affect.
func sequencesOf(findings []store.Finding) (ids []int64) {
	for _, f := range findings {
		ids = append(ids, f.Sequences...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// fetchedOnce is a stage with a whole bundle and a log of what is asked for from now on.
func fetchedOnce(t *testing.T) (*stage, *requestLog) {
	t.Helper()
	s, log := newStage(t), &requestLog{}
	s.servePlatform(faultproxy.Plan{}, log.watch)
	s.expect(s.run(s.fetchArgs()...), exitDone)
	log.reset()
	return s, log
}

// TestRepairFetchesExactlyTheDamagedImages: bytes of three images rot. Verify names them and their sequences, load refuses
// to pass them on, and a repair downloads these three and nothing else.
func TestRepairFetchesExactlyTheDamagedImages(t *testing.T) {
	t.Parallel()
	s, log := fetchedOnce(t)
	shard := filepath.Join(s.bundle, "images", "000001.tar")
	all := members(t, shard)
	for _, i := range []int{0, len(all) / 2, len(all) - 1} {
		flip(t, shard, all[i][0]+all[i][1]/2)
	}
	found := s.findings()
	damaged := 0
	for _, f := range found {
		if strings.HasPrefix(f.Object, "image ") {
			damaged++
		}
	}
	if damaged != 3 || len(sequencesOf(found)) == 0 {
		t.Fatalf("verify finds %v, want three images and their sequences", found)
	}

	keys := keysOfImages(t, found)
	log.reset()
	e := s.expect(s.run(s.fetchArgs("--repair")...), exitDone)
	if n := e.report(t).Images.Downloaded; n < 3 || int(n) > len(keys) {
		t.Errorf("%d images downloaded, want the 3 that are damaged (at most once for each of the %d keys that lead to them)\n%s", n, len(keys), e)
	}
	for _, path := range log.distinct("/storage/") {
		if !keys[filepath.Base(path)] {
			t.Errorf("%s was asked for, which is not damaged", path)
		}
	}
	if n, most := len(log.distinct("/detections")), len(sequencesOf(found)); n > most {
		t.Errorf("the detections of %d sequences were listed, %d are damaged", n, most)
	}
	s.expectWhole()
}

// keysOfImages are the bucket keys under which the world has the images that findings name. A camera that hangs sends the
// same image under several.
func keysOfImages(t *testing.T, found []store.Finding) map[string]bool {
	t.Helper()
	bundle, err := store.Open(world)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bundle.Close() }()
	keys := map[string]bool{}
	for r, err := range bundle.Sequences(t.Context(), store.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, frame := range r.Frames {
			for _, f := range found {
				if f.Object == "image "+frame.Image.String() {
					keys[frame.Key] = true
				}
			}
		}
	}
	return keys
}

// zstdMagic begins every sequence in the index.
var zstdMagic = []byte{0x28, 0xB5, 0x2F, 0xFD}

// TestRepairFetchesExactlyTheDamagedSequence: a byte of a sequence in the index rots, in its data or in the hash before it.
// Verify names the sequence, and a repair lists its detections again and downloads no image.
func TestRepairFetchesExactlyTheDamagedSequence(t *testing.T) {
	t.Parallel()
	for name, offset := range map[string]int{"data": 40, "hash": -20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, log := fetchedOnce(t)
			index := filepath.Join(s.bundle, "index.db")
			var found []store.Finding
			// The same bytes may also lie in pages that are free: the first place where the damage shows is taken.
			for at := 0; ; {
				data, err := os.ReadFile(index)
				s.must(err)
				next := bytes.Index(data[at:], zstdMagic)
				if next < 0 {
					t.Fatal("no sequence in the index")
				}
				at += next
				flip(t, index, int64(at+offset))
				if found = s.findings(); len(sequencesOf(found)) > 0 {
					break
				}
				flip(t, index, int64(at+offset))
				at += len(zstdMagic)
			}
			ids := sequencesOf(found)
			if len(ids) != 1 {
				t.Fatalf("verify finds %v, want one sequence", found)
			}

			log.reset()
			e := s.expect(s.run(s.fetchArgs("--repair")...), exitDone)
			if r := e.report(t); r.Images.Downloaded != 0 {
				t.Errorf("%d images downloaded, want none\n%s", r.Images.Downloaded, e)
			}
			if n := len(log.distinct("/detections")); n != 1 {
				t.Errorf("the detections of %d sequences were listed, want those of the damaged one", n)
			}
			s.expectWhole()
		})
	}
}

// TestRepairRestoresTheManifest: the index knows all that is in it, and nothing is fetched again for it. An index that is older than
// the manifest is beyond repair; what the shards hold since is not touched.
func TestRepairRestoresTheManifest(t *testing.T) {
	t.Parallel()
	s, log := fetchedOnce(t)
	manifest := filepath.Join(s.bundle, "manifest.json")
	for name, damage := range map[string]func(){
		"damaged": func() { flip(t, manifest, 70) },
		"lost":    func() { s.must(os.Remove(manifest)) },
	} {
		damage()
		s.expect(s.run("verify", "--bundle", s.bundle), exitDamaged)
		nothing := s.fetchArgs("--repair", "--date-from", "2020-01-01", "--date-end", "2020-01-01")
		if e := s.run(append(nothing, "--dry-run")...); e.code != exitDamaged {
			t.Errorf("%s: a dry run would repair nothing, and ends with %d\n%s", name, e.code, e)
		}
		log.reset()
		e := s.expect(s.run(nothing...), exitDone)
		if !strings.Contains(e.stderr, "manifest was written again") || strings.Contains(e.stderr, "is lost") || strings.Contains(e.stderr, "beyond repair") {
			t.Errorf("%s: it does not say what it did\n%s", name, e)
		}
		if n := len(log.distinct("/detections")) + len(log.distinct("/storage/")); n > 0 {
			t.Errorf("%s: %d sequences and images were asked for", name, n)
		}
		s.expectWhole()
	}

	s.bundle = filepath.Join(s.home, "old.bundle")
	index := filepath.Join(s.bundle, "index.db")
	s.expect(s.run(s.fetchArgs("--date-end", firstDay)...), exitDone)
	old, err := os.ReadFile(index)
	s.must(err)
	s.expect(s.run(s.fetchArgs()...), exitDone)
	s.must(os.WriteFile(index, old, 0o600))
	before := treeSum(t, s.bundle)
	if e := s.expect(s.run(s.fetchArgs("--repair")...), exitDamaged); !strings.Contains(e.stderr, "older than manifest.json") {
		t.Errorf("it does not say why\n%s", e)
	}
	if treeSum(t, s.bundle) != before {
		t.Error("something was written")
	}
}

// TestRepairMendsAShardThatWasSealedWhileDamaged: the hash of the shard was that of the damage, and verify said so after every
// repair.
func TestRepairMendsAShardThatWasSealedWhileDamaged(t *testing.T) {
	t.Parallel()
	s, _ := fetchedOnce(t)
	w, err := store.OpenWriter(t.Context(), s.bundle, store.WriteOptions{SealSize: 1})
	s.must(err)
	shard := filepath.Join(s.bundle, "images", "000001.tar")
	at := members(t, shard)[0]
	flip(t, shard, at[0]+at[1]/2)
	_, err = w.PutImage(t.Context(), 1, "1-20260801100000-0a1b2c3d.jpg", store.JPEG, []byte("one more seals the shard"))
	s.must(errors.Join(err, w.Close()))
	if found := s.findings(); len(sequencesOf(found)) == 0 {
		t.Fatalf("verify finds %+v", found)
	}
	s.expect(s.run(s.fetchArgs("--repair")...), exitDone)
	if found := s.findings(); len(found) > 0 {
		t.Errorf("after the repair verify finds %+v", found)
	}
}

// TestAnIndexBeyondRepairIsSaidToBeSo: with what can be saved from the shards, which stay untouched. Fetching into a new
// bundle brings everything.
func TestAnIndexBeyondRepairIsSaidToBeSo(t *testing.T) {
	t.Parallel()
	undamaged, _ := fetchedOnce(t)
	images := len(members(t, filepath.Join(undamaged.bundle, "images", "000001.tar")))
	for name, damage := range map[string]func(t *testing.T, index string) error{
		"no meta page": func(_ *testing.T, index string) error {
			data, err := os.ReadFile(index)
			if err != nil {
				return err
			}
			copy(data, bytes.Repeat([]byte{0xAA}, 2*4096))
			return os.WriteFile(index, data, 0o600)
		},
		"gone":         func(_ *testing.T, index string) error { return os.Remove(index) },
		"cut":          func(_ *testing.T, index string) error { return os.Truncate(index, 3*4096) },
		"empty":        func(_ *testing.T, index string) error { return os.Truncate(index, 0) },
		"all but meta": func(t *testing.T, index string) error { return blot(t, index) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.platform = undamaged.platform
			copyTree(t, undamaged.bundle, s.bundle)
			shard := filepath.Join(s.bundle, "images", "000001.tar")
			flip(t, shard, members(t, shard)[0][0]+7) // one image is lost, too
			s.must(damage(t, filepath.Join(s.bundle, "index.db")))
			before := treeSum(t, s.bundle)

			e := s.expect(s.run(s.fetchArgs("--repair")...), exitDamaged)
			for _, want := range []string{"beyond repair", humanCount(images-1) + " whole images", "--bundle"} {
				if !strings.Contains(e.stderr, want) {
					t.Errorf("it does not say %q\n%s", want, e)
				}
			}
			for _, args := range [][]string{s.fetchArgs(), {"verify", "--bundle", s.bundle}, {"inspect", "--bundle", s.bundle}, {"digest", "--bundle", s.bundle}} {
				s.expect(s.run(args...), exitDamaged)
			}
			if treeSum(t, s.bundle) != before {
				t.Error("something was written to a bundle beyond repair")
			}
			s.bundle = filepath.Join(s.home, "new.bundle")
			s.expect(s.run(s.fetchArgs()...), exitDone)
			s.expectWhole()
		})
	}
}

func humanCount(n int) string {
	data, _ := json.Marshal(n) // a number has no error
	return string(data)
}

// blot overwrites all pages behind the two meta pages.
func blot(t *testing.T, index string) error {
	t.Helper()
	data, err := os.ReadFile(index)
	if err != nil {
		return err
	}
	for i := 2 * 4096; i < len(data); i++ {
		data[i] = 0x55
	}
	return os.WriteFile(index, data, 0o600)
}

// TestRepairSaysWhatItLeaves: of a place about which nothing is known any more no fetch knows what to bring. The run ended well and said
// nothing, and verify found the damage as before.
func TestRepairSaysWhatItLeaves(t *testing.T) {
	t.Parallel()
	s, _ := fetchedOnce(t)
	shard := filepath.Join(s.bundle, "images", "000001.tar")
	w, err := store.OpenWriter(t.Context(), s.bundle, store.WriteOptions{})
	s.must(err)
	_, err = w.PutImage(t.Context(), 1, "1-20260801100000-0a1b2c3d.jpg", store.JPEG, []byte("an image that no sequence shows"))
	s.must(errors.Join(err, w.Close()))
	all := members(t, shard)
	flip(t, shard, all[len(all)-1][0]+3)
	s.expect(s.run(s.fetchArgs("--repair", "--max-sequences", "1")...), exitDone) // which is not asked to mend all
	e := s.expect(s.run(s.fetchArgs("--repair")...), exitDamaged)
	if !strings.Contains(e.stderr, "still damaged: image ") || !strings.Contains(e.stderr, "merge it into a new bundle") {
		t.Errorf("it does not say what is left\n%s", e)
	}
	if r := e.report(t); r.Sequences.Total == 0 {
		t.Errorf("the report is missing\n%s", e)
	}
	merged := filepath.Join(s.home, "merged.bundle")
	s.expect(s.run("merge", "-o", merged, s.bundle), exitDone)
	s.bundle = merged
	s.expectWhole()
}
