package annotate

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Bounds on a box string, which comes from a stranger. The platform takes at most 185 characters at upload and nests two
// levels (contract A.5).
const (
	maxBoxString = 16 << 10 // bytes
	maxNesting   = 16       // brackets within brackets
)

// boxItems is the number of numbers that describe a box: four coordinates and a confidence.
const boxItems = 5

// ParseBoxes reads a box string of the platform, the fields bbox and others_bboxes of a detection, in its order:
//
//	[(0.306,0.374,0.357,0.426,0.867)]
//
// Strings that the platform validated hold nothing else (contract A.5). Rows older than that validation may differ, and
// what the importers have always read is read here too (contract C.5): blanks between words, signs, exponents, brackets
// and parentheses alike, a comma after the last item, one box without the list around it, further items after the
// confidence. Parentheses around a single thing without a comma only group it. A list item that is no box (a number, or
// fewer than five items) is left out.
//
// Anything else yields no boxes at all, as does a number too large for a float64: half a string is no evidence. Boxes
// are not judged, their coordinates may be any finite numbers. See [Sanitize] and [Box.Acceptable].
func ParseBoxes(s string) []Box {
	boxes, err := parseBoxes(s)
	if err != nil {
		return nil
	}
	return boxes
}

func parseBoxes(s string) ([]Box, error) {
	if len(s) > maxBoxString {
		return nil, fmt.Errorf("box string of %d bytes, at most %d are read", len(s), maxBoxString)
	}
	p := parser{rest: s}
	top, err := p.sequence("", 0)
	if err != nil {
		return nil, err
	}
	if len(top.items) == 0 || !top.isList {
		return nil, nil
	}
	if b, err := top.box(); err == nil && len(top.items) == boxItems {
		return []Box{b}, nil
	}
	var boxes []Box
	for _, item := range top.items {
		if !item.isList || len(item.items) < boxItems {
			continue
		}
		b, err := item.box()
		if err != nil {
			return nil, err
		}
		boxes = append(boxes, b)
	}
	return boxes, nil
}

// value is a number or a list of values.
type value struct {
	isList bool
	number float64
	items  []value
}

// box reads a list of at least five numbers; what follows them is of no interest.
func (v value) box() (Box, error) {
	if len(v.items) < boxItems {
		return Box{}, errors.New("fewer than five numbers")
	}
	for _, item := range v.items[:boxItems] {
		if item.isList {
			return Box{}, errors.New("a list where a number belongs")
		}
	}
	n := v.items
	return Box{X1: n[0].number, Y1: n[1].number, X2: n[2].number, Y2: n[3].number, Confidence: n[4].number}, nil
}

// parser reads a box string from its front.
type parser struct{ rest string }

// sequence reads values separated by commas up to closing, which is ")", "]" or, for the whole string, "". Without any
// comma only "]" makes a list of it: "(x)" is x, and so is the whole string "x".
func (p *parser) sequence(closing string, depth int) (value, error) {
	if depth > maxNesting {
		return value{}, fmt.Errorf("nested deeper than %d", maxNesting)
	}
	list := value{isList: true}
	comma := false
	for !p.closes(closing) {
		item, err := p.value(depth)
		if err != nil {
			return value{}, err
		}
		list.items = append(list.items, item)
		if p.takes(",") {
			comma = true
			continue
		}
		if !p.closes(closing) {
			return value{}, fmt.Errorf("want a comma or %q, have %.10q", closing, p.rest)
		}
		break
	}
	if len(list.items) == 1 && !comma && closing != "]" {
		return list.items[0], nil
	}
	return list, nil
}

func (p *parser) value(depth int) (value, error) {
	switch {
	case p.takes("["):
		return p.sequence("]", depth+1)
	case p.takes("("):
		return p.sequence(")", depth+1)
	}
	number, err := p.number()
	return value{number: number}, err
}

// number reads an optional sign and a decimal number: digits, a point with digits on either side, an exponent.
func (p *parser) number() (float64, error) {
	negative := p.takes("-")
	if !negative {
		p.takes("+")
	}
	p.skipBlanks()
	end := 0
	digits := func() (n int) {
		for end < len(p.rest) && '0' <= p.rest[end] && p.rest[end] <= '9' {
			end++
			n++
		}
		return n
	}
	whole, integer := digits(), true
	if end < len(p.rest) && p.rest[end] == '.' {
		end++
		whole += digits()
		integer = false
	}
	if whole == 0 {
		return 0, fmt.Errorf("want a number, have %.10q", p.rest)
	}
	if end < len(p.rest) && (p.rest[end] == 'e' || p.rest[end] == 'E') {
		end++
		if end < len(p.rest) && (p.rest[end] == '+' || p.rest[end] == '-') {
			end++
		}
		if digits() == 0 {
			return 0, fmt.Errorf("want an exponent, have %.10q", p.rest)
		}
		integer = false
	}
	text := p.rest[:end]
	if integer && len(text) > 1 && text[0] == '0' && strings.Trim(text, "0") != "" {
		return 0, fmt.Errorf("whole number %.10q begins with 0", text)
	}
	number, err := strconv.ParseFloat(text, 64) // an error only beyond the range of float64
	if err != nil {
		return 0, fmt.Errorf("number %.10q is out of range", text)
	}
	p.rest = p.rest[end:]
	if negative {
		number = -number
	}
	return number, nil
}

// closes reports whether closing comes next, and takes it. "" is the end of the string.
func (p *parser) closes(closing string) bool {
	if closing == "" {
		p.skipBlanks()
		return p.rest == ""
	}
	return p.takes(closing)
}

// takes reports whether token comes next after blanks, and takes both.
func (p *parser) takes(token string) bool {
	p.skipBlanks()
	rest, found := strings.CutPrefix(p.rest, token)
	p.rest = rest
	return found
}

func (p *parser) skipBlanks() { p.rest = strings.TrimLeft(p.rest, " \t\r\n\f") }
