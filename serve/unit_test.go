package serve

import (
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseInteger(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want int64
		ok   bool
	}{
		{"15", 15, true},
		{"-1", -1, true},
		{"+7", 7, true},
		{" 3 ", 3, true},
		{"007", 7, true},
		{"1_000", 1000, true},
		{"2.0", 2, true},
		{"", 0, false},
		{"-", 0, false},
		{"--1", 0, false},
		{"1e3", 0, false},
		{"2.5", 0, false},
		{"_1", 0, false},
		{"1_", 0, false},
		{"1__0", 0, false},
		{"0x10", 0, false},
		{"١", 0, false},
		{"1 2", 0, false},
		{"99999999999999999999", math.MaxInt64, true},
		{"-99999999999999999999", math.MinInt64, true},
	} {
		if got, ok := parseInteger(tc.in); got != tc.want || ok != tc.ok {
			t.Errorf("%q: got %d %v, want %d %v", tc.in, got, ok, tc.want, tc.ok)
		}
	}
}

func TestPageStaysWithinTheList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 300).Draw(t, "n")
		limit := rapid.OneOf(rapid.Int64Range(0, 400), rapid.Just(int64(math.MaxInt64))).Draw(t, "limit")
		offset := rapid.OneOf(rapid.Int64Range(0, 400), rapid.Just(int64(math.MaxInt64))).Draw(t, "offset")
		from, to := page(n, limit, offset)
		if from < 0 || from > to || to > n || int64(to-from) > limit || (offset < int64(n) && int64(from) != offset) {
			t.Fatalf("page(%d, %d, %d) = %d, %d", n, limit, offset, from, to)
		}
		if to < n && offset < int64(n) && int64(to-from) != limit {
			t.Fatalf("page(%d, %d, %d) = %d, %d is short", n, limit, offset, from, to)
		}
	})
}

func TestRoutesMatch(t *testing.T) {
	one := route{pattern: "/api/v1/sequences/{sequence_id}/detections?query"}
	for path, want := range map[string]string{
		"/api/v1/sequences/12/detections":       "12",
		"/api/v1/sequences/a b/detections":      "a b",
		"/api/v1/sequences//detections":         "",
		"/api/v1/sequences/1/2/detections":      "",
		"/api/v1/sequences/12/detections/":      "",
		"/api/v1/sequences/12/detections?query": "",
		"/api/v1/sequences/12":                  "",
		"/api/v1/sequences/detections":          "",
		"/x/api/v1/sequences/12/detections":     "",
	} {
		got, ok := one.match(path)
		if ok != (want != "") || (ok && (len(got) != 1 || got[0] != variable{"sequence_id", want})) {
			t.Errorf("%s: got %q %v", path, got, ok)
		}
	}
	two := route{pattern: "/alerts/{alert_id}/sequences/{sequence_id}/unmatch"}
	got, ok := two.match("/alerts/5/sequences/x/unmatch")
	if want := []variable{{"alert_id", "5"}, {"sequence_id", "x"}}; !ok || !slices.Equal(got, want) {
		t.Errorf("two ids: got %q %v, want %q", got, ok, want)
	}
}

func TestAppendDocumentKeepsEverythingAndAddsLast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.MapOf(rapid.SampledFrom([]string{"id", "url", "name", "bbox", "crop_url", `we"ird`, "ü"}),
			rapid.SampledFrom([]any{nil, 1.5, "text", "<&>", []any{"url"}, map[string]any{"url": "inner"}, true})).Draw(t, "members")
		doc, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		value := rapid.String().Draw(t, "value")
		out, err := appendDocument([]byte("prefix"), doc, text("url", value), null("crop_url"))
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(out[len("prefix"):], &got); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		want := maps.Clone(members)
		if want == nil {
			want = map[string]any{}
		}
		valid, _ := json.Marshal(value) // as invalid UTF-8 becomes U+FFFD
		var asJSON string
		_ = json.Unmarshal(valid, &asJSON)
		want["url"], want["crop_url"] = asJSON, nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if strings.Count(string(out), `"crop_url":null`) != 1 {
			t.Fatalf("members twice: %s", out)
		}
	})
}

func TestTokenRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := signer{key: newKey(), now: func() time.Time { return time.Unix(1000, 0) }}
		want := claims{
			Subject:        rapid.Int64Min(1).Draw(t, "subject"),
			Scopes:         rapid.SliceOfN(rapid.SampledFrom([]string{ScopeAdmin, ScopeAgent, ScopeUser, scopeCamera}), 1, 3).Draw(t, "scopes"),
			OrganizationID: rapid.Int64Range(0, 1<<40).Draw(t, "organization"),
			Expires:        time.Unix(rapid.Int64Range(1001, 1<<40).Draw(t, "expires"), 0),
		}
		got, err := s.check(s.token(want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// FuzzToken: no token from outside is accepted, and each is refused with one of the platform's answers.
func FuzzToken(f *testing.F) {
	s := signer{key: newKey(), now: time.Now}
	other := signer{key: newKey(), now: time.Now}
	whole := other.token(claims{Subject: 1, Scopes: []string{ScopeAdmin}, Expires: time.Now().Add(time.Hour)})
	head, _, _ := strings.Cut(whole, ".")
	for _, seed := range []string{"", "abc", "..", whole, head + "..", head + ".e30.", "e30.e30.e30", "eyJhbGciOiJub25lIn0.e30."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		_, err := s.check(token)
		refused, ok := err.(*refusal) //nolint:errorlint // check returns it bare
		if !ok || (refused.status != http.StatusNotAcceptable && refused.status != http.StatusUnauthorized) {
			t.Errorf("%q: %v", token, err)
		}
	})
}

// FuzzClaims: signed claims of any content are read or refused, never more than they say.
func FuzzClaims(f *testing.F) {
	s := signer{key: newKey(), now: func() time.Time { return time.Unix(0, 0) }}
	for _, seed := range []string{
		`{"sub":"2","scopes":["user"],"organization_id":2,"exp":9999999999}`, `{"sub":2}`, `{}`, `null`, `[]`, ``,
		`{"sub":"0","organization_id":1}`, `{"sub":"1","organization_id":-1}`, `{"exp":"soon"}`, `{"sub":"1","organization_id":1,"exp":1e300}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := s.check(s.sign(payload))
		if err == nil && (c.Subject < 1 || c.OrganizationID < 0 || !json.Valid(payload)) {
			t.Errorf("%q was accepted as %+v", payload, c)
		}
	})
}

// FuzzDocument: what is appended is JSON or refused.
func FuzzDocument(f *testing.F) {
	for _, seed := range []string{`{}`, `{"id":1}`, ` {"url":"x" } `, `[]`, `null`, ``, `{`, `}`, `{"a":1}}`, `{"a":1`, "{\"\xff\":1}", `{"\u0075rl":1}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		out, err := appendDocument(nil, doc, text("url", "http://x/?a=1&b=2"), null("crop_url"))
		if err != nil {
			return
		}
		var got map[string]any
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%q became %q: %v", doc, out, err)
		}
		if got["url"] != "http://x/?a=1&b=2" {
			t.Errorf("%q became %q", doc, out)
		}
	})
}

// FuzzParameters: whatever a query holds, reading it neither panics nor yields a day that is none.
func FuzzParameters(f *testing.F) {
	for _, seed := range []string{"2026-08-01", "2026-08-01T00:00:00Z", "2026-02-30", "-1", "1.0", "9999-12-31", "0000-01-01", "x\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		in := input{place: "query", values: map[string][]string{"v": {value}}}
		if day := in.day("v"); len(in.issues) == 0 {
			if _, err := time.Parse(time.DateOnly, string(day)); err != nil {
				t.Errorf("%q was accepted as day %q", value, day)
			}
		}
		if n, ok := parseInteger(value); ok && strings.Trim(value, "0123456789") == "" && len(value) < 18 {
			if want, err := strconv.ParseInt(value, 10, 64); err != nil || n != want {
				t.Errorf("%q was read as %d", value, n)
			}
		}
		in.boolean("v", false)
		in.literal("v", "literal_error", "a", "b")
		if in.problems() != nil {
			refused := in.problems().(*refusal) //nolint:errorlint // problems returns it bare
			if _, err := encode(refused.detail); err != nil {
				t.Errorf("%q: %v", value, err)
			}
		}
	})
}
