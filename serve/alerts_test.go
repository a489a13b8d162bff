package serve

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// A dashboard of the platform's asks for alerts first: it must find a platform without any, not a missing route.
func TestAlertsOfABundleAreNone(t *testing.T) {
	const (
		alerts = "/api/v1/alerts"
		day    = alerts + "/all/fromdate?from_date=2026-08-01"
		count  = `{"count":0}`
		none   = `{"detail":"Table Alert has no corresponding entry."}`
	)
	one := func(issue string) string { return `{"detail":[` + issue + `]}` }
	missing := one(`{"type":"missing","loc":["query","from_date"],"msg":"Field required","input":null}`)
	short := one(`{"type":"greater_than_equal","loc":["query","limit"],"msg":"Input should be greater than or equal to 1","input":"0","ctx":{"ge":1}}`)
	askProbes(t, serveBundle(t, recordedBundle(t), Options{}), []probe{
		{name: "of a day", as: "org-2", path: day + "&limit=100&offset=5&risk_score=low", status: 200, want: "[]"},
		{name: "of no day", as: "org-2", path: alerts + "/all/fromdate", status: 422, want: missing},
		{name: "of a day and hour", as: "org-2", path: day + "T12:00", status: 422},
		{name: "limit no number", as: "org-2", path: day + "&limit=x", status: 422},
		{name: "no risk score", as: "org-2", path: day + "&risk_score=none", status: 422},
		{name: "negative limit", as: "org-2", path: day + "&limit=-1", status: 500},
		{name: "number of a day", as: "admin", path: alerts + "/all/fromdate/count?from_date=2026-08-01", status: 200, want: count},
		{name: "number of no day", as: "admin", path: alerts + "/all/fromdate/count", status: 422, want: missing},
		{name: "latest", as: "org-2", path: alerts + "/unlabeled/latest?limit=1&offset=0", status: 200, want: "[]"},
		{name: "latest none", as: "org-2", path: alerts + "/unlabeled/latest?limit=0", status: 422, want: short},
		{name: "latest from a negative offset", as: "org-2", path: alerts + "/unlabeled/latest?offset=-1", status: 500},
		{name: "number of the latest", as: "org-2", path: alerts + "/unlabeled/latest/count", status: 200, want: count},
		{name: "one", as: "org-2", path: alerts + "/5", status: 404, want: none},
		{
			name: "one by a word", as: "org-2", path: alerts + "/all", status: 422,
			want: one(`{"type":"int_parsing","loc":["path","alert_id"],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"all"}`),
		},
		{name: "sequences of one", as: "org-2", path: alerts + "/5/sequences?limit=100&order_desc=false", status: 404, want: none},
		{name: "no sequences of one", as: "org-2", path: alerts + "/5/sequences?limit=0", status: 422, want: short},
		{name: "order of sequences", as: "org-2", path: alerts + "/5/sequences?order_desc=maybe", status: 422},
		{name: "export of no days", as: "org-2", path: alerts + "/export?to_date=2026-08-01", status: 422, want: missing},
		{
			name: "export backwards", as: "org-2", path: alerts + "/export?from_date=2026-08-02&to_date=2026-08-01", status: 422,
			want: `{"detail":"to_date must be on or after from_date"}`,
		},
		{name: "without token", path: day, status: 401},
		{name: "method of no route", as: "org-2", method: "PUT", path: alerts + "/export", status: 405},
	})
}

func TestExportOfAlertsIsTheHeaderOfTheTable(t *testing.T) {
	c := serveBundle(t, recordedBundle(t), Options{}).as("org-2")
	got := c.get("/api/v1/alerts/export?from_date=1785542400&to_date=2026-08-01")
	const want = "alert_id,alert_started_at_date,alert_started_at_time,alert_last_seen_at,alert_duration_seconds,alert_triangulated_lat," +
		"alert_triangulated_lon,organization_id,sequence_id,sequence_started_at,sequence_last_seen_at,sequence_triangulated_azimuth," +
		"sequence_label,pose_id,camera_id,camera_name\r\n"
	if got.status != 200 || string(got.body) != want {
		t.Errorf("got %s, want %q", got, want)
	}
	for name, value := range map[string]string{
		"Content-Type":        "text/csv; charset=utf-8",
		"Content-Disposition": `attachment; filename="alerts_2026-08-01_2026-08-01.csv"`,
	} {
		if got.header.Get(name) != value {
			t.Errorf("%s: %q, want %q", name, got.header.Get(name), value)
		}
	}
}

func TestThatThereAreNoAlertsIsSaidOnce(t *testing.T) {
	var out bytes.Buffer // written to before each answer, read after the last
	c := serveBundle(t, recordedBundle(t), Options{Log: slog.New(slog.NewTextHandler(&out, nil))}).as("org-2")
	for _, path := range []string{"/5", "/unlabeled/latest", "/unlabeled/latest/count", "/all/fromdate?from_date=2026-08-01", "/5/sequences"} {
		c.get("/api/v1/alerts" + path)
	}
	if n := strings.Count(out.String(), "level=WARN"); n != 1 || !strings.Contains(out.String(), "a bundle holds no alerts") {
		t.Errorf("%d warnings, want one:\n%s", n, out.String())
	}
}
