//go:build unix

package torture

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pyrobundle/internal/faultproxy"
	"pyrobundle/internal/sandbox"
)

// What a hostile server or bundle may cost at most. A fetch of large frames takes some 90 MiB; a listing of the greatest length
// allowed, and large answers two at a time, come on top.
const (
	hostileMemory = 256 << 20 // bytes

	// hostileTime is of the program's own processor time. By itself no run takes half a minute of the clock; at full length a
	// dozen tests share the machine, and a run of 5 s took 66.
	hostileTime = time.Minute
	hostileWait = 4 * time.Minute // by the clock
)

// newMeasuredStage is a stage whose runs are bounded in memory, too.
func newMeasuredStage(t *testing.T) *stage {
	t.Helper()
	s := newStage(t)
	s.measure, s.limit = true, hostileWait
	return s
}

// skipUnderRace keeps out what is about bounds of memory and time: the race detector has neither the program's memory nor
// its pace, and a hundred thousand rows take it minutes.
func skipUnderRace(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("bounds of memory and time mean nothing under the race detector")
	}
}

// expectBounded fails the test if a run took more of the machine than it may.
func expectBounded(t *testing.T, e ended) {
	t.Helper()
	if e.memory.most > hostileMemory && !raceEnabled { // the race detector's shadow memory is not the program's
		t.Errorf("%d MiB of memory\n%s", e.memory.most>>20, e)
	}
	if e.processor > hostileTime {
		t.Errorf("it took %s of processor time\n%s", e.processor, e)
	}
}

// blanks are a megabyte of them, packed once: packing it for every request would take the test longer than unpacking takes the
// program.
var blanks = sync.OnceValue(func() []byte {
	var packed bytes.Buffer
	packer := gzip.NewWriter(&packed)
	_, _ = packer.Write(bytes.Repeat([]byte(" "), 1<<20))
	_ = packer.Close()
	return packed.Bytes()
})

// bomb answers with gzip that unpacks to far more than anybody has memory for; a megabyte of it on the wire is a gigabyte.
func bomb(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Encoding", "gzip")
	packer := gzip.NewWriter(w)
	if _, err := packer.Write([]byte("[")); err != nil || packer.Close() != nil {
		return
	}
	for range 4 << 10 {
		if _, err := w.Write(blanks()); err != nil || r.Context().Err() != nil {
			return
		}
	}
}

// endless answers with bytes that never end.
func endless(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	row := []byte(`[` + strings.Repeat(`{"a":"`+strings.Repeat("x", 1000)+`"},`, 60))
	for r.Context().Err() == nil {
		if _, err := w.Write(row); err != nil {
			return
		}
	}
}

// deep answers with JSON of a million levels.
func deep(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, strings.Repeat(`[`, 1_000_000)+strings.Repeat(`]`, 1_000_000))
}

// oddities are documents that a decoder may trip over.
func oddities() map[string]string {
	return map[string]string{
		"absurd ids":     `[{"id":-1},{"id":0},{"id":99999999999999999999},{"id":1e400},{"id":"7"},{"id":1.5},{"id":null},{},null,7,"x",[]]`,
		"absurd times":   absurdRows(`"started_at":"99999-12-31T00:00:00"`, `"started_at":"2024-01-01"`, `"started_at":1704067200`, `"started_at":"-2024-01-01T00:00:00"`, `"started_at":null`, `"started_at":"2024-01-01T25:61:61"`),
		"absurd numbers": absurdRows(`"max_conf":1e999`, `"camera_azimuth":"NaN"`, `"camera_id":-7`, `"detections_count":-1`, `"detections_count":9223372036854775807`),
		"names":          absurdRows(`"name":"../../../../etc/passwd"`, `"pose_id":"\u0000\u001b[31m\r\nX"`, `"id":1,"id":2`),
		"an object":      `{"detail":"I am no list"}`,
		"nothing":        ``,
		"null":           `null`,
		"a number":       `42`,
	}
}

// absurdRows are sequences, each with one absurd field.
func absurdRows(fields ...string) string {
	var rows []string
	for i, field := range fields {
		rows = append(rows, fmt.Sprintf(
			`{"id":%d,"camera_id":1,"pose_id":1,"camera_azimuth":1.5,"started_at":"2024-01-01T10:00:00","last_seen_at":"2024-01-01T10:00:00",%s}`, 5000+i, field))
	}
	return "[" + strings.Join(rows, ",") + "]"
}

// instead answers requests whose path has the part by answer.
func instead(part string, answer http.HandlerFunc) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, part) {
				answer(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// routes of the platform that a fetch uses, by a part of their path.
var platformRoutes = []string{"/login/creds", "/login/validate", "/cameras/", "/organizations/", "/fromdate", "/detections", "/storage/"}

// routes of the annotation API that a load uses.
var annotationRoutes = []string{"/auth/login", "/openapi.json", "/sequences/", "/detections/", "/annotations/"}

// TestHostileAnswersCostNoMoreThanTheyMay: whatever route answers with a bomb, a stream without end or JSON of a million
// levels, the run ends soon, within memory, with an error that says so, and leaves an intact bundle.
func TestHostileAnswersCostNoMoreThanTheyMay(t *testing.T) {
	skipUnderRace(t)
	t.Parallel()
	answers := map[string]http.HandlerFunc{"bomb": bomb, "endless": endless, "deep": deep}
	for name, answer := range answers {
		for i, route := range platformRoutes {
			if !long() && (i+len(name))%3 != 0 { // a third of them, another one for each answer
				continue
			}
			t.Run("platform"+route+" "+name, func(t *testing.T) {
				s := newMeasuredStage(t)
				s.servePlatform(faultproxy.Plan{}, instead(route, answer))
				e := s.run(s.fetchArgs("--retry-for", "2s")...)
				if e.code != exitError && e.code != exitFailures && (e.code != exitDone || route != "/organizations/" && route != "/storage/") { // what is lost there is named, and no failure
					t.Errorf("exit %d\n%s", e.code, e)
				}
				expectBounded(t, e)
				t.Logf("exit %d, %d MiB, %s", e.code, e.memory.most>>20, e.took)
				s.expectIntactAfterKill()
			})
		}
		for i, route := range annotationRoutes {
			if !long() && (i+len(name))%3 != 0 {
				continue
			}
			t.Run("annotation API"+route+" "+name, func(t *testing.T) {
				s := newMeasuredStage(t)
				s.bundle = world
				s.serveTarget(sandbox.AnnotationOptions{}, faultproxy.Plan{}, instead(route, answer))
				e := s.run(s.loadArgs("--retry-for", "2s")...)
				if e.code != exitError && e.code != exitFailures {
					t.Errorf("exit %d\n%s", e.code, e)
				}
				expectBounded(t, e)
				t.Logf("exit %d, %d MiB, %s", e.code, e.memory.most>>20, e.took)
			})
		}
	}
}

// TestAListingWithoutEndEnds: every page is full, with rows that were never shown before.
func TestAListingWithoutEndEnds(t *testing.T) {
	skipUnderRace(t)
	t.Parallel()
	var mu sync.Mutex
	next := int64(1_000_000)
	fresh := func(n int64) int64 {
		mu.Lock()
		defer mu.Unlock()
		next += n
		return next - n
	}
	rows := func(n int, row func(id int64) string) string {
		first := fresh(int64(n))
		out := make([]string, n)
		for i := range out {
			out[i] = row(first + int64(i))
		}
		return strings.Join(out, ",")
	}
	write := func(w http.ResponseWriter, body string) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	}
	platform := map[string]http.HandlerFunc{
		"/fromdate": func(w http.ResponseWriter, r *http.Request) {
			write(w, "["+rows(1000, func(id int64) string {
				day := r.URL.Query().Get("from_date")
				return fmt.Sprintf(`{"id":%d,"camera_id":1,"pose_id":1,"camera_azimuth":1.5,"is_wildfire":null,"started_at":"%sT%02d:00:00","last_seen_at":"%sT23:00:00"}`,
					id, day, 1+id%20, day)
			})+"]")
		},
		"/detections": func(w http.ResponseWriter, r *http.Request) {
			sequence := strings.Split(r.URL.Path, "/")[4]
			write(w, "["+rows(100, func(id int64) string {
				return fmt.Sprintf(`{"id":%d,"camera_id":1,"pose_id":1,"sequence_id":%s,"bucket_key":"1-20240101100000-%08x.jpg","bbox":"[(.1,.1,.2,.2,.5)]","created_at":"2024-01-01T10:00:00","url":"http://127.0.0.1:1/x"}`,
					id, sequence, id)
			})+"]")
		},
	}
	for route, answer := range platform {
		t.Run("platform"+route, func(t *testing.T) {
			t.Parallel()
			s := newMeasuredStage(t)
			s.servePlatform(faultproxy.Plan{}, instead(route, answer))
			args := s.fetchArgs("--max-sequences", "2")
			if route == "/fromdate" {
				args = s.fetchArgs("--sequence-list", "101", "--date-end", firstDay)
			}
			e := s.expect(s.run(args...), exitFailures)
			expectBounded(t, e)
			if !strings.Contains(e.stderr, "does not end") {
				t.Errorf("it does not say why\n%s", e)
			}
			t.Logf("%d MiB, %s", e.memory.most>>20, e.took)
			s.verify()
		})
	}
	for route, row := range map[string]string{
		"/sequences/":  `{"id":%d,"source_api":"pyronear_french","alert_api_id":%[1]d,"created_at":"2024-01-01T00:00:00Z","recorded_at":"2024-01-01T10:00:00Z","last_seen_at":"2024-01-01T10:00:00Z","camera_name":"x","camera_id":1,"lat":1,"lon":1,"organisation_name":"o","organisation_id":1,"platform_alert_id":%[1]d}`,
		"/detections/": `{"id":%d,"sequence_id":1,"alert_api_id":%[1]d,"recorded_at":"2024-01-01T10:00:00Z","bucket_key":"k%[1]d","algo_predictions":{"predictions":[]}}`,
	} {
		t.Run("annotation API"+route, func(t *testing.T) {
			t.Parallel()
			s := newMeasuredStage(t)
			s.bundle = world
			s.serveTarget(sandbox.AnnotationOptions{}, faultproxy.Plan{}, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, route) || r.URL.Query().Get("size") == "1" {
						next.ServeHTTP(w, r)
						return
					}
					write(w, `{"items":[`+rows(100, func(id int64) string { return fmt.Sprintf(row, id) })+`],"pages":2000000000,"total":200000000000}`)
				})
			})
			e := s.run(s.loadArgs("--sequence-list", "101")...)
			if e.code != exitFailures && e.code != exitError {
				t.Errorf("exit %d\n%s", e.code, e)
			}
			expectBounded(t, e)
			if !strings.Contains(e.stderr, "does not end") {
				t.Errorf("it does not say why\n%s", e)
			}
			t.Logf("%d MiB, %s", e.memory.most>>20, e.took)
		})
	}
}

// TestOddAnswersAreRefusedNotBelieved: absurd ids, times, numbers and names, and things that are no list, on every listing of
// the platform. Nothing of them is written where it does not belong, and nothing of the terminal's is passed on.
func TestOddAnswersAreRefusedNotBelieved(t *testing.T) {
	t.Parallel()
	for name, text := range oddities() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, text)
			}
			for _, route := range times2([]string{"/fromdate"}, []string{"/cameras/", "/organizations/", "/fromdate", "/detections"}) {
				s := newMeasuredStage(t)
				s.servePlatform(faultproxy.Plan{}, instead(route, answer))
				e := s.run(s.fetchArgs("--retry-for", "1s", "--date-end", firstDay)...)
				if e.code != exitFailures && e.code != exitError && e.code != exitDone {
					t.Errorf("%s: exit %d\n%s", route, e.code, e)
				}
				if e.code == exitDone && route == "/fromdate" {
					t.Errorf("%s: taken for good\n%s", route, e)
				}
				if strings.Contains(e.stderr, "panic") || strings.ContainsAny(e.stderr, "\x1b\x00\r") {
					t.Errorf("%s: %q", route, e.stderr)
				}
				expectBounded(t, e)
				s.expectIntactAfterKill()
				s.expectOnlyBundleFiles()
			}
		})
	}
}

// expectOnlyBundleFiles fails the test if the bundle's directory or its surroundings hold anything that is not the bundle's.
func (s *stage) expectOnlyBundleFiles() {
	s.t.Helper()
	s.must(filepath.WalkDir(s.home, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(s.home, path)
		name = filepath.ToSlash(name)
		known := name == "my.bundle/manifest.json" || name == "my.bundle/index.db" || strings.HasPrefix(name, "state/")
		shard, _ := filepath.Match("my.bundle/images/[0-9][0-9][0-9][0-9][0-9][0-9].tar", name)
		if !known && !shard {
			s.t.Errorf("%s was written", name)
		}
		return err
	}))
}

// TestNamesWithPathsStayNames: bucket keys that are paths, and names with everything in them, are fetched, stored, and
// loaded as what they are.
func TestNamesWithPathsStayNames(t *testing.T) {
	t.Parallel()
	const key = "../../../../tmp/pyrobundle-torture-\u202e.jpg"
	rewrite := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			recorded := httptest.NewRecorder()
			next.ServeHTTP(recorded, r)
			body := recorded.Body.Bytes()
			if strings.Contains(r.URL.Path, "/detections") && recorded.Code == http.StatusOK {
				var rows []map[string]any
				if json.Unmarshal(body, &rows) == nil {
					for i := range rows {
						rows[i]["bucket_key"] = fmt.Sprint(key, i)
					}
					body, _ = json.Marshal(rows)
				}
			}
			for name, values := range recorded.Header() {
				if name != "Content-Length" {
					w.Header()[name] = values
				}
			}
			w.WriteHeader(recorded.Code)
			_, _ = w.Write(body)
		})
	}
	s := newMeasuredStage(t)
	s.servePlatform(faultproxy.Plan{}, rewrite)
	s.serveTarget(sandbox.AnnotationOptions{}, faultproxy.Plan{})
	e := s.expect(s.run(s.importArgs("--sequence-list", "101")...), exitDone)
	s.verify()
	s.expectOnlyBundleFiles()
	if len(s.api.Detections(0)) == 0 {
		t.Errorf("nothing was loaded\n%s", e)
	}
	for _, path := range []string{"/tmp/pyrobundle-torture-\u202e.jpg0", filepath.Join(s.home, "tmp")} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s was written", path)
		}
	}
}
