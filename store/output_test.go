package store

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestOutputKeepsWhatAgrees(t *testing.T) {
	text := strings.Repeat("0123456789", 1000)
	for _, test := range []struct {
		name        string
		final, part string // what is there
		whole       bool   // afterwards nothing had to be written
		kept        int64
	}{
		{name: "nothing"},
		{name: "all", final: text, whole: true, kept: 10_000},
		{name: "a part", part: text[:4321], kept: 4321},
		{name: "a part that differs", part: text[:4000] + "x" + text[:100], kept: 4000},
		{name: "a part that is too long", part: text + "more", kept: 10_000},
		{name: "another file", final: "other", kept: 0},
		{name: "a longer file", final: text + "more", kept: 0},
		{name: "a shorter file", final: text[:5000], kept: 0},
		{name: "both", final: "other", part: text[:5000], kept: 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, data := range map[string]string{"f": test.final, "f" + partSuffix: test.part} {
				if data != "" {
					if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = root.Close() })
			o, err := openOutput(rootFolder{root}, "f")
			if err != nil {
				t.Fatal(err)
			}
			for chunk := range slices.Chunk([]byte(text), 999) {
				if n, err := o.Write(chunk); err != nil || n != len(chunk) {
					t.Fatal(n, err)
				}
			}
			if err := o.settle(); err != nil {
				t.Fatal(err)
			}
			if o.whole != test.whole || o.kept != test.kept {
				t.Errorf("kept %d, all %v; want %d, %v", o.kept, o.whole, test.kept, test.whole)
			}
			if err := o.publish(); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(dir, "f"))
			if err != nil || string(got) != text {
				t.Errorf("the file has %d bytes, %v", len(got), err)
			}
		})
	}
}
