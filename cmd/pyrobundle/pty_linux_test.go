package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pyrobundle/internal/sandbox"
	"pyrobundle/serve"
	"pyrobundle/store"
)

// pty is a program running in a pseudo-terminal, and what a person sees of it.
type pty struct {
	t      *testing.T
	cmd    *exec.Cmd
	device *os.File // the side of the person
	read   chan struct{}

	mu     sync.Mutex
	shown  *terminal
	raw    bytes.Buffer
	change chan struct{} // closed when something was shown
}

// startInTerminal runs a program of TestMain in a terminal of its own.
func startInTerminal(t *testing.T, columns int, env []string, program string, args ...string) *pty {
	t.Helper()
	device, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(unix.IoctlSetPointerInt(int(device.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(device.Fd()), unix.TIOCGPTN)
	must(err)
	terminal, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	must(err)
	p := &pty{t: t, device: device, read: make(chan struct{}), shown: newTerminal(columns), change: make(chan struct{})}
	p.resize(columns)
	p.cmd = exec.Command(program, args...) //nolint:gosec // the test's own program
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = terminal, terminal, terminal
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TERM=xterm-256color"}, env...)
	p.cmd.Dir = t.TempDir()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	must(p.cmd.Start())
	must(terminal.Close())
	go p.show()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.read
		_ = device.Close()
		if t.Failed() {
			t.Logf("shown:\n%s", p.shown.text())
		}
	})
	return p
}

func (p *pty) show() {
	defer close(p.read)
	buffer := make([]byte, 4096)
	for {
		n, err := p.device.Read(buffer)
		p.mu.Lock()
		_, _ = p.shown.Write(buffer[:n])
		p.raw.Write(buffer[:n])
		close(p.change)
		p.change = make(chan struct{})
		p.mu.Unlock()
		if err != nil { // EIO: the program has ended
			return
		}
	}
}

// await returns as soon as what is shown satisfies until.
func (p *pty) await(what string, until func(text string) bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	for {
		p.mu.Lock()
		change, satisfied := p.change, until(p.shown.text())
		p.mu.Unlock()
		if satisfied {
			return
		}
		select {
		case <-change:
		case <-p.read:
			p.t.Fatalf("the program ended without showing %s", what)
		case <-ctx.Done():
			p.t.Fatalf("never shown: %s", what)
		}
	}
}

// resize changes the window as a person does who drags its corner.
func (p *pty) resize(columns int) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown.resize(columns)
	if err := unix.IoctlSetWinsize(int(p.device.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(columns), Row: 24}); err != nil { //nolint:gosec // a window's width
		p.t.Fatal(err)
	}
}

func (p *pty) press(keys string) {
	p.t.Helper()
	if _, err := io.WriteString(p.device, keys); err != nil {
		p.t.Fatal(err)
	}
}

// end waits for the program and returns its exit code and what stays on the screen.
func (p *pty) end() (code int, text string) {
	p.t.Helper()
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	<-p.read
	return p.cmd.ProcessState.ExitCode(), p.shown.text()
}

// heldPlatform serves a world whose images wait until they are released; the first of them is refused for a moment, so that
// there is something to log.
func heldPlatform(t *testing.T) (url string, release func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "world.bundle")
	if err := sandbox.WriteBundle(t.Context(), path, sandbox.WorldOptions{ImageBytes: smallImage, FirstDay: "2024-01-01"}); err != nil {
		t.Fatal(err)
	}
	world, err := store.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	api := serve.New(world, serve.Options{})
	gate := make(chan struct{})
	release = sync.OnceFunc(func() { close(gate) })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/storage/") {
			select {
			case <-gate:
			case <-r.Context().Done():
				return
			}
		}
		api.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		release()
		server.Close()
		_ = world.Close()
	})
	return server.URL, release
}

func fetchInTerminal(t *testing.T, columns int, env []string, flags ...string) (p *pty, release func()) {
	t.Helper()
	url, release := heldPlatform(t)
	env = append(env, "PLATFORM_LOGIN=admin", "PLATFORM_PASSWORD="+serve.DefaultPassword,
		"PLATFORM_ADMIN_LOGIN=admin", "PLATFORM_ADMIN_PASSWORD="+serve.DefaultPassword, "NO_PROXY=*")
	flags = append([]string{"fetch", "--url-api-platform", url, "--date-from", "2024-01-01", "--date-end", "2024-01-05"}, flags...)
	return startInTerminal(t, columns, env, "pyrobundle", flags...), release
}

func TestTerminalShowsAFetchAndIsCleanAfterIt(t *testing.T) {
	t.Parallel()
	p, release := fetchInTerminal(t, 80, nil)
	below := func(width int) func(string) bool {
		return func(text string) bool {
			lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
			if len(lines) < 2 {
				return false
			}
			bar, counts := lines[len(lines)-2], lines[len(lines)-1]
			return strings.HasPrefix(bar, "fetch [") && len(bar) > width-15 && len(bar) < width && strings.Contains(counts, "images 0/")
		}
	}
	p.await("a bar of 80 columns", below(80))
	p.resize(40)
	p.await("a bar of 40 columns", below(40))
	p.resize(72)
	p.await("a bar of 72 columns", below(72))
	p.resize(20)
	p.await("no bar in 20 columns", func(text string) bool {
		return strings.HasSuffix(text, "\nimages 0/32\n") || strings.Contains(text, "fetch   0%")
	})
	p.resize(100)
	p.await("a bar of 100 columns", below(100))
	release()
	code, text := p.end()
	if code != 0 || strings.Contains(text, "[") || strings.Contains(text, "ETA") {
		t.Errorf("exit code %d, and the bar is still there:\n%s", code, text)
	}
	for _, want := range []string{"\nfetch: days 5/5, sequences 15/15, images ", "\nProcessing completed!\nFinal Statistics:\n  Total sequences: 15\n"} {
		if !strings.Contains("\n"+text, want) {
			t.Errorf("lacks %q", want)
		}
	}
}

func TestTerminalIsCleanAfterCtrlC(t *testing.T) {
	t.Parallel()
	p, _ := fetchInTerminal(t, 80, nil)
	p.await("a bar", func(text string) bool { return strings.Contains(text, "images 0/") })
	before, err := unix.IoctlGetTermios(int(p.device.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	p.press("\x03")
	code, text := p.end()
	if code != exitInterrupted || strings.Contains(text, "[") || strings.Contains(text, "^C") {
		t.Errorf("exit code %d, and the bar or the key's echo is still there:\n%s", code, text)
	}
	if !strings.HasSuffix(text, "\npyrobundle: interrupted; run it again to go on\n") || !strings.Contains(text, "Processing interrupted!\nFinal Statistics:\n") {
		t.Errorf("the report of what was done is missing:\n%s", text)
	}
	if after, err := unix.IoctlGetTermios(int(p.device.Fd()), unix.TCGETS); err == nil && *after != *before {
		t.Errorf("the terminal's modes changed from %+v to %+v", before, after)
	}
}

func TestTerminalIsCleanAfterAnError(t *testing.T) {
	t.Parallel()
	p, _ := fetchInTerminal(t, 80, nil, "--bundle", "/dev/null/no.bundle")
	code, text := p.end()
	if code != exitError || strings.Contains(text, "[") || strings.Count(text, "pyrobundle: ") != 1 {
		t.Errorf("exit code %d:\n%s", code, text)
	}
}

// A program that dies leaves its bar, and what comes next begins on a line of its own.
func TestTerminalStaysLegibleAfterAPanic(t *testing.T) {
	t.Parallel()
	p := startInTerminal(t, 80, nil, "panics")
	code, text := p.end()
	if code != 2 || !strings.HasPrefix(text, "fetch [") || !strings.Contains(text, "\npanic: a bug\n") {
		t.Errorf("exit code %d:\n%s", code, text)
	}
}

func TestTerminalThatWantsNoBarsGetsPlainLines(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]struct {
		env   string
		flags []string
	}{
		"NO_COLOR":               {env: "NO_COLOR=1"},
		"TERM=dumb":              {env: "TERM=dumb"},
		"no TERM":                {env: "TERM="},
		"--no-progress":          {flags: []string{"--no-progress"}},
		"PYROBUNDLE_NO_PROGRESS": {env: "PYROBUNDLE_NO_PROGRESS=true"},
		"--json":                 {flags: []string{"--json"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, release := fetchInTerminal(t, 80, []string{how.env}, how.flags...)
			release()
			code, text := p.end()
			if code != 0 || bytes.ContainsAny(p.raw.Bytes(), "\x1b") || !strings.Contains(text, "fetch: days 5/5") {
				t.Errorf("exit code %d: %q", code, p.raw.String())
			}
		})
	}
}

// Log lines that come while a bar is shown stand above it, unbroken, and stay in their order.
func TestTerminalKeepsLogLinesAboveTheBar(t *testing.T) {
	t.Parallel()
	p, release := fetchInTerminal(t, 300, nil, "--loglevel", "debug")
	p.await("a bar", func(text string) bool { return strings.Contains(text, "images 0/") })
	release()
	code, text := p.end()
	lines := strings.Split(text, "\n")
	logged := 0
	for _, line := range lines {
		if strings.Contains(line, "level=") {
			logged++
			if !strings.HasPrefix(line, "time=") || strings.Count(line, "time=") != 1 {
				t.Errorf("broken line %q", line)
			}
		}
	}
	if code != 0 || logged < 100 {
		t.Errorf("exit code %d, %d log lines, want a hundred or more", code, logged)
	}
	for i, line := range lines {
		if strings.HasPrefix(line, "fetch [") {
			t.Errorf("line %d is a bar that was left behind: %q", i, line)
		}
	}
}

// A session that is lost interrupts a run like Ctrl-C; under nohup, which ignores the signal, it goes on.
func TestHangUpInterruptsUnlessItIsIgnored(t *testing.T) {
	t.Parallel()
	// The program inherits what these tests ignore, which is SIGHUP when they run under nohup themselves. What is caught is not ignored.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(caught) })
	for name, test := range map[string]struct {
		program []string
		code    int
		heading string
	}{
		"a lost session": {[]string{"pyrobundle"}, exitInterrupted, "Processing interrupted!\n"},
		"nohup":          {[]string{"sh", "-c", `trap "" HUP; exec pyrobundle "$@"`, "sh"}, exitDone, "Processing completed!\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, release := heldPlatform(t)
			env := []string{
				"PLATFORM_LOGIN=admin", "PLATFORM_PASSWORD=" + serve.DefaultPassword,
				"PLATFORM_ADMIN_LOGIN=admin", "PLATFORM_ADMIN_PASSWORD=" + serve.DefaultPassword, "NO_PROXY=*",
			}
			args := append(test.program[1:], "fetch", "--url-api-platform", url, "--date-from", "2024-01-01", "--date-end", "2024-01-05")
			p := startInTerminal(t, 80, env, test.program[0], args...)
			p.await("a bar", func(text string) bool { return strings.Contains(text, "images 0/") })
			if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			if test.code == exitDone {
				release()
			}
			code, text := p.end()
			if code != test.code || !strings.Contains(text, test.heading) {
				t.Errorf("exit code %d, want %d and %q", code, test.code, test.heading)
			}
		})
	}
}

func TestTerminalGetsNoBinaryResults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ args, want string }{
		{"pack -o -", "pyrobundle: -o - would write an archive to the terminal: redirect it or name a file\n"},
		{"inspect image key -o -", "pyrobundle: -o - would write an image to the terminal: redirect it or name a file\n"},
	} {
		t.Run(test.args, func(t *testing.T) {
			t.Parallel()
			code, text := startInTerminal(t, 300, nil, "pyrobundle", strings.Fields(test.args)...).end()
			if code != exitUsage || text != test.want {
				t.Errorf("exit code %d: %q, want %q", code, text, test.want)
			}
		})
	}
}
