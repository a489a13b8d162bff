package fetch_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"pyrobundle/fetch"
	"pyrobundle/fetch/platform"
	"pyrobundle/internal/httpapi"
	"pyrobundle/store"
)

// paddedPlatform is a Source of sequences of one day whose detections are as large as rows may be, without end or not.
type paddedPlatform struct {
	sequences int
	rows      int // of each sequence; 0: without end
	padding   int // bytes of a row

	mu      sync.Mutex
	listed  map[int64]int64 // bytes handed out, by sequence
	largest int64           // that one sequence got
	most    int             // sequences that had more than a share at once
}

const paddedShare = 1 << 20 // bytes, with 16 workers

func (p *paddedPlatform) Scope() string         { return "user" }
func (p *paddedPlatform) OrganizationID() int64 { return 2 }
func (p *paddedPlatform) Recycle([]byte)        {}

func (p *paddedPlatform) Cameras(context.Context) (page platform.Page[store.Camera], err error) {
	return page, nil
}

func (p *paddedPlatform) Organizations(context.Context) (page platform.Page[store.Organization], err error) {
	return page, nil
}

func (p *paddedPlatform) ImageURL(context.Context, int64) (string, error) {
	return "", platform.ErrMissing
}

func (p *paddedPlatform) Image(context.Context, string, int64) ([]byte, error) {
	return nil, platform.ErrImageGone
}

func (p *paddedPlatform) Sequences(_ context.Context, q platform.SequencesQuery) (page platform.Page[store.Sequence], err error) {
	for i := q.Offset; i < min(q.Offset+q.Limit, p.sequences); i++ {
		s, err := p.Sequence(context.Background(), int64(i+1))
		if err != nil {
			return page, err
		}
		page.Rows = append(page.Rows, s)
	}
	page.Sent = len(page.Rows)
	return page, nil
}

func (p *paddedPlatform) Sequence(_ context.Context, id int64) (store.Sequence, error) {
	at := wire(started(firstDay, 0).Add(-time.Duration(id) * time.Second))
	return store.ParseSequence(fmt.Appendf(nil, `{"id":%d,"camera_id":1,"started_at":%q,"last_seen_at":%q}`, id, at, at))
}

func (p *paddedPlatform) Detections(_ context.Context, q platform.DetectionsQuery) (page platform.Page[platform.Detection], err error) {
	last := q.Offset + q.Limit
	if p.rows > 0 {
		last = min(last, p.rows)
	}
	size := int64(max(0, last-q.Offset) * p.padding)
	if q.MaxBytes > 0 && size > q.MaxBytes {
		return page, fmt.Errorf("page of %d: %w", q.SequenceID, httpapi.ErrTooLarge)
	}
	p.mu.Lock()
	if p.listed == nil {
		p.listed = map[int64]int64{}
	}
	p.listed[q.SequenceID] += size
	p.largest = max(p.largest, p.listed[q.SequenceID])
	large := 0
	for _, bytes := range p.listed {
		if bytes > 2*paddedShare {
			large++
		}
	}
	p.most = max(p.most, large)
	p.mu.Unlock()
	page.Sent = max(0, last-q.Offset)
	for i := q.Offset; i < last; i++ {
		id := q.SequenceID*1_000_000 + int64(i)
		doc := fmt.Appendf(nil, `{"id":%d,"bucket_key":"%d.jpg","created_at":%q,"note":"`,
			id, q.SequenceID, wire(started(firstDay, 0).Add(time.Duration(i)*time.Second)))
		doc = append(append(doc, bytes.Repeat([]byte("x "), p.padding/2)...), `"}`...)
		d, err := store.ParseDetection(doc)
		if err != nil {
			return page, err
		}
		page.Rows = append(page.Rows, platform.Detection{Detection: d})
	}
	return page, nil
}

// ended is told of each problem of a sequence: what was listed of it is not kept any more.
func (p *paddedPlatform) ended(id int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.listed, id)
}

// fetchFrom fetches all rows from a Source and tells it which sequences have ended.
func fetchFrom(t *testing.T, src *paddedPlatform, cfg fetch.Config) fetch.Result {
	t.Helper()
	dst, err := store.OpenWriter(t.Context(), t.TempDir()+"/b.bundle", store.WriteOptions{Source: store.Source{URL: "http://p.example"}})
	if err != nil {
		t.Fatal(err)
	}
	result, err := fetch.Run(t.Context(), src, dst, cfg)
	if closeErr := dst.Close(); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
	return result
}

func paddedConfig() fetch.Config {
	cfg := config()
	cfg.To, cfg.Limit, cfg.Workers, cfg.Organizations = firstDay, 0, 16, false
	return cfg
}

// TestPaddedListingsTakeTurns: full pages of rows of 80 kB each would be 8 GB for one sequence before its rows were too many, and
// as many sequences are listed as there are workers, twice.
func TestPaddedListingsTakeTurns(t *testing.T) {
	src := &paddedPlatform{sequences: 3, padding: 80 << 10}
	cfg := paddedConfig()
	cfg.Log = logTo(func(line string) {
		var id int64
		if _, err := fmt.Sscanf(line, "problem class=failed kind=sequence id=%d", &id); err == nil {
			src.ended(id)
		}
	})
	result := fetchFrom(t, src, cfg)
	if len(result.Problems) != src.sequences {
		t.Fatalf("%d problems, want %d", len(result.Problems), src.sequences)
	}
	for _, problem := range result.Problems {
		if problem.Class != store.Failed || !strings.Contains(problem.Reason, "more than 64 MiB") {
			t.Errorf("problem %s %s", problem.Class, problem)
		}
	}
	if src.most > 1 {
		t.Errorf("%d large listings at once", src.most)
	}
	if most := int64(64<<20 + 2*8<<20); src.largest > most {
		t.Errorf("%d bytes of one sequence were listed, want at most %d", src.largest, most)
	}
}

// TestLargeSequencesAreFetchedAllTheSame, each in its turn, and again from what the bundle has of them.
func TestLargeSequencesAreFetchedAllTheSame(t *testing.T) {
	p := newFakePlatform(t)
	for i := range 5 {
		id := int64(41 + i)
		p.sequence(id, 1, started(firstDay, i), 120)
		p.mu.Lock()
		for _, row := range p.detections[id] {
			row["note"] = strings.Repeat("n ", 10<<10)
		}
		p.mu.Unlock()
	}
	p.sequence(51, 1, started(firstDay, 10), 3)
	b := newBundle(t, p)
	cfg := config()
	cfg.Limit, cfg.Workers = 0, 16
	wantNoProblems(t, b.fetch(cfg))
	for i := range 5 {
		p.grow(int64(41+i), started(firstDay, 300))
	}
	result := b.fetch(cfg)
	wantNoProblems(t, result)
	if result.Sequences.Updated != 5 || result.Images.Downloaded != 5 {
		t.Errorf("result %+v", result)
	}
	if got := len(b.record(45).Detections); got != 121 {
		t.Errorf("%d detections", got)
	}
	b.intact()
}

// TestNoErrorSaysWhatARowSays: the platform says our password and token wherever it is asked, and more than anybody wants to read.
func TestNoErrorSaysWhatARowSays(t *testing.T) {
	const canary = fakePassword
	digits := strings.Repeat("9", 100_000)
	for name, row := range map[string]string{
		"a time":      `{"id":7,"bucket_key":"k","created_at":"` + canary + `","started_at":"` + canary + `"}`,
		"a long time": `{"id":7,"bucket_key":"k","created_at":"` + digits + canary + `","started_at":"` + digits + canary + `"}`,
		"a token":     `{"id":7,"bucket_key":"k","created_at":"token-of-` + fakeLogin + `","started_at":"token-of-` + fakeLogin + `"}`,
		"a number":    `{"id":` + digits + `}`,
		"a key":       `{"id":7,"bucket_key":"` + strings.Repeat(canary, 500) + `","created_at":"2026-08-01T08:00:00","started_at":"` + canary + `"}`,
		"a url":       `{"id":7,"bucket_key":"k","created_at":"2026-08-01T08:00:00","url":{"` + canary + `":1},"started_at":"` + canary + `"}`,
	} {
		for _, route := range []string{"/detections", "/fromdate", "/cameras/", "/organizations/", "/41"} {
			t.Run(name+" "+route, func(t *testing.T) {
				p := newFakePlatform(t)
				p.sequence(41, 1, started(firstDay, 0), 1)
				p.intercept(func(w http.ResponseWriter, r *http.Request) bool {
					if !strings.HasSuffix(r.URL.Path, route) {
						return false
					}
					text := "[" + row + "]"
					if route == "/41" {
						text = row
					}
					_, _ = w.Write([]byte(text))
					return true
				})
				b := newBundle(t, p)
				cfg := config()
				cfg.Repair = []store.Finding{{Sequences: []int64{41}}}
				if route == "/41" {
					cfg.From, cfg.To = "", ""
				}
				var log strings.Builder
				var mu sync.Mutex
				cfg.Log = logTo(func(line string) {
					mu.Lock()
					defer mu.Unlock()
					log.WriteString(line + "\n")
				})
				result := b.fetch(cfg)
				said := log.String() + strings.Join(lines(result.Problems), "\n")
				b.read(func(opened *store.Bundle) {
					for problem, err := range opened.Problems(t.Context()) {
						if err != nil {
							t.Fatal(err)
						}
						said += "\n" + problem.String()
					}
				})
				for _, secret := range []string{canary, "token-of-", "9999999999"} {
					if strings.Contains(said, secret) {
						t.Errorf("it says %q in %.600s", secret, said)
					}
				}
				for _, line := range strings.Split(said, "\n") {
					if len(line) > 600 {
						t.Errorf("a line of %d bytes: %.600s", len(line), line)
					}
				}
			})
		}
	}
}
