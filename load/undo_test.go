package load

import (
	"bufio"
	"encoding/json"
	"strings"
	"testing"

	"pyrobundle/load/annotation"
)

// FuzzUndoLine: an undo file may come from anywhere.
func FuzzUndoLine(f *testing.F) {
	for _, seed := range []string{
		`{"format":"pyrobundle-undo/1","target":"http://localhost:5050","at":"2026-08-01T10:00:00Z"}` + "\n",
		`{"alert_api_id":41,"sequence_id":1,"annotation":{"id":1,"annotation":{"sequences_bbox":null}}}` + "\n{",
		"\n\n", `{"annotation":7}` + "\n", strings.Repeat("x", 200<<10) + "\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data string) {
		lines := bufio.NewReaderSize(strings.NewReader(data), 16)
		for {
			var s saved
			more, err := readLine(lines, &s)
			if !more {
				return
			}
			if err == nil {
				var old annotation.SequenceAnnotation
				if json.Unmarshal(s.Annotation, &old) == nil {
					digestOf(old.Document)
				}
			}
		}
	})
}
