package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/internal/sandbox"
	"pyrobundle/store"
)

func writeTo(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func sortedCopy(words []string) []string { return slices.Sorted(slices.Values(words)) }

// completed returns what a shell would propose, without descriptions, and the directive.
func completed(t *testing.T, env map[string]string, args ...string) (proposed []string, directive string) {
	t.Helper()
	got := pyrobundle(t, env, append([]string{"__complete"}, args...)...)
	if got.code != 0 {
		t.Fatalf("complete %q: %+v", args, got)
	}
	lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
	for _, line := range lines[:len(lines)-1] {
		word, _, _ := strings.Cut(line, "\t")
		if strings.HasPrefix(word, args[len(args)-1]) { // the others the shell leaves out
			proposed = append(proposed, word)
		}
	}
	return proposed, lines[len(lines)-1]
}

// Directives of cobra's protocol, as its scripts read them.
const (
	filesDirective   = ":0"
	noFilesDirective = ":4"
	noSpaceDirective = ":6"  // and no files
	dirsDirective    = ":16" // directories only
	orderedDirective = ":36" // and no files
	listDirective    = ":38" // ordered, no space, no files
)

func TestCompletion(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := sandbox.WriteBundle(t.Context(), "pyronear.bundle", sandbox.WorldOptions{ImageBytes: smallImage, FirstDay: "2024-01-01"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"stick", ".git", "stick/july.bundle", "august.bundle"} {
		if err := os.MkdirAll(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	writeTo(t, "stick/july.bundle/manifest.json", "{}")
	writeTo(t, "august.bundle/manifest.json", "{}")
	writeTo(t, "notes.txt", "")
	elsewhere := map[string]string{"PYROBUNDLE_BUNDLE": filepath.Join(dir, "none")}

	for _, test := range []struct {
		name      string
		env       map[string]string
		args      []string
		want      []string
		directive string
	}{
		{"commands", nil, []string{"dem"}, []string{"demo"}, noFilesDirective},
		{"no hidden ones", nil, []string{"manu"}, nil, noFilesDirective},
		{"subcommands", nil, []string{"inspect", "sequence"}, []string{"sequence", "sequences"}, noFilesDirective},
		{"commands of help", nil, []string{"help", "inspect", "c"}, []string{"cameras"}, noFilesDirective},
		{"shells", nil, []string{"completion", ""}, []string{"bash", "zsh", "fish", "powershell"}, noFilesDirective},
		{"bundles", nil, []string{"load", "--bundle", ""}, []string{"august.bundle", "pyronear.bundle", "stick/"}, noSpaceDirective},
		{"bundles of a name", nil, []string{"load", "--bundle", "py"}, []string{"pyronear.bundle"}, noFilesDirective},
		{"bundles below", nil, []string{"verify", "--bundle", "stick/"}, []string{"stick/july.bundle"}, noFilesDirective},
		{"hidden directories", nil, []string{"verify", "--bundle", ".g"}, []string{".git/"}, noSpaceDirective},
		{"no such directory", nil, []string{"verify", "--bundle", "none/"}, nil, noFilesDirective},
		{"bundles as arguments", nil, []string{"diff", "pyronear.bundle", "au"}, []string{"august.bundle"}, noFilesDirective},
		{"bundle to merge into", nil, []string{"merge", "-o", "au"}, []string{"august.bundle"}, noFilesDirective},
		{"days", nil, []string{"load", "--date-from", "2024"}, []string{"2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"}, orderedDirective},
		{"words for days", nil, []string{"load", "--date-from", "y"}, []string{"yesterday"}, orderedDirective},
		{"days of a bundle that is none", nil, []string{"load", "--bundle", "august.bundle", "--date-end", ""}, []string{"today", "yesterday", "-7d"}, orderedDirective},
		{"days of no bundle", elsewhere, []string{"load", "--date-end", ""}, []string{"today", "yesterday", "-7d"}, orderedDirective},
		{"ids", nil, []string{"load", "--sequence-list", "11"}, []string{"110", "111", "112", "113", "114", "115"}, listDirective},
		{"ids of a list", nil, []string{"load", "--sequence-list", "113,114,11"}, []string{"113,114,110", "113,114,111", "113,114,112", "113,114,115"}, listDirective},
		{"a file of ids", nil, []string{"load", "--sequence-list", "no"}, nil, filesDirective},
		{"an id", nil, []string{"inspect", "sequence", "--bundle", "pyronear.bundle", "11"}, []string{"110", "111", "112", "113", "114", "115"}, orderedDirective},
		{"one id only", nil, []string{"inspect", "sequence", "110", "1"}, nil, noFilesDirective},
		{"choices", nil, []string{"load", "--existing", ""}, []string{"update", "overwrite", "keep"}, noFilesDirective},
		{"choices of many", nil, []string{"fetch", "--risk-score", "very"}, []string{"very_low", "very_high"}, noFilesDirective},
		{"levels", nil, []string{"fetch", "--loglevel", "d"}, []string{"debug"}, noFilesDirective},
		{"numbers", nil, []string{"fetch", "--max-workers", ""}, nil, noFilesDirective},
		{"files", nil, []string{"fetch", "--env-file", ""}, nil, filesDirective},
		{"directories", nil, []string{"load", "--undo-dir", ""}, nil, dirsDirective},
		{"a file as argument", nil, []string{"restore", ""}, nil, filesDirective},
		{"no arguments", nil, []string{"load", ""}, nil, noFilesDirective},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, directive := completed(t, test.env, test.args...)
			if diff := cmp.Diff(sortedCopy(test.want), sortedCopy(got)); diff != "" || directive != test.directive {
				t.Errorf("directive %s, want %s; (-want +got)\n%s", directive, test.directive, diff)
			}
		})
	}
}

// Completing while a fetch writes must neither wait nor say anything.
func TestCompletionOfABundleInUseProposesNothing(t *testing.T) {
	t.Chdir(t.TempDir())
	writer, err := store.OpenWriter(t.Context(), "pyronear.bundle", store.WriteOptions{Source: store.Source{URL: sandbox.PlatformURL}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = writer.Close() }()
	if got, _ := completed(t, nil, "inspect", "sequence", "1"); len(got) > 0 {
		t.Errorf("proposed %q", got)
	}
}

func TestCompletionScripts(t *testing.T) {
	for shell, check := range map[string][]string{"bash": {"bash", "-n"}, "zsh": {"zsh", "-n"}, "fish": {"fish", "--no-execute"}, "powershell": nil} {
		t.Run(shell, func(t *testing.T) {
			got := pyrobundle(t, nil, "completion", shell)
			if got.code != 0 || !strings.Contains(got.stdout, "__complete") {
				t.Fatalf("got %+v", got)
			}
			if check == nil {
				return
			}
			if _, err := exec.LookPath(check[0]); err != nil {
				t.Skipf("%s is not here to read its script", shell)
			}
			cmd := exec.Command(check[0], check[1:]...) //nolint:gosec // the shell reads its script, and runs nothing
			cmd.Stdin = strings.NewReader(got.stdout)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
