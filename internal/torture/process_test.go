package torture

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pyrobundle/serve"
	"pyrobundle/store"
)

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
	if s.background {
		p.cmd = exec.Command("sh", append([]string{"-c", `trap "" INT; exec "$0" "$@"`, program}, args...)...)
	}
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
