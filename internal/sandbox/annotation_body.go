package sandbox

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// bodyKind says how a route reads its body.
type bodyKind int

const (
	noBody bodyKind = iota
	jsonBody
	formBody
)

// Limits of the service's form parser.
const (
	maxFormField  = 1 << 20 // bytes of one text field; files have no limit
	maxFormFields = 1000
)

// pyUpload is a file part of a form.
type pyUpload struct {
	filename string
	data     []byte
}

// readBody parses the body before anything else is looked at, the token included; a body that cannot be parsed is
// answered here.
func (c *call) readBody(kind bodyKind) *reply {
	switch kind {
	case jsonBody:
		return c.readJSON()
	case formBody:
		return c.readForm()
	case noBody:
	}
	return nil
}

func (c *call) readJSON() *reply {
	raw, err := io.ReadAll(c.r.Body)
	if err != nil {
		return unreadable()
	}
	if len(raw) == 0 {
		return nil
	}
	if header := c.r.Header.Get("Content-Type"); header != "" && !isJSON(header) {
		c.body = pyBytes(raw)
		return nil
	}
	text := strings.TrimPrefix(string(raw), "\ufeff")
	if !utf8.ValidString(text) {
		return unreadable()
	}
	value, syntax := parsePython(text)
	if syntax != nil {
		var v validator
		v.add([]any{"body", int64(utf8.RuneCountInString(text[:syntax.offset]))}, pyDict{}, "json_invalid", "JSON decode error", pyMember{"error", syntax.python})
		return &reply{status: http.StatusUnprocessableEntity, body: pyDict{{"detail", v.detail(false)}}}
	}
	c.body = value
	return nil
}

func isJSON(contentType string) bool {
	kind, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	kind = strings.TrimSpace(kind)
	return kind == "application/json" || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")
}

func unreadable() *reply {
	out := refuse(http.StatusBadRequest, "There was an error parsing the body")
	return &out
}

// readForm reads both kinds of form; any other body is an empty form. Of a repeated field the last one counts.
func (c *call) readForm() *reply {
	c.form = pyDict{}
	kind, parameters, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	switch kind {
	case "multipart/form-data":
		boundary := parameters["boundary"]
		if err != nil || boundary == "" {
			out := refuse(http.StatusBadRequest, "Missing boundary in multipart.")
			return &out
		}
		return c.readMultipart(boundary)
	case "application/x-www-form-urlencoded":
		raw, err := io.ReadAll(c.r.Body)
		if err != nil {
			return unreadable()
		}
		for pair := range strings.SplitSeq(string(raw), "&") {
			if pair == "" {
				continue
			}
			name, value, _ := strings.Cut(pair, "=")
			c.form = c.form.set(unescaped(name), unescaped(value))
		}
	}
	return nil
}

// unescaped decodes what can be decoded and keeps the rest, as the service's parser does.
func unescaped(text string) string {
	if decoded, err := url.QueryUnescape(text); err == nil {
		return strings.ToValidUTF8(decoded, "\uFFFD")
	}
	return strings.ReplaceAll(text, "+", " ")
}

func (c *call) readMultipart(boundary string) *reply {
	reader := multipart.NewReader(c.r.Body, boundary)
	fields, files := 0, 0
	for {
		part, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return unreadable()
		}
		// The parameter makes a part a file, whatever its value.
		_, disposition, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
		if filename, isFile := disposition["filename"]; isFile {
			files++
			data, err := io.ReadAll(part)
			if err != nil {
				return unreadable()
			}
			c.form = c.form.set(part.FormName(), pyUpload{filename: filename, data: data})
		} else {
			fields++
			data, err := io.ReadAll(io.LimitReader(part, maxFormField+1))
			if err != nil {
				return unreadable()
			}
			if len(data) > maxFormField {
				out := refuse(http.StatusBadRequest, "Part exceeded maximum size of "+strconv.Itoa(maxFormField>>10)+"KB.")
				return &out
			}
			c.form = c.form.set(part.FormName(), strings.ToValidUTF8(string(data), "\uFFFD"))
		}
		if fields > maxFormFields || files > maxFormFields {
			out := refuse(http.StatusBadRequest, "Too many fields. Maximum number of fields is 1000.")
			return &out
		}
	}
}

// The readers below take one field of a form each, in the order in which the route declares them, and record what is
// wrong. present is false for a field that is absent or wrong.

func (c *call) formValue(name string, required bool) (any, bool) {
	value, ok := c.form.get(name)
	if !ok && required {
		c.v.missing([]any{"body", name}, nil)
	}
	return value, ok
}

func (c *call) formInt(name string, required bool) (n int64, present bool) {
	value, ok := c.formValue(name, required)
	if !ok {
		return 0, false
	}
	return c.v.integer([]any{"body", name}, value)
}

func (c *call) formFloat(name string, required bool) (f float64, present bool) {
	value, ok := c.formValue(name, required)
	if !ok {
		return 0, false
	}
	return c.v.float([]any{"body", name}, value)
}

// formStr reads a text of at most limit characters, 0 for any length.
func (c *call) formStr(name string, required bool, limit int) (s string, present bool) {
	value, ok := c.formValue(name, required)
	if !ok {
		return "", false
	}
	if limit > 0 {
		return c.v.shortStr([]any{"body", name}, value, limit)
	}
	return c.v.str([]any{"body", name}, value)
}

// pathID reads the number in the path.
func (c *call) pathID(name string) int64 {
	id, _ := c.v.atLeast([]any{"path", name}, c.segment, 0)
	return id
}

// object reads the body of a JSON route as an object.
func (c *call) object() (pyDict, bool) {
	loc := []any{"body"}
	if c.body == nil {
		c.v.missing(loc, nil)
		return nil, false
	}
	return c.v.dict(loc, c.body)
}
