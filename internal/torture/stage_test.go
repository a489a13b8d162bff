package torture

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pyrobundle/internal/faultproxy"
	"pyrobundle/internal/sandbox"
	"pyrobundle/serve"
	"pyrobundle/store"
)

// program and world are made once, by TestMain.
var (
	program string // path of the binary
	world   string // path of the synthetic bundle that every platform here serves; nobody writes to it
)

// Exit codes of the program, as docs/json-output.md lists them.
const (
	exitDone        = 0
	exitError       = 1
	exitUsage       = 2
	exitFailures    = 3
	exitRefused     = 4
	exitDamaged     = 6
	exitInterrupted = 130
)

// The world's days, and its size with the hand-made sequences and some generated ones.
const (
	firstDay, lastDay = "2024-01-01", "2024-01-05"
	generatedOnes     = 15
	worldSequences    = sandbox.HandMade + generatedOnes
	worldFrameBytes   = 3000
)

// generations of the annotation API.
var generations = []string{"newest", "seed"}

func TestMain(m *testing.M) {
	flag.Parse()
	if !flagGiven("test.parallel") { // runs over bad networks spend their time waiting
		if err := flag.Set("test.parallel", "16"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	dir, err := os.MkdirTemp("", "pyrobundle-torture-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := 1
	if err = prepare(dir); err == nil {
		code = m.Run()
	}
	if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func flagGiven(name string) (given bool) {
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	return given
}

// prepare builds the program, with the race detector where the tests have it, and writes the world.
func prepare(dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil { // one test runs it as another user
		return err
	}
	program = filepath.Join(dir, "pyrobundle")
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	args := []string{"build", "-o", program}
	if raceEnabled {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "pyrobundle/cmd/pyrobundle")...).CombinedOutput(); err != nil {
		return fmt.Errorf("build the program: %w\n%s", err, out)
	}
	world = filepath.Join(dir, "world.bundle")
	return sandbox.WriteBundle(context.Background(), world, sandbox.WorldOptions{
		Sequences: generatedOnes, ImageBytes: worldFrameBytes, FirstDay: firstDay,
	})
}

// long reports whether the tests run at full length.
func long() bool { return os.Getenv("PYROBUNDLE_TORTURE") != "" }

// times is how often a test does something: short in a normal run, full with PYROBUNDLE_TORTURE.
func times(short, full int) int {
	if long() {
		return full
	}
	return short
}

// stage is where the program runs: a home and a working directory of its own, a platform, a target.
type stage struct {
	t      testing.TB
	home   string
	bundle string
	env    []string // beyond the usual variables; later ones win

	limit      time.Duration        // of a run
	measure    bool                 // the memory of the program
	credential *syscall.SysProcAttr // as whom the program runs; nil: as the test

	platform *faultproxy.Server
	target   *faultproxy.Server
	api      *sandbox.AnnotationAPI
}

// newStage returns a stage without servers.
func newStage(t testing.TB) *stage {
	t.Helper()
	home := t.TempDir()
	return &stage{t: t, limit: 2 * time.Minute, home: home, bundle: filepath.Join(home, "my.bundle")}
}

// servePlatform serves the world as the platform, behind a proxy. It returns the proxy.
func (s *stage) servePlatform(plan faultproxy.Plan, wrap ...func(http.Handler) http.Handler) *faultproxy.Proxy {
	s.t.Helper()
	return s.serveBundle(world, serve.Options{}, plan, wrap...)
}

func (s *stage) serveBundle(path string, o serve.Options, plan faultproxy.Plan, wrap ...func(http.Handler) http.Handler) *faultproxy.Proxy {
	s.t.Helper()
	bundle, err := store.Open(path)
	s.must(err)
	s.t.Cleanup(func() { _ = bundle.Close() })
	handler := serve.New(bundle, o)
	for _, w := range wrap {
		handler = w(handler)
	}
	proxy, server := s.listen(handler, plan)
	s.platform = server
	return proxy
}

// serveTarget serves an empty annotation API behind a proxy.
func (s *stage) serveTarget(o sandbox.AnnotationOptions, plan faultproxy.Plan, wrap ...func(http.Handler) http.Handler) *faultproxy.Proxy {
	s.t.Helper()
	s.api = sandbox.NewAnnotationAPI(o)
	var handler http.Handler = s.api
	for _, w := range wrap {
		handler = w(handler)
	}
	proxy, server := s.listen(handler, plan)
	s.target = server
	return proxy
}

func (s *stage) listen(handler http.Handler, plan faultproxy.Plan) (*faultproxy.Proxy, *faultproxy.Server) {
	s.t.Helper()
	proxy := faultproxy.New(handler, plan)
	server, err := proxy.Listen()
	s.must(err)
	s.t.Cleanup(func() { _ = server.Close() })
	return proxy, server
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// Command lines of the stage's commands; more arguments come last and win.
func (s *stage) fetchArgs(more ...string) []string {
	return append([]string{
		"fetch", "--url-api-platform", s.platform.URL, "--date-from", firstDay, "--date-end", lastDay,
		"--detections-limit", "0", "--bundle", s.bundle, "--json",
	}, more...)
}

func (s *stage) loadArgs(more ...string) []string {
	return append([]string{"load", "--url-api-annotation", s.target.URL, "--bundle", s.bundle, "--json"}, more...)
}

func (s *stage) importArgs(more ...string) []string {
	return append([]string{
		"import", "--url-api-platform", s.platform.URL, "--url-api-annotation", s.target.URL,
		"--date-from", firstDay, "--date-end", lastDay, "--detections-limit", "0", "--bundle", s.bundle, "--json",
	}, more...)
}

func (s *stage) annotateArgs(more ...string) []string {
	return append([]string{
		"annotate", "--url-api-annotation", s.target.URL, "--date-from", firstDay, "--date-end", lastDay, "--json",
	}, more...)
}

// ended is a run of the program.
type ended struct {
	args           []string
	code           int // -1: killed by a signal
	stdout, stderr string
	took           time.Duration
	processor      time.Duration // user and system
	memory         memory        // zero where the stage does not measure
}

func (e ended) String() string {
	return fmt.Sprintf("pyrobundle %s\nexit %d after %s\nstdout: %s\nstderr: %s", strings.Join(e.args, " "), e.code, e.took, cut(e.stdout), cut(e.stderr))
}

// cut keeps a failure's message readable.
func cut(text string) string {
	const most = 2000
	if len(text) > most {
		return text[:most/2] + "\n[…]\n" + text[len(text)-most/2:]
	}
	return text
}

// report is what of the program's JSON the tests look at.
type report struct {
	Sequences struct{ Total, Successful, Failed, New, Updated, Unchanged int64 }
	Images    struct{ Total, Downloaded, Reused, Failed, Gone int64 }
	Problems  []struct {
		Class, Kind, ID, Reason string
		SequenceID              int64 `json:"sequence_id"`
	}
	Error     string
	UndoFiles []string `json:"undo_files"`
}

// report parses what the run printed; a run that printed none fails the test.
func (e ended) report(t testing.TB) report {
	t.Helper()
	var r report
	if err := json.Unmarshal([]byte(e.stdout), &r); err != nil {
		t.Fatalf("the report is no JSON: %v\n%s", err, e)
	}
	return r
}

// failed are the sequences that a report lists as failed.
func (r report) failed() map[int64]string {
	ids := map[int64]string{}
	for _, p := range r.Problems {
		if p.Class == string(store.Failed) && p.SequenceID != 0 {
			ids[p.SequenceID] = p.Reason
		}
	}
	return ids
}

// run runs the program to its end. A run of more than the stage's limit, two minutes, is killed and fails the test: every
// test here is about bounded time, too.
func (s *stage) run(args ...string) ended {
	s.t.Helper()
	p := s.start(args...)
	return p.wait()
}

// process is the program under way.
type process struct {
	s              *stage
	cmd            *exec.Cmd
	stdout, stderr syncBuffer
	started        time.Time
	watched        chan memory
	stopWatching   chan struct{}
	timeout        *time.Timer
}

func (s *stage) start(args ...string) *process {
	s.t.Helper()
	return s.startWith(nil, args...)
}

// startWith starts the program with another stdout than one that is kept; nil: kept.
func (s *stage) startWith(stdout *os.File, args ...string) *process {
	s.t.Helper()
	p := &process{s: s, cmd: exec.Command(program, args...), started: time.Now()}
	p.cmd.Dir = s.home
	p.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.home, "TMPDIR=" + os.TempDir(), "XDG_STATE_HOME=" + filepath.Join(s.home, "state"), "NO_PROXY=*",
		"SYSTEMROOT=" + os.Getenv("SYSTEMROOT"),
		"PLATFORM_LOGIN=admin", "PLATFORM_PASSWORD=" + serve.DefaultPassword,
		"PLATFORM_ADMIN_LOGIN=admin", "PLATFORM_ADMIN_PASSWORD=" + serve.DefaultPassword,
	}, s.env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if stdout != nil {
		p.cmd.Stdout = stdout
	}
	p.cmd.SysProcAttr = s.credential
	s.must(p.cmd.Start())
	p.timeout = time.AfterFunc(s.limit, func() {
		s.t.Errorf("pyrobundle %s did not end in %s", strings.Join(args, " "), s.limit)
		_ = p.cmd.Process.Kill()
	})
	p.watched, p.stopWatching = make(chan memory, 1), make(chan struct{})
	if s.measure {
		go func() { p.watched <- watchMemory(p.cmd.Process.Pid, p.stopWatching) }()
	} else {
		p.watched <- memory{}
	}
	return p
}

func (p *process) wait() ended {
	p.s.t.Helper()
	err := p.cmd.Wait()
	took := time.Since(p.started)
	p.timeout.Stop()
	close(p.stopWatching)
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		p.s.t.Fatal(err)
	}
	return ended{
		args: p.cmd.Args[1:], code: p.cmd.ProcessState.ExitCode(), stdout: p.stdout.String(), stderr: p.stderr.String(),
		took: took, processor: p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime(), memory: <-p.watched,
	}
}

// kill ends the process as the kernel does: nothing of it runs any more.
func (p *process) kill() { _ = p.cmd.Process.Kill() } // it may have ended by itself

// until waits for a condition, for half a minute at most.
func (s *stage) until(condition func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("waited in vain")
		}
	}
}

// expect fails the test unless the run ended with the code.
func (s *stage) expect(e ended, code int) ended {
	s.t.Helper()
	if e.code != code {
		s.t.Fatalf("exit %d, want %d\n%s", e.code, code, e)
	}
	if strings.Contains(e.stderr, "DATA RACE") || strings.Contains(e.stderr, "goroutine ") || strings.Contains(e.stderr, "panic:") {
		s.t.Fatalf("a race or a panic\n%s", e)
	}
	return e
}

// digest is the stage's bundle's.
func (s *stage) digest() string {
	s.t.Helper()
	return strings.TrimSpace(s.expect(s.run("digest", "--bundle", s.bundle), exitDone).stdout)
}

// verify fails the test unless every byte of the stage's bundle is proven intact.
func (s *stage) verify() {
	s.t.Helper()
	s.expect(s.run("verify", "--read-data", "--bundle", s.bundle), exitDone)
}

// worldDigest is that of an undisturbed fetch of everything.
var worldDigest = sync.OnceValues(func() (string, error) {
	out, err := exec.Command(program, "digest", "--bundle", world).Output()
	return strings.TrimSpace(string(out)), err
})

// expectWhole fails the test unless the stage's bundle is intact and has everything that the platform has.
func (s *stage) expectWhole() {
	s.t.Helper()
	s.verify()
	want, err := worldDigest()
	s.must(err)
	if got := s.digest(); got != want {
		s.t.Fatalf("digest %s, want that of an undisturbed fetch, %s", got, want)
	}
}

// missing are the sequences of the world that the stage's bundle has not, or not with every image.
func (s *stage) missing() map[int64]bool {
	s.t.Helper()
	want, err := store.Open(world)
	s.must(err)
	defer func() { _ = want.Close() }()
	have, err := store.Open(s.bundle)
	s.must(err)
	defer func() { _ = have.Close() }()
	missing := map[int64]bool{}
	for r, err := range want.Sequences(s.t.Context(), store.Query{}) {
		s.must(err)
		id := r.Sequence.ID
		mine, err := have.Sequence(s.t.Context(), id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			missing[id] = true
			continue
		case err != nil:
			s.t.Fatal(err)
		}
		if len(mine.Detections) != len(r.Detections) || !slices.Equal(images(mine), images(r)) {
			missing[id] = true
		}
	}
	return missing
}

func images(r store.SequenceRecord) []string {
	var out []string
	for _, f := range r.Frames {
		out = append(out, f.Key+" "+f.Image.String())
	}
	slices.Sort(out)
	return out
}

// held is everything of a target that must be equal wherever and however it was loaded, by platform id: of each sequence a
// text with its fields, its detections with their images, and its annotation.
func held(api *sandbox.AnnotationAPI) map[int64]string {
	annotations := map[int64]sandbox.AnnotationRow{}
	for _, row := range api.Annotations() {
		annotations[row.SequenceID] = row
	}
	out := map[int64]string{}
	for _, q := range api.Sequences() {
		var b strings.Builder
		fmt.Fprintf(&b, "%s %q %d %s %s\n", q.SourceAPI, q.CameraName, q.OrganisationID, q.RecordedAt.UTC(), q.LastSeenAt.UTC())
		platformID := map[int64]int64{}
		rows := api.Detections(q.ID)
		slices.SortFunc(rows, func(a, b sandbox.DetectionRow) int { return int(a.AlertAPIID - b.AlertAPIID) })
		for _, d := range rows {
			platformID[d.ID] = d.AlertAPIID
			fmt.Fprintln(&b, "detection", d.AlertAPIID, d.RecordedAt.UnixMicro(), d.SHA256, d.Predictions, d.Others)
		}
		if a, ok := annotations[q.ID]; ok {
			fmt.Fprintln(&b, "annotation", a.Stage)
			for _, track := range a.Tracks {
				fmt.Fprintln(&b, "track", track.IsSmoke)
				for _, box := range track.Boxes {
					fmt.Fprintln(&b, platformID[box.DetectionID], box.Box)
				}
			}
		}
		out[q.AlertAPIID] = out[q.AlertAPIID] + b.String() // a second row of a sequence shows
	}
	return out
}

// wantHeld is what an undisturbed load of the world leaves on a target; its annotations are compared with the target's own
// generator (TestUndisturbedLoadIsWhatTheTargetWouldGenerate).
var wantHeld = sync.OnceValues(func() (map[string]map[int64]string, error) {
	want := map[string]map[int64]string{}
	for _, generation := range generations {
		api, err := loadedTarget(generation)
		if err != nil {
			return nil, err
		}
		want[generation] = held(api)
	}
	return want, nil
})

// loadedTarget is a target into which the world was loaded undisturbed.
func loadedTarget(generation string) (*sandbox.AnnotationAPI, error) {
	api := sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{Generation: generation})
	server, err := faultproxy.New(api, faultproxy.Plan{}).Listen()
	if err != nil {
		return nil, err
	}
	defer func() { _ = server.Close() }()
	home, err := os.MkdirTemp("", "pyrobundle-undisturbed-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(home) }()
	cmd := exec.Command(program, "load", "--url-api-annotation", server.URL, "--bundle", world)
	cmd.Dir, cmd.Env = home, []string{"HOME=" + home, "NO_PROXY=*", "SYSTEMROOT=" + os.Getenv("SYSTEMROOT"), "LOCALAPPDATA=" + home}
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("load undisturbed: %w\n%s", err, out)
	}
	return api, nil
}

// unlike are the sequences of the target that are not what an undisturbed load leaves, those that are missing or too many included.
func (s *stage) unlike(generation string) map[int64]bool {
	s.t.Helper()
	all, err := wantHeld()
	s.must(err)
	want, got := all[generation], held(s.api)
	unlike := map[int64]bool{}
	for id := range want {
		if got[id] != want[id] {
			unlike[id] = true
		}
	}
	for id := range got {
		if _, known := want[id]; !known {
			unlike[id] = true
		}
	}
	return unlike
}

// expectLoaded fails the test unless the target holds everything exactly once, as after an undisturbed load.
func (s *stage) expectLoaded(generation string) {
	s.t.Helper()
	all, err := wantHeld()
	s.must(err)
	got := held(s.api)
	for id := range s.unlike(generation) {
		s.t.Errorf("sequence %d on the target:\n%s\nafter an undisturbed load:\n%s", id, cut(got[id]), cut(all[generation][id]))
	}
	s.expectOnce()
}

// expectOnce fails the test if the target has any sequence, detection or annotation twice.
func (s *stage) expectOnce() {
	s.t.Helper()
	seen := map[string]bool{}
	once := func(format string, args ...any) {
		s.t.Helper()
		key := fmt.Sprintf(format, args...)
		if seen[key] {
			s.t.Errorf("%s is on the target twice", key)
		}
		seen[key] = true
	}
	for _, row := range s.api.Sequences() {
		once("sequence %d", row.AlertAPIID)
	}
	for _, row := range s.api.Detections(0) {
		once("detection %d of sequence row %d", row.AlertAPIID, row.SequenceID)
	}
	for _, row := range s.api.Annotations() {
		once("annotation of sequence row %d", row.SequenceID)
	}
}

// syncBuffer is what a process wrote; it may be read while the process runs.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// copyTree copies a bundle, so that a test may damage it.
func copyTree(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// treeSum is the SHA-256 over names and bytes of a directory: equal as long as nothing was touched.
func treeSum(t testing.TB, dir string) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		fmt.Fprintln(sum, path)
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		_, err = io.Copy(sum, file)
		return errors.Join(err, file.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}
