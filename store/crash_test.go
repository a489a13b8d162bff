//go:build unix

package store

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The test binary runs itself as a child, told by this variable what to do.
const childVariable = "PYROBUNDLE_STORE_CHILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(childVariable); role != "" {
		os.Exit(child(role))
	}
	os.Exit(m.Run())
}

// child does what role says with the bundle named by its first argument.
func child(role string) int {
	path := os.Args[len(os.Args)-1]
	var err error
	switch role {
	case "write":
		err = childWrite(path)
	case "read":
		err = childRead(path)
	case "full":
		err = childDiskFull(path)
	case "unpack":
		err = childUnpack(path)
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// runChild is the command of a child.
func runChild(t *testing.T, role, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$", path)
	cmd.Env = append(os.Environ(), childVariable+"="+role)
	return cmd
}

// tortured is what the child writes: several shards, several sequences that share images.
func tortured() *sample {
	s := newSample(60, 8, 9000)
	for i := 10; i < 60; i += 10 {
		key := fmt.Sprintf("shared-%d", i)
		s.sequences[i].Frames = append(s.sequences[i].Frames, Frame{Key: key, Image: s.sequences[0].Frames[0].Image})
		s.images[key] = s.images[s.sequences[0].Frames[0].Key]
	}
	return s
}

const torturedSeal = 700_000 // bytes; some seven shards

// childWrite writes what is not there yet, announcing each committed sequence.
func childWrite(path string) error {
	ctx := context.Background()
	w, err := OpenWriter(ctx, path, WriteOptions{Source: testSource(), SealSize: torturedSeal, renewAfter: 50})
	if err != nil {
		return err
	}
	fmt.Println("open")
	s := tortured()
	if err := resume(ctx, w, s, func(id int64) { fmt.Println(id) }); err != nil {
		return err
	}
	return w.Close()
}

// resume is a small fetch: it puts what the bundle lacks, four sequences at a time.
func resume(ctx context.Context, w *Writer, s *sample, committed func(id int64)) error {
	if err := w.PutOrganizations(ctx, s.organizations); err != nil {
		return err
	}
	if err := w.PutCameras(ctx, s.cameras); err != nil {
		return err
	}
	work := make(chan SequenceRecord)
	errs := make(chan error, 4)
	var group sync.WaitGroup
	for range cap(errs) {
		group.Go(func() {
			var failed error
			for r := range work {
				if failed == nil {
					failed = resumeOne(ctx, w, s, r, committed)
				}
			}
			errs <- failed
		})
	}
	for _, r := range s.sequences {
		work <- r
	}
	close(work)
	group.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return all
}

func resumeOne(ctx context.Context, w *Writer, s *sample, r SequenceRecord, committed func(id int64)) error {
	if _, err := w.Sequence(ctx, r.Sequence.ID); err == nil {
		return nil
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	for _, f := range r.Frames {
		if _, err := w.ImageOf(ctx, r.OrganizationID(), f.Key); err == nil {
			continue
		} else if !errors.Is(err, ErrNotFound) {
			return err
		}
		if _, err := w.PutImage(ctx, r.OrganizationID(), f.Key, JPEG, s.images[f.Key]); err != nil {
			return err
		}
	}
	if err := w.PutSequence(ctx, r); err != nil {
		return err
	}
	committed(r.Sequence.ID)
	return nil
}

// undisturbed is the digest of the tortured sample written in one go.
func undisturbed(t *testing.T) Hash {
	t.Helper()
	path := filepath.Join(t.TempDir(), "undisturbed")
	w := openWriterForTest(t, path, WriteOptions{SealSize: torturedSeal, renewAfter: 50})
	if err := resume(t.Context(), w, tortured(), func(int64) {}); err != nil {
		t.Fatal(err)
	}
	closeWriter(t, w)
	return digestOf(t, path)
}

func TestKilledWriterLosesNothingCommitted(t *testing.T) {
	t.Parallel()
	kills := 20
	if torture() {
		kills = 400
	}
	if testing.Short() {
		kills = 3
	}
	want := undisturbed(t)
	random := rand.New(rand.NewPCG(11, 4))
	path := filepath.Join(t.TempDir(), "killed")
	committed := map[int64]bool{}
	unfinished := 0
	for n := range kills {
		cmd := runChild(t, "write", path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		after := time.Duration(random.IntN(60_000)) * time.Microsecond
		kill := func() { time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) } // it may have ended
		starting := n%4 == 0
		if starting {
			kill()
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if lines.Text() == "open" && !starting { // on a busy machine it takes longer to get here than from here to the end
				kill()
			}
			if id, err := strconv.ParseInt(lines.Text(), 10, 64); err == nil {
				committed[id] = true
			}
		}
		err = cmd.Wait()
		if stderr.Len() > 0 {
			t.Fatalf("the writer failed: %s", stderr.String())
		}
		b, openErr := Open(path)
		if openErr != nil {
			if len(committed) == 0 && (isMissing(openErr) || errors.Is(openErr, ErrNotBundle)) {
				continue // killed while creating
			}
			t.Fatal(openErr)
		}
		if report := verifyAll(t, b); len(report.Findings) > 0 {
			t.Fatalf("after a kill: %+v", report.Findings)
		}
		for id := range committed {
			if _, err := b.Sequence(t.Context(), id); err != nil {
				t.Fatalf("a committed sequence is lost: %v", err)
			}
		}
		if cerr := b.Close(); cerr != nil {
			t.Fatal(cerr)
		}
		if err == nil || len(committed) == 60 { // it got to the end: begin again
			if got := digestOf(t, path); len(committed) == 60 && got != want {
				t.Fatalf("digest %s, undisturbed %s", got, want)
			}
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			committed = map[int64]bool{}
			continue
		}
		unfinished++
	}
	if unfinished < kills/4 {
		t.Errorf("only %d of %d kills came in time", unfinished, kills)
	}
	cmd := runChild(t, "write", path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mustBeSound(t, path)
	if got := digestOf(t, path); got != want {
		t.Errorf("digest %s, undisturbed %s", got, want)
	}
}

func TestDiskFullAtEveryWrite(t *testing.T) {
	t.Parallel()
	s := newSample(4, 4, 2000)
	counting := &failingDisk{left: 1 << 30}
	want := digestOf(t, s.build(t, WriteOptions{SealSize: 12_000, disk: counting}))
	step := 1
	if !torture() {
		step = 3
	}
	for n := 0; n < counting.seen; n += step {
		path := filepath.Join(t.TempDir(), "b")
		disk := &failingDisk{left: n}
		w, err := OpenWriter(t.Context(), path, WriteOptions{Source: testSource(), SealSize: 12_000, disk: disk, renewAfter: 50})
		if err == nil {
			err = s.putTo(t.Context(), w)
			if cerr := w.Close(); err == nil {
				err = cerr
			}
		}
		if disk.left >= 0 && n > counting.seen/2 {
			break // images were committed because a second had passed, when it was counted, and it is through
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("operation %d: %v, want no space", n, err)
		}
		b, err := Open(path)
		switch {
		case err == nil:
			if report := verifyAll(t, b); len(report.Findings) > 0 {
				t.Fatalf("operation %d: %+v", n, report.Findings)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
		case !errors.Is(err, ErrNotBundle) || n > 10:
			t.Fatalf("operation %d: %v", n, err)
		}
		w = openWriterForTest(t, path, WriteOptions{SealSize: 12_000})
		s.put(t, w)
		closeWriter(t, w)
		mustBeSound(t, path)
		if got := digestOf(t, path); got != want {
			t.Fatalf("operation %d: digest %s, want %s", n, got, want)
		}
	}
	t.Logf("%d operations, each %dth failed", counting.seen, step)
}
