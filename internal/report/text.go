package report

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
)

// maxText is how much of a name or a reason a page shows, in letters.
const maxText = 240

// shorten makes a stranger's text fit for a page: one line, bounded, without characters that are unseen or turn the
// direction of what follows. Escaping is the template's.
func shorten(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == maxText {
			b.WriteRune('…')
			break
		}
		switch {
		case unicode.IsSpace(r):
			r = ' '
		case unicode.IsControl(r), unicode.In(r, unicode.Cf, unicode.Co, unicode.Cs), r == 0xfffe, r == 0xffff:
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

func plural(n int, noun string) string { return fmt.Sprintf("%d %s", n, of(int64(n), noun)) }

// of is the noun as it goes with a number.
func of(n int64, noun string) string {
	switch {
	case n == 1:
		return noun
	case strings.HasSuffix(noun, "x"):
		return noun + "es"
	}
	return noun + "s"
}

// lasted writes a length of time in its two greatest units.
func lasted(d time.Duration) string {
	d = d.Round(time.Second)
	h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case d < 0:
		return "unknown"
	case h >= 48:
		return fmt.Sprintf("%d d %d h", h/24, h%24)
	case h > 0:
		return fmt.Sprintf("%d h %d min", h, m)
	case m > 0:
		return fmt.Sprintf("%d min %d s", m, s)
	}
	return fmt.Sprintf("%d s", s)
}

// decimal writes a number with at most two digits behind the point; numbers no page has room for stay out.
func decimal(x float64) string {
	if math.IsNaN(x) || math.Abs(x) > 1e9 {
		return "?"
	}
	s := strings.TrimRight(fmt.Sprintf("%.2f", x), "0")
	if s = strings.TrimSuffix(s, "."); s == "-0" {
		return "0"
	}
	return s
}

// hundredths writes a confidence, 0 to 1.
func hundredths(x float64) string { return fmt.Sprintf("%.2f", x) }

// thousands writes a count with thin groups.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

func share(n, of int64) int {
	if of < 1 {
		return 0
	}
	return int((200*n + of) / (2 * of))
}
