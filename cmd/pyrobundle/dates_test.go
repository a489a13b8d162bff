package main

import (
	"testing"
	"time"

	"pyrobundle/store"
)

func TestDayFlagUnderstandsWords(t *testing.T) {
	for text, want := range map[string]store.Day{
		"2024-01-31": "2024-01-31",
		"today":      "2026-08-15",
		"yesterday":  "2026-08-14",
		"-0d":        "2026-08-15",
		"-7d":        "2026-08-08",
		"-15d":       "2026-07-31",
	} {
		day := dayFlag{now: noon}
		if err := day.Set(text); err != nil || day.day != want {
			t.Errorf("Set(%q) = %v, %v; want %s", text, day.day, err, want)
		}
	}
}

func TestDayFlagRefusesWhatIsNoDay(t *testing.T) {
	for _, text := range []string{"", "2024-13-01", "2024-02-30", "24-01-01", "01/02/2024", "7d", "-d", "--7d", "-7", "-99999d", "2024-01-01T00:00:00", "Today "} {
		day := dayFlag{now: noon}
		if err := day.Set(text); err == nil {
			t.Errorf("Set(%q) = %s, want an error", text, day.day)
		}
	}
}

// E20: the platform's days are UTC, so the words and the default end count from the UTC day, wherever the clock stands.
func TestE20_TodayIsTheUTCDay(t *testing.T) {
	lateInTheWest := func() time.Time { // already the 16th in UTC
		return time.Date(2026, 8, 15, 22, 0, 0, 0, time.FixedZone("west", -5*3600))
	}
	day := dayFlag{now: lateInTheWest}
	if err := day.Set("today"); err != nil || day.day != "2026-08-16" {
		t.Errorf("today = %v, %v", day.day, err)
	}
	dates := dateFlags{from: dayFlag{day: "2026-08-01", now: lateInTheWest}}
	from, to, err := dates.days("fetch")
	if from != "2026-08-01" || to != "2026-08-16" || err != nil {
		t.Errorf("days() = %s, %s, %v", from, to, err)
	}
}
