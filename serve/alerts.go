package serve

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// A bundle holds no alerts: the platform makes them out of sequences, and merges, splits and renames them (contract A.7).
// They are answered as by a platform that has none, requests validated as there.

// noteAlerts says once in the log that what looks like a quiet platform is a bundle.
func (s *server) noteAlerts() {
	s.alertsAsked.Do(func() {
		s.log.Warn("a bundle holds no alerts: served as a platform without any")
	})
}

// alertsOfDay answers GET /alerts/all/fromdate.
func (s *server) alertsOfDay(c *call) error {
	if _, err := c.dayListing(); err != nil {
		return err
	}
	s.noteAlerts()
	return c.list().end()
}

// countAlertsOfDay answers GET /alerts/all/fromdate/count.
func (s *server) countAlertsOfDay(c *call) error {
	in := c.query()
	in.day("from_date")
	in.riskScore()
	return s.countAlerts(c, &in)
}

// latestAlerts answers GET /alerts/unlabeled/latest.
func (s *server) latestAlerts(c *call) error {
	in := c.query()
	in.integer("limit", defaultListing, atLeast(1))
	offset := in.integer("offset", 0)
	in.riskScore()
	if err := in.problems(); err != nil {
		return err
	}
	if offset < 0 {
		return fmt.Errorf("list alerts: negative offset %d", offset) // as of a day
	}
	s.noteAlerts()
	return c.list().end()
}

// countLatestAlerts answers GET /alerts/unlabeled/latest/count.
func (s *server) countLatestAlerts(c *call) error {
	in := c.query()
	in.riskScore()
	return s.countAlerts(c, &in)
}

// countAlerts answers 0, unless something is wrong with what was asked.
func (s *server) countAlerts(c *call, in *input) error {
	if err := in.problems(); err != nil {
		return err
	}
	s.noteAlerts()
	return c.json(map[string]int{"count": 0})
}

// alert answers GET /alerts/{id}.
func (s *server) alert(*call) error {
	s.noteAlerts()
	return noEntry("Alert")
}

// alertSequences answers GET /alerts/{id}/sequences.
func (s *server) alertSequences(c *call) error {
	in := c.query()
	in.integer("limit", 10, atLeast(1), atMost(100))
	in.boolean("order_desc", true)
	if err := in.problems(); err != nil {
		return err
	}
	return s.alert(c)
}

// exportAlerts answers GET /alerts/export: the header line of the table.
func (s *server) exportAlerts(c *call) error {
	in := c.query()
	from, to := in.day("from_date"), in.day("to_date")
	if err := in.problems(); err != nil {
		return err
	}
	if to < from {
		return refuse(http.StatusUnprocessableEntity, "to_date must be on or after from_date")
	}
	s.noteAlerts()
	table := strings.Join([]string{
		"alert_id", "alert_started_at_date", "alert_started_at_time", "alert_last_seen_at", "alert_duration_seconds",
		"alert_triangulated_lat", "alert_triangulated_lon", "organization_id", "sequence_id", "sequence_started_at",
		"sequence_last_seen_at", "sequence_triangulated_azimuth", "sequence_label", "pose_id", "camera_id", "camera_name",
	}, ",") + "\r\n"
	c.w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	c.w.Header().Set("Content-Disposition", `attachment; filename="alerts_`+string(from)+"_"+string(to)+`.csv"`)
	c.w.Header().Set("Content-Length", strconv.Itoa(len(table)))
	c.w.WriteHeader(http.StatusOK)
	_, _ = c.w.Write([]byte(table)) // a client that is gone is no error of ours
	return nil
}
