package load_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pyrobundle/annotate"
	"pyrobundle/internal/httpapi"
	"pyrobundle/internal/sandbox"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
)

// parrot answers as an API, but with one field of every row replaced, at whatever depth it is.
type parrot struct {
	api   http.Handler
	token atomic.Value // the last that the API gave
	field atomic.Value // *replaced; nil: the API as it is
}

// replaced is a field and the JSON that stands in its place, of the token that the API gave.
type replaced struct {
	name  string
	value func(token string) any
}

func (p *parrot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := httptest.NewRecorder()
	p.api.ServeHTTP(answer, r)
	body := answer.Body.Bytes()
	if strings.HasSuffix(r.URL.Path, "/login") {
		var login struct {
			AccessToken string `json:"access_token"`
		}
		_ = json.Unmarshal(body, &login)
		p.token.Store(login.AccessToken)
	} else if field, _ := p.field.Load().(*replaced); field != nil && r.Method == http.MethodGet && answer.Code == http.StatusOK {
		body = p.repeat(body, field)
	}
	for name, values := range answer.Header() {
		if name != "Content-Length" {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(body)
}

func (p *parrot) repeat(body []byte, field *replaced) []byte {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var doc any
	if decoder.Decode(&doc) != nil {
		return body
	}
	var walk func(any)
	walk = func(value any) {
		switch value := value.(type) {
		case []any:
			for _, v := range value {
				walk(v)
			}
		case map[string]any:
			for name := range value {
				if name == field.name {
					value[name] = field.value(p.token.Load().(string))
				} else {
					walk(value[name])
				}
			}
		}
	}
	walk(doc)
	encoded, err := json.Marshal(doc)
	if err != nil {
		return body
	}
	return encoded
}

// TestWhatTheAPIRepeatsInARowIsShownShortAndWithoutSecrets: in answers that are no errors, a password, a token, or ten thousand
// digits stand where names, times and numbers are expected. Nothing of it is in problems, errors, the log, or undo files.
func TestWhatTheAPIRepeatsInARowIsShownShortAndWithoutSecrets(t *testing.T) {
	const password, digits = `canary "pässword" @/%1`, "271828182845904523"
	values := []struct {
		name, password string
		value          func(token string) any
	}{
		{"token", password, func(token string) any { return token }},
		{"long", password, func(token string) any { return strings.Repeat("x", 150) + token + strings.Repeat(" long", 10_000) }},
		{"password", password, func(string) any { return password }},
		{"number", password, func(string) any { return json.Number(strings.Repeat("7", 10_000)) }},
		{"digits", digits, func(string) any { return json.Number(digits) }},
	}
	for _, field := range []string{
		"camera_name", "camera_id", "organisation_name", "organisation_id", "is_wildfire_alertapi", "azimuth", "lat", "recorded_at", "last_seen_at",
		"alert_api_id", "processing_stage", "username", "contributors", "smoke_type", "xyxyn", "bucket_key", "total", "items", "id",
	} {
		for _, c := range values {
			if c.name == "digits" && (field == "id" || field == "alert_api_id") {
				continue // which are shown: a server cannot tell us that an id is our password
			}
			t.Run(field+", "+c.name, func(t *testing.T) {
				p, said := &parrot{api: sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{Password: c.password})}, &bytes.Buffer{}
				files := filesIn(t, parroted(t, p, c.password, &replaced{field, c.value}, said))
				files["what was told"] = said.String()
				for _, hidden := range []string{c.password, p.token.Load().(string), strings.Trim(fmt.Sprintf("%+q", c.password), `"`)} {
					for _, half := range []string{hidden[:len(hidden)/2], hidden[len(hidden)/2:]} {
						for where, content := range files {
							if at := strings.Index(content, half); at >= 0 {
								t.Errorf("%s has %q: %q", where, half, content[max(0, at-200):min(len(content), at+100)])
							}
						}
					}
				}
			})
		}
	}
}

// parroted loads a sequence that a person has worked on while the API repeats field, in every way there is, and notes all
// that a user is told. It returns where undo files are.
func parroted(t *testing.T, p *parrot, password string, field *replaced, said *bytes.Buffer) (state string) {
	t.Helper()
	state = t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	server := httptest.NewServer(p)
	defer server.Close()
	log := slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelDebug})) // one: two would write at once
	client, err := annotation.Dial(t.Context(), annotation.Config{
		BaseURL: server.URL, Login: "admin", Password: password, Retry: httpapi.Retry{Attempts: 1, For: time.Second},
		Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	api := p.api.(*sandbox.AnnotationAPI)
	cfg := load.Config{
		SourceAPI: "pyronear_french", Thresholds: annotate.Thresholds{IoU: .3, MinClusterSize: 1}, StateDir: state, Patience: time.Millisecond,
		Log: log,
	}
	run := func(ctx context.Context, cfg load.Config) {
		result, err := load.Run(ctx, matrixBundle(), client, cfg)
		tell(t, said, result, err)
	}
	run(t.Context(), cfg)
	for _, a := range api.Annotations() {
		api.EditAnnotation(a.ID, review)
	}
	p.field.Store(field)
	run(t.Context(), cfg)
	cfg.Existing, cfg.Thresholds.Confidence = load.ExistingOverwrite, .55
	run(t.Context(), cfg)
	cfg.Query.From, cfg.Query.To = "2026-08-01", "2026-08-01"
	cfg.Thresholds.Confidence = .1
	result, err := load.Regenerate(t.Context(), client, cfg)
	tell(t, said, result, err)
	for path := range filesIn(t, state) {
		if strings.HasSuffix(path, ".jsonl") {
			notes, err := load.Restore(t.Context(), client, path, nil)
			tell(t, said, load.Result{Problems: notes}, err)
		}
	}
	return state
}

// tell writes what a report would say, and holds it against its length.
func tell(t *testing.T, said *bytes.Buffer, result load.Result, err error) {
	t.Helper()
	const longest = 1500 // bytes: some values of 200 characters each
	lines := []string{fmt.Sprint(err)}
	for _, p := range append(append(result.Problems, result.Kept...), result.Drift...) {
		lines = append(lines, p.String())
	}
	for _, line := range lines {
		if len(line) > longest {
			t.Errorf("%d bytes: %.300s", len(line), line)
		}
		said.WriteString(line + "\n")
	}
}

// filesIn are the files below dir, with what they hold.
func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = string(data)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}
