package sandbox

import (
	"fmt"
	"strings"
	"testing"
)

// TestSyntaxErrorWords pins the two readers' words for broken JSON, as the library versions of the service say them.
func TestSyntaxErrorWords(t *testing.T) {
	for _, c := range []struct{ text, python, builtin string }{
		{``, `0 Expecting value`, `EOF while parsing a value at line 1 column 0`},
		{`hello`, `0 Expecting value`, `expected value at line 1 column 1`},
		{`{"a": nul}`, `6 Expecting value`, `expected ident at line 1 column 10`},
		{`{"a": 1,}`, `8 Expecting property name enclosed in double quotes`, `trailing comma at line 1 column 9`},
		{`{"a": 1,`, `8 Expecting property name enclosed in double quotes`, `EOF while parsing a value at line 1 column 8`},
		{`{"a" 1}`, `5 Expecting ':' delimiter`, "expected `:` at line 1 column 6"},
		{`{1: 2}`, `1 Expecting property name enclosed in double quotes`, `key must be a string at line 1 column 2`},
		{`[1 2]`, `3 Expecting ',' delimiter`, "expected `,` or `]` at line 1 column 4"},
		{`[`, `1 Expecting value`, `EOF while parsing a list at line 1 column 1`},
		{`[1`, `2 Expecting ',' delimiter`, `EOF while parsing a list at line 1 column 2`},
		{`{} x`, `3 Extra data`, `trailing characters at line 1 column 4`},
		{`["\`, `1 Unterminated string starting at`, `EOF while parsing a string at line 1 column 3`},
		{`["a`, `1 Unterminated string starting at`, `EOF while parsing a string at line 1 column 3`},
		{`["\uZZZZ"]`, `3 Invalid \uXXXX escape`, `invalid escape at line 1 column 5`},
		{`["\u12G4"]`, `3 Invalid \uXXXX escape`, `invalid escape at line 1 column 7`},
		{`["\ud800\uZZ11"]`, `9 Invalid \uXXXX escape`, `invalid escape at line 1 column 11`},
		{`["\u12`, `3 Invalid \uXXXX escape`, `EOF while parsing a string at line 1 column 6`},
		{`["\u1234`, `3 Invalid \uXXXX escape`, `EOF while parsing a string at line 1 column 8`},
		{`["\e"]`, `2 Invalid \escape`, `invalid escape at line 1 column 4`},
		{"[\"\n\"]", `2 Invalid control character at`, "control character (\\u0000-\\u001F) found while parsing a string at line 2 column 0"},
		{"[\n\n 1.]", `5 Expecting ',' delimiter`, `invalid number at line 3 column 4`},
		{`[-]`, `1 Expecting value`, `invalid number at line 1 column 3`},
	} {
		_, syntax := parsePython(c.text)
		if syntax == nil {
			t.Errorf("%q was read", c.text)
			continue
		}
		if got := fmt.Sprint(syntax.offset, " ", syntax.python); got != c.python {
			t.Errorf("%q: request bodies say %q, want %q", c.text, got, c.python)
		}
		if got := syntax.Error(); got != c.builtin {
			t.Errorf("%q: form fields say %q, want %q", c.text, got, c.builtin)
		}
	}
}

// TestSurrogatesInFormFields pins where the reader of form fields gives up on half a character.
func TestSurrogatesInFormFields(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`["\ud800"]`, `unexpected end of hex escape at line 1 column 9`},
		{`["\ud800`, `EOF while parsing a string at line 1 column 8`},
		{`["\ud800\`, `EOF while parsing a string at line 1 column 9`},
		{`["\ud800\n"]`, `unexpected end of hex escape at line 1 column 10`},
		{`["\ud800x"]`, `unexpected end of hex escape at line 1 column 9`},
		{`["\ud800\u"`, `EOF while parsing a string at line 1 column 11`},
		{`["\ud800\ud800"]`, `lone leading surrogate in hex escape at line 1 column 14`},
		{`["\udc00x"]`, `lone leading surrogate in hex escape at line 1 column 8`},
	} {
		_, syntax := parseField(c.text)
		if syntax == nil {
			t.Errorf("%q was read", c.text)
		} else if got := syntax.Error(); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
		if _, syntax := parsePython(c.text); syntax != nil && strings.HasSuffix(c.text, "]") {
			t.Errorf("request bodies: %q refused: %v", c.text, syntax)
		}
	}
	if value, syntax := parseField(`"\ud83d\ude00"`); syntax != nil || value != "\U0001F600" {
		t.Errorf("a whole pair is read as %q, %v", value, syntax)
	}
}

// TestBytesOfRequestBodies pins what the service's decoding of JSON bodies takes and where it counts.
func TestBytesOfRequestBodies(t *testing.T) {
	s := newSite(t, AnnotationOptions{})
	s.json("POST", "/auth/login", "\ufeff"+`{"username":"admin","password":"admin12345"}`).want(t, 200, "access_token")
	s.json("POST", "/auth/login", "\ufeff"+`{"a":"é" 1}`).want(t, 422, `"loc":["body",9]`) // characters, the mark not counted
	s.json("POST", "/auth/login", "{\"a\":\"\xff\"}").want(t, 400, "There was an error parsing the body")
	// Forms and queries lose what is no UTF-8.
	s.do("POST", "/sequences/", "application/x-www-form-urlencoded", strings.NewReader("azimuth=%ff%ed%a0%80")).
		want(t, 422, "\"input\":\"\ufffd")
	s.get("/sequences/?page=%ed%a0%80").want(t, 422, "\"input\":\"\ufffd")
}

// TestLaxReading pins what the validation library takes for a number, a bool or a time, and how it names the rest.
func TestLaxReading(t *testing.T) {
	var v validator
	integer := func(in any) any { n, _ := v.integer(nil, in); return n }
	float := func(in any) any { n, _ := v.float(nil, in); return n }
	boolean := func(in any) any { b, _ := v.boolean(nil, in); return b }
	datetime := func(in any) any { d, _ := v.datetime(nil, in); return isoZ(d) }
	fraction := func(in any) any { return v.fraction(nil, in) }
	for _, c := range []struct {
		name string
		read func(any) any
		in   any
		want string // the value, or the kind of the issue
	}{
		{"int", integer, " +1_000 ", "1000"},
		{"int", integer, "12.000", "12"},
		{"int", integer, "12.5", "int_parsing"},
		{"int", integer, "1__0", "int_parsing"},
		{"int", integer, "", "int_parsing"},
		{"int", integer, true, "1"},
		{"int", integer, 2.0, "2"},
		{"int", integer, 2.5, "int_from_float"},
		{"int", integer, 1e20, "int_parsing_size"},
		{"int", integer, nil, "int_type"},
		{"int", integer, pyInt("99999999999999999999"), "9223372036854775807"},
		{"float", float, " 1.5 ", "1.5"},
		{"float", float, "0x10", "float_parsing"},
		{"float", float, []any{}, "float_type"},
		{"bool", boolean, "Yes", "true"},
		{"bool", boolean, "oFf", "false"},
		{"bool", boolean, "2", "bool_parsing"},
		{"bool", boolean, int64(2), "bool_parsing"},
		{"bool", boolean, 0.5, "bool_type"},
		{"bool", boolean, nil, "bool_type"},
		{"fraction", fraction, 1.5, "less_than_equal"},
		{"fraction", fraction, "-0.1", "greater_than_equal"},
		{"fraction", fraction, "nan", "less_than_equal"},
		{"datetime", datetime, "2026-08-01", "2026-08-01T00:00:00Z"},
		{"datetime", datetime, "2026-08-01_10:00", "2026-08-01T10:00:00Z"},
		{"datetime", datetime, "2026-08-01t10:00:00,1234567-0530", "2026-08-01T15:30:00.123456Z"},
		{"datetime", datetime, "1700000000.5", "2023-11-14T22:13:20.500000Z"},
		{"datetime", datetime, 1.7e12, "2023-11-14T22:13:20Z"},
		{"datetime", datetime, "2026-13-01", "month value is outside expected range of 1-12"},
		{"datetime", datetime, "2026-02-30", "day value is outside expected range"},
		{"datetime", datetime, "2026/08/01", "invalid date separator, expected `-`"},
		{"datetime", datetime, "2026-08-01T24:00:00Z", "unexpected extra characters at the end of the input"},
		{"datetime", datetime, "1e3", "input is too short"},
		{"datetime", datetime, 1e20, "dates after 9999 are not supported as unix timestamps"},
		{"datetime", datetime, nil, "datetime_type"},
		{"datetime", datetime, "2026-08-01T10:00:00\u221202:00", "2026-08-01T12:00:00Z"}, // a minus sign
		{"datetime", datetime, "0000-01-01", "datetime_parsing Input should be a valid datetime, year 0 is out of range"},
		{"datetime", datetime, "0000-02-30", "datetime_from_date_parsing Input should be a valid datetime or date, day value is outside"},
		{"datetime", datetime, int64(-62135596801000), "datetime_parsing Input should be a valid datetime, year 0 is out of range"},
		{"datetime", datetime, "-62135596801000", "datetime_parsing Input should be a valid datetime, year 0 is out of range"},
		{"datetime", datetime, int64(-62135596800000), "0001-01-01T00:00:00Z"},
		{"datetime", datetime, int64(-62167219200001), "datetime_parsing Input should be a valid datetime, dates before 0000 are not"},
		{"datetime", datetime, "-62167219200001", "datetime_from_date_parsing Input should be a valid datetime or date, dates before 0000"},
		{"datetime", datetime, "253402300800000", "datetime_from_date_parsing Input should be a valid datetime or date, dates after 9999"},
	} {
		v.issues = nil
		got := fmt.Sprint(c.read(c.in))
		if len(v.issues) > 0 {
			got = v.issues[0].kind + " " + v.issues[0].msg
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s %v: %s, want %s", c.name, c.in, got, c.want)
		}
	}
}

// TestBoxRulesInTheirOrder pins the checks of contract B.3.
func TestBoxRulesInTheirOrder(t *testing.T) {
	for _, c := range []struct {
		box  [4]float64
		want string
	}{
		{[4]float64{0, 0, 1, 1}, ""},
		{[4]float64{0.5, 0.1, 0.2, 1.5}, "All xyxyn values must be between 0 and 1"},
		{[4]float64{0.5, 0.5, 0.2, 0.2}, "x1 must be <= x2"},
		{[4]float64{0.1, 0.5, 0.1, 0.2}, "y1 must be <= y2"},
		{[4]float64{}, "Null coordinates [0,0,0,0] are not allowed"},
		{[4]float64{0.1, 0.1, 0.1, 0.2}, "Zero-area bounding boxes are not allowed (width=0.000000, height=0.100000)"},
		{[4]float64{1, 1, 1, 1}, "Zero-area bounding boxes are not allowed (width=0.000000, height=0.000000)"},
	} {
		if got := boxRule(c.box); got != c.want {
			t.Errorf("%v: %q, want %q", c.box, got, c.want)
		}
	}
}

// TestPythonNumbers pins how floats are written.
func TestPythonNumbers(t *testing.T) {
	for f, want := range map[float64]string{
		0: "0.0", 1: "1.0", 0.1: "0.1", 0.21000000000000002: "0.21000000000000002", 1e-5: "1e-05", 1e16: "1e+16", 123456789: "123456789.0",
		0.0001: "0.0001", 1e15: "1000000000000000.0", -2.5e-7: "-2.5e-07",
	} {
		if got := pyFloat(f); got != want {
			t.Errorf("%v is written %s, want %s", f, got, want)
		}
	}
}
