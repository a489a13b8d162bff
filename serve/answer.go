package serve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// recorder knows what was answered, and sets X-Process-Time (contract A.0) at the last moment.
type recorder struct {
	http.ResponseWriter
	began  time.Time
	status int // 0: nothing answered yet
	bytes  int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		w.Header().Set("X-Process-Time", strconv.FormatFloat(time.Since(w.began).Seconds(), 'f', -1, 64))
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// answerer is an error that knows its own answer.
type answerer interface {
	error
	writeTo(w http.ResponseWriter)
}

// refusal is an answer of the platform that is no success: {"detail": …}.
type refusal struct {
	status int
	detail any // a sentence, or a list of issues
	header http.Header
}

func refuse(status int, detail any) *refusal {
	return &refusal{status: status, detail: detail, header: http.Header{}}
}

// challenge adds WWW-Authenticate.
func (f *refusal) challenge(value string) *refusal {
	f.header.Set("WWW-Authenticate", value)
	return f
}

func (f *refusal) Error() string { return fmt.Sprintf("%d %v", f.status, f.detail) }

func (f *refusal) writeTo(w http.ResponseWriter) {
	for name, values := range f.header {
		w.Header()[name] = values
	}
	if f.detail == nil {
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(f.status)
		return
	}
	body, err := encode(map[string]any{"detail": f.detail})
	if err != nil { // details are strings and issues of strings and numbers
		body = []byte(`{"detail":null}`)
	}
	writeJSON(w, f.status, body)
}

// noEntry is the 404 of a row that is not there; table is the platform's name of the model.
func noEntry(table string) error {
	return refuse(http.StatusNotFound, "Table "+table+" has no corresponding entry.")
}

// forbidden is the 403 of another organization's object.
func forbidden() error { return refuse(http.StatusForbidden, "Access forbidden.") }

// encode is json.Marshal without escaping &, < and >: a URL stays one to copy.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone is no error of ours
}

// json answers 200 with v.
func (c *call) json(v any) error {
	body, err := encode(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	writeJSON(c.w, http.StatusOK, body)
	return nil
}

// document answers 200 with one stored document and further fields.
func (c *call) document(doc json.RawMessage, extra ...field) error {
	body, err := appendDocument(nil, doc, extra...)
	if err != nil {
		return err
	}
	writeJSON(c.w, http.StatusOK, body)
	return nil
}

// listBuffer is how much of a list is held back, in bytes. A list that fits, as all but those of hundreds of sequences do,
// has a Content-Length, and an error while it is made is a clean 500; a longer one streams.
const listBuffer = 1 << 20

// list answers 200 with an array, item by item.
type list struct {
	w     http.ResponseWriter
	buf   []byte
	count int
	begun bool
}

func (c *call) list() *list { return &list{w: c.w, buf: []byte{'['}} }

// add appends one stored document and further fields.
func (l *list) add(doc json.RawMessage, extra ...field) error {
	if l.count > 0 {
		l.buf = append(l.buf, ',')
	}
	l.count++
	var err error
	if l.buf, err = appendDocument(l.buf, doc, extra...); err != nil {
		return err
	}
	if len(l.buf) < listBuffer {
		return nil
	}
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", "application/json")
	}
	_, err = l.w.Write(l.buf)
	l.buf = l.buf[:0]
	return err
}

// end completes the array.
func (l *list) end() error {
	l.buf = append(l.buf, ']')
	if !l.begun {
		writeJSON(l.w, http.StatusOK, l.buf)
		return nil
	}
	_, err := l.w.Write(l.buf)
	return err
}
