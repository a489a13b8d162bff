package torture

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
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
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(program, 0o755)); err != nil { // one test runs it as another user, whatever the umask
		return err
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
	background bool                 // the program runs as what a script has put into the background: SIGINT is ignored

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
