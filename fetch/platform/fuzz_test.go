package platform

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"pyrobundle/internal/httpapi"
	"pyrobundle/store"
)

// canned is a transport that answers each path with a body, a login with a token where it has none.
type canned map[string][]byte

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	body, ok := c[r.URL.Path]
	if !ok {
		body = []byte(`{"access_token":"t","scopes":["user"],"organization_id":2}`)
	}
	return &http.Response{
		StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r,
		Header: http.Header{"Content-Type": {"application/json"}},
	}, nil
}

// dialCanned is Dial without a network.
func dialCanned(t *testing.T, answers canned) (*Client, error) {
	t.Helper()
	return Dial(t.Context(), Config{
		BaseURL: "http://platform.example", Account: Account{Login: "a", Password: "CANARYpassword"},
		Transport: answers, Retry: httpapi.Retry{Attempts: 1},
	})
}

// wantLine fails the test unless err is one line that a terminal can take, without the password.
func wantLine(t *testing.T, err error) {
	t.Helper()
	if text := err.Error(); len(text) > 2000 || strings.ContainsAny(text, "\x1b\r\n\x00") || !utf8.ValidString(text) || strings.Contains(text, "CANARYpassword") {
		t.Fatalf("an error that is no line: %.2100q", text)
	}
}

// FuzzListing reads the rows of each kind of listing, whose elements are taken one by one.
func FuzzListing(f *testing.F) {
	for _, seed := range []string{
		`[]`, ` [ ] `, `null`, `{}`, `{"detail":"Not authenticated"}`, `7`, `[`, `[1,]`, `[{}]]`, `[[[[]]]]`, `[null,true,"x",1e400]`,
		`[{"id":11,"camera_id":1,"pose_id":1,"sequence_id":4,"bucket_key":"1-20260801080000-d09fa262.jpg","crop_bucket_key":null,"bbox":"[(.1,.1,.2,.2,.5)]","others_bboxes":null,"created_at":"2026-08-01T08:00:00.123456","recorded_at":"2026-08-01T07:59:58","url":"http://s.example/b/k?X-Amz-Signature=0","crop_url":null}]`,
		`[{"id":4,"camera_id":1,"pose_id":1,"camera_azimuth":120.4,"is_wildfire":null,"sequence_azimuth":null,"cone_angle":null,"started_at":"2026-08-01T08:00:00","last_seen_at":"2026-08-01T08:20:00","max_conf":0.8,"temporal_model_score":null,"is_validated":false,"detections_count":31}]`,
		`[{"id":1,"organization_id":2,"name":"tower-01","angle_of_view":54.2,"elevation":350.0,"lat":44.1,"lon":4.02,"is_trustable":true,"last_active_at":null,"poses":[{"id":1,"camera_id":1,"azimuth":45.0}]},{"id":2,"name":"CANARYpassword"}]`,
		`[{"id":2,"name":"org-alpha","telegram_id":null,"slack_hook":null}]`,
		`[{"id":1,"bucket_key":"k","created_at":"CANARYpassword"},{"id":9999999999999999999},{"id":1,"created_at":[]},{"id":1,"bucket_key":"k","url":7}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var docs documents
		err := json.Unmarshal(data, &docs) // as httpapi does it
		var whole []json.RawMessage
		if plain := json.Unmarshal(data, &whole); (plain == nil && whole != nil && len(whole) <= maxRows) != (err == nil) {
			t.Fatalf("read with %v, as an array with %v", err, plain)
		}
		if err != nil {
			return
		}
		if len(docs) != len(whole) {
			t.Fatalf("%d rows, of an array of %d", len(docs), len(whole))
		}
		for i, doc := range docs {
			if !bytes.Equal(doc, whole[i]) {
				t.Fatalf("row %d is %q instead of %q", i, doc, whole[i])
			}
		}
		wantPage(t, docs, parseDetection, func(d Detection) (int64, json.RawMessage) { return d.ID, d.Document })
		wantPage(t, docs, store.ParseSequence, func(s store.Sequence) (int64, json.RawMessage) { return s.ID, s.Document })
		wantPage(t, docs, store.ParseCamera, func(c store.Camera) (int64, json.RawMessage) { return c.ID, c.Document })
		wantPage(t, docs, store.ParseOrganization, func(o store.Organization) (int64, json.RawMessage) { return o.ID, o.Document })
	})
}

// wantPage reads rows as one kind: each is taken verbatim or refused with a line.
func wantPage[T any](t *testing.T, docs documents, parse func(json.RawMessage) (T, error), fields func(T) (int64, json.RawMessage)) {
	t.Helper()
	page := pageOf(docs, parse)
	if page.Sent != len(docs) || len(page.Rows)+len(page.Unreadable) != page.Sent {
		t.Fatalf("%d rows and %d that cannot be read, of %d", len(page.Rows), len(page.Unreadable), page.Sent)
	}
	for _, err := range page.Unreadable {
		wantLine(t, err)
	}
	for _, row := range page.Rows {
		id, doc := fields(row)
		if id < 1 || len(doc) > maxDocument || !json.Valid(doc) {
			t.Fatalf("taken: id %d, %d bytes", id, len(doc))
		}
		if again, err := parse(doc); err != nil {
			t.Fatalf("taken once, not twice: %v", err)
		} else if other, _ := fields(again); other != id {
			t.Fatalf("id %d, then %d", id, other)
		}
	}
}

func FuzzImageURL(f *testing.F) {
	for _, seed := range []string{
		`{"url":"http://s.example/b/1-20260801080000-d09fa262.jpg?X-Amz-Signature=0","crop_url":null}`, `{"url":""}`, `{"url":null}`, `{"url":7}`, `{}`, `null`, `[]`,
		`"http://s.example"`, `{"url":"a","URL":"b"}`, `{"url":"\ud800CANARYpassword"}`, `{"detail":"File cannot be found on the bucket storage"}`, `<html>`, ``,
	} {
		f.Add([]byte(seed))
	}
	const path = "/api/v1/detections/7/url"
	f.Fuzz(func(t *testing.T, data []byte) {
		client, err := dialCanned(t, canned{path: data, "/b": []byte("image")})
		if err != nil {
			t.Fatal(err)
		}
		url, err := client.ImageURL(t.Context(), 7)
		if err != nil {
			wantLine(t, err)
			return
		}
		if url == "" || len(url) > 3*maxURL || len(data) > maxURL { // of bytes that are no UTF-8 each becomes three
			t.Fatalf("a URL of %d bytes, of an answer of %d", len(url), len(data))
		}
		again, err := json.Marshal(map[string]string{"url": url})
		if err != nil {
			t.Fatal(err)
		}
		var read struct{ URL string }
		if err := json.Unmarshal(again, &read); err != nil || read.URL != url {
			t.Fatalf("written again it reads as %q, %v; was %q", read.URL, err, url)
		}
		if _, err := client.Image(t.Context(), url, 100); err != nil {
			wantLine(t, err)
		}
	})
}

// FuzzLogin answers a login, and who the account is.
func FuzzLogin(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"access_token":"eyJhbGciOiJIUzI1NiJ9.e30.x","token_type":"bearer"}`, `{"sub":2,"scopes":["user"],"organization_id":2}`},
		{`{"access_token":"t"}`, `{"sub":1,"scopes":["admin"],"organization_id":0}`},
		{`{"access_token":""}`, `null`},
		{`{"access_token":"a b\u0000"}`, `{"scopes":[],"organization_id":1}`},
		{`{"access_token":7}`, `{"scopes":"user","organization_id":"2"}`},
		{`null`, `{"scopes":["user"],"organization_id":-1}`},
		{`[]`, `{"scopes":["CANARYpassword","\u001b[31m"],"organization_id":99999999999999999999}`},
		{`<html>`, `{"scopes":[""],"organization_id":1}`},
		{`{"access_token":"t"}`, ``},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, creds, who []byte) {
		client, err := dialCanned(t, canned{"/api/v1/login/creds": creds, "/api/v1/login/validate": who})
		if err != nil {
			wantLine(t, err)
			return
		}
		scope, organization := client.Scope(), client.OrganizationID()
		if scope == "" || organization < 0 || organization == 0 && scope != ScopeAdmin || len(creds) > maxLogin || len(who) > maxLogin {
			t.Fatalf("taken: scope %q, organization %d, of %d and %d bytes", scope, organization, len(creds), len(who))
		}
		again, err := json.Marshal(client.identity)
		if err != nil {
			t.Fatal(err)
		}
		var read identity
		if err := json.Unmarshal(again, &read); err != nil || (&Client{identity: read}).Scope() != scope || read.OrganizationID != organization {
			t.Fatalf("written again it reads as %+v, %v; was %+v", read, err, client.identity)
		}
	})
}
