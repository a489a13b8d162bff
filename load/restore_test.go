package load_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pyrobundle/internal/httpapi"
	"pyrobundle/internal/sandbox"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// overwrite loads over a person's work and returns the result.
func (w *world) overwrite(t *testing.T) load.Result {
	t.Helper()
	return w.run(t, matrixBundle(), func(c *load.Config) { c.Existing = load.ExistingOverwrite })
}

func TestOverwriteSavesFirstAndRestorePutsBack(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		w := newWorld(t, generation)
		w.loadMatrix(t)
		w.edit(t, func(a *sandbox.AnnotationRow) { review(a); a.MissedSmoke, a.Unsure = true, true })
		was, err := w.client.AnnotationOf(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}

		// When the update arrives, the old document is on the disk already.
		w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
			if r.Method == http.MethodPatch {
				saved, err := filepath.Glob(filepath.Join(w.dir, "undo", "*.jsonl"))
				if err != nil || len(saved) != 1 {
					t.Errorf("undo files before the update: %v, %v", saved, err)
				} else if data, err := os.ReadFile(saved[0]); err != nil || !bytes.Contains(data, was.Verbatim) {
					t.Errorf("the undo file lacks the document: %s, %v", data, err)
				}
			}
			api.ServeHTTP(rw, r)
		})
		result := w.overwrite(t)
		w.intercept(nil)
		if result.Annotations.Updated != 1 || result.UndoFile == "" {
			t.Fatalf("%+v, undo file %q", result.Annotations, result.UndoFile)
		}
		if info, err := os.Stat(result.UndoFile); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("the undo file is open to others: %v, %v", info.Mode(), err)
		}
		w.expect(t, "after the load", strings.Replace(whole, "ready_to_annotate", "ready_to_annotate by ana", 1))
		w.api.ResetCounters()
		if again := w.overwrite(t); again.Annotations.Unchanged != 1 || w.api.Writes() != 0 || again.UndoFile != "" {
			t.Errorf("again: %+v, %d writes", again.Annotations, w.api.Writes())
		}

		notRestored, err := load.Restore(t.Context(), w.client, result.UndoFile, nil)
		if err != nil || len(notRestored) != 0 {
			t.Errorf("restore: %v, %v", notRestored, err)
		}
		w.expect(t, "after restore", reviewed)
		now, err := w.client.AnnotationOf(t.Context(), 1)
		if err != nil || !now.HasMissedSmoke || !now.IsUnsure {
			t.Errorf("flags after restore: %+v, %v", now, err)
		}
		w.api.ResetCounters()
		if again, err := load.Restore(t.Context(), w.client, result.UndoFile, nil); err != nil || len(again) != 0 || w.api.Writes() != 0 {
			t.Errorf("restore again: %v, %v, %d writes", again, err, w.api.Writes())
		}
	})
}

// TestOverwriteTouchesNothingItCannotSave.
func TestOverwriteTouchesNothingItCannotSave(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	w.loadMatrix(t)
	w.edit(t, review)
	blocked := filepath.Join(t.TempDir(), "a file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.api.ResetCounters()
	result := w.run(t, matrixBundle(), func(c *load.Config) { c.Existing, c.UndoDir = load.ExistingOverwrite, blocked })
	if result.Sequences.Failed != 1 || !strings.Contains(result.Problems[0].Reason, "save the old annotation") {
		t.Errorf("%+v, problems %v", result.Sequences, result.Problems)
	}
	w.expect(t, "after the load", reviewed)
	if n := w.api.Writes(); n != 0 {
		t.Errorf("%d writes", n)
	}
}

func TestRestoreSaysWhatItLeaves(t *testing.T) {
	for name, c := range map[string]struct {
		before func(*sandbox.AnnotationRow) // as the person left it
		since  func(t *testing.T, w *world) // after the overwriting
		want   string                       // its beginning
	}{
		"somebody has worked on it since": {
			before: review, since: func(t *testing.T, w *world) { w.edit(t, func(a *sandbox.AnnotationRow) { a.Unsure = true }) },
			want: "sequence 41: its annotation has changed since; left as it is",
		},
		"other thresholds since": {
			before: review, since: func(t *testing.T, w *world) {
				w.run(t, matrixBundle(), func(c *load.Config) { c.Existing, c.Thresholds.Confidence = load.ExistingOverwrite, .55 })
			},
			want: "sequence 41: its annotation has changed since; left as it is",
		},
		"the sequence is gone": {
			before: review, since: func(t *testing.T, w *world) { w.deleteSequence(t, 1) },
			want: "sequence 41: the sequence is not on the target any more",
		},
		"the annotation is gone: it comes back": {
			before: review, since: func(t *testing.T, w *world) { w.dropAnnotation(t) },
		},
		"without boxes, ready": {
			before: func(a *sandbox.AnnotationRow) { a.Tracks, a.Unsure = nil, true },
			since:  func(*testing.T, *world) {},
			want:   "sequence 41: it had no boxes at stage ready_to_annotate; the API would generate some, so it is left as it is",
		},
		"a stage that the API refuses": {
			before: func(a *sandbox.AnnotationRow) { a.Stage, a.Contributors = "annotated", []string{"ana"} },
			since:  func(*testing.T, *world) {},
			want:   "sequence 41: it is back, but not at stage annotated: PATCH /api/v1/annotations/sequences/1: 422",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, annotation.Newest)
			w.loadMatrix(t)
			w.edit(t, c.before)
			undo := w.overwrite(t).UndoFile
			if undo == "" {
				t.Fatal("nothing was overwritten")
			}
			c.since(t, w)
			notes, err := load.Restore(t.Context(), w.client, undo, nil)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.want == "" && len(notes) != 0:
				t.Errorf("notes = %v", notes)
			case c.want != "" && (len(notes) != 1 || notes[0].SequenceID != 41 || !strings.HasPrefix(notes[0].String(), c.want)):
				t.Errorf("notes = %v, want %q", notes, c.want)
			}
		})
	}
}

func (w *world) deleteSequence(t *testing.T, id int64) {
	t.Helper()
	token := w.token(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete,
		fmt.Sprintf("%s/api/v1/sequences/%d?force=true", w.client.BaseURL(), id), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusNoContent {
		t.Fatalf("delete sequence %d: %s", id, answer.Status)
	}
}

func (w *world) token(t *testing.T) string {
	t.Helper()
	answer, err := http.Post(w.client.BaseURL()+"/api/v1/auth/login", "application/json", //nolint:noctx // a test's own server
		strings.NewReader(`{"username":"admin","password":"admin12345"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	var login struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &login); err != nil {
		t.Fatal(err)
	}
	return login.AccessToken
}

// TestRestoreWithoutALockSaysSo, as a load does; it went on in silence.
func TestRestoreWithoutALockSaysSo(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	w.loadMatrix(t)
	w.edit(t, review)
	undo := w.overwrite(t).UndoFile
	t.Setenv("XDG_STATE_HOME", undo) // no directory
	var log bytes.Buffer
	if notes, err := load.Restore(t.Context(), w.client, undo, slog.New(slog.NewTextHandler(&log, nil))); err != nil || len(notes) != 0 {
		t.Errorf("%v, %v", notes, err)
	}
	if !strings.Contains(log.String(), "writing without a lock") {
		t.Errorf("log: %q", log.String())
	}
}

func TestRestoreRefusesWhatIsNotItsOwn(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	w.loadMatrix(t)
	w.edit(t, review)
	undo := w.overwrite(t).UndoFile
	other := newWorld(t, annotation.Newest)
	if _, err := load.Restore(t.Context(), other.client, undo, nil); err == nil || !strings.Contains(err.Error(), "it was saved from "+w.client.BaseURL()) {
		t.Errorf("another target: error = %v", err)
	}
	for name, content := range map[string]string{
		"empty": "", "text": "hello\nworld\n", "another format": `{"format":"pyrobundle-undo/9"}` + "\n", "cut header": `{"format":`,
	} {
		path := filepath.Join(t.TempDir(), "undo.jsonl")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := load.Restore(t.Context(), w.client, path, nil); !errors.Is(err, load.ErrNotUndo) {
			t.Errorf("%s: error = %v", name, err)
		}
	}
	// A last line that was cut short stands for an annotation that was not touched.
	data, err := os.ReadFile(undo)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(undo, append(data, `{"at":"2026-08-0`...), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := load.ReadUndo(undo); err != nil || got != (load.Undo{Target: w.client.BaseURL(), Annotations: 1}) {
		t.Errorf("look at a cut last line: %+v, %v", got, err)
	}
	if notes, err := load.Restore(t.Context(), w.client, undo, nil); err != nil || len(notes) != 0 {
		t.Errorf("cut last line: %v, %v", notes, err)
	}
	w.expect(t, "after restore", reviewed)
}

// overwriteThree loads three sequences that a person has worked on, overwrites that, and returns the undo file, in which they
// are in any order.
func (w *world) overwriteThree(t *testing.T) string {
	t.Helper()
	bundle := &inMemory{}
	for id := range int64(3) {
		bundle.add(41+id, noon, drifting(3)...)
	}
	w.run(t, bundle)
	for _, a := range w.api.Annotations() {
		w.api.EditAnnotation(a.ID, review)
	}
	return w.run(t, bundle, func(c *load.Config) { c.Existing = load.ExistingOverwrite }).UndoFile
}

// stages counts the annotations of the target by stage.
func (w *world) stages() map[string]int {
	count := map[string]int{}
	for _, a := range w.api.Annotations() {
		count[a.Stage]++
	}
	return count
}

// TestRestoreGoesOnAfterOneThatFails: it is named as failed, the others come back, and the next restore takes it up.
func TestRestoreGoesOnAfterOneThatFails(t *testing.T) {
	answer := func(status int) interceptor {
		return func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) { http.Error(rw, "no", status) }
	}
	for name, fail := range map[string]interceptor{
		"400": answer(http.StatusBadRequest), "403": answer(http.StatusForbidden), "500": answer(http.StatusInternalServerError),
		"a page of HTML": func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
			_, _ = io.WriteString(rw, "<html>welcome")
		},
		"no answer":     func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) },
		"a lost answer": func(_ http.ResponseWriter, r *http.Request, api http.Handler) { committedAndLost(r, api) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, annotation.Newest)
			undo := w.overwriteThree(t)
			var failing string // the route of the first of them
			w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
				if r.Method == http.MethodPatch && (failing == "" || failing == r.URL.Path) {
					failing = r.URL.Path
					fail(rw, r, api)
					return
				}
				api.ServeHTTP(rw, r)
			})
			notes, err := load.Restore(t.Context(), w.client, undo, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(notes) != 1 || notes[0].Class != store.Failed || !strings.HasPrefix(notes[0].Reason, "its annotation is not restored: PATCH /api/v1/annotations/sequences/") {
				t.Errorf("problems %v, want one that failed", notes)
			}
			if n := w.stages()["seq_annotation_done"]; n < 2 {
				t.Errorf("%d are back, want 2", n)
			}
			w.intercept(nil)
			if again, err := load.Restore(t.Context(), w.client, undo, nil); err != nil || len(again) != 0 || w.stages()["seq_annotation_done"] != 3 {
				t.Errorf("again: %v, %v, %v", again, err, w.stages())
			}
		})
	}
}

// TestRestoreGoesOnAfterWhatIsNoAnnotation: another try would not help it.
func TestRestoreGoesOnAfterWhatIsNoAnnotation(t *testing.T) {
	w := newWorld(t, annotation.Newest)
	undo := w.overwriteThree(t)
	data, err := os.ReadFile(undo)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfterN(string(data), "\n", 2)
	odd := lines[0] + `{"alert_api_id":7,"sequence_id":1,"annotation":{"id":"` + strings.Repeat("x", 5000) + `"}}` + "\n" + `{"alert_api_id":8}` + "\n" + lines[1]
	if err := os.WriteFile(undo, []byte(odd), 0o600); err != nil {
		t.Fatal(err)
	}
	notes, err := load.Restore(t.Context(), w.client, undo, nil)
	if err != nil || len(notes) != 2 || w.stages()["seq_annotation_done"] != 3 {
		t.Fatalf("%v, %v, %v", notes, err, w.stages())
	}
	for i, note := range notes {
		if note.Class != store.Incomplete || note.SequenceID != int64(7+i) || !strings.Contains(note.Reason, "read what was saved") || len(note.Reason) > 300 {
			t.Errorf("problem %v", note)
		}
	}
}

// TestRestoreEndsWhereTheTargetDoes: with a refused login and an interruption, nothing is counted as failed.
func TestRestoreEndsWhereTheTargetDoes(t *testing.T) {
	for name, c := range map[string]struct {
		fail func(w *world, cancel context.CancelFunc)
		want error
	}{
		"refused":     {func(w *world, _ context.CancelFunc) { w.api.AddUser("admin", "another now"); w.api.ExpireTokens() }, httpapi.ErrUnauthorized},
		"interrupted": {func(_ *world, cancel context.CancelFunc) { cancel() }, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, annotation.Newest)
			undo := w.overwriteThree(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
				if r.Method == http.MethodPatch {
					c.fail(w, cancel)
				}
				api.ServeHTTP(rw, r)
			})
			if notes, err := load.Restore(ctx, w.client, undo, nil); !errors.Is(err, c.want) || len(notes) != 0 {
				t.Errorf("%v, %v, want %v", notes, err, c.want)
			}
		})
	}
}
