package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"pyrobundle/internal/sandbox"
)

// The scripts of testdata/script drive the real binary, each process on its own. Beside pyrobundle they may run:
//
//	sandbox-annotation [-generation newest|seed] [-login L -password P]   an annotation API; prints its URL
//	sandbox-internet -authority FILE -bundle BUNDLE                       a proxy to the French platform and an annotation API
//	target URL state|writes|reset|review ID|occupy ID                     what that API holds, from outside
//	exits CODE PROGRAM ARGS...                                            succeeds if the program ends with the code
//
// and the commands
//
//	start VARIABLE PROGRAM ARGS...   starts a server, and puts the URL that it prints into VARIABLE
//	stop VARIABLE                    interrupts it and waits for its end
//	await FILE                       waits until the file is there
//
// $WORLD is a synthetic bundle of 2024-01-01 to 2024-01-05, made once; a script must not write to it. Its hand-made sequences
// are 101 to 115 (see sandbox.SequenceTwoObjects and its sisters); 107 alone has no boxes.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"pyrobundle":         main,
		"sandbox-annotation": sandboxAnnotation,
		"sandbox-internet":   sandboxInternet,
		"target":             target,
		"exits":              exits,
		"panics":             panics,
	})
}

func TestScripts(t *testing.T) {
	world := filepath.Join(t.TempDir(), "world.bundle")
	if err := sandbox.WriteBundle(t.Context(), world, sandbox.WorldOptions{ImageBytes: smallImage, FirstDay: "2024-01-01"}); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("WORLD", world)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
			env.Setenv("NO_PROXY", "*")
			env.Values[serversKey{}] = servers{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"start": startServer, "stop": stopServer, "await": await},
	})
}

// smallImage is the size of the scripts' images, in bytes: what they look like is the demo's affair.
const smallImage = 2000

// servers are the processes that a script has started, by variable.
type servers map[string]*exec.Cmd

type serversKey struct{}

func startServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start VARIABLE PROGRAM ARGS...")
	}
	cmd := exec.Command(args[1], args[2:]...) //nolint:gosec // the scripts are ours
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "XDG_STATE_HOME", "TMPDIR", "SERVE_PASSWORD", "SYSTEMROOT"} {
		if value := ts.Getenv(name); value != "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		ts.Logf("[%s]\n%s", args[1], &stderr)
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		_ = cmd.Wait()
		ts.Fatalf("%s printed no URL: %v\n%s", args[1], err, &stderr)
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	ts.Setenv(args[0], strings.TrimSpace(line))
	ts.Setenv(args[0]+"_PID", strconv.Itoa(cmd.Process.Pid))
	running(ts)[args[0]] = cmd
}

func stopServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stop VARIABLE")
	}
	cmd := running(ts)[args[0]]
	if cmd == nil {
		ts.Fatalf("stop %s: no such server", args[0])
	}
	ts.Check(cmd.Process.Signal(os.Interrupt))
	ts.Check(cmd.Wait())
	delete(running(ts), args[0])
}

// await polls for what another process writes; the test's deadline ends it.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await FILE")
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("await %s: still not there", args[0])
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// running returns the script's servers.
func running(ts *testscript.TestScript) servers {
	if s, ok := ts.Value(serversKey{}).(servers); ok {
		return s
	}
	ts.Fatalf("no servers")
	return nil
}

// target is the program of that name: it asks sandbox-annotation.
func target() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: target URL state|writes|reset|review ID")
		os.Exit(2)
	}
	address, what := os.Args[1]+"/sandbox/"+os.Args[2], os.Args[2]
	client := http.Client{Timeout: 10 * time.Second}
	var answer *http.Response
	var err error
	if what == "state" || what == "writes" {
		answer, err = client.Get(address)
	} else {
		answer, err = client.PostForm(address, url.Values{"id": os.Args[3:]})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(os.Stdout, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		fmt.Fprintln(os.Stderr, answer.Status, err)
		os.Exit(1)
	}
}

// interruptionLimit is what an interrupted program may take: a second by promise, and patience with a busy machine.
const interruptionLimit = 4 * time.Second

// panics is the program of that name: a stage of which a worker panics while a bar is shown.
func panics() {
	app := newApp(os.Stdout, os.Stderr, os.LookupEnv, time.Now)
	progress := app.progress(outputFlags{}, slog.New(slog.DiscardHandler), "fetch", "sequences")
	progress.add("sequences", 1, 3)
	for {
		app.stderr.mu.Lock()
		drawn := app.stderr.drawn
		app.stderr.mu.Unlock()
		if drawn {
			go panic("a bug")
			select {}
		}
		time.Sleep(time.Millisecond)
	}
}

// exits is the program of that name. An interruption is passed on.
func exits() {
	want, err := strconv.Atoi(os.Args[1])
	if err != nil || len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: exits CODE PROGRAM ARGS...")
		os.Exit(2)
	}
	cmd := exec.Command(os.Args[2], os.Args[3:]...) //nolint:gosec // the scripts are ours
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var interrupted atomic.Int64 // when, in Unix nanoseconds
	go func() {
		for s := range signals {
			interrupted.Store(time.Now().UnixNano())
			if os.Getenv("PASS_ON") == "TERM" { // which scripts cannot send
				s = syscall.SIGTERM
			}
			_ = cmd.Process.Signal(s)
		}
	}()
	_ = cmd.Wait()
	if at := interrupted.Load(); at != 0 && time.Since(time.Unix(0, at)) > interruptionLimit {
		fatalf("exits: the program ended %s after the interruption", time.Since(time.Unix(0, at)))
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		fmt.Fprintf(os.Stderr, "exits: code %d, want %d\n", got, want)
		os.Exit(1)
	}
}
