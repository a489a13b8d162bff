package load_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pyrobundle/annotate"
	"pyrobundle/internal/sandbox"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// never is what a write whose answer is lost takes that the API never sees.
const never time.Duration = -1

// brokenLine is a line to an API in this process, on which the answers to one kind of write are lost. Clocks that stand
// still but for waiting (testing/synctest) go with it.
type brokenLine struct {
	api    http.Handler
	method string
	path   string          // the write, as is has it
	holds  string          // in its body
	takes  []time.Duration // what each of these writes takes after its connection broke, in order; later ones are answered

	mu   sync.Mutex
	sent int // how many there were
}

func (l *brokenLine) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		_ = r.Body.Close()
	}
	serve := func() *http.Response {
		arrived := r.Clone(context.WithoutCancel(r.Context()))
		arrived.Body, arrived.RequestURI = io.NopCloser(bytes.NewReader(body)), r.URL.RequestURI()
		answer := httptest.NewRecorder()
		l.api.ServeHTTP(answer, arrived)
		return answer.Result()
	}
	if takes, lost := l.loses(r, body); lost {
		switch takes {
		case never:
		case 0:
			_ = serve().Body.Close()
		default:
			go func() {
				time.Sleep(takes)
				_ = serve().Body.Close()
			}()
		}
		return nil, errors.New("connection reset by peer")
	}
	return serve(), nil
}

func (l *brokenLine) loses(r *http.Request, body []byte) (takes time.Duration, lost bool) {
	if !is(r, l.method, l.path) || !bytes.Contains(body, []byte(l.holds)) {
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	if l.sent > len(l.takes) {
		return 0, false
	}
	return l.takes[l.sent-1], true
}

// load loads the matrix' sequence over the line, with load's own patience, and returns how long that took.
func (l *brokenLine) load(ctx context.Context, t *testing.T) (load.Result, time.Duration, error) {
	t.Helper()
	client, err := annotation.Dial(ctx, annotation.Config{
		BaseURL: "http://annotation.invalid", Login: "admin", Password: "admin12345", Transport: l,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	started := time.Now()
	result, err := load.Run(ctx, matrixBundle(), client, load.Config{
		SourceAPI: "pyronear_french", Thresholds: annotate.Thresholds{IoU: .3, MinClusterSize: 1}, StateDir: t.TempDir(),
	})
	return result, time.Since(started), err
}

// lossyWrites are the writes of a load that must not happen twice.
var lossyWrites = []struct {
	name, path, holds string
}{
	{"sequence", "/sequences/", "alert_api_id=41"},
	{"detection", "/detections/", "\r\n\r\n4101\r\n"},
	{"annotation", "/annotations/sequences/", ""},
}

// TestE14_AWriteIsWaitedForBeforeItIsMadeAgain: the API takes its time over a write whose connection broke. load waits two
// seconds for the first, twice as long for each further one, and looks again; whoever does not makes a second row.
func TestE14_AWriteIsWaitedForBeforeItIsMadeAgain(t *testing.T) {
	const (
		attempts = 4 // after each of which it is waited
		patience = 2 * time.Second
		late     = 100 * time.Millisecond // before the wait is over
	)
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		for _, write := range lossyWrites {
			for attempt := 1; attempt <= attempts; attempt++ {
				t.Run(fmt.Sprintf("%s %d", write.name, attempt), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						api := sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{Generation: string(generation)})
						line := &brokenLine{api: api, method: http.MethodPost, path: write.path, holds: write.holds}
						for range attempt - 1 {
							line.takes = append(line.takes, never)
						}
						line.takes = append(line.takes, patience<<(attempt-1)-late)
						result, took, err := line.load(t.Context(), t)
						if err != nil || len(result.Problems) != 0 {
							t.Errorf("%v, problems %v", err, result.Problems)
						}
						time.Sleep(time.Hour) // whatever hangs in the API appears
						if line.sent != attempt {
							t.Errorf("it was written %d times, want %d", line.sent, attempt)
						}
						if s, d, a := len(api.Sequences()), len(api.Detections(0)), len(api.Annotations()); s != 1 || d != 3 || a != 1 {
							t.Errorf("%d sequences, %d detections, %d annotations, want 1, 3, 1", s, d, a)
						}
						if want := patience<<attempt - patience; took != want { // 2 s, and 4, and 8, and 16
							t.Errorf("it took %s, want %s", took, want)
						}
					})
				})
			}
		}
	})
}

// TestE14_AWriteThatHasHappenedIsNotWaitedFor: the first look finds it.
func TestE14_AWriteThatHasHappenedIsNotWaitedFor(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		for _, write := range lossyWrites[:2] { // an annotation is looked for once, after the wait
			t.Run(write.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					api := sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{Generation: string(generation)})
					line := &brokenLine{api: api, method: http.MethodPost, path: write.path, holds: write.holds, takes: []time.Duration{0}}
					result, took, err := line.load(t.Context(), t)
					if err != nil || len(result.Problems) != 0 || line.sent != 1 || took != 0 {
						t.Errorf("%v, problems %v, written %d times in %s", err, result.Problems, line.sent, took)
					}
				})
			})
		}
	})
}

// TestE14_AWriteIsGivenUpAfterTheFourth, half a minute later, and is named.
func TestE14_AWriteIsGivenUpAfterTheFourth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{Generation: string(annotation.SeedEra)})
		line := &brokenLine{
			api: api, method: http.MethodPost, path: "/detections/", holds: "\r\n\r\n4101\r\n", takes: []time.Duration{never, never, never, never, never},
		}
		result, took, err := line.load(t.Context(), t)
		if err != nil || line.sent != 4 || took != 30*time.Second {
			t.Errorf("%v, written %d times in %s, want 4 in 30s", err, line.sent, took)
		}
		if len(result.Problems) != 1 || result.Problems[0].Class != store.Failed || !strings.Contains(result.Problems[0].Reason, "detection 4101: POST ") {
			t.Errorf("problems %v", result.Problems)
		}
	})
}

// TestE14_AnInterruptionEndsTheWait at once.
func TestE14_AnInterruptionEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{})
		line := &brokenLine{api: api, method: http.MethodPost, path: "/detections/", holds: "\r\n\r\n4101\r\n", takes: []time.Duration{never}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if result, took, err := line.load(ctx, t); !errors.Is(err, context.DeadlineExceeded) || took != time.Second || line.sent != 1 || len(result.Problems) != 0 {
			t.Errorf("%v after %s, written %d times, problems %v", err, took, line.sent, result.Problems)
		}
	})
}
