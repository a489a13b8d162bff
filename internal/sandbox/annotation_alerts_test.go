package sandbox

import (
	"regexp"
	"strings"
	"testing"
)

// TestTemporalScoreOverwritesAllThree: null is a value like any other.
func TestTemporalScoreOverwritesAllThree(t *testing.T) {
	s := newSite(t, AnnotationOptions{})
	s.sequence(map[string]string{
		"temporal_model_score": "0.25", "temporal_model_version": "0.1.0", "temporal_api_version": "v0.2.0",
	}).want(t, 201, `"temporal_model_score":0.25,"temporal_model_version":"0.1.0","temporal_api_version":"v0.2.0"`)
	for _, want := range []string{
		`"temporal_model_score":null,"temporal_model_version":"0.2.0","temporal_api_version":null`,
		`"temporal_model_score":0.5,"temporal_model_version":null,"temporal_api_version":"v0.3.0"`,
		`"temporal_model_score":null,"temporal_model_version":null,"temporal_api_version":null`,
	} {
		s.json("PATCH", "/sequences/temporal-score", `{"source_api":"pyronear_french","alert_api_id":4242,`+want+`}`).want(t, 200, want)
		s.get("/sequences/1").want(t, 200, want)
	}
}

// TestLanesAreInOrderOfAlertIDs, whichever sequence came first.
func TestLanesAreInOrderOfAlertIDs(t *testing.T) {
	s := newSite(t, AnnotationOptions{})
	for _, id := range []string{"1000013002", "13", "1000013001"} {
		s.sequence(map[string]string{"alert_api_id": id, "platform_alert_id": "13"}).want(t, 201, `"platform_alert_id":13`)
	}
	alert := s.get("/sequences/alert?source_api=pyronear_french&platform_alert_id=13")
	lanes := regexp.MustCompile(`"alert_api_id":[0-9]+`).FindAllString(alert.body, -1)
	if got, want := strings.ReplaceAll(strings.Join(lanes, " "), `"alert_api_id":`, ""), "13 1000013001 1000013002"; got != want {
		t.Errorf("lanes %s, want %s", got, want)
	}
}
