package serve

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pyrobundle/store"
)

// exchange is one line of testdata/recorded/platform.jsonl: what a client asked the real platform, and its answer.
type exchange struct {
	Method       string            `json:"method"`
	Path         string            `json:"path"`
	Query        map[string]string `json:"query"`
	Status       int               `json:"status"`
	ResponseType string            `json:"response_type"`
	Response     json.RawMessage   `json:"response"`
}

func readExchanges() ([]exchange, error) {
	file, err := os.Open("../testdata/recorded/platform.jsonl")
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	var all []exchange
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var e exchange
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, lines.Err()
}

// shared is where bundles lie that several tests read; they are built once for all of them.
var shared struct {
	dir      string
	recorded func() (string, error)
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "serve")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	shared.dir = dir
	shared.recorded = sync.OnceValues(func() (string, error) {
		path := filepath.Join(dir, "recorded.bundle")
		return path, writeRecorded(path)
	})
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// recordedBundle opens a bundle of what the recorded exchanges answered: four organizations, eight cameras, sixty
// sequences of a week, the detections of fourteen of them. Each frame has its own small JPEG.
func recordedBundle(t testing.TB) *store.Bundle {
	t.Helper()
	path, err := shared.recorded()
	if err != nil {
		t.Fatalf("build the recorded bundle: %v", err)
	}
	return openBundle(t, path)
}

func openBundle(t testing.TB, path string) *store.Bundle {
	t.Helper()
	bundle, err := store.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bundle.Close(); err != nil {
			t.Error(err)
		}
	})
	return bundle
}

func writeRecorded(path string) error {
	exchanges, err := readExchanges()
	if err != nil {
		return err
	}
	w := worldOf(store.Source{URL: "http://platform.test", API: "pyronear_french"})
	for _, e := range exchanges {
		switch {
		case e.Path == "/api/v1/organizations/":
			err = each(e.Response, w.organization)
		case e.Path == "/api/v1/cameras/":
			err = each(e.Response, w.camera)
		case e.Path == "/api/v1/sequences/all/fromdate":
			err = each(e.Response, w.sequence)
		case strings.HasSuffix(e.Path, "/detections"):
			err = each(e.Response, w.detection)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return w.write(path)
}

func each(list json.RawMessage, do func(json.RawMessage) error) error {
	var docs []json.RawMessage
	if err := json.Unmarshal(list, &docs); err != nil {
		return err
	}
	for _, doc := range docs {
		if err := do(doc); err != nil {
			return err
		}
	}
	return nil
}

// world is a bundle's content on its way into a store.Writer.
type world struct {
	source        store.Source
	organizations map[int64]store.Organization
	cameras       map[int64]store.Camera
	records       map[int64]*store.SequenceRecord
	order         []int64
	gone          map[string]bool   // bucket keys without image
	png           map[string]bool   // bucket keys whose image is a PNG
	images        map[string][]byte // by bucket key; the others are drawn
}

func worldOf(source store.Source) *world {
	return &world{
		source: source, organizations: map[int64]store.Organization{}, cameras: map[int64]store.Camera{},
		records: map[int64]*store.SequenceRecord{}, gone: map[string]bool{}, png: map[string]bool{},
	}
}

func (w *world) organization(doc json.RawMessage) error {
	o, err := store.ParseOrganization(doc)
	w.organizations[o.ID] = o
	return err
}

func (w *world) camera(doc json.RawMessage) error {
	c, err := store.ParseCamera(doc)
	w.cameras[c.ID] = c
	return err
}

func (w *world) sequence(doc json.RawMessage) error {
	s, err := store.ParseSequence(doc)
	if err != nil {
		return err
	}
	record := &store.SequenceRecord{Sequence: s, Coverage: store.Coverage{
		FetchedAt: s.LastSeenAt.Add(24 * time.Hour), Order: store.Ascending, Complete: true, Exhausted: true,
	}}
	if c, ok := w.cameras[s.CameraID]; ok {
		record.Camera = &c
		if o, ok := w.organizations[c.OrganizationID]; ok {
			record.Organization = &o
		}
	}
	w.records[s.ID] = record
	w.order = append(w.order, s.ID)
	return nil
}

func (w *world) detection(doc json.RawMessage) error {
	d, err := store.ParseDetection(doc)
	if err != nil {
		return err
	}
	record := w.records[*d.SequenceID]
	record.Detections = append(record.Detections, d)
	for _, f := range record.Frames {
		if f.Key == d.BucketKey {
			return nil
		}
	}
	record.Frames = append(record.Frames, store.Frame{Key: d.BucketKey})
	return nil
}

func (w *world) write(path string) (err error) {
	ctx := context.Background()
	out, err := store.OpenWriter(ctx, path, store.WriteOptions{Source: w.source})
	if err != nil {
		return err
	}
	defer func() {
		if closed := out.Close(); err == nil {
			err = closed
		}
	}()
	var organizations []store.Organization
	for _, o := range w.organizations {
		organizations = append(organizations, o)
	}
	var cameras []store.Camera
	for _, c := range w.cameras {
		cameras = append(cameras, c)
	}
	if err := out.PutOrganizations(ctx, organizations); err != nil {
		return err
	}
	if err := out.PutCameras(ctx, cameras); err != nil {
		return err
	}
	for _, id := range w.order {
		record := w.records[id]
		for i, frame := range record.Frames {
			if w.gone[frame.Key] {
				record.Frames[i].Problem, record.Frames[i].Permanent = "404 NoSuchKey", true
				continue
			}
			format := store.JPEG
			if w.png[frame.Key] {
				format = store.PNG
			}
			data := w.images[frame.Key]
			if data == nil {
				data = picture(frame.Key, format)
			}
			hash, err := out.PutImage(ctx, record.OrganizationID(), frame.Key, format, data)
			if err != nil {
				return err
			}
			record.Frames[i].Image = hash
		}
		if err := out.PutSequence(ctx, *record); err != nil {
			return err
		}
	}
	return nil
}

// picture draws a small image that is another for each key.
func picture(key string, format store.Format) []byte {
	canvas := image.NewRGBA(image.Rect(0, 0, 16, 16))
	var seed uint32
	for _, b := range []byte(key) {
		seed = seed*31 + uint32(b)
	}
	for i := range 256 {
		v := uint8(seed >> (i % 4 * 8)) //nolint:gosec // any byte will do
		canvas.Set(i%16, i/16, color.RGBA{v, uint8(i), v ^ uint8(i), 255})
	}
	var out bytes.Buffer
	if format == store.PNG {
		_ = png.Encode(&out, canvas)
	} else {
		_ = jpeg.Encode(&out, canvas, nil)
	}
	return out.Bytes()
}

// clock is a time that a test sets.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// client asks a served bundle as one account.
type client struct {
	t     testing.TB
	base  string
	token string
	extra [2]string // a header and its value
}

// with returns the client sending one more header; Host sets the name that it asks for.
func (c client) with(header, value string) client {
	c.extra = [2]string{header, value}
	return c
}

// serveBundle serves a bundle until the test ends.
func serveBundle(t testing.TB, bundle *store.Bundle, o Options) client {
	t.Helper()
	return serveHandler(t, New(bundle, o))
}

func serveHandler(t testing.TB, handler http.Handler) client {
	t.Helper()
	platform := httptest.NewServer(handler)
	t.Cleanup(platform.Close)
	return client{t: t, base: platform.URL}
}

// as returns the client logged in.
func (c client) as(login string) client {
	c.t.Helper()
	got := c.do(http.MethodPost, "/api/v1/login/creds", "application/x-www-form-urlencoded",
		url.Values{"username": {login}, "password": {DefaultPassword}}.Encode())
	var answer struct {
		Token string `json:"access_token"`
		Type  string `json:"token_type"`
	}
	if got.status != http.StatusOK || json.Unmarshal(got.body, &answer) != nil || answer.Type != "bearer" {
		c.t.Fatalf("log in as %s: %d %s", login, got.status, got.body)
	}
	c.token = answer.Token
	return c
}

// answered is what came back.
type answered struct {
	status int
	header http.Header
	body   []byte
}

func (a answered) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// get asks for a path below the base, or for a whole URL.
func (c client) get(path string) answered {
	c.t.Helper()
	return c.do(http.MethodGet, path, "", "")
}

func (c client) do(method, path, contentType, body string) answered {
	c.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = c.base + path
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	switch name, value := c.extra[0], c.extra[1]; {
	case name == "Host":
		req.Host = value
	case value != "":
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req) // which follows no redirect
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answered{resp.StatusCode, resp.Header, data}
}

// list asks for an array of objects.
func (c client) list(path string) []map[string]any {
	c.t.Helper()
	got := c.get(path)
	var items []map[string]any
	if got.status != http.StatusOK || json.Unmarshal(got.body, &items) != nil {
		c.t.Fatalf("GET %s: %s", path, got)
	}
	return items
}

// ids returns the id of each item.
func ids(items []map[string]any) []int64 {
	out := []int64{}
	for _, item := range items {
		id, _ := item["id"].(float64)
		out = append(out, int64(id))
	}
	return out
}

// open writes the world into a bundle of its own and opens it.
func (w *world) open(t testing.TB) *store.Bundle {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bundle")
	must(t, w.write(path))
	return openBundle(t, path)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
