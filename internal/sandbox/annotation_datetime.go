package sandbox

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// parseDatetime reads what the API takes for a date and time: ISO 8601 with T, blank or underscore, with or without
// seconds, fraction and zone; a date alone; seconds or milliseconds since 1970. A naive time is UTC, the zone of the
// server's containers. reason is the validator's when the text is refused.
//
// The zone of the text is kept: names of stored images show the clock as it was sent.
func parseDatetime(text string) (t time.Time, reason string) {
	day, rest, reason := parseDate(text)
	if reason != "" {
		if f, err := strconv.ParseFloat(text, 64); err == nil && strings.Trim(text, "+-.0123456789") == "" && math.Abs(f) < 1e18 {
			return fromTimestamp(f)
		}
		return time.Time{}, reason
	}
	if rest == "" {
		return day, ""
	}
	if clock, zone, ok := parseClock(rest); ok {
		y, m, d := day.Date()
		return time.Date(y, m, d, 0, 0, 0, 0, zone).Add(clock), ""
	}
	return time.Time{}, "unexpected extra characters at the end of the input"
}

// msFrom is the timestamp from which on milliseconds are meant.
const msFrom = 2e10

// fromTimestamp reads seconds or milliseconds since 1970, of the years 0 to 9999.
func fromTimestamp(f float64) (t time.Time, reason string) {
	const year0, year10000 = -62167219200, 253402300800 // seconds
	if math.Abs(f) > msFrom {
		f /= 1000
	}
	switch {
	case math.IsNaN(f):
		return time.Time{}, "NaN values not permitted"
	case f >= year10000:
		return time.Time{}, "dates after 9999 are not supported as unix timestamps"
	case f < year0:
		return time.Time{}, "dates before 0000 are not supported as unix timestamps"
	}
	whole, fraction := math.Modf(f)
	return time.Unix(int64(whole), int64(math.Round(fraction*1e6))*1000).UTC(), ""
}

// parseDate reads YYYY-MM-DD and returns what follows it.
func parseDate(text string) (day time.Time, rest, reason string) {
	if len(text) < len("2006-01-02") {
		return time.Time{}, "", "input is too short"
	}
	year, ok := decimal(text[:4])
	switch {
	case !ok:
		return time.Time{}, "", "invalid character in year"
	case text[4] != '-' || text[7] != '-':
		month, ok := decimal(text[5:7])
		switch {
		case text[4] != '-':
			return time.Time{}, "", "invalid date separator, expected `-`"
		case !ok:
			return time.Time{}, "", "invalid character in month"
		case month < 1 || month > 12:
			return time.Time{}, "", "month value is outside expected range of 1-12"
		}
		return time.Time{}, "", "invalid date separator, expected `-`"
	}
	month, ok := decimal(text[5:7])
	if !ok {
		return time.Time{}, "", "invalid character in month"
	}
	date, ok := decimal(text[8:10])
	switch {
	case !ok:
		return time.Time{}, "", "invalid character in day"
	case month < 1 || month > 12:
		return time.Time{}, "", "month value is outside expected range of 1-12"
	}
	day = time.Date(year, time.Month(month), date, 0, 0, 0, 0, time.UTC)
	if date < 1 || day.Day() != date {
		return time.Time{}, "", "day value is outside expected range"
	}
	return day, text[10:], ""
}

// parseClock reads the time of day after a separator, and the zone.
func parseClock(text string) (clock time.Duration, zone *time.Location, ok bool) {
	if strings.IndexByte("Tt _", text[0]) < 0 || len(text) < len("T15:04") || text[3] != ':' {
		return 0, nil, false
	}
	hour, hourOK := decimal(text[1:3])
	minute, minuteOK := decimal(text[4:6])
	if !hourOK || !minuteOK || hour > 23 || minute > 59 {
		return 0, nil, false
	}
	clock = time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute
	text = text[6:]
	if strings.HasPrefix(text, ":") {
		if len(text) < 3 {
			return 0, nil, false
		}
		second, secondOK := decimal(text[1:3])
		if !secondOK || second > 59 {
			return 0, nil, false
		}
		clock += time.Duration(second) * time.Second
		text = text[3:]
		if text != "" && (text[0] == '.' || text[0] == ',') {
			digits := 0
			unit := 100 * time.Millisecond
			for text = text[1:]; text != "" && '0' <= text[0] && text[0] <= '9'; text = text[1:] {
				if unit >= time.Microsecond { // further digits are cut, not rounded
					clock += time.Duration(text[0]-'0') * unit
					unit /= 10
				}
				digits++
			}
			if digits == 0 {
				return 0, nil, false
			}
		}
	}
	zone, ok = parseZone(text)
	return clock, zone, ok
}

// parseZone reads nothing, Z, ±HH:MM or ±HHMM; U+2212 is a minus too.
func parseZone(text string) (*time.Location, bool) {
	if digits, minus := strings.CutPrefix(text, "\u2212"); minus {
		text = "-" + digits
	}
	switch {
	case text == "" || text == "Z" || text == "z":
		return time.UTC, true
	case text[0] != '+' && text[0] != '-':
		return nil, false
	}
	digits := text[1:]
	if len(digits) == 5 && digits[2] == ':' {
		digits = digits[:2] + digits[3:]
	}
	n, ok := decimal(digits)
	if !ok || len(digits) != 4 || n/100 > 23 || n%100 > 59 {
		return nil, false
	}
	offset := n/100*3600 + n%100*60
	if text[0] == '-' {
		offset = -offset
	}
	return time.FixedZone("", offset), true
}

// decimal reads a text of digits alone.
func decimal(text string) (int, bool) {
	n := 0
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, text != ""
}

// isoZ is how the API writes a time: microseconds unless they are zero, and Z.
func isoZ(t time.Time) string { return pyTime(t, 'T') + "Z" }

// isoBlank is how the list of sequences with annotations writes it: str(datetime).
func isoBlank(t time.Time) string { return pyTime(t, ' ') + "+00:00" }

func pyTime(t time.Time, separator byte) string {
	t = t.UTC()
	text := t.AppendFormat(make([]byte, 0, 32), "2006-01-02T15:04:05")
	text[len("2006-01-02")] = separator
	if t.Nanosecond()/1000 != 0 {
		text = t.AppendFormat(text, ".000000")
	}
	return string(text)
}
