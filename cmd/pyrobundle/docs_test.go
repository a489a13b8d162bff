package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command line in the documents is one that the program takes.
func TestDocumentedCommandsExist(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("documents: %v, %v", files, err)
	}
	invocation := regexp.MustCompile("(?:^|[\\s/(\"'`])pyrobundle ((?:[a-z]+)(?: [^|;&>#`\\n]*)?)")
	seen := 0
	for _, file := range append(files, "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range invocation.FindAllStringSubmatch(strings.ReplaceAll(string(text), "\\\n", " "), -1) {
			words := strings.Fields(match[1])
			root := newApp(&bytes.Buffer{}, &bytes.Buffer{}, lookup(nil), noon).command()
			cmd, _, err := root.Find(words)
			if err != nil || cmd == root {
				if strings.Contains(match[1], "--") {
					t.Errorf("%s: %q names no command", filepath.Base(file), match[1])
				}
				continue // a sentence about the program
			}
			seen++
			for _, word := range words {
				if name, isFlag := strings.CutPrefix(word, "--"); isFlag {
					checkFlag(t, file, cmd, strings.TrimRight(name, ".,:)'"))
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("%d command lines found, want 20 or more: does the pattern still fit the documents?", seen)
	}
}

func checkFlag(t *testing.T, file string, cmd *cobra.Command, name string) {
	t.Helper()
	name, _, _ = strings.Cut(name, "=")
	if cmd.Flags().Lookup(name) == nil && name != "help" {
		t.Errorf("%s: %s has no flag --%s", filepath.Base(file), cmd.CommandPath(), name)
	}
}

// Every test that the guide's table names is there.
func TestGuideNamesTestsThatExist(t *testing.T) {
	guide, err := os.ReadFile("../../docs/guide.md")
	if err != nil {
		t.Fatal(err)
	}
	var sources strings.Builder
	err = filepath.WalkDir("../..", func(path string, entry os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		sources.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`(Test\\w+|\\w+\\.txtar)`").FindAllStringSubmatch(string(guide), -1)
	if len(names) < 80 {
		t.Errorf("the guide names %d tests, want 80 or more", len(names))
	}
	for _, match := range names {
		name := match[1]
		if strings.HasSuffix(name, ".txtar") {
			if _, err := os.Stat(filepath.Join("../../testdata/script", name)); err != nil {
				t.Errorf("script %s: %v", name, err)
			}
			continue
		}
		if !strings.Contains(sources.String(), "func "+name+"(t *testing.T)") {
			t.Errorf("test %s is nowhere", name)
		}
	}
}
