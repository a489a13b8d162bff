package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"pyrobundle/internal/httpapi"
	"pyrobundle/load"
	"pyrobundle/store"
)

// outcome is what a command line did.
type outcome struct {
	code           int
	stdout, stderr string
}

// noon is the clock of the tests: the UTC day is 2026-08-15.
func noon() time.Time { return time.Date(2026, 8, 15, 12, 0, 0, 0, time.UTC) }

// pyrobundle runs a command line in this process, with nothing but env in its environment.
func pyrobundle(t *testing.T, env map[string]string, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	app := newApp(&stdout, &stderr, lookup(env), noon)
	cmd := app.command()
	cmd.SetArgs(append([]string{}, args...)) // of nil, cobra takes the arguments of the test's own program
	err := cmd.ExecuteContext(t.Context())
	app.complain(err)
	return outcome{code: exitCode(err), stdout: stdout.String(), stderr: stderr.String()}
}

func lookup(env map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
}

func TestExitCodeOfEveryKindOfError(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		want int
	}{
		{"done", nil, 0},
		{"something else", errors.New("no route to host"), 1},
		{"missing path", fmt.Errorf("open: %w", fs.ErrNotExist), 1},
		{"missing path that the store calls no bundle", fmt.Errorf("%w: %w", store.ErrNotBundle, fs.ErrNotExist), 1},
		{"deadline", context.DeadlineExceeded, 1},
		{"usage", usagef("no"), 2},
		{"usage within", fmt.Errorf("x: %w", usagef("no")), 2},
		{"another platform's bundle", fmt.Errorf("x: %w", store.ErrSource), 2},
		{"failures", &failuresError{command: "load", failed: 1}, 3},
		{"refused", fmt.Errorf("log in: %w", httpapi.ErrUnauthorized), 4},
		{"locked", fmt.Errorf("open: %w", store.ErrLocked), 5},
		{"annotation API in use", fmt.Errorf("load: %w", load.ErrTargetBusy), 5},
		{"damaged", fmt.Errorf("open: %w", store.ErrCorrupt), 6},
		{"damaged because a shard is missing", fmt.Errorf("%w: %w", store.ErrCorrupt, fs.ErrNotExist), 6},
		{"unknown format", fmt.Errorf("open: %w", store.ErrVersion), 6},
		{"foreign directory", fmt.Errorf("open: %w", store.ErrNotBundle), 6},
		{"interrupted", fmt.Errorf("fetch: %w", context.Canceled), 130},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := exitCode(test.err); got != test.want {
				t.Errorf("exitCode(%v) = %d, want %d", test.err, got, test.want)
			}
		})
	}
}

func TestWrongUsageExitsTwoWithOneLine(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want string // in stderr
	}{
		{"unknown command", []string{"lod"}, `unknown command "lod", did you mean "load"?`},
		{"unknown flag", []string{"load", "--nope"}, "see 'pyrobundle load --help'"},
		{"argument too many", []string{"load", "now"}, `load takes no arguments, but got "now"`},
		{"argument missing", []string{"restore"}, `got 0 arguments, want "pyrobundle restore FILE"`},
		{"no first day", []string{"fetch"}, "fetch needs --date-from YYYY-MM-DD"},
		{"no first day for import", []string{"import"}, "import needs --date-from"},
		{"no first day for annotate", []string{"annotate"}, "annotate needs --date-from"},
		{"malformed day", []string{"fetch", "--date-from", "2024-1-1"}, "want YYYY-MM-DD, such as 2024-01-31"},
		{"impossible day", []string{"fetch", "--date-from", "2024-02-30"}, "want YYYY-MM-DD"},
		{
			"reversed days",
			[]string{"import", "--date-from", "2024-01-02", "--date-end", "2024-01-01"},
			"Invalid combination of --date-from and --date-end parameters: 2024-01-02 is after 2024-01-01",
		},
		{
			"a future day and the default end",
			[]string{"fetch", "--date-from", "2026-08-16"},
			"Invalid combination of --date-from and --date-end parameters: 2026-08-16 is after 2026-08-15",
		},
		{"reversed filter of load", []string{"load", "--date-from", "2024-01-02", "--date-end", "2024-01-01"}, "Invalid combination"},
		{"confidence above one", []string{"load", "--confidence-threshold", "1.01"}, "want a number from 0 to 1"},
		{"confidence below zero", []string{"load", "--confidence-threshold", "-0.1"}, "want a number from 0 to 1"},
		{"confidence not a number", []string{"load", "--confidence-threshold", "nan"}, "want a number from 0 to 1"},
		{"IoU above one", []string{"annotate", "--iou-threshold", "2"}, "want a number from 0 to 1"},
		{"cluster of none", []string{"load", "--min-cluster-size", "0"}, "at least 1"},
		{"no workers", []string{"fetch", "--max-workers", "0"}, "at least 1"},
		{"negative limit", []string{"fetch", "--detections-limit", "-1"}, "at least 0"},
		{"negative maximum", []string{"fetch", "--max-sequences", "-1"}, "at least 0"},
		{"unknown order", []string{"fetch", "--detections-order-by", "up"}, "want asc, desc"},
		{"unknown risk", []string{"fetch", "--risk-score", "huge"}, "want extreme, very_low, low, moderate, high, very_high, none"},
		{"unknown level", []string{"fetch", "--loglevel", "loud"}, "want info, debug, warning, error"},
		{"unknown source", []string{"load", "--source-api", "french"}, "want pyronear_french, alert_wildfire, api_cenia"},
		{"bad rate", []string{"fetch", "--limit-rate", "fast"}, "want bytes per second, such as 500kB or 2MB"},
		{"bad time", []string{"fetch", "--retry-for", "soon"}, "want a time, such as 30s or 10m"},
		{"bad list", []string{"fetch", "--sequence-list", "1,x"}, `"x" is none`},
		{"bad subset", []string{"verify", "--read-data-subset", "8/7"}, "want part/parts, such as 1/7"},
		{"empty bundle", []string{"load", "--bundle", ""}, "--bundle is empty: want the bundle's directory"},
		{"empty day", []string{"fetch", "--date-from", ""}, "--date-from is empty: want YYYY-MM-DD"},
		{"camera that is none", []string{"report", "--camera", "abc"}, "want a camera id, a number"},
		{"organization that is none", []string{"inspect", "sequences", "--organization", "-1"}, "want an organization id, a number"},
		{"neither true nor false", []string{"load", "--no-progress=maybe"}, `invalid argument "maybe" for --no-progress: want true or false (see`},
		{"a part of the data", []string{"verify", "--read-data=1/3"}, "want true or false; --read-data-subset 1/3 reads a part"},
		{"port that is none", []string{"fetch", "--date-from", "today", "--url-api-platform", "http://localhost:99999"}, "no usable port"},
		{"manual without a place", []string{"manual"}, "manual needs --dir DIRECTORY"},
		{"no shell of ours", []string{"completion", "tcsh"}, `invalid argument "tcsh" for completion: want bash, zsh, fish, powershell`},
		{"image and JSON", []string{"inspect", "image", "key", "-o", "-", "--json"}, "--json and -o - both want standard output: name a file"},
		{"login alone", []string{"serve", "--login", "me"}, "--login and --password-env belong together"},
		{"open to the network without an account", []string{"serve", "--listen", "0.0.0.0:0"}, "set an account with --login and --password-env"},
		{"page without a name", []string{"report", "-o", ""}, "report needs -o FILE"},
		{"no command", nil, "say which command to run"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := pyrobundle(t, nil, test.args...)
			if got.code != exitUsage || !strings.Contains(got.stderr, test.want) || got.stdout != "" {
				t.Errorf("got %+v, want code 2 and stderr with %q", got, test.want)
			}
			if lines := strings.Count(got.stderr, "\n"); len(test.args) > 0 && lines != 1 {
				t.Errorf("stderr has %d lines, want 1: %s", lines, got.stderr)
			}
		})
	}
}

func TestUsageHintForFlagErrorsOnly(t *testing.T) {
	if got := pyrobundle(t, nil, "fetch"); strings.Contains(got.stderr, "--help") {
		t.Errorf("a missing day is explained by itself, got %q", got.stderr)
	}
}

func TestFlagsComeFromTheEnvironmentToo(t *testing.T) {
	env := map[string]string{"PYROBUNDLE_DATE_FROM": "2024-01-02", "PYROBUNDLE_DATE_END": "2024-01-01"}
	if got := pyrobundle(t, env, "fetch"); got.code != exitUsage || !strings.Contains(got.stderr, "2024-01-02 is after 2024-01-01") {
		t.Errorf("both days from the environment: %+v", got)
	}
	if got := pyrobundle(t, env, "fetch", "--date-end", "2024-01-03"); strings.Contains(got.stderr, "is after") {
		t.Errorf("the command line does not win: %+v", got)
	}
	if got := pyrobundle(t, map[string]string{"PYROBUNDLE_JSON": "maybe"}, "load"); got.stderr !=
		"pyrobundle: environment variable PYROBUNDLE_JSON: invalid argument \"maybe\" for --json: want true or false\n" {
		t.Errorf("neither true nor false: %+v", got)
	}
	env["PYROBUNDLE_MAX_WORKERS"] = "none"
	if got := pyrobundle(t, env, "fetch"); got.code != exitUsage || !strings.Contains(got.stderr, "PYROBUNDLE_MAX_WORKERS: ") {
		t.Errorf("a bad value: %+v, want wrong usage that names the variable", got)
	}
}

func TestMissingUndoFileExitsOneBeforeAnybodyLogsIn(t *testing.T) {
	got := pyrobundle(t, nil, "restore", t.TempDir()+"/none", "--url-api-annotation", "http://127.0.0.1:1")
	if got.code != exitError || got.stdout != "" || !strings.Contains(got.stderr, "restore annotations: ") || !strings.Contains(got.stderr, "none") {
		t.Errorf("got %+v, want code 1 and the file's name", got)
	}
}

// One variable for all -o would name a page, an image, an archive and two kinds of bundles.
func TestOutputDoesNotComeFromTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	env := map[string]string{"PYROBUNDLE_OUTPUT": dir + "/out"}
	if got := pyrobundle(t, env, "merge", dir); got.code != exitUsage || !strings.Contains(got.stderr, "merge needs -o") {
		t.Errorf("got %+v, want wrong usage", got)
	}
}

func TestMissingBundleOfAnArgumentExitsOne(t *testing.T) {
	none := t.TempDir() + "/none"
	for _, args := range [][]string{{"diff", none, none}, {"merge", "-o", none + "2", none}} {
		got := pyrobundle(t, nil, args...)
		want := "pyrobundle: open bundle " + none + ": file does not exist; check its name, or fetch it first\n"
		if got.code != exitError || got.stderr != want {
			t.Errorf("%s: got %+v, want code 1 and %q", args[0], got, want)
		}
	}
}

func TestMissingBundleExitsOne(t *testing.T) {
	for _, command := range []string{"verify", "digest", "inspect", "load", "serve"} {
		t.Run(command, func(t *testing.T) {
			got := pyrobundle(t, nil, command, "--bundle", t.TempDir()+"/none")
			if got.code != exitError || !strings.Contains(got.stderr, "fetch creates one") {
				t.Errorf("got %+v, want code 1 and what to do next", got)
			}
		})
	}
}

func TestShellWord(t *testing.T) {
	for path, want := range map[string]string{
		"b/images": "b/images", "/srv/été.bundle": "/srv/été.bundle", "my bundle": "'my bundle'", "it's": `'it'\''s'`, "a$b": "'a$b'", "*": "'*'",
	} {
		if got := shellWord(path); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", path, got, want)
		}
	}
}

// An error may be several that were joined, such as one image that is damaged in two bundles.
func TestWhatEndedACommandIsSaidOnOneLine(t *testing.T) {
	var stderr bytes.Buffer
	newApp(&bytes.Buffer{}, &stderr, lookup(nil), noon).complain(errors.Join(errors.New("this"), errors.New("that")))
	if got, want := stderr.String(), "pyrobundle: this; that\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
