package report_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"image/color"
	"image/png"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/annotate"
	"pyrobundle/internal/report"
	"pyrobundle/internal/sandbox"
	"pyrobundle/store"
)

func defaults() report.Options {
	return report.Options{Thresholds: annotate.Thresholds{IoU: 0.3, MinClusterSize: 1}}
}

func openWorld(t testing.TB, o sandbox.WorldOptions) *store.Bundle {
	t.Helper()
	path := filepath.Join(t.TempDir(), "world.bundle")
	if err := sandbox.WriteBundle(t.Context(), path, o); err != nil {
		t.Fatal(err)
	}
	return open(t, path)
}

func open(t testing.TB, path string) *store.Bundle {
	t.Helper()
	bundle, err := store.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bundle.Close() })
	return bundle
}

func write(t testing.TB, bundle report.Bundle, o report.Options) (string, report.Result) {
	t.Helper()
	var page strings.Builder
	result, err := report.Write(t.Context(), &page, bundle, o)
	if err != nil {
		t.Fatal(err)
	}
	if int64(page.Len()) != result.Bytes {
		t.Errorf("result counts %d bytes, the page has %d", result.Bytes, page.Len())
	}
	return page.String(), result
}

// checkPage holds a page to what every page promises: well formed, self-contained, no script, one place for every link.
func checkPage(t testing.TB, page string) {
	t.Helper()
	anchors, links := map[string]bool{}, map[string]bool{}
	decoder := xml.NewDecoder(strings.NewReader(page)) // stricter than HTML: every element closed, every attribute quoted
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the page is not well formed: %v", err)
		}
		element, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		switch element.Name.Local {
		case "script", "link", "iframe", "object", "embed", "base", "form", "image", "use", "source":
			t.Errorf("the page has a <%s>", element.Name.Local)
		}
		for _, attribute := range element.Attr {
			value := attribute.Value
			switch name := attribute.Name.Local; {
			case name == "id" && anchors[value]:
				t.Errorf("two elements have the id %s", value)
			case name == "id":
				anchors[value] = true
			case name == "href" && strings.HasPrefix(value, "#"):
				links[value[1:]] = true
			case name == "src" && strings.HasPrefix(value, "data:image/jpeg;base64,"):
			case name == "href", name == "src", name == "srcset", name == "poster", name == "background":
				t.Errorf("<%s %s=%.60q> leads out of the page", element.Name.Local, name, value)
			case strings.HasPrefix(name, "on"):
				t.Errorf("<%s> has a handler %s", element.Name.Local, name)
			}
		}
	}
	for link := range links {
		if !anchors[link] {
			t.Errorf("a link leads to #%s, which is nowhere", link)
		}
	}
	if at := strings.Index(page, "ZgotmplZ"); at >= 0 {
		t.Errorf("a template refused a value: %.80s", page[max(at-60, 0):])
	}
	style := page[strings.Index(page, "<style>"):strings.Index(page, "</style>")]
	for _, word := range []string{"url(", "@import", "@font-face", "http"} {
		if strings.Contains(style, word) {
			t.Errorf("the style has %s", word)
		}
	}
}

func TestWriteShowsTheWorld(t *testing.T) {
	page, result := write(t, openWorld(t, sandbox.WorldOptions{ImageBytes: 800}), defaults())
	checkPage(t, page)
	want := report.Result{
		Sequences: sandbox.HandMade, Annotatable: sandbox.HandMade - 1, Clusters: 16, Frames: 272, FramesShown: 172, Bytes: result.Bytes,
	}
	if diff := cmp.Diff(want, result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	for id := sandbox.SequenceTwoObjects; id < sandbox.SequenceTwoObjects+sandbox.HandMade; id++ {
		if n := strings.Count(page, fmt.Sprintf(`<article class="card" id="s%d">`, id)); n != 1 {
			t.Errorf("sequence %d has %d cards", id, n)
		}
	}
	for _, text := range []string{
		"30 of 130 frames shown",            // the long one
		"All 12 frames",                     // of two objects
		"Its only frame",                    // the single one
		"load would make 2 clusters of 24 ", // boxes, of two objects
		"load would make no annotation: no usable boxes",
		"4 frames have an earlier one",                  // the frozen camera
		"富士見台-01", "mont-lozère-01", "Brigada de Ñuble", // names
		"wildfire smoke", "other smoke", "unlabelled", // labels
		"44.5° NE, view 87°", // bearing
		"Saturday, 1 August 2026", "August 2026", `<g class="none"><title>2026-08-04: no sequences`,
		"--iou-threshold 0.3",
	} {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not say %q", text)
		}
	}
	if at, after := strings.Index(page, `id="s114"`), strings.Index(page, `id="s101"`); at > after {
		t.Error("sequences are not in the order of time")
	}
}

func TestWriteIsRepeatable(t *testing.T) {
	bundle := openWorld(t, sandbox.WorldOptions{ImageBytes: 800})
	first, _ := write(t, bundle, defaults())
	second, _ := write(t, bundle, defaults())
	if first != second {
		t.Error("two pages of one bundle differ")
	}
}

func TestWriteSelects(t *testing.T) {
	bundle := openWorld(t, sandbox.WorldOptions{ImageBytes: 800})
	for _, test := range []struct {
		name  string
		query store.Query
		says  string
		want  int64
	}{
		{"a day", store.Query{From: "2026-08-02", To: "2026-08-02"}, "from 2026-08-02", 3},
		{"a camera", store.Query{CameraID: 1}, "camera 1", 3},
		{"an organization", store.Query{OrganizationID: sandbox.OrganizationFujimi}, "organization 4", 4},
		{"sequences", store.Query{IDs: []int64{101, 104}}, "2 named sequences", 2},
		{"nothing", store.Query{IDs: []int64{9}}, "No sequence of the bundle is selected", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := defaults()
			o.Query = test.query
			page, result := write(t, bundle, o)
			checkPage(t, page)
			if n := strings.Count(page, "<article"); result.Sequences != test.want || int64(n) != test.want {
				t.Errorf("%d sequences, %d cards, want %d", result.Sequences, n, test.want)
			}
			if !strings.Contains(page, test.says) {
				t.Errorf("the page does not say %q", test.says)
			}
		})
	}
}

func TestWriteShowsTheEffectOfThresholds(t *testing.T) {
	bundle := openWorld(t, sandbox.WorldOptions{ImageBytes: 800})
	o := defaults()
	o.Query.IDs = []int64{sandbox.SequenceFaint, sandbox.SequenceTwoObjects}
	_, all := write(t, bundle, o)
	o.Thresholds.Confidence = 0.01
	page, strict := write(t, bundle, o)
	if all.Annotatable != 2 || strict.Annotatable != 1 || strict.Clusters != all.Clusters-1 {
		t.Errorf("annotatable %d, then %d; clusters %d, then %d; want the faint sequence's gone", all.Annotatable, strict.Annotatable, all.Clusters, strict.Clusters)
	}
	if !strings.Contains(page, "3 boxes below the confidence threshold") {
		t.Error("the page does not count the boxes below the threshold")
	}
	o.Thresholds.Confidence = 2
	if _, err := report.Write(t.Context(), io.Discard, bundle, o); err == nil {
		t.Error("a threshold of 2 is taken")
	}
}

func TestWriteNamesDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "world.bundle")
	if err := sandbox.WriteBundle(t.Context(), path, sandbox.WorldOptions{ImageBytes: 800}); err != nil {
		t.Fatal(err)
	}
	bundle := open(t, path)
	record, err := bundle.Sequence(t.Context(), sandbox.SequenceSingle)
	if err != nil {
		t.Fatal(err)
	}
	data, err := bundle.ReadImage(t.Context(), record.Frames[0].Image)
	if err != nil {
		t.Fatal(err)
	}
	shard := filepath.Join(path, "images", "000001.tar")
	all, err := os.ReadFile(shard)
	if err != nil {
		t.Fatal(err)
	}
	all[bytes.Index(all, data)+len(data)/2] ^= 1
	if err := os.WriteFile(shard, all, 0o600); err != nil {
		t.Fatal(err)
	}
	page, result := write(t, bundle, defaults())
	checkPage(t, page)
	if result.Damaged != 1 || !strings.Contains(page, "not what was stored") {
		t.Errorf("damaged %d, want 1 and its reason on the page", result.Damaged)
	}
}

func TestWriteGoesOnAfterDamagedSequence(t *testing.T) {
	page, result := write(t, damaged{openWorld(t, sandbox.WorldOptions{ImageBytes: 800})}, defaults())
	checkPage(t, page)
	if result.Damaged != 1 || result.Sequences != sandbox.HandMade-1 || !strings.Contains(page, "This sequence cannot be read") {
		t.Errorf("result %+v: want one sequence damaged, the others shown", result)
	}
}

// damaged is a bundle whose third sequence cannot be read.
type damaged struct{ *store.Bundle }

func (d damaged) Sequences(ctx context.Context, q store.Query) iter.Seq2[store.SequenceRecord, error] {
	return func(yield func(store.SequenceRecord, error) bool) {
		n := 0
		for record, err := range d.Bundle.Sequences(ctx, q) {
			if n++; n == 3 {
				record, err = store.SequenceRecord{}, fmt.Errorf("read sequence 4: %w: <of course>", store.ErrCorrupt)
			}
			if !yield(record, err) {
				return
			}
		}
	}
}

func TestSaveLeavesNoHalfPage(t *testing.T) {
	bundle := openWorld(t, sandbox.WorldOptions{ImageBytes: 800})
	dir := t.TempDir()
	path := filepath.Join(dir, "report.html")
	files := func() (names []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		return names
	}

	ctx, interrupt := context.WithCancel(t.Context())
	o := defaults()
	var done atomic.Int64
	o.Progress = func(_ string, n, _ int64) {
		if done.Add(n) == 5 {
			interrupt()
		}
	}
	if _, err := report.Save(ctx, path, bundle, o); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted Save returns %v", err)
	}
	if names := files(); len(names) > 0 {
		t.Errorf("an interrupted Save leaves %v", names)
	}

	if err := os.WriteFile(path, []byte("the one before"), 0o600); err != nil {
		t.Fatal(err)
	}
	result, err := report.Save(t.Context(), path, bundle, defaults())
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != result.Bytes {
		t.Errorf("%v, %v; want a file of %d bytes", info, err, result.Bytes)
	}
	if names := files(); len(names) != 1 {
		t.Errorf("Save leaves %v", names)
	}
	if _, err := report.Save(t.Context(), dir, bundle, defaults()); err == nil {
		t.Error("Save replaces a directory")
	}
}

// fullDisk takes some bytes and no more.
type fullDisk struct{ room int }

var errFull = errors.New("no space left")

func (f *fullDisk) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestWriteEndsWhenTheDiskIsFull(t *testing.T) {
	bundle := openWorld(t, sandbox.WorldOptions{ImageBytes: 800})
	if _, err := report.Write(t.Context(), &fullDisk{room: 100_000}, bundle, defaults()); !errors.Is(err, errFull) {
		t.Errorf("error %v, want the writer's", err)
	}
}

// TestChromiumDrawsThePage looks at the page in a browser: somebody must have seen it.
func TestChromiumDrawsThePage(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	browser := findBrowser()
	if browser == "" {
		t.Skip("no Chromium here")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "report.html")
	o := defaults()
	o.Query.IDs = []int64{sandbox.SequenceTwoObjects, sandbox.SequenceCrowded}
	if _, err := report.Save(t.Context(), path, openWorld(t, sandbox.WorldOptions{}), o); err != nil {
		t.Fatal(err)
	}
	for _, width := range []int{1280, 500} {
		shot := filepath.Join(dir, fmt.Sprintf("%d.png", width))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		cmd := exec.CommandContext(ctx, browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", //nolint:gosec // a browser of this machine
			"--user-data-dir="+filepath.Join(dir, fmt.Sprint("profile", width)), fmt.Sprintf("--window-size=%d,1600", width), "--screenshot="+shot, "file://"+path)
		cmd.WaitDelay = 5 * time.Second // its children may keep the pipes
		output, err := cmd.CombinedOutput()
		cancel()
		file, openErr := os.Open(shot)
		if openErr != nil {
			t.Skipf("the browser does not work here: %v: %s", err, regexp.MustCompile(`(?s)^.*\n(.{1,200})$`).ReplaceAll(output, []byte("$1")))
		}
		drawn, err := png.Decode(file)
		_ = file.Close()
		if err != nil {
			t.Fatal(err)
		}
		colours, photographic := map[color.RGBA]int{}, 0
		bounds := drawn.Bounds()
		for y := bounds.Min.Y; y < bounds.Max.Y; y += 2 {
			for x := bounds.Min.X; x < bounds.Max.X; x += 2 {
				r, g, b, _ := drawn.At(x, y).RGBA()
				c := color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}
				if colours[c]++; c.B > c.R+40 { // nothing of the page itself is blue: it is the sky
					photographic++
				}
			}
		}
		if len(colours) < 1000 || photographic < 1000 {
			t.Errorf("at %d pixels the page shows %d colours and %d pixels of sky: it is blank, or has no pictures", width, len(colours), photographic)
		}
	}
}

func findBrowser() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// BenchmarkWrite measures the demo's world: 15 sequences, 272 frames of 640 by 360 pixels, 172 of them shown.
func BenchmarkWrite(b *testing.B) {
	bundle := openWorld(b, sandbox.WorldOptions{})
	b.ReportAllocs()
	for b.Loop() {
		_, result := write(b, bundle, defaults())
		b.SetBytes(result.Bytes)
	}
}
