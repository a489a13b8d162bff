package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestNormalize(t *testing.T) {
	for raw, want := range map[string]string{
		"https://alertapi.pyronear.org":                          "https://alertapi.pyronear.org",
		" https://alertapi.pyronear.org/ \n":                     "https://alertapi.pyronear.org",
		"HTTPS://AlertAPI.pyronear.org:443/":                     "https://alertapi.pyronear.org",
		"http://localhost:5050/docs":                             "http://localhost:5050",
		"http://localhost:80/docs#/login/creds":                  "http://localhost",
		"http://localhost:5050/api/v1":                           "http://localhost:5050",
		"http://localhost:5050/api/v1/":                          "http://localhost:5050",
		"http://localhost:5050/api/v1/sequences/?page=1":         "http://localhost:5050",
		"https://gate.example/pyro/api/v1/openapi.json":          "https://gate.example/pyro",
		"https://gate.example/pyro/docs/":                        "https://gate.example/pyro",
		"https://gate.example//pyro///redoc":                     "https://gate.example/pyro",
		"https://gate.example/docs/docs":                         "https://gate.example",
		"http://localhost:5050/api":                              "http://localhost:5050",
		"http://localhost:5050/api/":                             "http://localhost:5050",
		"https://gate.example/pyro/api/docs":                     "https://gate.example/pyro",
		"https://gate.example/pyro/api/api/v1":                   "https://gate.example/pyro",
		"https://gate.example/rapid-api/x":                       "https://gate.example/rapid-api/x",
		"http://localhost:65535":                                 "http://localhost:65535",
		"https://gate.example/mydocs":                            "https://gate.example/mydocs",
		"http://[::1]:5050/status":                               "http://[::1]:5050",
		"https://gate.example/a%2Fb/api/v1":                      "https://gate.example/a%2Fb",
		"http://10.0.0.7:8080/x/../y/api/v1/login/creds?x=y#abc": "http://10.0.0.7:8080/y",
	} {
		got, err := Normalize(raw)
		if err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", raw, got, err, want)
		}
	}
	for raw, want := range map[string]string{
		"":                              "no address given: expected one like https://alertapi.pyronear.org",
		"alertapi.pyronear.org":         `address "alertapi.pyronear.org" has no scheme: expected https://HOST (or http://HOST)`,
		"localhost:5050":                `address "localhost:5050" has no scheme: expected https://HOST (or http://HOST)`,
		"127.0.0.1:8080":                `address "127.0.0.1:8080" has no scheme: expected https://HOST (or http://HOST)`,
		"[::1]:8080":                    `address "[::1]:8080" has no scheme: expected https://HOST (or http://HOST)`,
		"1:canary@host":                 "address has no scheme: expected https://HOST (or http://HOST)",
		"http://localhost:99999":        `address "http://localhost:99999" has no usable port: expected one from 1 to 65535`,
		"http://localhost:0/docs":       `address "http://localhost:0/docs" has no usable port: expected one from 1 to 65535`,
		"ftp://alertapi.pyronear.org":   `address "ftp://alertapi.pyronear.org" has another scheme than http or https`,
		"https://":                      `address "https://" has no host: expected one like https://alertapi.pyronear.org`,
		"https:///docs":                 `address "https:///docs" has no host: expected one like https://alertapi.pyronear.org`,
		"https://me:canary@host/":       "address holds a user name or password: give it without, as https://HOST; accounts have their own variables",
		"me:canary@host":                "address holds a user name or password: give it without, as https://HOST; accounts have their own variables",
		"https://me:can/ary@host":       "address is not a URL: expected one like https://alertapi.pyronear.org",
		"https://host:port/":            `address "https://host:port/" is not a URL: expected one like https://alertapi.pyronear.org`,
		"https://host\x1b[31m/":         `address "https://host\x1b[31m/" is not a URL: expected one like https://alertapi.pyronear.org`,
		"https://a b/":                  `address "https://a b/" is not a URL: expected one like https://alertapi.pyronear.org`,
		"ftp://x?token=canary":          "address has another scheme than http or https",
		"/api/v1":                       `address "/api/v1" has no scheme: expected https://HOST (or http://HOST)`,
		"https://host%40evil.example/x": `address "https://host%40evil.example/x" is not a URL: expected one like https://alertapi.pyronear.org`,
	} {
		got, err := Normalize(raw)
		if err == nil {
			t.Errorf("%q is understood as %q", raw, got)
		} else if diff := cmp.Diff(want, err.Error()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", raw, diff)
		}
	}
}

func TestRedact(t *testing.T) {
	for raw, want := range map[string]string{
		"https://user:pass@s3.example/b/k.jpg?X-Amz-Signature=c#f": "https://s3.example/b/k.jpg",
		"/path?x=1":               "/path",
		"https://s3.example":      "https://s3.example",
		"https://u:pa/ss@host/x":  "(unreadable URL)",
		"https://u:12/3@host/x":   "(unreadable URL)",
		"https:/u:pass@host/x":    "(unreadable URL)",
		"mailto:u@host":           "(unreadable URL)",
		"%zz":                     "(unreadable URL)",
		"https://s3.example/a%2F": "https://s3.example/a%2F",
	} {
		if got := Redact(raw); got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
	}
}

func TestScrub(t *testing.T) {
	known := []string{"hunter2hunter2", "abc"}
	for text, want := range map[string]string{
		`Get "https://s3/b?X-Amz-Signature=1": dial tcp: no such host`:  `Get "https://s3/b": dial tcp: no such host`,
		`invalid proxy address "http://me:pw@proxy:3128": x`:            `invalid proxy address "http://proxy:3128": x`,
		"token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIyIn0.sig-_x is bad":      "token *** is bad",
		"Authorization: Bearer abcdefgh12345678":                        "Authorization: Bearer ***",
		"AWSAccessKeyId=AKIA&Signature=abc%3D&Expires=1":                "AWSAccessKeyId=***&Signature=***&Expires=1",
		`{"password": "opensesame", "user": "me"}`:                      `{"password": "***", "user": "me"}`,
		"you sent hunter2hunter2, abc":                                  "you sent ***, abc",
		"Token has expired.":                                            "Token has expired.",
		"Incorrect username or password":                                "Incorrect username or password",
		"dial tcp 10.0.0.1:443: connect: connection refused (x=y, z=1)": "dial tcp 10.0.0.1:443: connect: connection refused (x=y, z=1)",
	} {
		if diff := cmp.Diff(want, scrub(text, spellings(known))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if got := scrub(`form p%40ss+%22x%22 and JSON p@ss \"x\"`, spellings([]string{`p@ss "x"`})); got != "form *** and JSON ***" {
		t.Errorf("other spellings: %s", got)
	}
}

func TestDetail(t *testing.T) {
	c := New(Config{BaseURL: base})
	for _, tc := range []struct{ name, body, want string }{
		{"string", `{"detail":"Sequence not found."}`, "Sequence not found."},
		{"validation", `{"detail":[{"type":"missing","loc":["body","username"],"msg":"Field required","input":{"password":"canary"},"url":"x"}]}`, "body.username: Field required"},
		{"several", `{"detail":[{"loc":["query",0],"msg":"a"},{"loc":[],"msg":"b"},{"msg":"c"},{"msg":"d"},{"msg":"e"}]}`, "query.0: a; b; c; and 2 more"},
		{"other keys", `{"message":"no healthy upstream"}`, "no healthy upstream"},
		{"object", `{"detail":{"input":"canary"}}`, ""},
		{"no JSON after all", `{"detail":`, ""},
		{"deep", `{"detail":` + strings.Repeat("[", 1000), ""},
		{"array", `[1]`, ""},
		{"traceback", "Traceback (most recent call last):\n  File \"x.py\"\nsqlalchemy.exc.DBAPIError: boom\n\n", "sqlalchemy.exc.DBAPIError: boom"},
		{"long line", strings.Repeat("é", 1000), strings.Repeat("é", 199) + "…"},
		{"S3", `<?xml version="1.0"?><Error><Code>SignatureDoesNotMatch</Code><Message>We calculated</Message><AWSAccessKeyId>canary</AWSAccessKeyId><SignatureProvided>canary</SignatureProvided></Error>`, "SignatureDoesNotMatch: We calculated"},
		{"HTML", "<!doctype html><html><head><title>\n502 Bad &amp; Gateway\n</title>", "502 Bad & Gateway"},
		{"HTML without title", "<html><body>canary", ""},
		{"terminal codes", "{\"detail\":\"\\u001b[31mred\\u0007\\u202egnirts\\u200b \\n two\"}", "[31mred gnirts two"},
		{"no UTF-8", "bad \xff\xfe end", "bad end"},
		{"secrets", `{"detail":"no access with token=canary at https://s3/x?sig=canary"}`, "no access with token=*** at https://s3/x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, c.Line(detailOf([]byte(tc.body), false))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestCanaries puts secrets wherever they may be and has everything fail: none is in an error, at any level of it, or in
// the log at debug level.
func TestCanaries(t *testing.T) {
	const canary = "c4n4ry5ecret"
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	echo := func(status int) http.HandlerFunc { // a server that repeats all it was sent
		return func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, "you sent %s %s %s", r.URL, r.Header, b)
		}
	}
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	defer srv.Close()
	mux.HandleFunc("/login", text(200, `{"access_token":"eyJhbGciOiJIUzI1NiJ9.`+canary+`.sig"}`))
	mux.HandleFunc("/badlogin", echo(401))
	mux.HandleFunc("/echo", echo(500))
	mux.HandleFunc("/refused", echo(401))
	mux.HandleFunc("/html", text(200, "<html>"+canary))
	mux.HandleFunc("/shape", text(200, `{"id":"`+canary+`"}`))
	mux.HandleFunc("/hangup", hangUp)
	mux.HandleFunc("/xml", text(403, `<Error><Code>AccessDenied</Code><SignatureProvided>`+canary+`</SignatureProvided></Error>`))
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://me:"+canary+"@127.0.0.1:1/x?Signature="+canary, http.StatusTemporaryRedirect)
	})
	signed := "?AWSAccessKeyId=" + canary + "&Signature=" + canary + "&X-Amz-Security-Token=" + canary
	proxied := func(*http.Request) (*url.URL, error) {
		return nil, errors.New(`invalid proxy address "http://me:` + canary + `@proxy": parse error`)
	}
	quick := Retry{Attempts: 2, Base: time.Millisecond}
	login := func(path string) func(context.Context, *Client) (string, error) {
		return func(ctx context.Context, c *Client) (string, error) {
			var out struct {
				Token string `json:"access_token"`
			}
			err := c.JSON(ctx, Request{Method: "POST", Path: path, NoAuth: true, Idempotent: true, Body: body("username=me&password=" + canary)}, &out)
			return out.Token, err
		}
	}
	var errs []error
	try := func(cfg Config, requests ...Request) {
		cfg.Log, cfg.Retry, cfg.Secrets = logger, quick, []string{canary}
		c := New(cfg)
		defer c.Close()
		for _, r := range requests {
			var out []int
			err := c.JSON(t.Context(), r, &out)
			if err == nil {
				t.Errorf("%s: no error", r.Path)
			}
			errs = append(errs, err)
			_, _, err = c.Bytes(t.Context(), r)
			errs = append(errs, err) // of /shape nil
		}
	}
	try(Config{BaseURL: srv.URL, Login: login("/login")},
		Request{Path: "/echo"}, Request{Path: "/html"}, Request{Path: "/hangup"}, Request{Path: "/away"}, Request{Path: "/shape"},
		Request{Path: "/echo", Query: url.Values{"token": {canary}}}, Request{Path: "/echo?password=" + canary}, Request{Path: "/refused"})
	try(Config{BaseURL: srv.URL, Login: login("/badlogin")}, Request{Path: "/echo"})
	try(Config{BaseURL: srv.URL},
		Request{Path: srv.URL + "/xml" + signed}, Request{Path: srv.URL + "/echo" + signed}, Request{Path: srv.URL + "/hangup" + signed},
		Request{Path: srv.URL + "/away" + signed}, Request{Path: "http://me:" + canary + "@127.0.0.1:1/x" + signed},
		Request{Path: "https://" + strings.TrimPrefix(srv.URL, "http://") + "/x" + signed}, Request{Path: "http://169.254.169.254/x" + signed},
		Request{Path: "http://[::1/" + signed}, Request{Path: "http://host:" + canary + "/x"})
	try(Config{BaseURL: "http://me:" + canary + "@127.0.0.1:1"}, Request{Path: "/x"})
	try(Config{BaseURL: "http://127.0.0.1:1"}, Request{Path: "/x"}, Request{Path: "/x"})
	try(Config{BaseURL: srv.URL, Transport: newTransport(proxied, (&net.Dialer{}).DialContext)}, Request{Path: "/x"}, Request{Path: srv.URL + "/x" + signed})
	try(Config{BaseURL: srv.URL, Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		return nil, &url.Error{Op: "Get", URL: r.URL.String(), Err: errors.New("broken")} // as http.Client's errors are
	})}, Request{Path: srv.URL + "/x" + signed})

	for _, err := range errs {
		if err == nil {
			continue
		}
		for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%q", err)} {
			if strings.Contains(text, canary) {
				t.Errorf("in an error: %s", text)
			}
			if strings.ContainsAny(text, "\n\r\x1b") || len(text) > 600 {
				t.Errorf("not one line: %q", text)
			}
		}
	}
	if strings.Contains(log.String(), canary) || strings.Contains(log.String(), "eyJ") {
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, canary) || strings.Contains(line, "eyJ") {
				t.Errorf("in the log: %s", line)
			}
		}
	}
	if !strings.Contains(log.String(), "path=/shape status=200") {
		t.Errorf("no log: %s", log.String())
	}
}

func TestLogOfARequest(t *testing.T) {
	srv := httptest.NewServer(text(200, "[1]"))
	defer srv.Close()
	var log bytes.Buffer
	drop := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == "time" || a.Key == "ms" {
			return slog.Attr{}
		}
		return a
	}
	c := New(Config{Name: "platform", BaseURL: srv.URL, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: drop}))})
	defer c.Close()
	if err := c.JSON(t.Context(), Request{Path: "/sequences/", Query: url.Values{"limit": {"10"}, "api_key": {"x"}}}, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Bytes(t.Context(), Request{Path: srv.URL + "/image?id=7&Sig=x"}); err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
	if _, _, err := c.Bytes(t.Context(), Request{Path: other + "/image?anything=x"}); err != nil {
		t.Fatal(err)
	}
	want := "level=DEBUG msg=request api=platform method=GET path=\"/sequences/?api_key=***&limit=10\" status=200 bytes=3 attempt=1\n" +
		"level=DEBUG msg=request api=platform method=GET path=" + srv.URL + "/image?*** status=200 bytes=3 attempt=1\n" +
		"level=DEBUG msg=request api=platform method=GET path=" + other + "/image?*** status=200 bytes=3 attempt=1\n"
	if diff := cmp.Diff(want, log.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzNormalize(f *testing.F) {
	for _, seed := range []string{"https://a.example/docs", "http://[::1]:80/api/v1/x?y#z", "me:pw@host", "https://h/a%2f../docs/docs", "//x", "HTTP://X:0443/%61pi/v1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := Normalize(raw)
		if err != nil {
			if text := err.Error(); !utf8.ValidString(text) || strings.ContainsAny(text, "\n\x1b@") {
				t.Errorf("%q: error %q", raw, text)
			}
			return
		}
		again, err := Normalize(got)
		if err != nil || again != got {
			t.Errorf("%q → %q → %q, %v: not idempotent", raw, got, again, err)
		}
		if u, err := url.Parse(got + "/api/v1/x"); err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Host == "" {
			t.Errorf("%q → %q: %v", raw, got, err)
		}
	})
}

func FuzzRedact(f *testing.F) {
	for _, seed := range []string{"https://host/path", "", "//h/", "https://h/a b", "x:", "https://h:80/%zz"} {
		f.Add(seed)
	}
	const canary = "c4n4ry5ecret"
	f.Fuzz(func(t *testing.T, raw string) {
		if strings.Contains(raw, canary) {
			t.Skip()
		}
		for _, with := range []string{raw + "?" + canary, raw + "#" + canary, raw + "?x=y&z=" + canary + "#" + canary, strings.Replace(raw, "://", "://me:"+canary+"@", 1) + "?" + canary} {
			if got := Redact(with); strings.Contains(got, canary) {
				t.Errorf("%q → %q", with, got)
			}
			if got := scrub("Get \""+strings.ReplaceAll(with, `"`, "")+"\": broken", spellings([]string{canary})); strings.Contains(got, canary) {
				t.Errorf("%q scrubbed → %q", with, got)
			}
		}
	})
}

func FuzzDetail(f *testing.F) {
	for _, seed := range []string{
		`{"detail":"x"}`, `{"detail":[{"loc":["a",1,null,{}],"msg":"m"}]}`, `<Error><Code>a</Code><Message>b</Message>`, "<html><title>x", "a\n\x1b[0m\n",
		`{"detail":"\u202e"}`, "\xff", `{"message":{}}`, "[[[[",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	c := New(Config{BaseURL: base, Secrets: []string{"c4n4ry5ecret"}})
	f.Fuzz(func(t *testing.T, doc []byte, cut bool) {
		got := c.Line(detailOf(doc, cut))
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > maxLine || strings.ContainsFunc(got, unprintable) || strings.Contains(got, "c4n4ry5ecret") {
			t.Errorf("%q → %q", doc, got)
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"0", "120", "-1", "Wed, 21 Oct 2026 07:28:00 GMT", "99999999999999999999", "1.5", " 7 ", "٣"} {
		f.Add(seed, "Wed, 21 Oct 2026 07:00:00 GMT")
	}
	now := time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value, date string) {
		got, ok := retryAfter(http.Header{"Retry-After": {value}, "Date": {date}}, now)
		if got < 0 || got > maxRetryAfter || !ok && got != 0 {
			t.Errorf("%q at %q: %v, %v", value, date, got, ok)
		}
	})
}

func FuzzJSONDepth(f *testing.F) {
	f.Add([]byte(`{"a":["\"[[["]}`))
	f.Add([]byte(strings.Repeat("[", 100) + strings.Repeat("]", 100)))
	f.Fuzz(func(t *testing.T, doc []byte) {
		var out any
		err := decode(outcome{status: 200, body: doc}, &out)
		if err == nil && depthOf(out) > maxDepth {
			t.Errorf("%q is too deep", doc)
		}
	})
}

func depthOf(v any) int {
	deepest := 0
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			deepest = max(deepest, depthOf(item))
		}
	case map[string]any:
		for _, item := range v {
			deepest = max(deepest, depthOf(item))
		}
	default:
		return 0
	}
	return deepest + 1
}

func TestErrorTexts(t *testing.T) {
	for want, e := range map[string]*Error{
		"GET /api/v1/sequences/7/detections: 503 Service Unavailable after 6 attempts":             {Method: "GET", Path: "/api/v1/sequences/7/detections", Status: 503, Attempts: 6},
		"POST /x: 401 Unauthorized: Invalid credentials.":                                          {Method: "POST", Path: "/x", Status: 401, Attempts: 1, Detail: "Invalid credentials."},
		"POST /x: 503 Service Unavailable (the server may have acted on it)":                       {Method: "POST", Path: "/x", Status: 503, Attempts: 1, Ambiguous: true},
		"GET /x: no answer after 2 attempts: EOF":                                                  {Method: "GET", Path: "/x", Attempts: 2, Err: io.EOF},
		"GET /x: context canceled":                                                                 {Method: "GET", Path: "/x", Err: context.Canceled},
		"GET /x: 520":                                                                              {Method: "GET", Path: "/x", Status: 520},
		"GET /x: no answer after 3 attempts: platform at https://h has not answered for 2m0s: EOF": {Method: "GET", Path: "/x", Attempts: 3, Err: &unreachableError{who: "platform at https://h", since: 2 * time.Minute, cause: io.EOF}},
	} {
		if diff := cmp.Diff(want, e.Error()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if wrapped := fmt.Errorf("sequence 7: %w", e); Status(wrapped) != e.Status {
			t.Errorf("Status(%v) = %d", wrapped, Status(wrapped))
		}
	}
	if Status(errors.New("x")) != 0 || Status(nil) != 0 {
		t.Error("Status of what is no Error")
	}
}

// TestQuotedSecretsAreMasked: a server's message may quote a body that quotes the password.
func TestQuotedSecretsAreMasked(t *testing.T) {
	secret := `pw\2"x+y`
	known := spellings([]string{secret})
	for text := range strings.SplitSeq(fmt.Sprintf("%s\n%q\n%s", secret, secret, url.QueryEscape(secret)), "\n") {
		for range 3 {
			if shown := scrub("got "+text, known); strings.Contains(shown, "2") || strings.Contains(shown, "x+y") {
				t.Errorf("%s is shown as %s", text, shown)
			}
			text = strconv.Quote(text)
		}
	}
	for _, text := range []string{`{"password":"hunter22"}`, `{\"password\":\"hunter22\"}`, `{\\\"password\\\": \\\"hunter22\\\"}`, `'password': 'hunter22'`} {
		if shown := scrub(text, nil); strings.Contains(shown, "hunter") {
			t.Errorf("%s is shown as %s", text, shown)
		}
	}
}
