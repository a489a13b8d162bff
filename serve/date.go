package serve

import (
	"math"
	"strconv"
	"strings"
	"time"

	"pyrobundle/store"
)

// day reads a required date as the platform's validation reads it: YYYY-MM-DD, a date and time whose time is midnight, or
// the seconds or milliseconds since 1970 of a midnight (contract A.3).
func (in *input) day(name string) store.Day {
	given, ok := in.last(name)
	if !ok {
		in.complain(name, "missing", "Field required", nil, nil)
		return ""
	}
	date, exact, wrong := parseDate(given)
	switch {
	case wrong != "":
		in.complain(name, "date_from_datetime_parsing", "Input should be a valid date or datetime, "+wrong, given,
			map[string]any{"error": wrong})
	case !exact:
		in.complain(name, "date_from_datetime_inexact",
			"Datetimes provided to dates should have zero time - e.g. be exact dates", given, nil)
	case date.Year() == 0: // readable, but Python has no such year
		const wrong = "year 0 is out of range"
		in.complain(name, "date_parsing", "Input should be a valid date in the format YYYY-MM-DD, "+wrong, given,
			map[string]any{"error": wrong})
	default:
		return store.DayOf(date)
	}
	return ""
}

// parseDate reads a date, a date and time, or a time since 1970; exact says that it is a midnight, wrong what is wrong in
// the platform's words. A time zone is read and ignored: the day is the one that is written.
func parseDate(s string) (date time.Time, exact bool, wrong string) {
	if micros, isNumber, wrong := parseUnix(s); isNumber {
		at := time.UnixMicro(micros).UTC()
		return at, micros%microsOfDay == 0, wrong
	}
	if len(s) < len(time.DateOnly) {
		return time.Time{}, false, tooShort
	}
	year, okYear := digits(s[0:4])
	month, okMonth := digits(s[5:7])
	dayOfMonth, okDay := digits(s[8:10])
	switch {
	case !okYear:
		return time.Time{}, false, "invalid character in year"
	case s[4] != '-':
		return time.Time{}, false, "invalid date separator, expected `-`"
	case !okMonth:
		return time.Time{}, false, "invalid character in month"
	case s[7] != '-':
		return time.Time{}, false, "invalid date separator, expected `-`"
	case !okDay:
		return time.Time{}, false, "invalid character in day"
	case month < 1 || month > 12:
		return time.Time{}, false, "month value is outside expected range of 1-12"
	}
	date = time.Date(year, time.Month(month), dayOfMonth, 0, 0, 0, 0, time.UTC)
	if dayOfMonth < 1 || date.Day() != dayOfMonth {
		return time.Time{}, false, "day value is outside expected range"
	}
	rest := s[10:]
	switch {
	case rest == "":
		return date, true, ""
	case !strings.ContainsRune("Tt _", rune(rest[0])):
		return time.Time{}, false, "invalid datetime separator, expected `T`, `t`, `_` or space"
	}
	exact, wrong = parseClock(rest[1:])
	return date, exact, wrong
}

const tooShort = "input is too short"

// parseClock reads the time of a date and time, HH:MM[:SS[.fraction]][zone], and says whether it is midnight. Of a
// fraction six digits count.
func parseClock(s string) (midnight bool, wrong string) {
	if len(s) < len("00:00") {
		return false, tooShort
	}
	hour, okHour := digits(s[0:2])
	minute, okMinute := digits(s[3:5])
	switch {
	case !okHour:
		return false, "invalid character in hour"
	case s[2] != ':':
		return false, "invalid time separator, expected `:`"
	case !okMinute:
		return false, "invalid character in minute"
	case hour > 23:
		return false, "hour value is outside expected range of 0-23"
	case minute > 59:
		return false, "minute value is outside expected range of 0-59"
	}
	midnight = hour == 0 && minute == 0
	s = s[5:]
	if rest, ok := strings.CutPrefix(s, ":"); ok {
		if len(rest) < 2 {
			return false, "invalid character in second"
		}
		second, ok := digits(rest[:2])
		switch {
		case !ok:
			return false, "invalid character in second"
		case second > 59:
			return false, "second value is outside expected range of 0-59"
		}
		midnight, s = midnight && second == 0, rest[2:]
		if s != "" && (s[0] == '.' || s[0] == ',') {
			rest := strings.TrimLeft(s[1:], "0123456789")
			fraction := s[1 : len(s)-len(rest)]
			if fraction == "" {
				return false, "second fraction digits missing after `.`"
			}
			fraction = fraction[:min(len(fraction), 6)]
			midnight, s = midnight && strings.Trim(fraction, "0") == "", rest
		}
	}
	return midnight, wrongZone(s)
}

// wrongZone says what is wrong with a time zone: none, Z, or an offset as ±HH:MM or ±HHMM; U+2212 is a minus too.
func wrongZone(s string) string {
	switch {
	case s == "":
		return ""
	case s[0] == 'Z' || s[0] == 'z':
		s = s[1:]
	default:
		offset := s[1:]
		if s[0] != '+' && s[0] != '-' {
			if offset = strings.TrimPrefix(s, "\u2212"); offset == s {
				return "invalid timezone sign"
			}
		}
		if len(offset) < 2 {
			return "invalid timezone hour"
		}
		hours, ok := digits(offset[:2])
		if !ok {
			return "invalid timezone hour"
		}
		offset = strings.TrimPrefix(offset[2:], ":")
		if len(offset) < 2 {
			return "invalid timezone minute"
		}
		minutes, ok := digits(offset[:2])
		switch {
		case !ok:
			return "invalid timezone minute"
		case minutes > 59:
			return "timezone minute value is outside expected range of 0-59"
		case hours > 23:
			return "timezone offset must be less than 24 hours"
		}
		s = offset[2:]
	}
	if s != "" {
		return "unexpected extra characters at the end of the input"
	}
	return ""
}

// Times since 1970 of more than watershed are milliseconds, others seconds; both may have a fraction. They end with the
// years 0 and 9999.
const (
	watershed   = 20_000_000_000
	firstSecond = -62_167_219_200
	pastSecond  = 253_402_300_800
	microsOfDay = 24 * 60 * 60 * 1_000_000
)

// parseUnix reads a time since 1970 in microseconds. isNumber is false for what has to be read as a date; so are numbers
// with an exponent, some of which the platform takes.
func parseUnix(s string) (micros int64, isNumber bool, wrong string) {
	whole, fraction, point := strings.Cut(s, ".")
	unsigned := strings.TrimLeft(whole, "+-")
	if len(whole)-len(unsigned) > 1 || unsigned+fraction == "" || strings.Trim(unsigned+fraction, "0123456789") != "" {
		return 0, false, ""
	}
	if unsigned == "" {
		whole += "0"
	}
	number, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || number == math.MinInt64 {
		return 0, false, ""
	}
	var part float64
	if point { // as a floating-point number, whose last digits may be lost
		value, _ := strconv.ParseFloat(s, 64) // digits and a point
		var whole float64
		whole, part = math.Modf(value)
		number = int64(max(-1e18, min(whole, 1e18))) // far beyond any date
	}
	perUnit, limit := int64(1_000_000), int64(1)
	if number > watershed || number < -watershed {
		perUnit, limit = 1000, 1000
	}
	switch {
	case number >= pastSecond*limit:
		return 0, true, "dates after 9999 are not supported as unix timestamps"
	case number < firstSecond*limit:
		return 0, true, "dates before 0000 are not supported as unix timestamps"
	}
	return number*perUnit + int64(math.Round(part*float64(perUnit))), true, ""
}

// digits reads a number of digits alone.
func digits(s string) (int, bool) {
	if strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}
