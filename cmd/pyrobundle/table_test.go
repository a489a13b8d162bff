package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-runewidth"

	"pyrobundle/internal/sandbox"
)

func TestTableAlignsByWhatATerminalShows(t *testing.T) {
	var out bytes.Buffer
	table := newTable(&out)
	table.row("ID", "NAME", "TRUSTABLE")
	table.row(1, "brison-01", true)
	table.row(12, "富士見台-01", "no")
	table.row(3, "é\u0301-01", "-")
	table.section()
	table.row("another", "part")
	table.row("", "of its own widths")
	if err := table.flush(); err != nil {
		t.Fatal(err)
	}
	want := "" +
		"ID  NAME         TRUSTABLE\n" +
		"1   brison-01    true\n" +
		"12  富士見台-01  no\n" +
		"3   é\u0301-01         -\n" +
		"\n" +
		"another  part\n" +
		"         of its own widths\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestTableOfManyRowsDoesNotWaitForTheLast(t *testing.T) {
	var out bytes.Buffer
	table := newTable(&out)
	for i := range 10 * tableHead {
		table.row(i, "x")
	}
	if n := strings.Count(out.String(), "\n"); n < 8*tableHead {
		t.Errorf("%d rows written before the end, want most of %d", n, 10*tableHead)
	}
	if err := table.flush(); err != nil || strings.Count(out.String(), "\n") != 10*tableHead {
		t.Errorf("%d rows, %v", strings.Count(out.String(), "\n"), err)
	}
}

func TestTableReportsWhatCannotBeWritten(t *testing.T) {
	table := newTable(brokenWriter{})
	table.row("x")
	if err := table.flush(); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want %v", err, errBroken)
	}
}

var errBroken = errors.New("broken")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestOneLineLetsNothingSteerTheTerminal(t *testing.T) {
	for s, want := range map[string]string{
		"a\nb\t c":                 "a b c",
		"red \x1b[31mname\x07":     "red \uFFFD[31mname\uFFFD",
		"turned \u202egpj.exe":     "turned \uFFFDgpj.exe",
		"\u009b2J":                 "\uFFFD2J",
		"富士見台-01 plain – as it is": "富士見台-01 plain – as it is",
	} {
		if got := oneLine(s); got != want {
			t.Errorf("oneLine(%q) = %q, want %q", s, got, want)
		}
	}
}

// The demo's world has cameras and organizations of several scripts; every column of every table begins in one place.
func TestInspectTablesAreAligned(t *testing.T) {
	world := t.TempDir() + "/world.bundle"
	if err := sandbox.WriteBundle(t.Context(), world, sandbox.WorldOptions{ImageBytes: smallImage}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args  []string
		title string // of the column to look at
	}{
		{[]string{"inspect", "cameras"}, "ORGANIZATION"},
		{[]string{"inspect"}, "sequences  detections"},
	} {
		t.Run(fmt.Sprint(test.args), func(t *testing.T) {
			got := pyrobundle(t, nil, append(test.args, "--bundle", world)...)
			column, wide := -1, 0
			for line := range strings.Lines(got.stdout) {
				line = strings.TrimRight(line, "\n")
				if before, _, found := strings.Cut(line, test.title); found {
					column = runewidth.StringWidth(before)
					continue
				}
				if line == "" {
					column = -1
				}
				if column < 0 {
					continue
				}
				if runewidth.StringWidth(line) > len([]rune(line)) {
					wide++
				}
				cell := runewidth.TruncateLeft(line, column, "")
				before := runewidth.Truncate(line, column, "")
				if !strings.HasSuffix(before, "  ") || strings.HasPrefix(cell, " ") {
					t.Errorf("%q: %q does not begin in column %d", line, cell, column)
				}
			}
			if wide == 0 {
				t.Errorf("no wide characters in:\n%s", got.stdout)
			}
		})
	}
}
