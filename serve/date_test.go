package serve

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What the platform's validation, pydantic, says of the same texts.
func TestParseDate(t *testing.T) {
	const (
		short = "input is too short"
		zone  = "invalid timezone sign"
		extra = "unexpected extra characters at the end of the input"
		late  = "dates after 9999 are not supported as unix timestamps"
		early = "dates before 0000 are not supported as unix timestamps"
	)
	for _, tc := range []struct {
		in    string
		day   string
		exact bool
		wrong string
	}{
		{"2026-08-01", "2026-08-01", true, ""},
		{"2024-02-29", "2024-02-29", true, ""},
		{"0001-01-01", "0001-01-01", true, ""},
		{"9999-12-31T00:00:00-02:00", "9999-12-31", true, ""},
		{"0000-01-01", "0000-01-01", true, ""},
		{" 2026-08-01", "", false, "invalid character in year"},
		{"2026-08-01 ", "", false, short},
		{"2026-08-01\t", "", false, "invalid datetime separator, expected `T`, `t`, `_` or space"},
		{"2026-13-45", "", false, "month value is outside expected range of 1-12"},
		{"2026-00-10", "", false, "month value is outside expected range of 1-12"},
		{"2026-13-0x", "", false, "invalid character in day"},
		{"2026-02-29", "", false, "day value is outside expected range"},
		{"2026-08-00", "", false, "day value is outside expected range"},
		{"2026-7-1", "", false, short},
		{"", "", false, short},
		{"yesterday!", "", false, "invalid character in year"},
		{"-2026-08-01", "", false, "invalid character in year"},
		{"2026/08/01", "", false, "invalid date separator, expected `-`"},
		{"2026-08/01", "", false, "invalid date separator, expected `-`"},
		{"2026-+8-01", "", false, "invalid character in month"},
		{"2026-08-1x", "", false, "invalid character in day"},

		{"2026-08-01T00:00:00", "2026-08-01", true, ""},
		{"2026-08-01 00:00", "2026-08-01", true, ""},
		{"2026-08-01_00:00", "2026-08-01", true, ""},
		{"2026-08-01t00:00:00.000z", "2026-08-01", true, ""},
		{"2026-08-01T00:00:00,0", "2026-08-01", true, ""},
		{"2026-08-01T00:00:00+02:00", "2026-08-01", true, ""},
		{"2026-08-01T00:00:00+0200", "2026-08-01", true, ""},
		{"2026-08-01T00:00\u221202:00", "2026-08-01", true, ""},
		{"2026-08-01T00:00:00.000000001", "2026-08-01", true, ""},
		{"2026-08-01T12:00:00", "2026-08-01", false, ""},
		{"2026-08-01T00:00:00.000001", "2026-08-01", false, ""},
		{"2026-08-01T0:00", "", false, short},
		{"2026-08-01Tnoon", "", false, short},
		{"2026-08-01x00:00", "", false, "invalid datetime separator, expected `T`, `t`, `_` or space"},
		{"2026-08-01T1x:00", "", false, "invalid character in hour"},
		{"2026-08-01T00x00", "", false, "invalid time separator, expected `:`"},
		{"2026-08-01T00:0x", "", false, "invalid character in minute"},
		{"2026-08-01T25:99", "", false, "hour value is outside expected range of 0-23"},
		{"2026-08-01T00:60", "", false, "minute value is outside expected range of 0-59"},
		{"2026-08-01T00:00:0", "", false, "invalid character in second"},
		{"2026-08-01T00:00:0x", "", false, "invalid character in second"},
		{"2026-08-01T00:00:60", "", false, "second value is outside expected range of 0-59"},
		{"2026-08-01T00:00:00.x", "", false, "second fraction digits missing after `.`"},
		{"2026-08-01T00:00.0", "", false, zone},
		{"2026-08-01T00:00 Z", "", false, zone},
		{"2026-08-01T00:00:00x", "", false, zone},
		{"2026-08-01T00:00:00+2", "", false, "invalid timezone hour"},
		{"2026-08-01T00:00:00+-2:00", "", false, "invalid timezone hour"},
		{"2026-08-01T00:00:00+02", "", false, "invalid timezone minute"},
		{"2026-08-01T00:00:00+02:0x", "", false, "invalid timezone minute"},
		{"2026-08-01T00:00:00+02:60", "", false, "timezone minute value is outside expected range of 0-59"},
		{"2026-08-01T00:00:00+24:00", "", false, "timezone offset must be less than 24 hours"},
		{"2026-08-01T00:00:00Zx", "", false, extra},
		{"2026-08-01T00:00:00+02:00x", "", false, extra},

		{"1785542400", "2026-08-01", true, ""},
		{"1785542400000", "2026-08-01", true, ""},
		{"1785542400.0", "2026-08-01", true, ""},
		{"1785542400.", "2026-08-01", true, ""},
		{"1785542399.9999999", "2026-08-01", true, ""},
		{"0", "1970-01-01", true, ""},
		{"-86400", "1969-12-31", true, ""},
		{"+.0", "1970-01-01", true, ""},
		{"19999958400", "2603-10-11", true, ""},
		{"20044800000", "1970-08-21", true, ""},
		{"253402214400000", "9999-12-31", true, ""},
		{"-62167219200000", "0000-01-01", true, ""},
		{"20260801", "1970-08-23", false, ""},
		{"-1", "1969-12-31", false, ""},
		{"1785542400.5", "2026-08-01", false, ""},
		{"253402300800000", "", false, late},
		{"9223372036854775807.0", "", false, late},
		{"-62167219200001", "", false, early},
		{"9223372036854775808", "", false, "invalid date separator, expected `-`"},
		{"-9223372036854775808", "", false, "invalid character in year"},
		{" 86400 ", "", false, short},
		{"1e3", "", false, short},
		{"1.5e3", "", false, short},
		{"1_000.0", "", false, short},
		{"--1", "", false, short},
		{"-.", "", false, short},
	} {
		date, exact, wrong := parseDate(tc.in)
		day := ""
		if wrong == "" {
			day = date.Format(time.DateOnly)
		}
		if wrong != "" {
			exact = false
		}
		if day != tc.day || exact != tc.exact || wrong != tc.wrong {
			t.Errorf("%q: got %q %v %q, want %q %v %q", tc.in, day, exact, wrong, tc.day, tc.exact, tc.wrong)
		}
	}
}

func TestDateThatIsNoneIsRefused(t *testing.T) {
	const inexact = "Datetimes provided to dates should have zero time - e.g. be exact dates"
	place := []any{"query", "from_date"}
	for given, want := range map[string]issue{
		"2026-08-01T12:00:00": {Type: "date_from_datetime_inexact", Place: place, Message: inexact},
		"20260801":            {Type: "date_from_datetime_inexact", Place: place, Message: inexact},
		"0000-01-01T12:00":    {Type: "date_from_datetime_inexact", Place: place, Message: inexact},
		"0000-01-01": {
			Type: "date_parsing", Place: place, Message: "Input should be a valid date in the format YYYY-MM-DD, year 0 is out of range",
			Context: map[string]any{"error": "year 0 is out of range"},
		},
		"2026-08-01 ": {
			Type: "date_from_datetime_parsing", Place: place, Message: "Input should be a valid date or datetime, input is too short",
			Context: map[string]any{"error": "input is too short"},
		},
	} {
		want.Input = given
		in := input{place: "query", values: map[string][]string{"from_date": {given}}}
		if day := in.day("from_date"); day != "" {
			t.Errorf("%q: got day %s", given, day)
		}
		if diff := cmp.Diff([]issue{want}, in.issues); diff != "" {
			t.Errorf("%q: %s", given, diff)
		}
	}
}
