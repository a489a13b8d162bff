package sandbox

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// validator collects what is wrong with a request in the words of the API's validation library.
type validator struct {
	issues []issue
	json   bool // reads JSON text inside a form field, where lists and objects have other names
}

// issue is one entry of a 422 answer.
type issue struct {
	kind, msg string
	loc       []any // strings and int64 indexes
	input     any
	ctx       pyDict
}

// document is the issue as JSON; in-endpoint errors carry the library's help address.
func (e issue) document(withURL bool) pyDict {
	d := pyDict{{"type", e.kind}, {"loc", e.loc}, {"msg", e.msg}, {"input", e.input}}
	if e.ctx != nil {
		d = append(d, pyMember{"ctx", e.ctx})
	}
	if withURL {
		d = append(d, pyMember{"url", errorsURL + e.kind})
	}
	return d
}

const errorsURL = "https://errors.pydantic.dev/2.11/v/"

// detail is the list of issues of an answer.
func (v *validator) detail(withURL bool) []any {
	list := make([]any, len(v.issues))
	for i, e := range v.issues {
		list[i] = e.document(withURL)
	}
	return list
}

// text is str(ValidationError), as the multipart route puts it into its detail.
func (v *validator) text(model string) string {
	var b strings.Builder
	plural := "s"
	if len(v.issues) == 1 {
		plural = ""
	}
	fmt.Fprintf(&b, "%d validation error%s for %s", len(v.issues), plural, model)
	for _, e := range v.issues {
		if len(e.loc) > 0 {
			parts := make([]string, len(e.loc))
			for i, l := range e.loc {
				parts[i] = fmt.Sprint(l)
			}
			b.WriteString("\n" + strings.Join(parts, "."))
		}
		fmt.Fprintf(&b, "\n  %s [type=%s, input_value=%s, input_type=%s]\n    For further information visit %s%s",
			e.msg, e.kind, cutRepr(pyRepr(e.input)), pyTypeName(e.input), errorsURL, e.kind)
	}
	return b.String()
}

// cutRepr keeps the first 25 and the last 24 bytes of more than 50.
func cutRepr(text string) string {
	if len(text) <= 50 {
		return text
	}
	return strings.ToValidUTF8(text[:25], "") + "..." + strings.ToValidUTF8(text[len(text)-24:], "")
}

func (v *validator) add(loc []any, input any, kind, msg string, ctx ...pyMember) {
	v.issues = append(v.issues, issue{kind: kind, msg: msg, loc: loc, input: input, ctx: ctx})
}

// reject records a failed check of the API's own, as the library wraps it.
func (v *validator) reject(loc []any, input any, msg string) {
	v.add(loc, input, "value_error", "Value error, "+msg, pyMember{"error", msg})
}

func (v *validator) missing(loc []any, input any) {
	v.add(loc, input, "missing", "Field required")
}

// at is loc with one more step, never sharing memory.
func at(loc []any, step any) []any {
	return append(slices.Clip(slices.Clone(loc)), step)
}

// integer reads an int as the library does in its lax mode. What does not fit 64 bits saturates: it is a valid
// integer here, and the database refuses it later.
func (v *validator) integer(loc []any, input any) (int64, bool) {
	switch n := input.(type) {
	case int64:
		return n, true
	case pyInt:
		return saturated(string(n)), true
	case bool:
		if n {
			return 1, true
		}
		return 0, true
	case float64:
		if math.IsNaN(n) || math.IsInf(n, 0) {
			v.add(loc, input, "finite_number", "Input should be a finite number")
			return 0, false
		}
		if n != math.Trunc(n) {
			v.add(loc, input, "int_from_float", "Input should be a valid integer, got a number with a fractional part")
			return 0, false
		}
		if math.Abs(n) >= 1<<63 {
			v.add(loc, input, "int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size")
			return 0, false
		}
		return int64(n), true
	case string:
		literal, ok := integerLiteral(n)
		if !ok {
			v.add(loc, input, "int_parsing", "Input should be a valid integer, unable to parse string as an integer")
			return 0, false
		}
		return saturated(literal), true
	}
	v.add(loc, input, "int_type", "Input should be a valid integer")
	return 0, false
}

func saturated(literal string) int64 {
	n, _ := strconv.ParseInt(literal, 10, 64) // out of range gives the nearest bound
	return n
}

// integerLiteral accepts blanks around, a sign, single underscores between digits, and a fraction of zeros.
func integerLiteral(text string) (string, bool) {
	text = strings.TrimSpace(text)
	if whole, fraction, found := strings.Cut(text, "."); found {
		if fraction == "" || strings.Trim(fraction, "0") != "" {
			return "", false
		}
		text = whole
	}
	sign := ""
	if text != "" && (text[0] == '+' || text[0] == '-') {
		if text[0] == '-' {
			sign = "-"
		}
		text = text[1:]
	}
	if text == "" || strings.Contains(text, "__") || text[0] == '_' || text[len(text)-1] == '_' {
		return "", false
	}
	text = strings.ReplaceAll(text, "_", "")
	if strings.Trim(text, "0123456789") != "" {
		return "", false
	}
	return sign + text, true
}

// float reads a float in lax mode.
func (v *validator) float(loc []any, input any) (float64, bool) {
	switch n := input.(type) {
	case float64:
		return n, true
	case int64:
		return float64(n), true
	case pyInt:
		if f, err := strconv.ParseFloat(string(n), 64); err == nil && !v.json {
			return f, true
		}
	case bool:
		if n {
			return 1, true
		}
		return 0, true
	case string:
		text := strings.TrimSpace(n)
		if f, err := strconv.ParseFloat(text, 64); err == nil && !strings.ContainsAny(text, "xXpP") {
			return f, true
		}
		v.add(loc, input, "float_parsing", "Input should be a valid number, unable to parse string as a number")
		return 0, false
	}
	v.add(loc, input, "float_type", "Input should be a valid number")
	return 0, false
}

// fraction reads a float between 0 and 1.
func (v *validator) fraction(loc []any, input any) float64 {
	f, ok := v.float(loc, input)
	switch {
	case !ok:
	case !(f <= 1): // NaN fails here
		v.add(loc, input, "less_than_equal", "Input should be less than or equal to 1", pyMember{"le", 1.0})
	case f < 0:
		v.add(loc, input, "greater_than_equal", "Input should be greater than or equal to 0", pyMember{"ge", 0.0})
	}
	return f
}

// atLeast reads an int with a lower bound.
func (v *validator) atLeast(loc []any, input any, bound int64) (int64, bool) {
	n, ok := v.integer(loc, input)
	if ok && n < bound {
		v.add(loc, input, "greater_than_equal", fmt.Sprintf("Input should be greater than or equal to %d", bound),
			pyMember{"ge", bound})
		return 0, false
	}
	return n, ok
}

// boolean reads a bool in lax mode.
func (v *validator) boolean(loc []any, input any) (value, ok bool) {
	switch b := input.(type) {
	case bool:
		return b, true
	case string:
		switch strings.ToLower(b) {
		case "true", "1", "yes", "on", "t", "y":
			return true, true
		case "false", "0", "no", "off", "f", "n":
			return false, true
		}
	case int64:
		if b == 0 || b == 1 {
			return b == 1, true
		}
	case float64:
		if b == 0 || b == 1 {
			return b == 1, true
		}
		if b != math.Trunc(b) || math.Abs(b) >= 1<<63 {
			v.add(loc, input, "bool_type", "Input should be a valid boolean")
			return false, false
		}
	default:
		v.add(loc, input, "bool_type", "Input should be a valid boolean")
		return false, false
	}
	v.add(loc, input, "bool_parsing", "Input should be a valid boolean, unable to interpret input")
	return false, false
}

// str reads a string. The service takes half a character for text in some places and fails over it later; here it is
// refused at once, and the refusal, which repeats it, cannot be written: the answer is 500 either way.
func (v *validator) str(loc []any, input any) (string, bool) {
	if s, ok := input.(string); ok {
		if !holdsSurrogate(s) {
			return s, true
		}
		v.add(loc, input, "string_unicode", "Input should be a valid string, unable to parse raw data as a unicode string")
		return "", false
	}
	v.add(loc, input, "string_type", "Input should be a valid string")
	return "", false
}

// shortStr reads a string of at most limit characters.
func (v *validator) shortStr(loc []any, input any, limit int) (string, bool) {
	s, ok := v.str(loc, input)
	if ok && len([]rune(s)) > limit {
		v.add(loc, input, "string_too_long", fmt.Sprintf("String should have at most %d characters", limit),
			pyMember{"max_length", int64(limit)})
		return "", false
	}
	return s, ok
}

// enum reads one of a few strings; kind is enum or literal_error.
func (v *validator) enum(loc []any, input any, values []string, kind string) (string, bool) {
	if s, ok := input.(string); ok && slices.Contains(values, s) {
		return s, true
	}
	quoted := make([]string, len(values))
	for i, value := range values {
		quoted[i] = "'" + value + "'"
	}
	expected := quoted[0]
	if last := len(quoted) - 1; last > 0 {
		expected = strings.Join(quoted[:last], ", ") + " or " + quoted[last]
	}
	v.add(loc, input, kind, "Input should be "+expected, pyMember{"expected", expected})
	return "", false
}

// datetime reads a time, keeping the zone that it was written in.
func (v *validator) datetime(loc []any, input any) (time.Time, bool) {
	switch d := input.(type) {
	case string:
		t, reason := parseDatetime(d)
		if reason == "" {
			return v.calendar(loc, input, t)
		}
		v.add(loc, input, "datetime_from_date_parsing", "Input should be a valid datetime or date, "+reason,
			pyMember{"error", reason})
		return time.Time{}, false
	case int64:
		return v.timestamp(loc, input, float64(d))
	case pyInt:
		f, _ := strconv.ParseFloat(string(d), 64) // out of range reads as infinity
		return v.timestamp(loc, input, f)
	case float64:
		return v.timestamp(loc, input, d)
	}
	v.add(loc, input, "datetime_type", "Input should be a valid datetime")
	return time.Time{}, false
}

// timestamp reads seconds or milliseconds since 1970.
func (v *validator) timestamp(loc []any, input any, f float64) (time.Time, bool) {
	t, reason := fromTimestamp(f)
	if reason == "" {
		return v.calendar(loc, input, t)
	}
	v.add(loc, input, "datetime_parsing", "Input should be a valid datetime, "+reason, pyMember{"error", reason})
	return time.Time{}, false
}

// calendar refuses year 0 on the clock as it was sent: the library reads it, and Python has no such year.
func (v *validator) calendar(loc []any, input any, t time.Time) (time.Time, bool) {
	if t.Year() != 0 {
		return t, true
	}
	const reason = "year 0 is out of range"
	v.add(loc, input, "datetime_parsing", "Input should be a valid datetime, "+reason, pyMember{"error", reason})
	return time.Time{}, false
}

// list reads a list.
func (v *validator) list(loc []any, input any) ([]any, bool) {
	if l, ok := input.([]any); ok {
		return l, true
	}
	what := "list"
	if v.json {
		what = "array"
	}
	v.add(loc, input, "list_type", "Input should be a valid "+what)
	return nil, false
}

// dict reads an object.
func (v *validator) dict(loc []any, input any) (pyDict, bool) {
	if d, ok := input.(pyDict); ok {
		return d, true
	}
	if v.json {
		v.add(loc, input, "model_type", "Input should be an object")
	} else {
		v.add(loc, input, "model_attributes_type", "Input should be a valid dictionary or object to extract fields from")
	}
	return nil, false
}

// field returns a required field of a dict, recording its absence.
func (v *validator) field(loc []any, d pyDict, name string) (any, bool) {
	value, ok := d.get(name)
	if !ok {
		v.missing(at(loc, name), d)
	}
	return value, ok
}

// xyxyn reads the four corners of a box by the rules of contract B.3, in their order.
func (v *validator) xyxyn(loc []any, input any) (box [4]float64) {
	items, ok := v.list(loc, input)
	if !ok {
		return box
	}
	if len(items) > 4 {
		v.length(loc, input, len(items), "too_long", "at most", "max_length")
		return box
	}
	known := len(v.issues)
	for i, item := range items {
		f, _ := v.float(at(loc, int64(i)), item)
		box[i] = f + 0 // the database keeps no negative zero
	}
	switch {
	case len(v.issues) > known:
	case len(items) < 4:
		v.length(loc, input, len(items), "too_short", "at least", "min_length")
	default:
		if msg := boxRule(box); msg != "" {
			v.reject(loc, input, msg)
		}
	}
	return box
}

func (v *validator) length(loc []any, input any, actual int, kind, bound, ctx string) {
	v.add(loc, input, kind, fmt.Sprintf("List should have %s 4 items after validation, not %d", bound, actual),
		pyMember{"field_type", "List"}, pyMember{ctx, int64(4)}, pyMember{"actual_length", int64(actual)})
}

// boxRule is the reason why a box is refused, empty for a good one.
func boxRule(b [4]float64) string {
	for _, c := range b {
		if !(0 <= c && c <= 1) {
			return "All xyxyn values must be between 0 and 1"
		}
	}
	switch {
	case b[0] > b[2]:
		return "x1 must be <= x2"
	case b[1] > b[3]:
		return "y1 must be <= y2"
	case b == [4]float64{}:
		return "Null coordinates [0,0,0,0] are not allowed"
	case b[0] == b[2] || b[1] == b[3]:
		return fmt.Sprintf("Zero-area bounding boxes are not allowed (width=%.6f, height=%.6f)", b[2]-b[0], b[3]-b[1])
	}
	return ""
}

// predictions reads an AlgoPredictions document.
func (v *validator) predictions(loc []any, input any) []Prediction {
	out := []Prediction{}
	d, ok := v.dict(loc, input)
	if !ok {
		return out
	}
	value, ok := v.field(loc, d, "predictions")
	if !ok {
		return out
	}
	items, _ := v.list(at(loc, "predictions"), value)
	for i, item := range items {
		here := at(at(loc, "predictions"), int64(i))
		p, ok := v.dict(here, item)
		if !ok {
			continue
		}
		var one Prediction
		if value, ok := v.field(here, p, "xyxyn"); ok {
			one.Box = v.xyxyn(at(here, "xyxyn"), value)
		}
		if value, ok := v.field(here, p, "confidence"); ok {
			one.Confidence = v.fraction(at(here, "confidence"), value)
		}
		if value, ok := v.field(here, p, "class_name"); ok {
			one.Class, _ = v.str(at(here, "class_name"), value)
		}
		out = append(out, one)
	}
	return out
}

// predictionsText reads an AlgoPredictions document inside a form field; refusal is the text of the answer's detail.
func predictionsText(text string) (list []Prediction, refusal string) {
	v := validator{json: true}
	value, syntax := parseField(text)
	if syntax != nil {
		v.add(nil, text, "json_invalid", "Invalid JSON: "+syntax.Error())
	} else {
		list = v.predictions(nil, value)
	}
	if len(v.issues) > 0 {
		return nil, v.text("AlgoPredictions")
	}
	return list, ""
}
