package load_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"pyrobundle/internal/sandbox"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
)

// TestARerunHealsAnEmptyReplacementThatWasCutShort: the target dies between the removal of an annotation and the posting of
// the one without boxes. The API has no way to do both at once, so there is none then; the next run writes it. A person's
// work, which was to be overwritten, is saved and can still be put back.
func TestARerunHealsAnEmptyReplacementThatWasCutShort(t *testing.T) {
	eachGeneration(t, func(t *testing.T, generation annotation.Generation) {
		empty := func(c *load.Config) {
			c.NoPredictions, c.Thresholds.Confidence, c.Existing = load.NoPredictionsEmpty, .9, load.ExistingOverwrite
		}
		for name, c := range map[string]struct {
			edit     func(*sandbox.AnnotationRow)
			restored string // "": nothing was saved
		}{
			"a machine's": {func(*sandbox.AnnotationRow) {}, ""},
			"a person's":  {review, strings.Replace(reviewed, " by ana", "", 1)}, // contributors went with the annotation
		} {
			for how, again := range map[string]func(*testing.T, *world) load.Result{
				"load":     func(t *testing.T, w *world) load.Result { t.Helper(); return w.run(t, matrixBundle(), empty) },
				"annotate": func(t *testing.T, w *world) load.Result { t.Helper(); return w.regenerate(t, empty) },
			} {
				t.Run(name+", "+how, func(t *testing.T) {
					w := newWorld(t, generation)
					w.loadMatrix(t)
					w.edit(t, c.edit)
					var dead atomic.Bool
					w.intercept(func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
						if dead.Load() {
							panic(http.ErrAbortHandler)
						}
						api.ServeHTTP(rw, r)
						if r.Method == http.MethodDelete {
							dead.Store(true)
						}
					})
					cfg := w.config()
					empty(&cfg)
					cut, err := load.Run(t.Context(), matrixBundle(), w.client, cfg)
					if err == nil && cut.Sequences.Failed != 1 {
						t.Errorf("the run that was cut short: %v, %+v", err, cut.Sequences)
					}
					w.intercept(nil)
					w.expect(t, "after the run that was cut short", detection)
					if healed := again(t, w); healed.Annotations.Created != 1 || healed.Sequences.Updated != 1 {
						t.Errorf("again: %+v, %+v, problems %v", healed.Annotations, healed.Sequences, healed.Problems)
					}
					w.expect(t, "after the next run", detection+"  ready_to_annotate\n")
					if c.restored == "" {
						return
					}
					if notes, err := load.Restore(t.Context(), w.client, cut.UndoFile, nil); err != nil || len(notes) != 0 {
						t.Errorf("restore: %v, %v", notes, err)
					}
					w.expect(t, "after restore", c.restored)
				})
			}
		}
	})
}
