package torture

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pyrobundle/internal/faultproxy"
	"pyrobundle/internal/sandbox"
)

// ramDisk mounts a file system of its own size for the stage's bundle. Only root may; others skip, and the same is tested
// with a disk that fails by order in package store.
func (s *stage) ramDisk(mebibytes int) (dir string) {
	s.t.Helper()
	dir = filepath.Join(s.home, "disk")
	s.must(os.Mkdir(dir, 0o755))
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mebibytes)); err != nil {
		s.t.Skipf("a file system cannot be mounted here (%v): full disks are tested in package store alone", err)
	}
	s.t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			s.t.Error(err)
		}
	})
	s.bundle = filepath.Join(dir, "my.bundle")
	return dir
}

// fillUp leaves so many bytes free on the disk of dir, in a file that can be removed.
func fillUp(dir string, left int64) (ballast string, err error) {
	ballast = filepath.Join(dir, "ballast")
	file, err := os.Create(ballast)
	if err != nil {
		return ballast, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	for {
		var s syscall.Statfs_t
		if err := syscall.Statfs(dir, &s); err != nil {
			return ballast, err
		}
		free := int64(s.Bavail)*s.Bsize - left
		if free <= 0 {
			return ballast, nil
		}
		if _, err := file.Write(make([]byte, min(free, 1<<20))); errors.Is(err, syscall.ENOSPC) {
			return ballast, nil
		} else if err != nil {
			return ballast, err
		}
	}
}

// TestTooLittleRoomIsSaidBeforeTheFetch: nothing is downloaded, nothing is written.
func TestTooLittleRoomIsSaidBeforeTheFetch(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	dir := s.ramDisk(120)
	ballast, err := fillUp(dir, 20<<20)
	s.must(err)
	log := &requestLog{}
	s.servePlatform(faultproxy.Plan{}, log.watch)
	e := s.expect(s.run(s.fetchArgs()...), exitError)
	if !strings.Contains(e.stderr, "too little room on the disk: 21.") || !strings.Contains(e.stderr, "make room") {
		t.Errorf("it does not say so\n%s", e)
	}
	if asked := log.distinct("/fromdate"); len(asked) > 0 {
		t.Errorf("it asked for listings all the same")
	}
	if _, err := os.Stat(s.bundle); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
	s.must(os.Remove(ballast))
	s.expect(s.run(s.fetchArgs()...), exitDone)
	s.expectWhole()
}

// TestADiskThatFillsUpDuringAFetch: somebody else takes the room while it runs, to nearly nothing and to nothing at all. The
// run ends with a message that says so, nothing that was there is destroyed, and the next run completes the work.
func TestADiskThatFillsUpDuringAFetch(t *testing.T) {
	t.Parallel()
	for _, left := range times2([]int64{0, 300_000}, []int64{0, 4096, 300_000, 16 << 20}) {
		for _, requests := range times2([]int{70}, []int{5, 20, 40, 70, 100, 150, 200, 250, 300, 350}) {
			t.Run(fmt.Sprintf("%d bytes left after %d requests", left, requests), func(t *testing.T) {
				t.Parallel()
				s := newStage(t)
				dir := s.ramDisk(120)
				var ballast string
				s.servePlatform(faultproxy.Plan{}, before(requests, func() (err error) { ballast, err = fillUp(dir, left); return err }))
				e := s.expect(s.run(s.fetchArgs()...), exitError)
				if !strings.Contains(e.stderr, "too little room on the disk") && !strings.Contains(e.stderr, "no space left on device") {
					t.Errorf("it does not say why\n%s", e)
				}
				if n := strings.Count(e.stderr, "pyrobundle: "); n != 1 {
					t.Errorf("%d last words\n%s", n, e)
				}
				s.expectIntactAfterKill()
				s.must(os.Remove(ballast))
				s.expect(s.run(s.fetchArgs()...), exitDone)
				s.expectWhole()
			})
		}
	}
}

// before calls do while the n-th request waits for its answer.
func before(n int, do func() error) func(http.Handler) http.Handler {
	requests := make(chan int, 1)
	requests <- 0
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			count := <-requests + 1
			if count == n {
				if err := do(); err != nil {
					panic(err)
				}
			}
			requests <- count
			next.ServeHTTP(w, r)
		})
	}
}

// TestADiskFullOfUndoTouchesNoAnnotation: what somebody has annotated is replaced only after it has been saved.
func TestADiskFullOfUndoTouchesNoAnnotation(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	dir := s.ramDisk(4)
	s.bundle = world
	s.serveTarget(sandbox.AnnotationOptions{}, faultproxy.Plan{})
	s.expect(s.run(s.loadArgs()...), exitDone)
	for _, row := range s.api.Annotations() {
		s.api.EditAnnotation(row.ID, func(a *sandbox.AnnotationRow) { a.Stage, a.Contributors = "seq_annotation_done", []string{"jane"} })
	}
	want := held(s.api)
	ballast, err := fillUp(dir, 0)
	s.must(err)
	args := s.loadArgs("--existing", "overwrite", "--min-cluster-size", "2", "--undo-dir", filepath.Join(dir, "undo"))
	e := s.run(args...)
	if e.code != exitFailures && e.code != exitError || !strings.Contains(e.stderr, "no space left on device") {
		t.Errorf("exit %d\n%s", e.code, e)
	}
	got := held(s.api)
	for id := range want {
		if got[id] != want[id] {
			t.Errorf("the annotation of sequence %d was touched", id)
		}
	}
	s.must(os.Remove(ballast))
	s.expect(s.run(args...), exitDone)
}

// TestReadOnlyMedia: everything that reads works, what would write says why it cannot, and nothing changes.
func TestReadOnlyMedia(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	dir := s.ramDisk(120)
	s.servePlatform(faultproxy.Plan{})
	s.serveTarget(sandbox.AnnotationOptions{}, faultproxy.Plan{})
	s.expect(s.run(s.fetchArgs()...), exitDone)
	sum := treeSum(t, s.bundle)
	s.must(syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	e := s.expect(s.run(s.fetchArgs()...), exitError)
	if !strings.Contains(e.stderr, "read-only file system") {
		t.Errorf("it does not say why\n%s", e)
	}
	s.expectWhole()
	s.expect(s.run("inspect", "--bundle", s.bundle), exitDone)
	s.expect(s.run(s.loadArgs()...), exitDone)
	s.expectLoaded("newest")
	if treeSum(t, s.bundle) != sum {
		t.Error("the bundle has changed")
	}
	s.must(syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=120m"))
	s.expect(s.run(s.fetchArgs()...), exitDone)
}

// TestForbiddenDirectories: a user who may not write, or not read, is told so; nothing changes.
func TestForbiddenDirectories(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.servePlatform(faultproxy.Plan{})
	s.expect(s.run(s.fetchArgs()...), exitDone)
	sum := treeSum(t, s.bundle)
	if os.Getuid() == 0 { // whom no permission stops
		s.asNobody()
	}
	denied := func(mode, files fs.FileMode, args ...string) {
		t.Helper()
		s.must(setModes(s.bundle, mode, files))
		e := s.expect(s.run(args...), exitError)
		if !strings.Contains(e.stderr, "permission denied") {
			t.Errorf("it does not say why\n%s", e)
		}
		s.must(setModes(s.bundle, 0o700, 0o600))
		if treeSum(t, s.bundle) != sum {
			t.Fatalf("the bundle has changed\n%s", e)
		}
	}
	denied(0o500, 0o400, s.fetchArgs()...)
	denied(0o700, 0o000, s.fetchArgs()...)
	denied(0o700, 0o000, "verify", "--bundle", s.bundle)
	denied(0o000, 0o600, "inspect", "--bundle", s.bundle)
	there := filepath.Join(s.home, "locked", "new.bundle")
	s.must(os.Mkdir(filepath.Dir(there), 0o500))
	e := s.expect(s.run(s.fetchArgs("--bundle", there)...), exitError)
	if !strings.Contains(e.stderr, "permission denied") {
		t.Errorf("it does not say why\n%s", e)
	}
	s.expect(s.run(s.fetchArgs()...), exitDone)
	s.expectWhole()
}

// asNobody runs the program from now on as a user without rights, who owns the stage's home.
func (s *stage) asNobody() {
	s.t.Helper()
	const nobody = 65534
	below := filepath.Clean(os.TempDir()) + string(filepath.Separator) // what is not is nobody's to change: TMPDIR may end with a slash
	for dir := s.home; strings.HasPrefix(dir, below); dir = filepath.Dir(dir) {
		s.must(os.Chmod(dir, 0o755))
	}
	s.must(filepath.WalkDir(s.home, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, nobody, nobody))
	}))
	s.credential = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
}

func setModes(root string, dirs, files fs.FileMode) error {
	if err := os.Chmod(root, 0o700); err != nil {
		return err
	}
	paths := []string{root}
	if err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			return os.Chmod(path, files)
		}
		if err == nil && path != root {
			paths = append(paths, path)
			return os.Chmod(path, 0o700)
		}
		return err
	}); err != nil {
		return err
	}
	for i := len(paths) - 1; i >= 0; i-- {
		if err := os.Chmod(paths[i], dirs); err != nil {
			return err
		}
	}
	return nil
}
