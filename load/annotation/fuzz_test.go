package annotation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"pyrobundle/internal/httpapi"
)

// answers is an API in this process: what it answers to a request, and how long it says that this is; -1: as long as it is.
type answers func(r *http.Request) (status int, body string, length int64)

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	status, body, length := a(r)
	if length < 0 {
		length = int64(len(body))
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: length, Request: r,
	}, nil
}

// client is one of the API that is recognised already.
func (a answers) client() *Client {
	api := httpapi.New(httpapi.Config{BaseURL: "http://annotation.invalid", Transport: a, Retry: httpapi.Retry{Attempts: 1}})
	return &Client{api: api, baseURL: "http://annotation.invalid", generation: Newest}
}

// FuzzItems: a page's rows are read as encoding/json reads a list, and no more of them than were asked for.
func FuzzItems(f *testing.F) {
	for _, seed := range []string{
		`[]`, `[{"id":1},{"id":2,"name":"x"}]`, `null`, `{}`, `7`, `"["`, `[null,{}]`, `[[]]`, `[{"id":1e400}]`, `[{"id":"1"}]`, ` [ {"id" : 1 } ] `,
		"[" + strings.Repeat("{},", PageSize-1) + "{}]", "[" + strings.Repeat("{},", PageSize) + "{}]", `[{"id":1}`, `[]]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		type row struct {
			ID   int64
			Name *string
			Rest map[string]any
		}
		var (
			got  items[row]
			want []row
		)
		err, reference := json.Unmarshal(data, &got), json.Unmarshal(data, &want)
		taken := reference == nil && want != nil && len(want) <= PageSize
		if (err == nil) != taken {
			t.Fatalf("%q: %v, as a list %v with %d rows", data, err, reference, len(want))
		}
		if len(got) > PageSize || cap(got) > PageSize {
			t.Fatalf("%q: %d rows, room for %d", data, len(got), cap(got))
		}
		if taken && (got == nil || fmt.Sprint(encoded(t, []row(got))) != fmt.Sprint(encoded(t, want))) {
			t.Fatalf("%q: %v, want %v", data, got, want)
		}
	})
}

func encoded(t *testing.T, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// FuzzReading: a list whose rows have these sizes comes whole, once and in order, however many of its pages are too large to
// be taken, unless a row is by itself; then what came before it has come.
func FuzzReading(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 2, 255, 3})
	f.Add([]byte(strings.Repeat("\x02", 100) + strings.Repeat("\x80", 100) + strings.Repeat("\x01", 30)))
	f.Add([]byte(strings.Repeat("\xfe", 230)))
	f.Add([]byte(strings.Repeat("\x01", 119) + "\xff" + strings.Repeat("\x01", 119)))
	f.Fuzz(func(t *testing.T, sizes []byte) {
		const limit = 254 // of a page; one row of 255 is too large by itself
		sizes = sizes[:min(len(sizes), 700)]
		asked := 0
		client := answers(func(r *http.Request) (int, string, int64) {
			asked++
			number, size := pageOf(r.URL.Query())
			if number < 1 || size < 1 || size > PageSize {
				t.Errorf("page %d of %d rows was asked for", number, size)
			}
			var rows []string
			bytes := 0
			for i := (number - 1) * size; i < min(number*size, len(sizes)); i++ {
				bytes += int(sizes[i])
				rows = append(rows, fmt.Sprintf(`{"id":%d}`, i))
			}
			if bytes > limit {
				return http.StatusOK, "", 1 << 40
			}
			return http.StatusOK, listOf(rows, len(sizes), (len(sizes)+size-1)/size), -1
		}).client()
		next := 0
		var last error
		for s, err := range client.Sequences(t.Context(), SequenceFilter{}) {
			if last = err; err != nil {
				break
			}
			if s.ID != int64(next) {
				t.Fatalf("row %d, want %d, of %v", s.ID, next, sizes)
			}
			next++
		}
		switch at := slices.Index(sizes, 255); {
		case at < 0 && (last != nil || next != len(sizes)):
			t.Errorf("%d rows of %d, then %v: %v", next, len(sizes), last, sizes)
		case at >= 0 && (!errors.Is(last, httpapi.ErrTooLarge) || next > at):
			t.Errorf("%d rows, then %v, where row %d is too large: %v", next, last, at, sizes)
		}
		if most := len(sizes) + 10; asked > most { // each row by itself, after seven halvings
			t.Errorf("%d requests for %d rows", asked, len(sizes))
		}
	})
}

func pageOf(query url.Values) (number, size int) {
	number, _ = strconv.Atoi(query.Get("page")) // 0 where there is none
	size, _ = strconv.Atoi(query.Get("size"))
	return number, size
}

func listOf(rows []string, total, pages int) string {
	return fmt.Sprintf(`{"items":[%s],"total":%d,"pages":%d}`, strings.Join(rows, ","), total, pages)
}

// FuzzPages: of an API that gives any rows, totals and numbers of pages, in any order, no row comes twice, a list that is
// said to be whole has as many as were claimed, and it ends.
func FuzzPages(f *testing.F) {
	f.Add([]byte{3, 3, 1, 1, 2, 3})
	f.Add([]byte{2, 5, 2, 1, 2, 2, 5, 2, 2, 3, 2, 5, 2, 4, 5})
	f.Add([]byte{1, 9, 255, 1})
	f.Add([]byte{0, 0, 0})
	f.Fuzz(func(t *testing.T, said []byte) {
		asked, claimed, at := 0, 0, 0
		next := func() int { // what it says goes round and round
			if len(said) == 0 {
				return 0
			}
			at++
			return int(said[(at-1)%len(said)])
		}
		client := answers(func(*http.Request) (int, string, int64) {
			if asked++; asked > maxReadings*(256+1) {
				t.Fatal("it does not end")
			}
			rows := make([]string, next()%8)
			total, pages := next(), next()
			for i := range rows {
				rows[i] = fmt.Sprintf(`{"id":%d}`, next())
			}
			claimed = max(claimed, total)
			return http.StatusOK, listOf(rows, total, pages), -1
		}).client()
		seen := map[int64]bool{}
		for d, err := range client.Detections(t.Context(), 1) {
			if err != nil {
				return
			}
			if seen[d.ID] {
				t.Fatalf("row %d came twice of %v", d.ID, said)
			}
			seen[d.ID] = true
		}
		if len(seen) < claimed {
			t.Errorf("%d rows of %d were taken for whole: %v", len(seen), claimed, said)
		}
	})
}

// FuzzRecognise: whatever an API shows of itself, it is of one of the two generations, of the newer one only where it says so,
// or an error of one line tells why it is not known.
func FuzzRecognise(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"items":[{"id":1,"platform_alert_id":null}],"pages":1}`, `{}`},
		{`{"items":[{"id":1}]}`, `{}`},
		{`{"items":[]}`, `{"paths":{"/api/v1/sequences/temporal-score":{}}}`},
		{`{"items":[]}`, `{"paths":{"/api/v1/sequences/":{}}}`},
		{`{"items":[null]}`, ``},
		{`{"items":{}}`, `{}`},
		{`{"items":[[]]}`, `{}`},
		{`{}`, `{"paths":[]}`},
		{`null`, `null`},
		{`[]`, `[]`},
		{`<html>`, ``},
		{`{"items":[]}`, `{"paths":{"/api/v1/sequences/temporal-score"`},
		{`{"items":[],"pages":` + strings.Repeat("9", 500) + `}`, ``},
	} {
		f.Add(seed[0], seed[1], true)
		f.Add(seed[0], seed[1], false)
	}
	const field, route = "platform_alert_id", "/api/v1/sequences/temporal-score"
	f.Fuzz(func(t *testing.T, first, description string, described bool) {
		client := answers(func(r *http.Request) (int, string, int64) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/sequences/"):
				return http.StatusOK, first, -1
			case described:
				return http.StatusOK, description, -1
			}
			return http.StatusNotFound, "", -1
		}).client()
		generation, err := client.recognise(t.Context())
		if err != nil {
			oneShortLine(t, err)
			return
		}
		saysSo := has(first, field) || described && has(description, route)
		switch {
		case !json.Valid([]byte(first)):
			t.Errorf("%q was believed", first)
		case generation != Newest && generation != SeedEra, generation == Newest && !saysSo:
			t.Errorf("%q of %q and %q", generation, first, description)
		case first == `{"items":[]}` && described && strings.HasPrefix(description, `{"paths":{"`+route+`":`) && generation != Newest:
			t.Errorf("%q was not seen", description)
		}
	})
}

// has reports whether some object in a document, or in a part of it, has a field.
func has(document, field string) bool {
	var doc any
	if json.Unmarshal([]byte(document), &doc) != nil {
		return false
	}
	var in func(any) bool
	in = func(value any) bool {
		switch value := value.(type) {
		case []any:
			return slices.ContainsFunc(value, in)
		case map[string]any:
			for name := range value {
				if name == field || in(value[name]) {
					return true
				}
			}
		}
		return false
	}
	return in(doc)
}

// oneShortLine holds an error against what a terminal and a report can take.
func oneShortLine(t *testing.T, err error) {
	t.Helper()
	if text := err.Error(); len(text) > 1500 || strings.ContainsFunc(text, unicode.IsControl) {
		t.Errorf("%.2000q", text)
	}
}

// FuzzLogin: whatever is answered to a login, the token that is in it is sent as it is or not at all, and no error shows it.
func FuzzLogin(f *testing.F) {
	for _, seed := range []string{
		`{"access_token":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl","token_type":"bearer"}`, `{"access_token":""}`, `{"access_token":null}`,
		`{"access_token":"a b"}`, `{"access_token":"line\nfeed and more of it"}`, `{"access_token":12345678901234567890}`, `{"access_token":["0123456789abcdef"]}`,
		`{}`, `[]`, `"0123456789abcdef"`, `{"access_token":"0123456789abcdef"`, `<html>0123456789abcdef`, `{"access_token":"` + strings.Repeat("x", 20<<10) + `"}`,
		`{"access_token":"0123456789é"}`, `{"ACCESS_TOKEN":"0123456789abcdef"}`, ``,
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, answer string, accepted bool) {
		var sent []string
		_, err := Dial(t.Context(), Config{
			BaseURL: "http://annotation.invalid", Login: "a", Password: "b", Retry: httpapi.Retry{Attempts: 1},
			Transport: answers(func(r *http.Request) (int, string, int64) {
				switch {
				case strings.HasSuffix(r.URL.Path, "/login"):
					return http.StatusOK, answer, -1
				case !accepted:
					sent = append(sent, r.Header.Get("Authorization"))
					return http.StatusUnauthorized, `{"detail":"not ` + r.Header.Get("Authorization") + `"}`, -1
				}
				sent = append(sent, r.Header.Get("Authorization"))
				return http.StatusOK, `{"items":[{"id":1}]}`, -1
			}),
		})
		var login struct {
			AccessToken string `json:"access_token"`
		}
		unread := json.Unmarshal([]byte(answer), &login)
		for _, header := range sent {
			if unread != nil || login.AccessToken == "" || header != "Bearer "+login.AccessToken || strings.ContainsFunc(header, unicode.IsControl) {
				t.Errorf("%q was sent after %q", header, answer)
			}
		}
		switch {
		case err == nil && (len(sent) == 0 || !accepted):
			t.Errorf("%q was taken for a login", answer)
		case err != nil:
			oneShortLine(t, err)
			const known = 12 // bytes that are in no message of ours
			if token := login.AccessToken; len(token) >= known && !strings.Contains("log in to the annotation API", token) && strings.Contains(err.Error(), token) {
				t.Errorf("the token of %q is in %q", answer, err)
			}
		}
	})
}
