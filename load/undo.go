package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
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
	Annotation json.RawMessage `json:"annotation"`   // the API's object, whole and verbatim, but for secrets of ours in it
}

// undoLog saves annotations before they are replaced. Its file is made with the first of them.
type undoLog struct {
	dir, target string
	mask        func(string) string // takes secrets out of a text, and nothing else

	mu     sync.Mutex
	file   undoFile
	size   int64 // of the file's whole lines, in bytes
	saves  bool  // an annotation is among them
	broken error // why nothing more can be saved
}

// undoFile is what an undoLog needs of its file; *os.File is one.
type undoFile interface {
	io.WriterAt
	Name() string
	Sync() error
	Truncate(size int64) error
	Close() error
}

func newUndoLog(cfg Config, dst Target) *undoLog {
	dir := cfg.UndoDir
	if dir == "" && cfg.StateDir != "" {
		dir = filepath.Join(cfg.StateDir, "undo")
	}
	return &undoLog{dir: dir, target: dst.BaseURL(), mask: dst.Mask}
}

// undoError is a failure to save; nothing was written then, and trying again at once would not help.
type undoError struct{ error }

func (e undoError) Unwrap() error { return e.error }

// save appends an annotation and syncs. Until it has returned nil, the annotation must not be touched.
func (u *undoLog) save(s annotation.Sequence, a annotation.SequenceAnnotation, by annotate.Document) error {
	line, err := json.Marshal(saved{
		At: time.Now().UTC(), SourceAPI: s.SourceAPI, AlertAPIID: s.AlertAPIID, SequenceID: a.SequenceID,
		ReplacedBy: fmt.Sprintf("%x", digestOf(by)), Annotation: withoutSecrets(a.Verbatim, u.mask),
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
	if err := u.append(append(line, '\n')); err != nil {
		return fmt.Errorf("save the old annotation: %w", err)
	}
	return nil
}

// apiWord is what the API's types and stages look like, which restore needs as they are, and no token does.
var apiWord = regexp.MustCompile(`^[a-z_]{1,32}$`)

// withoutSecrets returns an object of the API with what mask leaves of each text in it, or, where that is all, as it came.
func withoutSecrets(object json.RawMessage, mask func(string) string) json.RawMessage {
	decoder := json.NewDecoder(bytes.NewReader(object))
	decoder.UseNumber() // an id stays one
	var value any
	if decoder.Decode(&value) != nil {
		return object // for json.Marshal to refuse
	}
	masked := false
	shown := func(text string) string {
		if apiWord.MatchString(text) {
			return text
		}
		without := mask(text)
		masked = masked || without != text
		return without
	}
	var walk func(any) any
	walk = func(value any) any {
		switch value := value.(type) {
		case string:
			return shown(value)
		case []any:
			for i := range value {
				value[i] = walk(value[i])
			}
		case map[string]any:
			fields := make(map[string]any, len(value))
			for name := range value {
				fields[shown(name)] = walk(value[name])
			}
			return fields
		}
		return value
	}
	value = walk(value)
	encoded, err := json.Marshal(value)
	if err != nil || !masked {
		return object
	}
	return encoded
}

// append adds a line and syncs, or leaves the file as it was: a part of a line would spoil the one after it. Where the part
// stays, nothing more is saved.
func (u *undoLog) append(line []byte) error {
	if u.broken != nil {
		return u.broken
	}
	_, err := u.file.WriteAt(line, u.size)
	if err == nil {
		err = u.file.Sync()
	}
	if err != nil {
		if left := u.file.Truncate(u.size); left != nil {
			u.broken = fmt.Errorf("%s ends with half a line: %w", u.file.Name(), left)
		}
		return err
	}
	u.size += int64(len(line))
	u.saves = true
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
	if err := makeDir(u.dir); err != nil {
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
	header = append(header, '\n')
	_, err = file.Write(header)
	if err == nil {
		err = syncDir(u.dir)
	}
	if err != nil { // the next annotation to be saved begins another file
		return errors.Join(err, file.Close(), os.Remove(file.Name()))
	}
	u.file, u.size = file, int64(len(header))
	return nil
}

// makeDir makes a directory, and what is missing above it, and syncs their names: a file lasts only as long as the way to it.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	above := filepath.Dir(dir)
	if above != dir {
		if err := makeDir(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(above)
}

// close ends the file, if there is one, and removes it where nothing could be saved.
func (u *undoLog) close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.file == nil {
		return nil
	}
	err := u.file.Close()
	if !u.saves {
		err = errors.Join(err, os.Remove(u.file.Name()))
	}
	u.file = nil
	return err
}

// path returns where annotations were saved, "" where none was.
func (u *undoLog) path() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.file == nil || !u.saves {
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
