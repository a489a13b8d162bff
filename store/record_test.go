package store

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestErrorOfARowDoesNotRepeatWhatItSays: a platform may say our password in any field, and as much as it likes.
func TestErrorOfARowDoesNotRepeatWhatItSays(t *testing.T) {
	const canary = "CANARY correct horse"
	digits := strings.Repeat("9", 5000)
	parsers := map[string]func(json.RawMessage) error{
		"detection":    func(doc json.RawMessage) error { _, err := ParseDetection(doc); return err },
		"sequence":     func(doc json.RawMessage) error { _, err := ParseSequence(doc); return err },
		"camera":       func(doc json.RawMessage) error { _, err := ParseCamera(doc); return err },
		"organization": func(doc json.RawMessage) error { _, err := ParseOrganization(doc); return err },
	}
	for name, test := range map[string]struct{ kind, doc string }{
		"a time":            {"detection", `{"id":1,"created_at":"` + canary + `"}`},
		"a long time":       {"sequence", `{"id":1,"started_at":"` + canary + strings.Repeat(" x", 50_000) + `"}`},
		"a time in quotes":  {"detection", `{"id":1,"recorded_at":"\"` + canary + `\u0000"}`},
		"a number":          {"detection", `{"id":` + digits + `}`},
		"a number of a box": {"sequence", `{"id":1,"max_conf":1e` + digits + `}`},
		"a fraction":        {"sequence", `{"id":1,"detections_count":0.` + digits + `}`},
		"a text":            {"camera", `{"id":1,"lat":"` + canary + `"}`},
		"a text for an id":  {"organization", `{"id":"` + canary + `"}`},
		"no document":       {"organization", `"` + canary + `"`},
		"a field's name":    {"camera", `{"id":0,"` + canary + `":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			err := parsers[test.kind](json.RawMessage(test.doc))
			if err == nil {
				t.Fatal("taken")
			}
			if text := err.Error(); len(text) > 200 || strings.Contains(text, "CANARY") || strings.Contains(text, "999") {
				t.Errorf("it says %.300q (%d bytes)", text, len(text))
			}
		})
	}
}

// TestErrorOfATextIsALine: a stranger's bundle may have texts of megabytes where a hash or a day belongs.
func TestErrorOfATextIsALine(t *testing.T) {
	long := strings.Repeat("7", 1<<20)
	_, hashErr := ParseHash(long)
	_, dayErr := ParseDay(long)
	for _, err := range []error{hashErr, dayErr} {
		if err == nil || len(err.Error()) > 200 {
			t.Errorf("%.300v", err)
		}
	}
}

// TestDaysEndWithTheLast: the day after 9999-12-31 sorted before all others, so that going through the days up to it never ended.
func TestDaysEndWithTheLast(t *testing.T) {
	days := 0
	for range Days("9999-12-29", "9999-12-31") {
		if days++; days == 10 {
			break
		}
	}
	if days != 3 {
		t.Errorf("%d days, want 3", days)
	}
}
