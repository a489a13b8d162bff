//go:build unix

package torture

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.etcd.io/bbolt"

	"pyrobundle/internal/faultproxy"
	"pyrobundle/internal/sandbox"
)

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
