package fetch_test

import (
	"context"
	"log/slog"
	"strings"
)

// lineHandler hands each record to a test: its message, and the values of its attributes.
type lineHandler struct{ each func(line string) }

// logTo is a log whose records, of every level, are handed over as lines.
func logTo(each func(line string)) *slog.Logger { return slog.New(lineHandler{each}) }

func (h lineHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h lineHandler) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h lineHandler) WithGroup(string) slog.Handler            { return h }

func (h lineHandler) Handle(_ context.Context, r slog.Record) error {
	line := []string{r.Message}
	r.Attrs(func(a slog.Attr) bool {
		line = append(line, a.Key+"="+a.Value.String())
		return true
	})
	h.each(strings.Join(line, " "))
	return nil
}
