package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pyrobundle/internal/sandbox"
)

// codeOf returns the blocks of a language in docs/fixtures.md, in their order.
func codeOf(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/fixtures.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, match := range regexp.MustCompile("(?s)\n```"+language+"\n(.*?\n)```\n").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, match[1])
	}
	return blocks
}

// anotherProject is the directory of a project that uses the fixture of the documents.
func anotherProject(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := sandbox.WriteBundle(t.Context(), filepath.Join(dir, "fixtures", "world.bundle"), sandbox.WorldOptions{ImageBytes: smallImage}); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		writeTo(t, filepath.Join(dir, name), text)
	}
	return dir
}

func runIn(t *testing.T, dir, program string, args ...string) (output string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...) //nolint:gosec // the test's own programs
	cmd.Dir = dir
	ownFlags := func(variable string) bool { return strings.HasPrefix(variable, "PYROBUNDLE_") } // of whoever runs the tests
	cmd.Env = append(slices.DeleteFunc(os.Environ(), ownFlags), "NO_PROXY=*", "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off", "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestFixtureOfAGoProject(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("compiles another project")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go here")
	}
	code := codeOf(t, "go")
	if len(code) != 1 {
		t.Fatalf("%d blocks of Go, want 1", len(code))
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	ours, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	_, requirements, _ := strings.Cut(string(ours), "\n\n") // the same versions, which are here already
	sums, err := os.ReadFile("../../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	dir := anotherProject(t, map[string]string{
		"watch_test.go": code[0],
		"go.mod":        "module example.org/watch\n\n" + requirements,
		"go.sum":        string(sums),
	})
	if out, err := runIn(t, dir, "go", "mod", "edit", "-require", "pyrobundle@v0.0.0", "-replace", "pyrobundle="+root); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := runIn(t, dir, "go", "test", "-v", "./...")
	if err != nil || !strings.Contains(out, "--- PASS: TestLoginAndList") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestFixtureOfAPythonProject(t *testing.T) {
	t.Parallel()
	if out, err := runIn(t, ".", "python3", "-c", "import pytest, requests"); err != nil {
		t.Skipf("no python3 with pytest and requests here: %v %s", err, out)
	}
	code := codeOf(t, "python")
	if len(code) != 2 {
		t.Fatalf("%d blocks of Python, want 2", len(code))
	}
	dir := anotherProject(t, map[string]string{"conftest.py": code[0], "test_platform.py": code[1]})
	out, err := runIn(t, dir, "python3", "-m", "pytest", "-q", "-p", "no:cacheprovider")
	if err != nil || !strings.Contains(out, "2 passed") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestFixtureOfAShell(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no %s here", program)
		}
	}
	var script string
	for _, block := range codeOf(t, "sh") {
		if strings.Contains(block, "coproc") {
			script = block
		}
	}
	out, err := runIn(t, anotherProject(t, nil), "bash", "-c", script)
	if err != nil || !strings.Contains(out, `{"status":"ok"}`) {
		t.Errorf("%v\n%s\n%s", err, script, out)
	}
}
