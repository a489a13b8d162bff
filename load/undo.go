package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"pyrobundle/annotate"
	"pyrobundle/load/annotation"
)

// An undo file is JSON lines: a header, then one saved annotation a line. Lines are appended and synced before the
// annotation is touched, so a line that an interruption cut short stands for an annotation that was not.

// undoFormat is the first line's format; Restore refuses any other.
const undoFormat = "pyrobundle-undo/1"

type undoHeader struct {
	Format string    `json:"format"`
	Target string    `json:"target"` // base URL
	At     time.Time `json:"at"`
}

// saved is an annotation that a run replaced.
type saved struct {
	At         time.Time       `json:"at"`
	SourceAPI  string          `json:"source_api"`
	AlertAPIID int64           `json:"alert_api_id"` // the platform's id of the sequence
	SequenceID int64           `json:"sequence_id"`  // the target's
	ReplacedBy string          `json:"replaced_by"`  // digest of the document that took its place
	Annotation json.RawMessage `json:"annotation"`   // the API's object, whole and verbatim
}

// undoLog saves annotations before they are replaced. Its file is made with the first of them.
type undoLog struct {
	dir, target string

	mu   sync.Mutex
	file *os.File
}

func newUndoLog(cfg Config, target string) *undoLog {
	dir := cfg.UndoDir
	if dir == "" && cfg.StateDir != "" {
		dir = filepath.Join(cfg.StateDir, "undo")
	}
	return &undoLog{dir: dir, target: target}
}

// undoError is a failure to save; nothing was written then, and trying again at once would not help.
type undoError struct{ error }

func (e undoError) Unwrap() error { return e.error }

// save appends an annotation and syncs. Until it has returned nil, the annotation must not be touched.
func (u *undoLog) save(s annotation.Sequence, a annotation.SequenceAnnotation, by annotate.Document) error {
	line, err := json.Marshal(saved{
		At: time.Now().UTC(), SourceAPI: s.SourceAPI, AlertAPIID: s.AlertAPIID, SequenceID: a.SequenceID,
		ReplacedBy: fmt.Sprintf("%x", digestOf(by)), Annotation: a.Verbatim,
	})
	if err != nil {
		return fmt.Errorf("save the old annotation: %w", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.file == nil {
		if err := u.create(); err != nil {
			return fmt.Errorf("save the old annotation: %w", err)
		}
	}
	if _, err := u.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("save the old annotation: %w", err)
	}
	if err := u.file.Sync(); err != nil {
		return fmt.Errorf("save the old annotation: %w", err)
	}
	return nil
}

// create makes the file, under a name of its own, with its header.
func (u *undoLog) create() error {
	if u.dir == "" {
		state, err := StateDir()
		if err != nil {
			return err
		}
		u.dir = filepath.Join(state, "undo")
	}
	if err := os.MkdirAll(u.dir, 0o700); err != nil {
		return err
	}
	now := time.Now().UTC()
	header, err := json.Marshal(undoHeader{Format: undoFormat, Target: u.target, At: now})
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(u.dir, fmt.Sprintf("%s-%s-*.jsonl", hostOf(u.target), now.Format("20060102T150405Z")))
	if err != nil {
		return err
	}
	if _, err := file.Write(append(header, '\n')); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := syncDir(u.dir); err != nil {
		return errors.Join(err, file.Close())
	}
	u.file = file
	return nil
}

// close ends the file, if there is one.
func (u *undoLog) close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.file == nil {
		return nil
	}
	err := u.file.Close()
	u.file = nil
	return err
}

// path returns where annotations were saved, "" where none was.
func (u *undoLog) path() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.file == nil {
		return ""
	}
	return u.file.Name()
}

// hostOf is a file name's part for a target.
func hostOf(target string) string {
	host := "target"
	if parsed, err := url.Parse(target); err == nil && parsed.Hostname() != "" {
		host = parsed.Hostname()
	}
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, host)
}
