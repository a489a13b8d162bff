//go:build unix

package torture

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.etcd.io/bbolt"

	"pyrobundle/internal/faultproxy"
	"pyrobundle/internal/sandbox"
	"pyrobundle/serve"
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

// stranger is another host. It remembers what was sent to it.
type stranger struct {
	url string

	mu       sync.Mutex
	requests int
	secrets  []string
}

// newStranger listens on another loopback address than the API.
func newStranger(t *testing.T, address string, answer http.HandlerFunc) *stranger {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux answers on all of 127.0.0.0/8")
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := &stranger{url: "http://" + listener.Addr().String()}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20)) // of a test's own request
		s.mu.Lock()
		s.requests++
		if token := r.Header.Get("Authorization"); token != "" {
			s.secrets = append(s.secrets, token)
		}
		if strings.Contains(string(body), serve.DefaultPassword) || strings.Contains(string(body), "admin12345") {
			s.secrets = append(s.secrets, string(body))
		}
		s.mu.Unlock()
		answer(w, r)
	})}
	go func() { _ = server.Serve(listener) }() // ends with Close
	t.Cleanup(func() { _ = server.Close() })
	return s
}

func (s *stranger) seen() (requests int, secrets []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests, s.secrets
}

// TestARedirectToAnotherHostIsNotFollowedAndGetsNoToken, from any route of either API, with any kind of redirect.
func TestARedirectToAnotherHostIsNotFollowedAndGetsNoToken(t *testing.T) {
	t.Parallel()
	for _, status := range times2([]int{302, 307}, []int{301, 302, 303, 307, 308}) {
		for _, route := range append([]string{"annotation"}, platformRoutes...) {
			if route == "/storage/" {
				continue // images may be elsewhere
			}
			t.Run(fmt.Sprint(status, route), func(t *testing.T) {
				t.Parallel()
				other := newStranger(t, "127.0.0.2", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[]") })
				away := func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.url+r.URL.Path, status) }
				s := newMeasuredStage(t)
				var e ended
				if route == "annotation" {
					s.bundle = world
					s.serveTarget(sandbox.AnnotationOptions{}, faultproxy.Plan{}, instead("/sequences/", away))
					e = s.run(s.loadArgs("--retry-for", "1s")...)
				} else {
					s.servePlatform(faultproxy.Plan{}, instead(route, away))
					e = s.run(s.fetchArgs("--retry-for", "1s")...)
				}
				requests, secrets := other.seen()
				if requests != 0 || secrets != nil {
					t.Errorf("the other host got %d requests, with %q", requests, secrets)
				}
				if route != "/organizations/" && e.code == exitDone {
					t.Errorf("exit %d\n%s", e.code, e)
				}
				if !strings.Contains(e.stderr+e.stdout, "not followed") {
					t.Errorf("it does not say why\n%s", e)
				}
			})
		}
	}
}

// rehost makes the platform's image URLs lead to another place.
func rehost(to func(path string) string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/storage/") {
				next.ServeHTTP(w, r)
				return
			}
			recorded := httptest.NewRecorder()
			next.ServeHTTP(recorded, r)
			body := strings.ReplaceAll(recorded.Body.String(), "http://"+r.Host+"/storage/", to("/storage/"))
			for name, values := range recorded.Header() {
				if name != "Content-Length" {
					w.Header()[name] = values
				}
			}
			w.WriteHeader(recorded.Code)
			_, _ = io.WriteString(w, body)
		})
	}
}

// TestImagesOfAPrivateHostComeWithoutToken: an API on a private address may have its images on another one; that host is
// never sent the token.
func TestImagesOfAPrivateHostComeWithoutToken(t *testing.T) {
	t.Parallel()
	s := newMeasuredStage(t)
	storage := newStranger(t, "127.0.0.3", func(w http.ResponseWriter, r *http.Request) {
		r.Host = strings.TrimPrefix(s.platform.URL, "http://")
		// The signature is the platform's own; the image comes from it through another host.
		resp, err := http.Get(s.platform.URL + r.URL.RequestURI())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	})
	s.servePlatform(faultproxy.Plan{}, rehost(func(path string) string { return storage.url + path }))
	s.expect(s.run(s.fetchArgs()...), exitDone)
	s.expectWhole()
	requests, secrets := storage.seen()
	if requests == 0 || secrets != nil {
		t.Errorf("the storage got %d requests, with secrets %q", requests, secrets)
	}
}

// TestImagesFromForbiddenAddressesAreNotAskedFor: metadata services, link-local and unspecified addresses, other schemes, and
// hosts that redirect there.
func TestImagesFromForbiddenAddressesAreNotAskedFor(t *testing.T) {
	t.Parallel()
	hop := newStranger(t, "127.0.0.4", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
	})
	for name, to := range map[string]string{
		"metadata": "http://169.254.169.254", "link-local": "http://[fe80::1]", "unspecified": "http://0.0.0.0:1", "multicast": "http://224.0.0.1",
		"mapped": "http://[::ffff:169.254.169.254]", "decimal": "http://2852039166", "file": "file://", "gopher": "gopher://127.0.0.1",
		"redirected": hop.url,
	} {
		if !long() && (name == "multicast" || name == "unspecified" || name == "decimal" || name == "file") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newMeasuredStage(t)
			s.servePlatform(faultproxy.Plan{}, rehost(func(path string) string { return to + path }))
			e := s.expect(s.run(s.fetchArgs("--retry-for", "1s", "--sequence-list", "101,102")...), exitFailures)
			expectBounded(t, e)
			if e.took > 20*time.Second {
				t.Errorf("it took %s: was it tried?\n%s", e.took, e)
			}
			s.verify()
			listed := e.report(t).failed()
			if listed[101] == "" || listed[102] == "" {
				t.Errorf("the images are missing, and the report does not say so\n%s", e)
			}
			if !strings.Contains(e.stdout+e.stderr, "address refused") {
				t.Errorf("it does not say that it has not asked\n%s", e)
			}
		})
	}
}

// TestAPublicAPIMayNotSendUsToPrivateHosts: an API that is reached by a name through a proxy, so that nothing says that it is
// private, names image hosts of the inside.
func TestAPublicAPIMayNotSendUsToPrivateHosts(t *testing.T) {
	t.Parallel()
	inside := newStranger(t, "127.0.0.5", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") })
	s := newMeasuredStage(t)
	s.servePlatform(faultproxy.Plan{}, rehost(func(path string) string { return inside.url + path }))
	proxied := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := http.NewRequestWithContext(r.Context(), r.Method, s.platform.URL+r.URL.RequestURI(), r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		out.Header, out.Host = r.Header.Clone(), r.Host
		resp, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		for name, values := range resp.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	defer proxied.Close()
	s.env = append(s.env, "HTTP_PROXY="+proxied.URL, "NO_PROXY=")
	args := s.fetchArgs("--retry-for", "1s", "--sequence-list", "101", "--url-api-platform", "http://platform.example")
	e := s.expect(s.run(args...), exitFailures)
	if requests, _ := inside.seen(); requests != 0 {
		t.Errorf("the inner host got %d requests\n%s", requests, e)
	}
	if !strings.Contains(e.stderr, "private address") {
		t.Errorf("it does not say why\n%s", e)
	}
}

// TestHostileBundles: links, pipes, enormous and nonsensical files, and values that unpack to far more than they say. Every
// command says that the bundle is damaged or foreign, soon and within memory.
func TestHostileBundles(t *testing.T) {
	t.Parallel()
	target := newMeasuredStage(t)
	target.serveTarget(sandbox.AnnotationOptions{}, faultproxy.Plan{})
	for name, spoil := range map[string]func(t *testing.T, dir string) error{
		"index is a link": func(_ *testing.T, dir string) error {
			if err := os.Rename(filepath.Join(dir, "index.db"), filepath.Join(dir, "..", "elsewhere.db")); err != nil {
				return err
			}
			return os.Symlink("../elsewhere.db", filepath.Join(dir, "index.db"))
		},
		"index is a pipe":    func(_ *testing.T, dir string) error { return pipe(filepath.Join(dir, "index.db")) },
		"manifest is a pipe": func(_ *testing.T, dir string) error { return pipe(filepath.Join(dir, "manifest.json")) },
		"enormous manifest": func(_ *testing.T, dir string) error {
			return os.Truncate(filepath.Join(dir, "manifest.json"), 1<<40)
		},
		"deep manifest": func(_ *testing.T, dir string) error {
			return os.WriteFile(filepath.Join(dir, "manifest.json"), bytes.Repeat([]byte("["), 3<<20), 0o600)
		},
		"enormous empty index": func(_ *testing.T, dir string) error {
			if err := os.Truncate(filepath.Join(dir, "index.db"), 0); err != nil {
				return err
			}
			return os.Truncate(filepath.Join(dir, "index.db"), 1<<36)
		},
		"random index": func(_ *testing.T, dir string) error {
			noise := sha256.Sum256([]byte(dir))
			return os.WriteFile(filepath.Join(dir, "index.db"), bytes.Repeat(noise[:], 1<<15), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newMeasuredStage(t)
			s.target = target.target
			copyTree(t, world, s.bundle)
			if err := spoil(t, s.bundle); err != nil {
				t.Skip(err)
			}
			for _, args := range [][]string{
				{"verify", "--bundle", s.bundle}, {"inspect", "--bundle", s.bundle}, {"digest", "--bundle", s.bundle}, s.loadArgs(),
			} {
				e := s.expect(s.run(args...), exitDamaged)
				expectBounded(t, e)
				if e.took > 20*time.Second {
					t.Errorf("it took %s\n%s", e.took, e)
				}
			}
		})
	}
}

func pipe(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return makePipe(path)
}

// TestABombInABundleCostsOneSequence: a value whose hash is right unpacks to four gigabytes. It is damage of that sequence;
// the others are loaded.
func TestABombInABundleCostsOneSequence(t *testing.T) {
	t.Parallel()
	s := newMeasuredStage(t)
	s.serveTarget(sandbox.AnnotationOptions{}, faultproxy.Plan{})
	copyTree(t, world, s.bundle)
	s.must(plantBomb(filepath.Join(s.bundle, "index.db"), 101))
	e := s.run(s.loadArgs()...)
	expectBounded(t, e)
	if e.code == exitDone || !strings.Contains(e.stderr, "101") {
		t.Errorf("exit %d: it does not name the sequence\n%s", e.code, e)
	}
	for _, args := range [][]string{{"inspect", "--bundle", s.bundle}, {"inspect", "--bundle", s.bundle, "101"}, {"digest", "--bundle", s.bundle}} {
		expectBounded(t, s.run(args...))
	}
	expectBounded(t, s.expect(s.run("verify", "--bundle", s.bundle), exitDamaged))
}

// plantBomb replaces a sequence in the index by a frame of zeros, with the hash that a reader expects (docs/bundle-format.md).
func plantBomb(index string, id uint64) error {
	var frame bytes.Buffer
	packer, err := zstd.NewWriter(&frame)
	if err != nil {
		return err
	}
	zeros := make([]byte, 1<<20)
	for range 4 << 10 {
		if _, err := packer.Write(zeros); err != nil {
			return err
		}
	}
	if err := packer.Close(); err != nil {
		return err
	}
	key := binary.BigEndian.AppendUint64(nil, id)
	hash := sha256.New()
	hash.Write([]byte("sequences\x00"))
	hash.Write(binary.BigEndian.AppendUint32(nil, uint32(len(key))))
	hash.Write(key)
	hash.Write(frame.Bytes())
	db, err := bbolt.Open(index, 0o600, nil)
	if err != nil {
		return err
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("sequences")).Put(key, append(hash.Sum(nil), frame.Bytes()...))
	}); err != nil {
		return err
	}
	return db.Close()
}

// makePipe makes a named pipe, where the system has them.
func makePipe(path string) error { return syscall.Mkfifo(path, 0o600) }
