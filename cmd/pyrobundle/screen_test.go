package main

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Whatever comes in whatever order, the lines stand above the bars, whole and in order, and the bars once, below.
func TestScreenKeepsLinesAboveTheBars(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shown := newTerminal(rapid.IntRange(1, 60).Draw(t, "columns"))
		s := newScreen(shown)
		s.sizeOf = func() (int, int) { return shown.columns, usualLines }
		var lines, frame []string
		check := func() {
			want := strings.Join(lines, "\n")
			if got := shown.text(); got != strings.TrimRight(want, "\n")+"\n" && got != joined(lines, frame) {
				t.Fatalf("shown:\n%swant:\n%s", got, joined(lines, frame))
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"line": func(t *rapid.T) {
				line := fmt.Sprintf("line %d %s.", len(lines), strings.Repeat("x", rapid.IntRange(0, 70).Draw(t, "length")))
				var out io.Writer = s
				if rapid.Bool().Draw(t, "to standard output") {
					out = results{screen: s, out: shown}
				}
				if _, err := io.WriteString(out, line+"\n"); err != nil {
					t.Fatal(err)
				}
				lines = append(lines, line)
				check()
			},
			"bars": func(t *rapid.T) {
				frame = nil
				for i := range rapid.IntRange(0, 3).Draw(t, "bars") {
					frame = append(frame, fmt.Sprintf("%d[", i)[:min(2, shown.columns)]+strings.Repeat("=", rapid.IntRange(0, max(0, shown.columns-3)).Draw(t, "length")))
				}
				s.draw(frame, shown.columns)
				if got, want := shown.text(), joined(lines, frame); got != want {
					t.Fatalf("shown:\n%swant:\n%s", got, want)
				}
			},
			"resize": func(t *rapid.T) {
				shown.resize(rapid.IntRange(1, 60).Draw(t, "columns"))
				check()
			},
			"killed": func(t *rapid.T) {
				if shown.column != 0 || len(shown.lines[shown.row].cells) > 0 {
					t.Fatalf("what comes next would stand behind %q", string(shown.lines[shown.row].cells))
				}
			},
		})
	})
}

func joined(lines, frame []string) string {
	return strings.TrimRight(strings.Join(append(append([]string(nil), lines...), frame...), "\n"), "\n") + "\n"
}

// A prompt, or anything else that does not end its line, is not drawn over.
func TestScreenDoesNotDrawBehindAnUnfinishedLine(t *testing.T) {
	shown := newTerminal(40)
	s := newScreen(shown)
	s.draw([]string{"[==>--]"}, 40)
	for _, part := range []string{"a line that ", "comes in ", "parts\n"} {
		if _, err := s.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
		s.draw([]string{"[===>-]"}, 40)
	}
	if got, want := shown.text(), "a line that comes in parts\n[===>-]\n"; got != want {
		t.Errorf("shown:\n%swant:\n%s", got, want)
	}
}

func TestScreenDrawsEqualBarsOnce(t *testing.T) {
	var out strings.Builder
	s := newScreen(&out)
	for range 10 {
		s.draw([]string{"[==>--]"}, usualColumns)
	}
	if n := strings.Count(out.String(), "[==>--]"); n != 1 {
		t.Errorf("drawn %d times, want once: %q", n, out.String())
	}
}
