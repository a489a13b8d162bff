package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commandLine returns a new command line, and eachCommand its commands, those below and the hidden one included.
func commandLine() *cobra.Command {
	return newApp(&bytes.Buffer{}, &bytes.Buffer{}, lookup(nil), noon).command()
}

func eachCommand(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		all = append(all, eachCommand(c)...)
	}
	return all
}

func TestEveryHelpIsWhole(t *testing.T) {
	for _, cmd := range eachCommand(commandLine()) {
		t.Run(cmd.CommandPath(), func(t *testing.T) {
			path := strings.Fields(cmd.CommandPath())
			got := pyrobundle(t, nil, append(path[1:], "--help")...)
			for _, want := range []string{
				"\nUsage:\n  " + cmd.CommandPath(), "\nExamples:\n", "\nFlags:\n", "\nEnvironment:\n", "PYROBUNDLE_<FLAG>  +each", "\nExit codes:\n  0 +done\n", "\n  2 +wrong usage",
			} {
				if !regexp.MustCompile(want).MatchString(got.stdout) {
					t.Errorf("lacks %q", want)
				}
			}
			if got.code != 0 || got.stderr != "" {
				t.Errorf("exit code %d, stderr %q", got.code, got.stderr)
			}
			if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
				t.Errorf("purpose %q, want one line without a full stop", cmd.Short)
			}
			if !strings.Contains(cmd.Example, "pyrobundle ") {
				t.Errorf("example %q shows no command line", cmd.Example)
			}
			for line := range strings.Lines(got.stdout) {
				if len(line) > helpWidest+len("\n") && !strings.HasPrefix(line, "  pyrobundle") {
					t.Errorf("line of %d characters: %q", len(line), line)
				}
			}
			if t.Failed() {
				t.Log(got.stdout)
			}
		})
	}
}

func TestHelpOfACommandIsItsHelpFlag(t *testing.T) {
	for _, path := range [][]string{{}, {"fetch"}, {"inspect", "image"}} {
		flag := pyrobundle(t, nil, append(path, "--help")...)
		if got := pyrobundle(t, nil, append([]string{"help"}, path...)...); got != flag {
			t.Errorf("help %v: got %+v", path, got)
		}
	}
}

func TestHelpFitsTheTerminal(t *testing.T) {
	for _, columns := range []int{1, 80, 100, 300} {
		var stdout bytes.Buffer
		app := newApp(&stdout, &bytes.Buffer{}, lookup(nil), noon)
		app.columns = func() int { return columns }
		cmd := app.command()
		cmd.SetArgs([]string{"load", "--help"})
		if err := cmd.Execute(); err != nil {
			t.Fatal(err)
		}
		inFlags := false
		for line := range strings.Lines(stdout.String()) {
			inFlags = line == "Flags:\n" || (inFlags && line != "\n")
			limit := min(max(columns, helpNarrowest+1), helpWidest+1)
			if !inFlags && len(line) > limit && !strings.HasPrefix(line, "  pyrobundle") && columns > 1 {
				t.Errorf("%d columns: line of %d: %q", columns, len(line)-1, line)
			}
		}
	}
}

func TestWrap(t *testing.T) {
	for _, test := range []struct {
		text  string
		width int
		want  string
	}{
		{"one two three", 9, "one two\nthree"},
		{"one two\nthree", 20, "one two three"},
		{"a-word-that-is-longer x", 5, "a-word-that-is-longer\nx"},
		{"", 5, ""},
	} {
		if got := wrap(test.text, test.width, ""); got != test.want {
			t.Errorf("wrap(%q, %d) = %q, want %q", test.text, test.width, got, test.want)
		}
	}
}

// valueFor returns a value that the flag takes and that is not its default, and one that it refuses; both empty for words of
// any kind.
func valueFor(flag *pflag.Flag) (good, bad string) {
	if words, isChoice := flag.Value.(interface{ list() []string }); isChoice {
		list := words.list()
		return list[len(list)-1], "nonsense"
	}
	switch flag.Value.Type() {
	case "bool":
		return "true", "nonsense"
	case "number", "id", "ids|file":
		return "7", "nonsense"
	case "time":
		return "7s", "nonsense"
	case "fraction":
		return "0.25", "nonsense"
	case "rate":
		return "7000B", "nonsense"
	case "size":
		return "7000000", "nonsense"
	case "day":
		return "2024-01-07", "nonsense"
	case "n/t":
		return "1/7", "nonsense"
	case "string", "directory":
		return "words", ""
	}
	return "", ""
}

// dummies are arguments that a command's usage asks for.
func dummies(cmd *cobra.Command) []string {
	var args []string
	for word := range strings.FieldsSeq(cmd.Use) {
		if word == strings.ToUpper(word) && strings.ContainsAny(word[:1], "ABCDEFGHIJKLMNOPQRSTUVWXYZ") && word != "COMMAND" {
			args = append(args, "x")
		}
	}
	return args
}

func TestEveryFlagComesFromTheEnvironment(t *testing.T) {
	for _, cmd := range eachCommand(commandLine()) {
		path := strings.Fields(cmd.CommandPath())[1:]
		cmd.InitDefaultHelpFlag()
		cmd.Flags().VisitAll(func(flag *pflag.Flag) {
			if !fromEnvironment(flag) {
				return
			}
			t.Run(cmd.CommandPath()+" --"+flag.Name, func(t *testing.T) {
				good, bad := valueFor(flag)
				if good == "" {
					t.Fatalf("no value is known for a flag of type %q: valueFor lacks it", flag.Value.Type())
				}
				variable := flagVariable(flag.Name)
				set := func(env map[string]string, args ...string) *pflag.Flag {
					t.Helper()
					app := newApp(&bytes.Buffer{}, &bytes.Buffer{}, lookup(env), noon)
					again, _, err := app.command().Find(path)
					if err != nil {
						t.Fatal(err)
					}
					if err := again.ParseFlags(args); err != nil {
						t.Fatal(err)
					}
					if err := app.flagsFromEnvironment(again.Flags()); err != nil {
						t.Fatal(err)
					}
					return again.Flags().Lookup(flag.Name)
				}
				if got := set(map[string]string{variable: good}); got.Value.String() != good || !got.Changed {
					t.Errorf("%s=%s: got %q", variable, good, got.Value)
				}
				if got := set(map[string]string{variable: ""}); got.Value.String() != flag.DefValue {
					t.Errorf("%s empty: got %q, want the default %q", variable, got.Value, flag.DefValue)
				}
				if got := set(map[string]string{variable: bad}, "--"+flag.Name+"="+good); got.Value.String() != good {
					t.Errorf("%s=%s and the flag %s: got %q", variable, bad, good, got.Value)
				}
				if bad == "" {
					return
				}
				got := pyrobundle(t, map[string]string{variable: bad}, append(path, dummies(cmd)...)...)
				if got.code != exitUsage || !strings.HasPrefix(got.stderr, "pyrobundle: environment variable "+variable+": ") {
					t.Errorf("%s=%s: got %+v, want wrong usage that names the variable", variable, bad, got)
				}
			})
		})
	}
}

func TestManualIsCurrent(t *testing.T) {
	const dir = "../../docs/cli"
	want := manual(commandLine(), "markdown")
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Errorf("%v: run make docs", err)
			continue
		}
		if diff := cmp.Diff(string(text), string(got)); diff != "" {
			t.Errorf("%s is not what the commands say: run make docs (-want +got)\n%s", name, diff)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if want[file.Name()] == nil {
			t.Errorf("%s is about no command: remove it", file.Name())
		}
	}
}

// Every document that a help names is there, and every link of the documents leads somewhere.
func TestManualLinksLeadSomewhere(t *testing.T) {
	links := regexp.MustCompile(`\]\(([^)]+)\)`)
	seen := 0
	for name, text := range manual(commandLine(), "markdown") {
		for _, link := range links.FindAllStringSubmatch(string(text), -1) {
			seen++
			if _, err := os.Stat(filepath.Join("../../docs/cli", link[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if seen < 20 {
		t.Errorf("%d links, want 20 or more", seen)
	}
}

// No text of a help is taken for an instruction of troff, and man has nothing to complain of.
func TestManualPagesAreReadableByMan(t *testing.T) {
	pages := manual(commandLine(), "man")
	instruction := regexp.MustCompile(`^\.(TH|SH|TP|PP|B|BR|br|nf|fi)( |$)`)
	for name, text := range pages {
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "'") || (strings.HasPrefix(line, ".") && !instruction.MatchString(strings.TrimSuffix(line, "\n"))) {
				t.Errorf("%s: line %q", name, line)
			}
		}
		for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "ENVIRONMENT", "EXIT CODES", "EXAMPLES"} {
			if !bytes.Contains(text, []byte("\n.SH "+section+"\n")) {
				t.Errorf("%s lacks %s", name, section)
			}
		}
	}
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("groff is not here to read the pages")
	}
	dir := t.TempDir()
	for name, text := range pages {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("groff", "-man", "-Tutf8", "-Kutf8", "-ww", "-z", file).CombinedOutput() //nolint:gosec // our own file
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestManualCommandWritesEveryPage(t *testing.T) {
	for format, name := range map[string]string{"man": "pyrobundle-inspect-image.1", "markdown": "pyrobundle-inspect-image.md"} {
		dir := filepath.Join(t.TempDir(), "new")
		if got := pyrobundle(t, nil, "manual", "--format", format, "--dir", dir); got != (outcome{}) {
			t.Errorf("%+v", got)
		}
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}
