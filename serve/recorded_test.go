package serve

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRecordedExchanges puts what the real platform answered into a bundle, asks the same of the served bundle and
// compares status, type and every value, but for what changes by itself or is secret.
func TestRecordedExchanges(t *testing.T) {
	exchanges, err := readExchanges()
	if err != nil {
		t.Fatal(err)
	}
	platform := serveBundle(t, recordedBundle(t), Options{
		Accounts: []Account{{Login: "superadmin_login", Password: DefaultPassword, Scope: ScopeAdmin, OrganizationID: 1}},
	})
	admin := platform.as("superadmin_login")
	if len(exchanges) < 10 {
		t.Fatalf("%d recorded exchanges were read: the test shows nothing", len(exchanges))
	}
	for _, e := range exchanges {
		query := url.Values{}
		for name, value := range e.Query {
			query.Set(name, value)
		}
		target := e.Path
		if len(query) > 0 {
			target += "?" + query.Encode()
		}
		t.Run(e.Method+" "+target, func(t *testing.T) {
			admin := admin
			admin.t = t
			got := admin.get(target)
			if e.Method == http.MethodPost {
				got = admin.do(e.Method, target, "application/x-www-form-urlencoded",
					url.Values{"username": {"superadmin_login"}, "password": {DefaultPassword}}.Encode())
			}
			if got.status != e.Status || got.header.Get("Content-Type") != e.ResponseType {
				t.Fatalf("got %d %s, want %d %s", got.status, got.header.Get("Content-Type"), e.Status, e.ResponseType)
			}
			if diff := cmp.Diff(reduced(t, e.Response), reduced(t, got.body)); diff != "" {
				t.Errorf("answer (-recorded +got):\n%s", diff)
			}
		})
	}
}

// reduced decodes an answer and reduces signed URLs to bucket, key and the names of their parameters, tokens to
// nothing, and a camera's last sign of life to null, which is what a served bundle has to say of it.
func reduced(t *testing.T, body []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	reduce(v)
	return v
}

func reduce(v any) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			reduce(item)
		}
	case map[string]any:
		for name, value := range v {
			switch name {
			case "access_token":
				v[name] = ""
			case "last_active_at", "last_image", "last_image_url":
				v[name] = nil
			case "url", "crop_url":
				if text, ok := value.(string); ok {
					v[name] = reduceURL(text)
				}
			default:
				reduce(value)
			}
		}
	}
}

func reduceURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return err.Error()
	}
	names := ""
	for _, parameter := range strings.Split(u.RawQuery, "&") {
		name, _, _ := strings.Cut(parameter, "=")
		names += "&" + name
	}
	return strings.TrimPrefix(u.Path, "/storage") + names
}

// probe is a question to the real platform of 2026-08-22 and its answer.
type probe struct {
	name        string
	as          string // default account; empty: none
	token       string // instead of an account's
	method      string // default GET
	path        string
	contentType string
	body        string

	status int
	want   string            // JSON; empty: not compared
	header map[string]string // that must be there; an empty value: must not
}

// TestProbes asks what the real services were asked in the probing of 2026-11-23, and some more of the same kind.
func TestProbes(t *testing.T) {
	const (
		form   = "application/x-www-form-urlencoded"
		alpha  = "org-2"
		bravo  = "org-3"
		admin  = "admin"
		day    = "/api/v1/sequences/all/fromdate?from_date=2026-08-01"
		signIn = "/api/v1/login/creds"
	)
	bundle := recordedBundle(t)
	handler := New(bundle, Options{}).(*server)
	stranger := New(bundle, Options{}).(*server)
	long := handler.options.Now().AddDate(1, 0, 0)
	valid := claims{Subject: 2, Scopes: []string{ScopeUser}, OrganizationID: 2, Expires: long}
	past := valid
	past.Expires = handler.options.Now().AddDate(0, 0, -1)
	cameraToken := valid
	cameraToken.Scopes = []string{scopeCamera}

	missing := func(place string, names ...string) string {
		var entries []string
		for _, name := range names {
			entries = append(entries, `{"type":"missing","loc":["`+place+`","`+name+`"],"msg":"Field required","input":null}`)
		}
		return `{"detail":[` + strings.Join(entries, ",") + `]}`
	}
	detail := func(text string) string { return `{"detail":"` + text + `"}` }
	one := func(issue string) string { return `{"detail":[` + issue + `]}` }

	probes := []probe{
		{name: "health", path: "/status", status: 200, want: `{"status":"ok"}`},

		{
			name: "login wrong password", method: "POST", path: signIn, contentType: form,
			body: "username=org-2&password=nope", status: 401, want: detail("Invalid credentials."),
			header: map[string]string{"WWW-Authenticate": ""},
		},
		{
			name: "login unknown user", method: "POST", path: signIn, contentType: form,
			body: "username=ghost&password=pyrobundle", status: 401, want: detail("Invalid credentials."),
		},
		{
			name: "login without password", method: "POST", path: signIn, contentType: form,
			body: "username=org-2", status: 422, want: missing("body", "password"),
		},
		{
			name: "login with empty password", method: "POST", path: signIn, contentType: form,
			body: "username=org-2&password=", status: 422, want: missing("body", "password"),
		},
		{
			name: "login as JSON", method: "POST", path: signIn, contentType: "application/json",
			body: `{"username":"org-2","password":"pyrobundle"}`, status: 422, want: missing("body", "username", "password"),
		},
		{name: "login without a body", method: "POST", path: signIn, status: 422, want: missing("body", "username", "password")},
		{
			name: "login with another grant type", method: "POST", path: signIn, contentType: form,
			body: "grant_type=refresh&username=org-2&password=pyrobundle", status: 422,
			want: one(`{"type":"string_pattern_mismatch","loc":["body","grant_type"],"msg":"String should match pattern '^password$'",` +
				`"input":"refresh","ctx":{"pattern":"^password$"}}`),
		},
		{
			name: "login with everything the form has", method: "POST", path: signIn, contentType: form,
			body: "grant_type=password&scope=&client_id=x&client_secret=y&username=org-2&password=pyrobundle", status: 200,
		},
		{
			name: "login with the query instead of the body", method: "POST",
			path: signIn + "?username=org-2&password=pyrobundle", contentType: form, status: 422,
			want: missing("body", "username", "password"),
		},
		{name: "login by GET", path: signIn, status: 405, want: detail("Method Not Allowed"), header: map[string]string{"Allow": "POST"}},

		{
			name: "validate", as: alpha, path: "/api/v1/login/validate", status: 200,
			want: `{"sub":3,"scopes":["user"],"organization_id":2}`,
		},
		{
			name: "validate as administrator", as: admin, path: "/api/v1/login/validate", status: 200,
			want: `{"sub":1,"scopes":["admin"],"organization_id":1}`,
		},

		{name: "no token", path: day, status: 401, want: detail("Not authenticated"), header: map[string]string{"WWW-Authenticate": "Bearer"}},
		{
			name: "garbage token", token: "abc", path: day, status: 406, want: detail("Invalid token."),
			header: map[string]string{"WWW-Authenticate": ""},
		},
		{name: "empty token", token: " ", path: day, status: 406, want: detail("Invalid token.")},
		{name: "token of three empty parts", token: "..", path: day, status: 406, want: detail("Invalid token.")},
		{
			name: "expired token", token: handler.tokens.token(past), path: day, status: 401, want: detail("Token has expired."),
			header: map[string]string{"WWW-Authenticate": ""},
		},
		{name: "token signed with another secret", token: stranger.tokens.token(valid), path: day, status: 401, want: detail("Token has expired.")},
		{
			name: "token without required claims", token: handler.tokens.sign([]byte(`{"scopes":["user"]}`)), path: day,
			status: 422, want: detail("Invalid token payload."),
		},
		{
			name: "token of an unknown scope", token: handler.tokens.sign([]byte(`{"sub":"2","scopes":["king"],"organization_id":2}`)),
			path: day, status: 422, want: detail("Invalid token payload."),
		},
		{
			name: "token whose claims are no object", token: handler.tokens.sign([]byte(`[]`)), path: day,
			status: 406, want: detail("Invalid token."),
		},
		{
			name: "camera token on a user's route", token: handler.tokens.token(cameraToken), path: day, status: 403,
			want: detail("Incompatible token scope."), header: map[string]string{"WWW-Authenticate": `Bearer scope="admin agent user"`},
		},

		{
			name: "user on an admin route", as: alpha, path: "/api/v1/organizations/", status: 403,
			want: detail("Incompatible token scope."), header: map[string]string{"WWW-Authenticate": `Bearer scope="admin"`},
		},
		{
			name: "organizations", as: admin, path: "/api/v1/organizations/", status: 200,
			want: `[{"slack_hook":null,"telegram_id":null,"name":"admin","id":1},{"slack_hook":null,"telegram_id":null,"name":"org-alpha","id":2},` +
				`{"slack_hook":null,"telegram_id":null,"name":"org-bravo","id":3},{"slack_hook":null,"telegram_id":null,"name":"org-charlie","id":4}]`,
		},
		{
			name: "organization", as: admin, path: "/api/v1/organizations/3", status: 200,
			want: `{"slack_hook":null,"telegram_id":null,"name":"org-bravo","id":3}`,
		},
		{
			name: "unknown organization", as: admin, path: "/api/v1/organizations/99", status: 404,
			want: detail("Table Organization has no corresponding entry."),
		},

		{name: "day without sequences", as: alpha, path: "/api/v1/sequences/all/fromdate?from_date=2026-08-05&risk_score=extreme", status: 200, want: `[]`},
		{name: "limit 0", as: alpha, path: day + "&limit=0", status: 200, want: `[]`},
		{name: "offset behind the end", as: alpha, path: day + "&offset=7", status: 200, want: `[]`},
		{
			name: "invalid risk score", as: alpha, path: day + "&risk_score=none", status: 422,
			want: one(`{"type":"literal_error","loc":["query","risk_score"],"msg":"Input should be 'very_low', 'low', 'moderate', 'high', 'very_high' or 'extreme'",` +
				`"input":"none","ctx":{"expected":"'very_low', 'low', 'moderate', 'high', 'very_high' or 'extreme'"}}`),
		},
		{
			name: "invalid date", as: alpha, path: "/api/v1/sequences/all/fromdate?from_date=2026-13-45", status: 422,
			want: one(`{"type":"date_from_datetime_parsing","loc":["query","from_date"],"msg":"Input should be a valid date or datetime, month value is outside expected range of 1-12",` +
				`"input":"2026-13-45","ctx":{"error":"month value is outside expected range of 1-12"}}`),
		},
		{name: "missing date", as: alpha, path: "/api/v1/sequences/all/fromdate", status: 422, want: missing("query", "from_date")},
		{
			name: "several mistakes at once", as: alpha, path: "/api/v1/sequences/all/fromdate?limit=x&risk_score=", status: 422,
			want: `{"detail":[{"type":"missing","loc":["query","from_date"],"msg":"Field required","input":null},` +
				`{"type":"int_parsing","loc":["query","limit"],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"x"},` +
				`{"type":"literal_error","loc":["query","risk_score"],"msg":"Input should be 'very_low', 'low', 'moderate', 'high', 'very_high' or 'extreme'",` +
				`"input":"","ctx":{"expected":"'very_low', 'low', 'moderate', 'high', 'very_high' or 'extreme'"}}]}`,
		},
		{name: "negative limit", as: alpha, path: day + "&limit=-1", status: 500, header: map[string]string{"Content-Type": "text/plain; charset=utf-8"}},
		{name: "negative offset", as: alpha, path: day + "&offset=-1", status: 500, header: map[string]string{"Content-Type": "text/plain; charset=utf-8"}},

		{
			name: "one sequence", as: alpha, path: "/api/v1/sequences/1", status: 200,
			want: `{"id":1,"camera_id":3,"pose_id":7,"camera_azimuth":34.6,"is_wildfire":null,"sequence_azimuth":43.1,"cone_angle":1.5,` +
				`"started_at":"2026-08-03T09:48:02.048757","last_seen_at":"2026-08-03T10:21:02.048149","max_conf":0.861,"temporal_model_score":0.123469,` +
				`"temporal_model_version":"0.1.0","temporal_api_version":"v0.2.0","is_validated":true,"detections_count":34}`,
		},
		{name: "unknown sequence", as: alpha, path: "/api/v1/sequences/999999", status: 404, want: detail("Table Sequence has no corresponding entry.")},
		{
			name: "detections of an unknown sequence", as: alpha, path: "/api/v1/sequences/999999/detections?limit=30&desc=false", status: 404,
			want: detail("Table Sequence has no corresponding entry."),
		},
		{
			name: "sequence id beyond 64 bits", as: alpha, path: "/api/v1/sequences/99999999999999999999", status: 404,
			want: detail("Table Sequence has no corresponding entry."),
		},
		{
			name: "sequence id 0", as: alpha, path: "/api/v1/sequences/0/detections", status: 422,
			want: one(`{"type":"greater_than","loc":["path","sequence_id"],"msg":"Input should be greater than 0","input":"0","ctx":{"gt":0}}`),
		},
		{
			name: "sequence id not a number", as: alpha, path: "/api/v1/sequences/abc/detections", status: 422,
			want: one(`{"type":"int_parsing","loc":["path","sequence_id"],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"abc"}`),
		},
		{name: "sequence of another organization", as: bravo, path: "/api/v1/sequences/1", status: 403, want: detail("Access forbidden.")},
		{name: "detections of another organization", as: bravo, path: "/api/v1/sequences/1/detections?limit=2", status: 403, want: detail("Access forbidden.")},
		{name: "token before parameters", path: "/api/v1/sequences/abc/detections", status: 401, want: detail("Not authenticated")},
		{name: "parameters before the row", as: alpha, path: "/api/v1/sequences/999999/detections?limit=0", status: 422},

		{
			name: "detections limit=101", as: alpha, path: "/api/v1/sequences/1/detections?limit=101&desc=true", status: 422,
			want: one(`{"type":"less_than_equal","loc":["query","limit"],"msg":"Input should be less than or equal to 100","input":"101","ctx":{"le":100}}`),
		},
		{
			name: "detections limit=0", as: alpha, path: "/api/v1/sequences/1/detections?limit=0", status: 422,
			want: one(`{"type":"greater_than_equal","loc":["query","limit"],"msg":"Input should be greater than or equal to 1","input":"0","ctx":{"ge":1}}`),
		},
		{
			name: "detections offset=-1", as: alpha, path: "/api/v1/sequences/1/detections?offset=-1", status: 422,
			want: one(`{"type":"greater_than_equal","loc":["query","offset"],"msg":"Input should be greater than or equal to 0","input":"-1","ctx":{"ge":0}}`),
		},
		{
			name: "detections desc=maybe", as: alpha, path: "/api/v1/sequences/1/detections?desc=maybe", status: 422,
			want: one(`{"type":"bool_parsing","loc":["query","desc"],"msg":"Input should be a valid boolean, unable to interpret input","input":"maybe"}`),
		},

		{
			name: "detection", as: alpha, path: "/api/v1/detections/3", status: 200,
			want: `{"id":3,"camera_id":3,"pose_id":7,"sequence_id":1,"bucket_key":"3-20261123010943-1b3645d0.jpg","crop_bucket_key":"crop_1_3-20261123010943-c412c1c0.jpg",` +
				`"bbox":"[(0.713,0.638,0.755,0.669,0.419)]","others_bboxes":"[(0.313,0.469,0.345,0.500,0.245)]","created_at":"2026-08-03T09:48:02.048757","recorded_at":"2026-08-03T09:48:00"}`,
		},
		{name: "detection of another organization", as: bravo, path: "/api/v1/detections/3", status: 403, want: detail("Access forbidden.")},
		{name: "unknown detection", as: alpha, path: "/api/v1/detections/999999", status: 404, want: detail("Table Detection has no corresponding entry.")},
		{name: "URL of an unknown detection", as: alpha, path: "/api/v1/detections/999999/url", status: 404, want: detail("Table Detection has no corresponding entry.")},
		{name: "URL of another organization's detection", as: bravo, path: "/api/v1/detections/3/url", status: 403, want: detail("Access forbidden.")},
		{
			name: "uploading as a user", as: alpha, method: "POST", path: "/api/v1/detections/", status: 403,
			want: detail("Incompatible token scope."), header: map[string]string{"WWW-Authenticate": `Bearer scope="camera"`},
		},

		{
			name: "camera", as: alpha, path: "/api/v1/cameras/2", status: 200,
			want: `{"elevation":387.5,"lat":44.41,"lon":3.79,"organization_id":2,"name":"alpha-tower-02","angle_of_view":87.0,"is_trustable":false,"id":2,` +
				`"last_active_at":null,"last_image":null,"created_at":"2026-11-23T01:09:42.045996","poses":[{"azimuth":17.3,"patrol_id":0,"active":true,"id":4,"camera_id":2},` +
				`{"azimuth":137.7,"patrol_id":1,"active":true,"id":5,"camera_id":2},{"azimuth":258.1,"patrol_id":2,"active":true,"id":6,"camera_id":2}],"last_image_url":null}`,
		},
		{name: "camera of another organization", as: bravo, path: "/api/v1/cameras/2", status: 403, want: detail("Access forbidden.")},
		{name: "unknown camera", as: alpha, path: "/api/v1/cameras/99", status: 404, want: detail("Table Camera has no corresponding entry.")},
		{
			name: "cameras include=2", as: alpha, path: "/api/v1/cameras/?include_non_trustable=2", status: 422,
			want: one(`{"type":"bool_parsing","loc":["query","include_non_trustable"],"msg":"Input should be a valid boolean, unable to interpret input","input":"2"}`),
		},

		{
			name: "pose", as: alpha, path: "/api/v1/poses/5", status: 200,
			want: `{"azimuth":137.7,"patrol_id":1,"active":true,"id":5,"camera_id":2,"image":null,"image_url":null}`,
		},
		{name: "pose of another organization", as: bravo, path: "/api/v1/poses/5", status: 403, want: detail("Access forbidden.")},
		{name: "unknown pose", as: alpha, path: "/api/v1/poses/999", status: 404, want: detail("Table Pose has no corresponding entry.")},
		{
			name: "poses are for cameras", as: alpha, path: "/api/v1/poses/", status: 403, want: detail("Incompatible token scope."),
			header: map[string]string{"WWW-Authenticate": `Bearer scope="camera"`},
		},
		{name: "masks of a pose", as: alpha, path: "/api/v1/poses/5/occlusion_masks", status: 200, want: `[]`},
		{name: "masks of another organization's pose", as: bravo, path: "/api/v1/poses/5/occlusion_masks", status: 403, want: detail("Access forbidden.")},
		{name: "mask as a user", as: alpha, path: "/api/v1/occlusion_masks/1", status: 403, header: map[string]string{"WWW-Authenticate": `Bearer scope="admin agent"`}},
		{name: "mask", as: admin, path: "/api/v1/occlusion_masks/1", status: 404, want: detail("Table OcclusionMask has no corresponding entry.")},

		{name: "unknown route", as: alpha, path: "/api/v1/nope", status: 404, want: detail("Not Found")},
		{name: "unknown route without token", path: "/api/v1/nope", status: 404, want: detail("Not Found")},
		{name: "root", path: "/", status: 404, want: detail("Not Found")},
		{name: "method of no route", as: alpha, method: "PUT", path: "/api/v1/sequences/1", status: 405, want: detail("Method Not Allowed")},
		{name: "HEAD is not GET", as: alpha, method: "HEAD", path: "/api/v1/sequences/1", status: 405, header: map[string]string{"Allow": "GET"}},

		{
			name: "labelling as a user", as: alpha, method: "PATCH", path: "/api/v1/sequences/1/label", contentType: "application/json",
			body: `{"is_wildfire":"other"}`, status: 403, want: detail("Incompatible token scope."),
			header: map[string]string{"WWW-Authenticate": `Bearer scope="admin agent"`},
		},
		{
			name: "labelling with an invalid value", as: admin, method: "PATCH", path: "/api/v1/sequences/1/label", contentType: "application/json",
			body: `{"is_wildfire":"maybe"}`, status: 422,
			want: one(`{"type":"enum","loc":["body","is_wildfire"],"msg":"Input should be 'wildfire_smoke', 'other_smoke' or 'other'","input":"maybe",` +
				`"ctx":{"expected":"'wildfire_smoke', 'other_smoke' or 'other'"}}`),
		},
		{
			name: "labelling", as: admin, method: "PATCH", path: "/api/v1/sequences/1/label", contentType: "application/json",
			body: `{"is_wildfire":"other"}`, status: 403, want: detail("A bundle is served read-only."),
		},
		{name: "deleting a sequence", as: admin, method: "DELETE", path: "/api/v1/sequences/1", status: 403, want: detail("A bundle is served read-only.")},
		{name: "deleting a detection", as: admin, method: "DELETE", path: "/api/v1/detections/3", status: 403, want: detail("A bundle is served read-only.")},
	}
	askProbes(t, serveHandler(t, handler), probes) // serveBundle would make another handler with other keys
}

// askProbes asks the served recorded bundle and compares the answers.
func askProbes(t *testing.T, platform client, probes []probe) {
	t.Helper()
	tokens := map[string]string{"": ""}
	for _, login := range []string{"admin", "org-2", "org-3"} {
		tokens[login] = platform.as(login).token
	}
	for _, p := range probes {
		t.Run(p.name, func(t *testing.T) {
			c := client{t: t, base: platform.base, token: tokens[p.as]}
			if p.token != "" {
				c.token = p.token
			}
			method := p.method
			if method == "" {
				method = http.MethodGet
			}
			got := c.do(method, p.path, p.contentType, p.body)
			if got.status != p.status {
				t.Errorf("status %d, want %d: %s", got.status, p.status, got.body)
			}
			if p.want != "" {
				if diff := cmp.Diff(reduced(t, []byte(p.want)), reduced(t, got.body)); diff != "" {
					t.Errorf("answer (-want +got):\n%s", diff)
				}
				if kind := got.header.Get("Content-Type"); kind != "application/json" {
					t.Errorf("Content-Type %q, want application/json", kind)
				}
			}
			for name, value := range p.header {
				if got.header.Get(name) != value {
					t.Errorf("%s: %q, want %q", name, got.header.Get(name), value)
				}
			}
			if got.header.Get("X-Process-Time") == "" {
				t.Error("no X-Process-Time")
			}
			if api := got.header.Get(SourceAPIHeader); api != "pyronear_french" {
				t.Errorf("%s: %q, want pyronear_french", SourceAPIHeader, api)
			}
		})
	}
}
