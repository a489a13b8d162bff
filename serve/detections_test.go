package serve

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"pyrobundle/store"
)

// A client that gives up while the index is built must not make the next one begin from the start.
func TestIndexOutlivesTheClientThatAskedFirst(t *testing.T) {
	handler := New(recordedBundle(t), Options{}).(*server)
	c := serveHandler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Impatient") != "" {
			ctx, cancel := context.WithCancel(r.Context())
			cancel()
			r = r.WithContext(ctx)
		}
		handler.ServeHTTP(w, r)
	})).as("org-2")
	c.with("Impatient", "yes").get("/api/v1/detections/3")

	begun := handler.indexed()
	if begun == nil {
		t.Fatal("the index of the client that gave up was thrown away")
	}
	if got := c.get("/api/v1/detections/3"); got.status != http.StatusOK {
		t.Errorf("the next client: %s", got)
	}
	<-begun.done
	if begun.err != nil || len(begun.index) != 265 || handler.indexed() != begun {
		t.Errorf("%d detections, %v, built once %v; want the 265 recorded ones", len(begun.index), begun.err, handler.indexed() == begun)
	}
}

// indexed returns the index that is built or being built.
func (s *server) indexed() *indexing {
	s.indexMu.Lock()
	defer s.indexMu.Unlock()
	return s.indexing
}

// Whoever waits for the index gives up with its own request.
func TestWaitingForTheIndexEndsWithTheRequest(t *testing.T) {
	handler := New(recordedBundle(t), Options{}).(*server)
	handler.indexing = &indexing{done: make(chan struct{})} // never done
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := handler.detections(ctx); err == nil {
		t.Error("no error")
	}
}

// The bundle of a handler may be closed while the index is built: the building ends, and its failure is not kept.
func TestIndexThatFailedIsBuiltAgain(t *testing.T) {
	path, err := shared.recorded()
	must(t, err)
	closed, err := store.Open(path)
	must(t, err)
	must(t, closed.Close())
	handler := New(recordedBundle(t), Options{}).(*server)
	good := handler.bundle
	for _, bad := range []*store.Bundle{closed, nil} { // an error, and a panic
		handler.bundle = bad
		if index, err := handler.detections(t.Context()); err == nil {
			t.Fatalf("index of a bundle that cannot be read: %d detections", len(index))
		}
	}
	handler.bundle = good
	if index, err := handler.detections(t.Context()); err != nil || len(index) != 265 {
		t.Errorf("the next call: %d detections, %v", len(index), err)
	}
}

// A detection that moved between two fetches is in two sequences: the one that started last has it.
func TestDetectionInTwoSequencesIsOfTheLast(t *testing.T) {
	w := worldOf(store.Source{})
	must(t, w.camera(json.RawMessage(`{"id":1,"organization_id":2,"name":"c"}`)))
	must(t, w.camera(json.RawMessage(`{"id":2,"organization_id":3,"name":"d"}`)))
	for _, doc := range []string{
		`{"id":1,"camera_id":1,"started_at":"2026-08-01T10:00:00","last_seen_at":"2026-08-01T11:00:00"}`,
		`{"id":9,"camera_id":2,"started_at":"2026-08-01T12:00:00","last_seen_at":"2026-08-01T13:00:00"}`,
		`{"id":5,"camera_id":1,"started_at":"2026-08-01T11:00:00","last_seen_at":"2026-08-01T13:00:00"}`,
	} {
		must(t, w.sequence(json.RawMessage(doc)))
	}
	for _, doc := range []string{
		`{"id":7,"camera_id":1,"sequence_id":1,"bucket_key":"k","bbox":"[]","created_at":"2026-08-01T12:30:00"}`,
		`{"id":7,"camera_id":2,"sequence_id":9,"bucket_key":"k","bbox":"[]","created_at":"2026-08-01T12:30:00"}`,
		`{"id":7,"camera_id":1,"sequence_id":5,"bucket_key":"k","bbox":"[]","created_at":"2026-08-01T12:30:00"}`,
	} {
		must(t, w.detection(json.RawMessage(doc)))
	}
	c := serveBundle(t, w.open(t), Options{}).as("admin")
	rows := c.list("/api/v1/detections/")
	if len(rows) != 1 || rows[0]["sequence_id"] != 9.0 {
		t.Errorf("listed %v, want it once, of sequence 9", rows)
	}
	if got := c.get("/api/v1/detections/7"); got.status != http.StatusOK || string(got.body) != `{"id":7,"camera_id":2,"sequence_id":9,"bucket_key":"k","bbox":"[]","created_at":"2026-08-01T12:30:00"}` {
		t.Errorf("asked for: %s", got)
	}
}
