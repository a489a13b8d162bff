package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// python is a text as json.dumps of Python writes it.
func python(text string) string {
	var b strings.Builder
	for _, r := range fmt.Sprintf("%+q", text) {
		b.WriteRune(r)
	}
	return b.String()
}

func goJSON(text string) string {
	encoded, _ := json.Marshal(text) // of a string
	return string(encoded)
}

// TestSecretsInEverySpelling: a server repeats a password as it was sent, or in an escaped form, or quotes a text that does.
func TestSecretsInEverySpelling(t *testing.T) {
	spell := map[string]func(string) string{
		"as it is":   func(s string) string { return s },
		"a form":     url.QueryEscape,
		"a path":     url.PathEscape,
		"lower case": func(s string) string { return lowerEscapes(url.QueryEscape(s)) },
		"Go's JSON":  goJSON,
		"Python":     python,
		"a quote":    strconv.Quote,
		"HTML":       html.EscapeString,
		"hexadecimal": func(s string) string {
			return strings.NewReplacer("&", "&#x26;", "é", "&#xe9;", " ", "&#x20;").Replace(s)
		},
		"bytes":        func(s string) string { return strings.NewReplacer("é", `\xc3\xa9`, "\\", `\\`).Replace(s) },
		"PHP's JSON":   func(s string) string { return strings.ReplaceAll(goJSON(s), "/", `\/`) },
		"half escaped": func(s string) string { return strings.Replace(s, "&", `\u0026`, 1) },
	}
	for _, password := range []string{
		"correct horse & battery", "été, <bonjour> ça va", "tab\tand \"quote\" or 'it'", `CANARY & <pw>, é\2`, "a+b%20c/d?e#f", "\xff\xfe broken", "fire 🔥 horse",
	} {
		known := spellings([]string{password})
		for first, inner := range spell {
			for second, outer := range spell {
				t.Run(fmt.Sprintf("%s/%s in %s", password, first, second), func(t *testing.T) {
					shown := scrub("you sent <"+outer(inner(password))+"> today", known)
					// Quotes around it may be left, in any spelling.
					if left := strings.TrimSuffix(strings.TrimPrefix(shown, "you sent <"), "> today"); !strings.Contains(left, masked) || strings.Trim(left, `*\"&quot;%2#34`) != "" {
						t.Errorf("%s is shown as %s", outer(inner(password)), shown)
					}
				})
			}
		}
	}
}

func lowerEscapes(form string) string {
	var b strings.Builder
	for i := 0; i < len(form); i++ {
		if form[i] == '%' && i+2 < len(form) {
			b.WriteString(strings.ToLower(form[i : i+3]))
			i += 2
			continue
		}
		b.WriteByte(form[i])
	}
	return b.String()
}

// TestMaskTakesNothingButSecrets: what is kept of an annotation for restoring it may be long, and have lines and words like a token's.
func TestMaskTakesNothingButSecrets(t *testing.T) {
	const password = "pa ss/wörd"
	c := New(Config{BaseURL: base, Secrets: []string{password}})
	words := "two\nlines\t\u202e and token=abc https://ana:x@example.org/?Signature=1 " + strings.Repeat("long ", 30_000)
	if got := c.Mask(words); got != words {
		t.Errorf("changed to %.200q…", got)
	}
	if got, want := c.Mask(words+password+words+url.QueryEscape(password)), words+"***"+words+"***"; got != want {
		t.Errorf("a secret is left, or more is gone: %.200q…", got)
	}
	if got := c.Line(words + password); strings.ContainsAny(got, "\n\t\u202e") || utf8.RuneCountInString(got) > maxLine || strings.Contains(got, "abc") {
		t.Errorf("a message would have %q", got)
	}
}

// TestSecretThatHoldsAnother: the longer one is masked first, or its rest would be left.
func TestSecretThatHoldsAnother(t *testing.T) {
	for _, secrets := range [][]string{{"hunter", "hunter-and-more"}, {"hunter-and-more", "hunter"}, {"hunter", "more", "hunter-and-more", ""}} {
		if got := scrub("you sent hunter-and-more, hunter", spellings(secrets)); got != "you sent ***, ***" {
			t.Errorf("%q: %s", secrets, got)
		}
	}
}

// TestQuotedValuesAreMaskedToTheirEnd: of secrets that nobody has told us.
func TestQuotedValuesAreMaskedToTheirEnd(t *testing.T) {
	for text, want := range map[string]string{
		`{"password": "correct horse, battery", "user": "me"}`:        `{"password": "***", "user": "me"}`,
		`{"password":"a\"b c\\","user":"me"}`:                         `{"password":"***","user":"me"}`,
		`{'password': 'correct horse', 'user': 'me'}`:                 `{'password': '***', 'user': 'me'}`,
		`input \"{\\\"password\\\": \\\"a b\\\", \\\"x\\\": 1}\" bad`: `input \"{\\\"password\\\": \\\"***\\\", \\\"x\\\": 1}\" bad`,
		`"{\"password\": \"a \\\" b\\\\\", \"x\": 1}"`:                `"{\"password\": \"***\", \"x\": 1}"`,
		`"{\"password\": \"cut off"} and more`:                        `"{\"password\": \"***"} and more`,
		`password="never closed`:                                      `password="***`,
		`password="", user=me`:                                        `password="", user=me`,
		`api_key=abc&token=d e`:                                       `api_key=***&token=*** e`,
	} {
		if diff := cmp.Diff(want, scrub(text, nil)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// TestPasswordInAnAddress: typed with the characters that end a host, it splits the address at another place.
func TestPasswordInAnAddress(t *testing.T) {
	const refused = "address holds a user name or password: give it without, as https://HOST; accounts have their own variables"
	for _, raw := range []string{
		"http://jo:12345/CANARY@host", "http://jo:12345#CANARY@host/", "http://jo:12345?CANARY@host/", "https://jo/CANARY@host", "http://jo:80/x@y:CANARY@host/api/v1",
	} {
		if got, err := Normalize(raw); err == nil || err.Error() != refused {
			t.Errorf("%s: %q, %v", raw, got, err)
		}
		if got := Redact(raw); got != "(unreadable URL)" {
			t.Errorf("%s is shown as %s", raw, got)
		}
		if got := scrub("no such host in "+raw+" today", nil); got != "no such host in (unreadable URL) today" {
			t.Errorf("%s is scrubbed to %s", raw, got)
		}
	}
}

// TestReplacedTokenIsStillMasked: an answer to a request with the token before comes after the new login.
func TestReplacedTokenIsStillMasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logins := 0
		_, tr := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			switch {
			case r.URL.Path == "/slow":
				time.Sleep(time.Minute)
				text(http.StatusNotFound, fmt.Sprintf("session %s, or %s, was replaced", token, url.QueryEscape(token)))(w, r)
			case token != fmt.Sprintf("opaque+CANARY/%d", maxRelogins):
				text(http.StatusUnauthorized, "")(w, r)
			}
		}))
		c := New(Config{BaseURL: base, Transport: tr, Login: func(context.Context, *Client) (string, error) {
			logins++
			return fmt.Sprintf("opaque+CANARY/%d", logins), nil
		}})
		slow := make(chan error)
		go func() { slow <- c.JSON(t.Context(), Request{Path: "/slow"}, nil) }()
		synctest.Wait()
		for logins < maxRelogins { // each request may renew the token once
			_ = c.JSON(t.Context(), Request{Path: "/x"}, nil)
			c.session.mu.Lock()
			c.session.refused = nil
			c.session.mu.Unlock()
		}
		if err, want := <-slow, "GET /slow: 404 Not Found: session ***, or ***, was replaced"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		for range 10 * maxGiven {
			c.logIn(t.Context(), &loginCall{done: make(chan struct{})})
		}
		if n := len(c.secrets()); n != maxGiven {
			t.Errorf("%d tokens are remembered, want %d", n, maxGiven)
		}
	})
}

// TestTokensCostNoTimeToMask: a server makes its tokens as it likes, and the texts that are searched for them. One of two thousand
// ampersands took minutes, for each error and beyond Ctrl-C.
func TestTokensCostNoTimeToMask(t *testing.T) {
	for _, piece := range []string{"&", "+", "a", `\`, `"<`, "%25"} {
		t.Run(piece, func(t *testing.T) {
			start := time.Now()
			c := New(Config{BaseURL: base})
			for n := range maxGiven {
				c.login = func(context.Context, *Client) (string, error) {
					return strings.Repeat(piece, 2000/len(piece)) + fmt.Sprint(n), nil
				}
				c.logIn(t.Context(), &loginCall{done: make(chan struct{})})
			}
			if shown := c.Line("you sent " + c.session.given[3] + "."); shown != "you sent ***." {
				t.Errorf("got %s", shown)
			}
			if len(c.Line(strings.Repeat(piece, 60_000))) < maxLine {
				t.Error("too little is shown")
			}
			if took := time.Since(start); took > 10*time.Second { // on a busy machine; some milliseconds on another
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestSecretsWhereServersPutThem: into paths, hosts, redirects. None is in an error or the log.
func TestSecretsWhereServersPutThem(t *testing.T) {
	const canary, token = "canary horse", "opaqueCANARY0123"
	var log bytes.Buffer
	unreachable := roundTripper(func(r *http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Name: r.URL.Host, Err: "no such host"}}
	})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			w.Header().Set("Location", "http://127.0.0.1:1/"+token+"/"+url.PathEscape(canary))
			w.WriteHeader(http.StatusTemporaryRedirect)
		case "/storage":
			_, _ = io.WriteString(w, "jpeg")
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer srv.Close()
	cfg := Config{
		BaseURL: srv.URL, Retry: once, Secrets: []string{canary, token}, Login: func(context.Context, *Client) (string, error) { return token, nil },
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	connected := New(cfg)
	defer connected.Close()
	cfg.Transport = unreachable
	alone := New(cfg)
	for _, try := range []struct {
		client *Client
		path   string
		want   string
	}{
		{connected, "/" + token, "GET /***: 404 Not Found"},
		{connected, "/x/" + url.PathEscape(canary), "GET /x/***: 404 Not Found"},
		{connected, "/away", "GET /away: 307 Temporary Redirect: a redirect to http://127.0.0.1:1/***/***, another host or scheme: not followed; is the address right?"},
		{connected, srv.URL + "/storage?hmac=CANARY&policy=CANARY&key=CANARY", "<nil>"},
		{connected, srv.URL + "/" + token + "?x=CANARY", "GET " + srv.URL + "/***: 404 Not Found"},
		{connected, "http://" + token + ":port/x", "GET (unreadable URL): the image's address is no usable URL"},
		{alone, "http://" + token + ".evil.example/x", "GET http://***.evil.example/x: host http://***.evil.example does not answer: dial: lookup ***.evil.example: no such host"},
		{alone, "http://" + token + ".evil.example/x", "GET http://***.evil.example/x: host http://***.evil.example does not answer: dial: lookup ***.evil.example: no such host"},
	} {
		_, _, err := try.client.Bytes(t.Context(), Request{Path: try.path})
		if diff := cmp.Diff(try.want, fmt.Sprint(err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", try.path, diff)
		}
	}
	if text := strings.ToLower(log.String()); strings.Contains(text, "canary") {
		t.Errorf("the log has a canary:\n%s", log.String())
	}
	if got := connected.Redact("Bearer of " + token); strings.Contains(got, "CANARY") {
		t.Errorf("Redact shows %s", got)
	}
}

// TestLogOfAnOutageHasNoSecret: an image's address has our token for its host, which does not answer.
func TestLogOfAnOutageHasNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const token = "opaqueCANARY0123"
		var log bytes.Buffer
		c := New(Config{
			BaseURL: base, Secrets: []string{token}, Log: slog.New(slog.NewTextHandler(&log, nil)), Retry: Retry{Attempts: 50},
			Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Name: r.URL.Host, Err: "no such host"}}
			}),
		})
		_, _, _ = c.Bytes(t.Context(), Request{Path: "http://" + token + ".evil.example/x"})
		if text := log.String(); !strings.Contains(text, "host http://***.evil.example does not answer; trying on") || strings.Contains(text, "CANARY") {
			t.Errorf("the log says %s", text)
		}
	})
}

// TestHintIsLegible: what we add to an error is not taken for a URL that hides something.
func TestHintIsLegible(t *testing.T) {
	srv := httptest.NewServer(text(200, "[]"))
	defer srv.Close()
	c := New(Config{BaseURL: strings.Replace(srv.URL, "http:", "https:", 1)})
	defer c.Close()
	err := c.JSON(t.Context(), Request{Path: "/x"}, nil)
	var e *Error
	if !errors.As(err, &e) || e.Attempts != 1 || !strings.HasSuffix(err.Error(), "(should the address begin with http instead of https?)") {
		t.Errorf("got %v", err)
	}
}
