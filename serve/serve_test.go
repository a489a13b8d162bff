package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

func TestMissingTrailingSlashRedirects(t *testing.T) {
	c := serveBundle(t, recordedBundle(t), Options{}).as("org-2")
	for path, want := range map[string]string{
		"/api/v1/organizations":                       "/api/v1/organizations/",
		"/api/v1/cameras?include_non_trustable=true":  "/api/v1/cameras/?include_non_trustable=true",
		"/api/v1/occlusion_masks":                     "/api/v1/occlusion_masks/",
		"/api/v1/sequences/1/":                        "/api/v1/sequences/1",
		"/api/v1/sequences/1/detections/?limit=3&x=y": "/api/v1/sequences/1/detections?limit=3&x=y",
	} {
		got := c.get(path)
		if got.status != http.StatusTemporaryRedirect || got.header.Get("Location") != c.base+want || len(got.body) != 0 {
			t.Errorf("%s: %s to %q, want 307 to %s", path, got, got.header.Get("Location"), c.base+want)
		}
	}
}

func TestLogHoldsNoSecretsAndUnknownRoutesLoudly(t *testing.T) {
	var mu sync.Mutex
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return out.Write(p)
	}), &slog.HandlerOptions{Level: slog.LevelDebug}))
	c := serveBundle(t, recordedBundle(t), Options{Log: log}).as("org-2")
	signed := c.list("/api/v1/sequences/1/detections?limit=1&api_key=hunter2")[0]["url"].(string)
	(client{t: t}).get(signed)
	c.get("/api/v1/webhooks/")

	mu.Lock()
	defer mu.Unlock()
	text := out.String()
	u, err := url.Parse(signed)
	must(t, err)
	for _, secret := range []string{DefaultPassword, c.token, "Signature", u.Query().Get("Signature"), "hunter2"} {
		if strings.Contains(text, secret) {
			t.Errorf("the log holds %q:\n%s", secret, text)
		}
	}
	if !strings.Contains(text, "level=WARN") || !strings.Contains(text, "/api/v1/webhooks/") || !strings.Contains(text, "limit=1") {
		t.Errorf("the log lacks what it should say:\n%s", text)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestPanicsAndErrorsAnswer500(t *testing.T) {
	handler := New(recordedBundle(t), Options{}).(*server)
	handler.routes = []route{
		{http.MethodGet, "/panic", nil, func(*server, *call) error { panic("document") }},
		{http.MethodGet, "/error", nil, func(*server, *call) error { return errors.New("index is damaged") }},
		{http.MethodGet, "/document", nil, func(_ *server, c *call) error { return c.document(json.RawMessage(`"text"`)) }},
		{http.MethodGet, "/list", nil, func(_ *server, c *call) error {
			answer := c.list()
			if err := answer.add(json.RawMessage(`{"id":1}`)); err != nil {
				return err
			}
			return answer.add(json.RawMessage(`[1]`))
		}},
	}
	c := serveHandler(t, handler)
	for _, path := range []string{"/panic", "/error", "/document", "/list"} {
		got := c.get(path)
		if got.status != http.StatusInternalServerError || string(got.body) != "Internal Server Error" ||
			got.header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// An answer that fails after it has begun must not look like a whole one.
func TestErrorInAStreamCutsTheConnection(t *testing.T) {
	handler := New(recordedBundle(t), Options{}).(*server)
	handler.routes = []route{{http.MethodGet, "/list", nil, func(_ *server, c *call) error {
		answer := c.list()
		item := json.RawMessage(`{"text":"` + strings.Repeat("x", listBuffer) + `"}`)
		if err := answer.add(item); err != nil {
			return err
		}
		return answer.add(json.RawMessage(`null`))
	}}}
	platform := httptest.NewServer(handler)
	t.Cleanup(platform.Close)
	resp, err := http.Get(platform.URL + "/list")
	if err == nil {
		_, err = new(bytes.Buffer).ReadFrom(resp.Body)
		_ = resp.Body.Close()
	}
	if err == nil {
		t.Error("the answer was whole")
	}
}

func TestConcurrentReaders(t *testing.T) {
	platform := serveBundle(t, recordedBundle(t), Options{})
	c := platform.as("admin")
	want := map[string]string{}
	paths := []string{
		fromDate + "2026-08-04&limit=100", "/api/v1/sequences/29", "/api/v1/detections/539", "/api/v1/detections/",
		"/api/v1/cameras/", "/api/v1/organizations/",
	}
	for _, path := range paths {
		want[path] = string(c.get(path).body)
	}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range paths {
				path := paths[(i+j)%len(paths)]
				if got := string(c.get(path).body); got != want[path] {
					t.Errorf("%s: another answer under load", path)
				}
				c.list("/api/v1/sequences/29/detections?limit=100")
			}
		})
	}
	group.Wait()
}
