package annotation

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestRedact(t *testing.T) {
	const (
		token    = "tok.en-that_nobody~may.see-0123456789"
		password = `pa@ss "wörd"/100%+1`
	)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/login") {
			_, _ = w.Write([]byte(`{"access_token":"` + token + `"}`))
			return
		}
		_, _ = w.Write([]byte(`{"items":[{"platform_alert_id":1}],"pages":1}`))
	}))
	defer server.Close()
	client, err := Dial(t.Context(), Config{BaseURL: server.URL, Login: "a", Password: password})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	long := strings.Repeat("x", 180)
	for text, want := range map[string]string{
		"": "", "brison-01": "brison-01", "ÿ & Söhne +1 日": "ÿ & Söhne +1 日", "ana@sdis-07.fr": "ana@sdis-07.fr", "100 %40 %25 %zz": "100 %40 %25 %zz",
		"//a/../b?c#d": "//a/../b?c#d", "2026-08-01T10:00:00.123456Z": "2026-08-01T10:00:00.123456Z", "a\x00\x1b[31m\nb": "a [31m b",
		token: "***", "x " + token + " y": "x *** y", long + token + "y": long + "***y", long + "xxxxxxxx" + token: long + "xxxxxxxx***",
		password: "***", "of " + password + "!": "of ***!", `pa%40ss+%22w%C3%B6rd%22%2F100%25%2B1`: "***", `pa\u0040ss \"w\u00f6rd\"/100%+1`: "***",
		"https://ana:hunter22@example.org/x": "https://example.org/x", "Signature=abcdef": "Signature=***",
	} {
		if got := client.Redact(text); got != want {
			t.Errorf("%q:\n got %q\nwant %q", text, got, want)
		}
	}
	for _, text := range []string{strings.Repeat("x", 9<<20), strings.Repeat("日", 300), strings.Repeat("x", 190) + token + password} {
		got := client.Redact(text)
		if utf8.RuneCountInString(got) > 200 || !strings.HasSuffix(got, "…") && !strings.HasSuffix(got, "***") || strings.Contains(got, "tok") {
			t.Errorf("%.10q…: %q", text, got)
		}
	}
}

// FuzzRedact: whatever a secret stands in, it is not shown, and neither is much.
func FuzzRedact(f *testing.F) {
	const token = "tok.en-that_nobody~may.see-0123456789"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"access_token":"` + token + `","items":[{"platform_alert_id":1}],"pages":1}`))
	}))
	f.Cleanup(server.Close)
	client, err := Dial(f.Context(), Config{BaseURL: server.URL, Login: "a", Password: "b"})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(client.Close)
	for _, seed := range [][2]string{{"", ""}, {"a ", " b"}, {"@", "@"}, {"//", "?x=y"}, {"%", "%4"}, {strings.Repeat("é", 40), "…"}, {"http://", ""}, {"token: ", "x"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		got := client.Redact(before + token + after)
		if strings.Contains(got, token[:12]) && !strings.Contains(before+after, token[:12]) {
			t.Errorf("%q + token + %q: %q", before, after, got)
		}
		if len(got) > 1000 || strings.ContainsAny(got, "\n\x00\x1b") {
			t.Errorf("%q", got)
		}
	})
}
