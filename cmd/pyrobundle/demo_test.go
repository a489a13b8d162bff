package main

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// interruptedAt is stderr that interrupts as soon as a text is written to it.
type interruptedAt struct {
	bytes.Buffer
	text      string
	interrupt func()
}

func (i *interruptedAt) Write(p []byte) (int, error) {
	if strings.Contains(string(p), i.text) {
		i.interrupt()
	}
	return i.Buffer.Write(p)
}

// TestAnInterruptedDemoReportsWhatWasDone, like every other run: it printed nothing.
func TestAnInterruptedDemoReportsWhatWasDone(t *testing.T) {
	t.Parallel()
	run := func(at string) (stdout []byte) {
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		var out bytes.Buffer
		app := newApp(&out, &interruptedAt{text: at, interrupt: interrupt}, lookup(nil), noon)
		cmd := app.command()
		cmd.SetArgs([]string{"demo", "--dir", filepath.Join(t.TempDir(), "demo"), "--json"})
		if code := exitCode(cmd.ExecuteContext(ctx)); code != exitInterrupted {
			t.Errorf("interrupted at %q: exit code %d", at, code)
		}
		return out.Bytes()
	}
	var got report
	if stdout := run("3. load it"); json.Unmarshal(stdout, &got) != nil {
		t.Fatalf("no object: %q", stdout)
	}
	if got.Command != "demo" || got.Error != "interrupted" || got.Images == nil || got.Images.Total == 0 || got.Annotations != nil {
		t.Errorf("got %+v", got)
	}
	if stdout := run("1. write"); len(stdout) > 0 {
		t.Errorf("of one that had not begun to fetch it says %q", stdout)
	}
}
