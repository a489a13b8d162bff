package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"regexp"
	"strings"
)

var (
	xmlCode    = regexp.MustCompile(`(?s)<Code>(.*?)</Code>`)
	xmlMessage = regexp.MustCompile(`(?s)<Message>(.*?)</Message>`)
	htmlTitle  = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)
)

// detailOf is what an answer that is an error says in its own words: the detail of FastAPI (contract B.0), the code and
// message of a storage host's XML, the title of a gateway's page, the last line of a traceback. Not yet scrubbed or cut.
//
// Where the body was cut, the line that was may end within a secret, which nobody would recognise: the one before is shown.
// Elements and documents are whole or not found.
//
// Of validation errors only place and message are shown: input repeats what was sent, passwords included. Of XML only
// two elements: others repeat the signature.
func detailOf(body []byte, cut bool) string {
	body = bytes.TrimSpace(body)
	switch {
	case len(body) == 0:
		return ""
	case body[0] == '{':
		return jsonDetail(body)
	case looksLikeHTML(body):
		if m := htmlTitle.FindSubmatch(body); m != nil {
			return html.UnescapeString(string(m[1]))
		}
		return ""
	case body[0] == '<':
		return xmlDetail(body)
	case body[0] == '[':
		return ""
	case cut:
		return string(lastLine(body[:max(bytes.LastIndexByte(body, '\n'), 0)]))
	default:
		return string(lastLine(body))
	}
}

func jsonDetail(body []byte) string {
	var doc struct {
		Detail  json.RawMessage `json:"detail"`
		Message json.RawMessage `json:"message"`
		Error   json.RawMessage `json:"error"`
	}
	if tooDeep(body) || json.Unmarshal(body, &doc) != nil {
		return ""
	}
	for _, field := range []json.RawMessage{doc.Detail, doc.Message, doc.Error} {
		var text string
		if json.Unmarshal(field, &text) == nil && text != "" {
			return text
		}
	}
	var problems []struct {
		Loc []any  `json:"loc"`
		Msg string `json:"msg"`
	}
	if json.Unmarshal(doc.Detail, &problems) != nil {
		return ""
	}
	const shown = 3 // the first tell what is wrong; one bad document can have hundreds
	var lines []string
	for i, p := range problems {
		if i == shown {
			lines = append(lines, fmt.Sprintf("and %d more", len(problems)-shown))
			break
		}
		place := make([]string, len(p.Loc))
		for j, part := range p.Loc {
			place[j] = fmt.Sprint(part)
		}
		if len(place) == 0 {
			lines = append(lines, p.Msg)
		} else {
			lines = append(lines, strings.Join(place, ".")+": "+p.Msg)
		}
	}
	return strings.Join(lines, "; ")
}

func xmlDetail(body []byte) string {
	var parts []string
	for _, element := range []*regexp.Regexp{xmlCode, xmlMessage} {
		if m := element.FindSubmatch(body); m != nil {
			parts = append(parts, html.UnescapeString(string(m[1])))
		}
	}
	return strings.Join(parts, ": ")
}

func lastLine(text []byte) []byte {
	return bytes.TrimSpace(text[bytes.LastIndexByte(text, '\n')+1:])
}

// looksLikeHTML recognises a gateway's or captive portal's page, whatever its content type says.
func looksLikeHTML(body []byte) bool {
	head := bytes.TrimSpace(body[:min(len(body), 512)])
	begins := func(with string) bool {
		return len(head) >= len(with) && bytes.EqualFold(head[:len(with)], []byte(with))
	}
	return begins("<!doctype html") || begins("<html")
}

// tooDeep tells whether JSON is nested beyond maxDepth, without decoding it.
func tooDeep(doc []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(doc); i++ {
		switch b := doc[i]; {
		case inString && b == '\\':
			i++
		case b == '"':
			inString = !inString
		case inString:
		case b == '{' || b == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case b == '}' || b == ']':
			depth--
		}
	}
	return false
}
