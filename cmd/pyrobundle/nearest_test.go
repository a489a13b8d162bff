package main

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNearest(t *testing.T) {
	names := []string{"bundle", "date-from", "date-end", "max-workers", "no-progress", "json", "o"}
	for word, want := range map[string]string{
		"bundel": "bundle", "bundle": "bundle", "bundles": "bundle", "bun": "bundle", "Bundle": "bundle",
		"max_workers": "max-workers", "maxworkers": "max-workers", "workers": "max-workers", "max-wrokers": "max-workers",
		"from": "date-from", "date-ned": "date-end", "jsno": "json", "progress": "no-progress",
		"": "", "x": "", "xyz": "", "something-else": "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestMistakesIsADistance(t *testing.T) {
	word := rapid.StringMatching(`[abc]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		d := mistakes(a, b)
		switch longest := max(len(a), len(b)); {
		case d != mistakes(b, a):
			t.Fatal("not symmetric")
		case (d == 0) != (a == b):
			t.Fatalf("%d mistakes", d)
		case d > longest || d < max(len(a), len(b))-min(len(a), len(b)):
			t.Fatalf("%d mistakes for lengths %d and %d", d, len(a), len(b))
		}
	})
	for _, test := range []struct {
		a, b string
		want int
	}{{"load", "laod", 1}, {"load", "lod", 1}, {"load", "lload", 1}, {"load", "lead", 1}, {"load", "", 4}} {
		if got := mistakes(test.a, test.b); got != test.want {
			t.Errorf("mistakes(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

func TestWrongUsageNamesWhatMayHaveBeenMeant(t *testing.T) {
	bundle := t.TempDir()
	writeTo(t, bundle+"/manifest.json", "{}")
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"lod"}, `unknown command "lod", did you mean "load"?`},
		{[]string{"nonsense"}, `unknown command "nonsense" (see`},
		{[]string{"inspect", "sequnces"}, `unknown command "sequnces", did you mean "sequences"?`},
		{[]string{"help", "inspect", "camera"}, `unknown command "camera", did you mean "cameras"?`},
		{[]string{"help", "nonsense"}, `unknown command "nonsense"`},
		{[]string{"load", "--bundel", "x"}, "unknown flag: --bundel, did you mean --bundle?"},
		{[]string{"load", "--max_workers=3"}, "unknown flag: --max_workers, did you mean --max-workers?"},
		{[]string{"load", "-bundle", "x"}, "did you mean --bundle?"},
		{[]string{"load", "-bundle=x"}, "did you mean --bundle?"},
		{[]string{"load", "--nonsense"}, "unknown flag: --nonsense (see"},
		{[]string{"load", "-x"}, "unknown shorthand flag: 'x' in -x (see"},
		{[]string{"load", bundle}, "did you mean --bundle " + bundle + "?"},
		{[]string{"inspect", bundle}, "did you mean --bundle " + bundle + "?"},
		{[]string{"load", "now"}, `load takes no arguments, but got "now" (see 'pyrobundle load --help')`},
		{[]string{"diff", "a"}, `got 1 arguments, want "pyrobundle diff A B"`},
		{[]string{"completion", "tcsh"}, `invalid argument "tcsh"`},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			got := pyrobundle(t, nil, test.args...)
			if got.code != exitUsage || !strings.Contains(got.stderr, test.want) || strings.Count(got.stderr, "\n") != 1 || got.stdout != "" {
				t.Errorf("got %+v, want code 2 and %q on one line", got, test.want)
			}
		})
	}
}
