package platform

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/internal/httpapi"
	"pyrobundle/store"
)

// recorded are exchanges with the real platform.
func recorded(t *testing.T) map[string]json.RawMessage {
	t.Helper()
	file, err := os.Open("../../testdata/recorded/platform.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	answers := map[string]json.RawMessage{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var exchange struct {
			Method, Path string
			Query        map[string]string
			Response     json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &exchange); err != nil {
			t.Fatal(err)
		}
		key := exchange.Method + " " + exchange.Path
		if day := exchange.Query["from_date"]; day != "" {
			key += " " + day
		}
		answers[key] = exchange.Response
	}
	if lines.Err() != nil {
		t.Fatal(lines.Err())
	}
	return answers
}

func quick() httpapi.Retry {
	return httpapi.Retry{Attempts: 2, Base: time.Millisecond, Max: time.Millisecond, For: time.Second}
}

// dial is a Client of handler, which need not answer logins.
func dial(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/v1/login/creds":
			_, _ = w.Write([]byte(`{"access_token":"t","token_type":"bearer"}`))
		case "/api/v1/login/validate":
			w.Header().Set("X-Pyrobundle-Source-Api", "alert_wildfire")
			_, _ = w.Write([]byte(`{"sub":2,"scopes":["user"],"organization_id":2}`))
		default:
			handler(w, r)
		}
	}))
	t.Cleanup(server.Close)
	account := Account{Login: "a", Password: "b"}
	client, err := Dial(t.Context(), Config{BaseURL: server.URL, Account: account, Admin: account, Retry: quick()})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestRecordedAnswersAreRead(t *testing.T) {
	answers := recorded(t)
	client := dial(t, func(w http.ResponseWriter, r *http.Request) {
		key := r.Method + " " + r.URL.Path
		if day := r.FormValue("from_date"); day != "" {
			key += " " + day
		}
		answer, known := answers[key]
		if !known {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	})
	if client.Scope() != "user" || client.OrganizationID() != 2 || client.Source().API != "alert_wildfire" {
		t.Errorf("scope %q, organization %d, source %+v", client.Scope(), client.OrganizationID(), client.Source())
	}
	cameras, err := client.Cameras(t.Context())
	if err != nil || len(cameras.Rows) == 0 || len(cameras.Unreadable) > 0 {
		t.Fatalf("cameras: %d, %v, %v", len(cameras.Rows), cameras.Unreadable, err)
	}
	organizations, err := client.Organizations(t.Context())
	if err != nil || len(organizations.Rows) == 0 || len(organizations.Unreadable) > 0 {
		t.Fatalf("organizations: %d, %v, %v", len(organizations.Rows), organizations.Unreadable, err)
	}
	days, sequences := 0, 0
	for key := range answers {
		day, ok := strings.CutPrefix(key, "GET /api/v1/sequences/all/fromdate ")
		if !ok {
			continue
		}
		days++
		page, err := client.Sequences(t.Context(), SequencesQuery{Day: store.Day(day), Limit: MaxSequencesPage, RiskScore: "extreme"})
		if err != nil || len(page.Unreadable) > 0 {
			t.Fatalf("sequences of %s: %v, %v", day, page.Unreadable, err)
		}
		sequences += len(page.Rows)
		for _, s := range page.Rows {
			if store.DayOf(s.StartedAt.Time) != store.Day(day) {
				t.Errorf("sequence %d started at %v, listed on %s", s.ID, s.StartedAt, day)
			}
		}
	}
	rows := 0
	for key := range answers {
		id, ok := strings.CutPrefix(strings.TrimSuffix(key, "/detections"), "GET /api/v1/sequences/")
		if !ok || !strings.HasSuffix(key, "/detections") {
			continue
		}
		var number int64
		if err := json.Unmarshal([]byte(id), &number); err != nil {
			t.Fatal(err)
		}
		page, err := client.Detections(t.Context(), DetectionsQuery{SequenceID: number, Limit: 40})
		if err != nil || len(page.Unreadable) > 0 {
			t.Fatalf("detections of %d: %v, %v", number, page.Unreadable, err)
		}
		rows += len(page.Rows)
		for _, d := range page.Rows {
			if d.URL == "" || d.BBox == nil || d.CreatedAt.IsZero() {
				t.Errorf("detection %d: %+v", d.ID, d)
			}
		}
	}
	if days == 0 || sequences == 0 || rows == 0 {
		t.Errorf("%d days, %d sequences, %d detections: nothing was compared", days, sequences, rows)
	}
}

func TestRequestsAreThoseOfTheContract(t *testing.T) {
	var got []string
	client := dial(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.URL.RequestURI())
		if strings.HasSuffix(r.URL.Path, "/url") {
			_, _ = w.Write([]byte(`{"url":"http://storage/x","crop_url":null}`))
			return
		}
		if r.URL.Path == "/api/v1/sequences/7" {
			_, _ = w.Write([]byte(`{"id":7,"started_at":"2026-08-01T00:00:00"}`))
			return
		}
		_, _ = w.Write([]byte(`[]`))
	})
	ctx := t.Context()
	_, err1 := client.Cameras(ctx)
	_, err2 := client.Organizations(ctx)
	_, err3 := client.Sequences(ctx, SequencesQuery{Day: "2026-08-01", Limit: 1000, Offset: 999, RiskScore: "extreme"})
	_, err4 := client.Sequences(ctx, SequencesQuery{Day: "2026-08-01", Limit: 1000})
	_, err5 := client.Sequence(ctx, 7)
	_, err6 := client.Detections(ctx, DetectionsQuery{SequenceID: 7, Limit: 100, Offset: 99, Descending: true})
	_, err7 := client.ImageURL(ctx, 8)
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"GET /api/v1/cameras/?include_non_trustable=true",
		"GET /api/v1/organizations/",
		"GET /api/v1/sequences/all/fromdate?from_date=2026-08-01&limit=1000&offset=999&risk_score=extreme",
		"GET /api/v1/sequences/all/fromdate?from_date=2026-08-01&limit=1000&offset=0",
		"GET /api/v1/sequences/7",
		"GET /api/v1/sequences/7/detections?desc=true&limit=100&offset=99",
		"GET /api/v1/detections/8/url",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestSourceAPIByHost(t *testing.T) {
	claims := func(name string) http.Header { return http.Header{sourceHeader: {name}} }
	for name, test := range map[string]struct {
		cfg    Config
		header http.Header
		want   string
	}{
		"the French platform":            {Config{BaseURL: "https://alertapi.pyronear.org"}, nil, "pyronear_french"},
		"whatever it says of itself":     {Config{BaseURL: "https://alertapi.pyronear.org"}, claims("api_cenia"), "pyronear_french"},
		"CENIA's, in capitals":           {Config{BaseURL: "https://APICENIA.pyronear.org:443"}, nil, "api_cenia"},
		"a served bundle":                {Config{BaseURL: "http://127.0.0.1:8080"}, claims("alert_wildfire"), "alert_wildfire"},
		"a served bundle that knows not": {Config{BaseURL: "http://127.0.0.1:8080"}, nil, ""},
		"a name that there is not":       {Config{BaseURL: "http://127.0.0.1:8080"}, claims("evil"), ""},
		"a host that ends like one":      {Config{BaseURL: "https://xalertapi.pyronear.org"}, nil, ""},
		"as the user says":               {Config{BaseURL: "https://alertapi.pyronear.org", SourceAPI: "alert_wildfire"}, nil, "alert_wildfire"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := sourceAPI(test.cfg, test.header); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestRefusalOfAnImageIsNotOneOfTheAccount(t *testing.T) {
	for name, test := range map[string]struct {
		status        int
		body          string
		refused, gone bool
	}{
		"no such key":          {404, "<Error><Code>NoSuchKey</Code></Error>", true, true},
		"no right to list":     {403, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>", true, true},
		"expired":              {403, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>", true, false},
		"a wrong signature":    {403, "<Error><Code>SignatureDoesNotMatch</Code></Error>", true, false},
		"a wrong clock":        {403, "<Error><Code>RequestTimeTooSkewed</Code></Error>", true, false},
		"a proxy's page":       {403, "<html><body>blocked by policy</body></html>", true, false},
		"no such bucket":       {404, "<Error><Code>NoSuchBucket</Code></Error>", true, false},
		"a gateway's page":     {404, "<html><head><title>404 Not Found</title></head></html>", true, false},
		"a gateway's line":     {404, "default backend - 404", true, false},
		"a gateway's nothing":  {404, "", true, false},
		"an API in its place":  {404, `{"detail":"Not Found"}`, true, false},
		"not authorised":       {401, "", true, false},
		"deleted":              {410, "", true, true},
		"a storage that fails": {503, "<Error><Code>SlowDown</Code></Error>", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "" {
					t.Error("the token went to the storage")
				}
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte(test.body))
			}))
			defer storage.Close()
			client := dial(t, func(http.ResponseWriter, *http.Request) {})
			_, err := client.Image(t.Context(), storage.URL+"/k.jpg?X-Amz-Signature=c0ffee", 1<<20)
			if err == nil || errors.Is(err, httpapi.ErrUnauthorized) || strings.Contains(err.Error(), "c0ffee") {
				t.Errorf("error %v", err)
			}
			if got := errors.Is(err, ErrURLRefused); got != test.refused {
				t.Errorf("refused: %v, want %v (%v)", got, test.refused, err)
			}
			if got := errors.Is(err, ErrImageGone); got != test.gone {
				t.Errorf("gone: %v, want %v (%v)", got, test.gone, err)
			}
		})
	}
}

func TestTokenStaysWithTheAPIWhenImagesAreOnItsHost(t *testing.T) {
	client := dial(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the token went along with a presigned URL")
		}
		_, _ = w.Write([]byte("\xff\xd8\xff"))
	})
	base, err := url.Parse(client.Source().URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Image(t.Context(), base.JoinPath("storage", "x.jpg").String()+"?Signature=1", 100); err != nil {
		t.Error(err)
	}
}

// TestImageURLThatIsTheToken: what the platform names as an image may be made of what we sent it. The error goes into the
// bundle, so the token must not be in it.
func TestImageURLThatIsTheToken(t *testing.T) {
	const token = "opaqueCANARY0123"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/v1/login/creds":
			_, _ = w.Write([]byte(`{"access_token":"` + token + `"}`))
		case "/api/v1/login/validate":
			_, _ = w.Write([]byte(`{"scopes":["user"],"organization_id":2}`))
		default:
			_, _ = w.Write([]byte(`{"url":"` + strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") + `"}`))
		}
	}))
	defer server.Close()
	client, err := Dial(t.Context(), Config{BaseURL: server.URL, Account: Account{Login: "a", Password: "b"}, Retry: quick()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	given, err := client.ImageURL(t.Context(), 1)
	if err != nil || given != token {
		t.Fatalf("%q, %v", given, err)
	}
	for _, presigned := range []string{given, "s3.example/x?" + given, "/b/" + given, "ftp://h/" + given, "ftp://" + given + "/x"} {
		_, err := client.Image(t.Context(), presigned, 1000)
		if !errors.Is(err, httpapi.ErrHostRefused) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: %v", presigned, err)
		}
	}
}

// TestDialThatFailsLeavesNothing, of neither account, and shows neither's password to the other's server.
func TestDialThatFailsLeavesNothing(t *testing.T) {
	const user, admin = "CANARY user", "CANARY & admin"
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/login/creds" {
			_, _ = w.Write([]byte(`{"access_token":"t"}`))
			return
		}
		w.WriteHeader(http.StatusTeapot)
		_, _ = fmt.Fprintf(w, "accounts %q and %q", user, admin)
	}))
	server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		if open[conn] = true; state == http.StateClosed {
			delete(open, conn)
		}
	}
	server.Start()
	defer server.Close()
	_, err := Dial(t.Context(), Config{
		BaseURL: server.URL, Account: Account{Login: "a", Password: user}, Admin: Account{Login: "b", Password: admin}, Retry: quick(),
		Transport: httpapi.NewTransport(),
	})
	if err == nil || strings.Contains(err.Error(), "CANARY") || !strings.HasSuffix(err.Error(), `accounts "***" and "***"`) {
		t.Errorf("got %v", err)
	}
	for begun := time.Now(); ; time.Sleep(time.Millisecond) { // until the server has seen the end of the last
		mu.Lock()
		left := len(open)
		mu.Unlock()
		if left == 0 {
			break
		}
		if time.Since(begun) > 3*time.Second { // they are kept for 4
			t.Fatalf("%d connections are left", left)
		}
	}
}

// TestAnswersAreNoLargerThanTheirKind: many requests for a URL are under way at once, and their answers are kept.
func TestAnswersAreNoLargerThanTheirKind(t *testing.T) {
	long := `"` + strings.Repeat("x", maxURL) + `"`
	client := dial(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/url"):
			_, _ = w.Write([]byte(`{"url":` + long + `}`))
		case r.URL.Path == "/api/v1/sequences/7":
			_, _ = w.Write([]byte(`{"id":7,"started_at":"2026-08-01T00:00:00","note":"` + strings.Repeat("n", maxDocument) + `"}`))
		default:
			_, _ = w.Write([]byte(`[{"id":8,"note":` + long + `}]`))
		}
	})
	_, urlErr := client.ImageURL(t.Context(), 8)
	_, sequenceErr := client.Sequence(t.Context(), 7)
	_, pageErr := client.Detections(t.Context(), DetectionsQuery{SequenceID: 7, Limit: 1, MaxBytes: 1000})
	for _, err := range []error{urlErr, sequenceErr, pageErr} {
		if !errors.Is(err, httpapi.ErrTooLarge) || errors.Is(err, ErrMissing) {
			t.Errorf("got %v, want ErrTooLarge", err)
		}
	}
}

// TestNobodyIsNoAccount: an answer that does not say who the account is would be taken for everybody's.
func TestNobodyIsNoAccount(t *testing.T) {
	for answer, taken := range map[string]bool{
		`{"sub":2,"scopes":["user"],"organization_id":2}`:  true,
		`{"sub":1,"scopes":["admin"],"organization_id":0}`: true, // of a served bundle
		`{"sub":2,"scopes":["user"],"organization_id":0}`:  false,
		`{"sub":2,"scopes":["user"],"organization_id":-3}`: false,
		`{"sub":2,"scopes":[],"organization_id":2}`:        false,
		`null`: false,
		`{}`:   false,
		`{"scopes":["` + strings.Repeat("x", maxLogin) + `"],"organization_id":2}`: false,
	} {
		if _, err := dialCanned(t, canned{"/api/v1/login/validate": []byte(answer)}); (err == nil) != taken {
			t.Errorf("%.60s: %v", answer, err)
		}
	}
}

func TestOneBadRowHidesNoOther(t *testing.T) {
	client := dial(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`[{"id":1,"bucket_key":"a","created_at":"2026-08-01T00:00:00"},"detail",{"id":-3},{"id":4},
			{"id":5,"bucket_key":"b","created_at":"2026-08-01T00:00:01","url":null}]`))
	})
	page, err := client.Detections(t.Context(), DetectionsQuery{SequenceID: 7, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	if page.Sent != 5 || len(page.Rows) != 2 || len(page.Unreadable) != 3 || page.Rows[1].ID != 5 {
		t.Errorf("page %+v", page)
	}
}

func FuzzDetection(f *testing.F) {
	f.Add([]byte(`{"id":322,"camera_id":1,"bucket_key":"1-20261123011006-d09fa262.jpg","bbox":"[]","created_at":"2026-11-23T01:10:06.1","url":"http://s/x?Signature=y"}`))
	f.Add([]byte(`{"id":1,"bucket_key":"x","url":7}`))
	f.Add([]byte(`{"id":9223372036854775808}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		d, err := parseDetection(doc)
		if err == nil && (d.ID < 1 || d.BucketKey == "" || !json.Valid(d.Document)) {
			t.Fatalf("accepted %+v", d)
		}
	})
}

func FuzzSequence(f *testing.F) {
	f.Add([]byte(`{"id":57,"camera_id":1,"started_at":"2026-08-02T07:12:00.123456","last_seen_at":"2026-08-02T07:20:00","detections_count":12}`))
	f.Add([]byte(`{"id":57,"started_at":"0001-01-01T00:00:00"}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		s, err := store.ParseSequence(doc)
		if err == nil && (s.ID < 1 || s.StartedAt.IsZero()) {
			t.Fatalf("accepted %+v", s)
		}
	})
}

// TestCutAnswerToWhoTheAccountIsDoesNotEndTheRun: half of a document, whole as far as HTTP can tell, is asked for again
// like any other (E2).
func TestCutAnswerToWhoTheAccountIsDoesNotEndTheRun(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/login/creds" {
			_, _ = w.Write([]byte(`{"access_token":"t","token_type":"bearer"}`))
			return
		}
		w.Header().Set("X-Pyrobundle-Source-Api", "alert_wildfire")
		if asked++; asked == 1 {
			_, _ = w.Write([]byte(`{"sub":2,"sco`))
			return
		}
		_, _ = w.Write([]byte(`{"sub":2,"scopes":["user"],"organization_id":5}`))
	}))
	defer server.Close()
	client, err := Dial(t.Context(), Config{BaseURL: server.URL, Account: Account{Login: "a", Password: "b"}, Retry: quick()})
	if err != nil {
		t.Fatal(err)
	}
	if client.OrganizationID() != 5 || client.Source().API != "alert_wildfire" {
		t.Errorf("organization %d, source %q", client.OrganizationID(), client.Source().API)
	}
}

// TestWhatIsNoListIsNoEmptyListing: null taken for an empty day would make all its sequences gone.
func TestWhatIsNoListIsNoEmptyListing(t *testing.T) {
	for _, text := range []string{"null", "{}", "7", `"x"`, "[" + strings.Repeat("{},", maxRows) + "{}]"} {
		client := dial(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
		if page, err := client.Sequences(t.Context(), SequencesQuery{Day: "2024-01-01", Limit: 10}); err == nil {
			t.Errorf("%.20s: taken for a listing of %d rows", text, page.Sent)
		}
	}
	client := dial(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }) // as some filters do
	if page, err := client.Sequences(t.Context(), SequencesQuery{Day: "2024-01-01", Limit: 10}); err == nil {
		t.Errorf("204: taken for a listing of %d rows", page.Sent)
	}
}

// TestImageAddressesOfOtherSchemesAreRefused: they are no paths of the API either, whose 404 would prove the image gone.
func TestImageAddressesOfOtherSchemesAreRefused(t *testing.T) {
	client := dial(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.URL) })
	for _, address := range []string{"file:///etc/passwd", "gopher://127.0.0.1/x", "/etc/passwd", "x", "http:///x", "ftp://127.0.0.1/x?Signature=canary", "\x00"} {
		_, err := client.Image(t.Context(), address, 1000)
		if !errors.Is(err, httpapi.ErrHostRefused) || errors.Is(err, ErrImageGone) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", address, err)
		}
	}
}
