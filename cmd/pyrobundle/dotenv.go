package main

import (
	"fmt"
	"regexp"
	"strings"
)

// parseDotenv reads a .env file by the rules of python-dotenv, which the importers before pyrobundle used (contract C.1), so
// that a file that worked there works here: "export" in front, single quotes verbatim, double quotes with
// backslash escapes, comments after blanks, values over several lines within quotes, ${NAME} and ${NAME:-default}, and a
// bare $ that means itself. (Common Go parsers expand $word within passwords and quote whole lines in their errors.)
//
// lookup resolves ${NAME} before the file's own variables: the environment wins. Errors name the line, never its content.
func parseDotenv(text string, lookup func(string) (string, bool)) (map[string]string, error) {
	p := dotenvParser{text: strings.TrimPrefix(text, "\ufeff"), line: 1, values: map[string]string{}, lookup: lookup}
	for {
		p.skip(" \t\v\f\r\n")
		if p.text == "" {
			return p.values, nil
		}
		if err := p.binding(); err != nil {
			return nil, err
		}
	}
}

type dotenvParser struct {
	text   string // what is still to be read
	line   int    // of the text's beginning, from 1
	values map[string]string
	lookup func(string) (string, bool)
}

const blanks = " \t\v\f"

// binding reads one line: a comment, NAME=value, or a bare NAME, which sets nothing.
func (p *dotenvParser) binding() error {
	start := p.line
	if p.text[0] == '#' {
		p.restOfLine()
		return nil
	}
	if rest, ok := strings.CutPrefix(p.text, "export"); ok && rest != "" && strings.ContainsRune(blanks, rune(rest[0])) {
		p.text = strings.TrimLeft(rest, blanks)
	}
	name := p.text[:wordEnd(p.text, "=#"+blanks+"\r\n")]
	p.text = p.text[len(name):]
	name = strings.Trim(name, "'")
	p.skip(blanks)
	if name == "" {
		return fmt.Errorf("line %d: want NAME=value", start)
	}
	if !strings.HasPrefix(p.text, "=") {
		return p.endOfLine(start)
	}
	p.text = strings.TrimLeft(p.text[1:], blanks)
	value, err := p.value(start)
	if err != nil {
		return err
	}
	p.values[name] = value
	return p.endOfLine(start)
}

// value reads what follows the equals sign.
func (p *dotenvParser) value(start int) (string, error) {
	if p.text == "" || (p.text[0] != '\'' && p.text[0] != '"') {
		raw := p.text[:wordEnd(p.text, "\r\n")]
		p.text = p.text[len(raw):]
		if i := commentStart(raw); i >= 0 {
			raw = raw[:i]
		}
		return p.expand(strings.TrimRight(raw, blanks)), nil
	}
	quote := p.text[0]
	for i := 1; i < len(p.text); i++ {
		switch p.text[i] {
		case '\\':
			i++ // an escaped quote does not end the value
		case quote:
			raw := p.text[1:i]
			p.line += strings.Count(raw, "\n")
			p.text = p.text[i+1:]
			if quote == '\'' {
				return singleQuoteEscape.ReplaceAllStringFunc(raw, unescape), nil
			}
			return p.expand(doubleQuoteEscape.ReplaceAllStringFunc(raw, unescape)), nil
		}
	}
	return "", fmt.Errorf("line %d: the quote that opens the value is never closed", start)
}

// endOfLine allows a comment after a name or value, and nothing else.
func (p *dotenvParser) endOfLine(start int) error {
	p.skip(blanks)
	if p.text != "" && !strings.ContainsRune("#\r\n", rune(p.text[0])) {
		return fmt.Errorf("line %d: text after the value; put the whole value in single quotes", start)
	}
	p.restOfLine()
	return nil
}

func (p *dotenvParser) restOfLine() { p.text = p.text[wordEnd(p.text, "\r\n"):] }

// skip passes over any of the characters and counts lines.
func (p *dotenvParser) skip(characters string) {
	rest := strings.TrimLeft(p.text, characters)
	p.line += strings.Count(p.text[:len(p.text)-len(rest)], "\n")
	p.text = rest
}

// wordEnd is the index of the first of the characters in s, or its length.
func wordEnd(s, characters string) int {
	if i := strings.IndexAny(s, characters); i >= 0 {
		return i
	}
	return len(s)
}

// commentStart is the index of blanks followed by #, or -1: a # within a word belongs to the value.
func commentStart(s string) int {
	for i := range len(s) {
		if s[i] == '#' && i > 0 && strings.ContainsRune(blanks, rune(s[i-1])) {
			return len(strings.TrimRight(s[:i], blanks))
		}
	}
	return -1
}

// The patterns below are compiled once and never change.
var (
	singleQuoteEscape = regexp.MustCompile(`\\[\\']`)
	doubleQuoteEscape = regexp.MustCompile(`\\[\\'"abfnrtv]`)
	reference         = regexp.MustCompile(`\$\{([^}:]*)(?::-([^}]*))?\}`)
)

// unescape turns one backslash escape of a quoted value into its character.
func unescape(escape string) string {
	switch c := escape[1]; c {
	case 'a':
		return "\a"
	case 'b':
		return "\b"
	case 'f':
		return "\f"
	case 'n':
		return "\n"
	case 'r':
		return "\r"
	case 't':
		return "\t"
	case 'v':
		return "\v"
	default:
		return string(c)
	}
}

// expand replaces ${NAME} and ${NAME:-default}; what is set nowhere and has no default becomes empty.
func (p *dotenvParser) expand(value string) string {
	return reference.ReplaceAllStringFunc(value, func(match string) string {
		parts := reference.FindStringSubmatch(match)
		if v, ok := p.lookup(parts[1]); ok {
			return v
		}
		if v, ok := p.values[parts[1]]; ok {
			return v
		}
		return parts[2]
	})
}
