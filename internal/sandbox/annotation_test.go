package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// site is an annotation API behind real HTTP, with a token.
type site struct {
	t     *testing.T
	api   *AnnotationAPI
	base  string
	token string
}

// newSite starts an API of a generation.
func newSite(t *testing.T, o AnnotationOptions) *site {
	t.Helper()
	api := NewAnnotationAPI(o)
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	return &site{t: t, api: api, base: server.URL, token: login(t, server.URL)}
}

// result is an answer, read.
type result struct {
	status int
	body   string
	header http.Header
}

func (s *site) do(method, path, contentType string, body io.Reader) result {
	s.t.Helper()
	address := path
	if strings.HasPrefix(path, "/") {
		address = s.base + "/api/v1" + path
	}
	request, err := http.NewRequestWithContext(s.t.Context(), method, address, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return result{response.StatusCode, string(raw), response.Header}
}

func (s *site) get(path string) result { s.t.Helper(); return s.do("GET", path, "", http.NoBody) }

func (s *site) delete(path string) result { s.t.Helper(); return s.do("DELETE", path, "", http.NoBody) }

func (s *site) json(method, path, body string) result {
	s.t.Helper()
	return s.do(method, path, "application/json", strings.NewReader(body))
}

// sequence posts the sequence with some fields changed; an empty value leaves a field out.
func (s *site) sequence(changes map[string]string) result {
	s.t.Helper()
	form := url.Values{
		"source_api": {"pyronear_french"}, "alert_api_id": {"4242"}, "camera_name": {"brison-01"}, "camera_id": {"7"},
		"organisation_name": {"sdis-07"}, "organisation_id": {"2"}, "lat": {"44.67"}, "lon": {"4.35"}, "azimuth": {"120"},
		"recorded_at": {"2026-08-01T10:00:00.123456"}, "last_seen_at": {"2026-08-01T10:05:00"},
	}
	for name, value := range changes {
		form.Set(name, value)
		if value == "" {
			form.Del(name)
		}
	}
	return s.do("POST", "/sequences/", "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
}

const goodBox = `{"predictions":[{"xyxyn":[0.1,0.2,0.3,0.4],"confidence":0.5,"class_name":"smoke"}]}`

// detection posts a detection of a sequence with the image and some fields changed.
func (s *site) detection(sequence, alertID int64, image []byte, changes map[string]string) result {
	s.t.Helper()
	body, contentType := detectionForm(s.t, sequence, alertID, image, changes)
	return s.do("POST", "/detections/", contentType, body)
}

func detectionForm(t testing.TB, sequence, alertID int64, image []byte, changes map[string]string) (io.Reader, string) {
	t.Helper()
	fields := map[string]string{
		"algo_predictions": goodBox, "alert_api_id": fmt.Sprint(alertID), "sequence_id": fmt.Sprint(sequence),
		"recorded_at": "2026-08-01T10:00:00Z",
	}
	for name, value := range changes {
		fields[name] = value
	}
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for name, value := range fields {
		if err := w.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	if image != nil {
		part, err := w.CreateFormFile("file", "frame.jpg")
		if err == nil {
			_, err = part.Write(image)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &body, w.FormDataContentType()
}

// want fails unless the answer has the status and its body contains the text.
func (r result) want(t *testing.T, status int, text string) {
	t.Helper()
	if r.status != status || !strings.Contains(r.body, text) {
		t.Errorf("answered %d %.300s\nwant %d with %s", r.status, r.body, status, text)
	}
}

// ids lists the ids of a page, in its order.
func (r result) ids(t *testing.T) []int64 {
	t.Helper()
	var page struct {
		Items []struct {
			ID int64 `json:"id"`
		} `json:"items"`
	}
	if err := json.Unmarshal([]byte(r.body), &page); err != nil {
		t.Fatalf("%v in %d %.200s", err, r.status, r.body)
	}
	ids := []int64{}
	for _, item := range page.Items {
		ids = append(ids, item.ID)
	}
	return ids
}

func (r result) wantIDs(t *testing.T, want ...int64) {
	t.Helper()
	if diff := cmp.Diff(append([]int64{}, want...), r.ids(t)); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
}

func TestAuthentication(t *testing.T) {
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	s := newSite(t, AnnotationOptions{Now: func() time.Time { return now }})
	t.Run("forms of the header", func(t *testing.T) {
		for header, want := range map[string]string{
			"":              `403 {"detail":"Not authenticated"}`,
			"Bearer":        `403 {"detail":"Not authenticated"}`,
			"Basic YTpi":    `403 {"detail":"Invalid authentication credentials"}`,
			"Bearer abc":    `401 {"detail":"Could not validate credentials"}`,
			"Bearer a.b.c":  `401 {"detail":"Could not validate credentials"}`,
			"bearer a.b.cd": `401 {"detail":"Could not validate credentials"}`,
		} {
			request := httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/cameras/", http.NoBody)
			request.Header.Set("Authorization", header)
			recorder := httptest.NewRecorder()
			s.api.ServeHTTP(recorder, request)
			if got := fmt.Sprintf("%d %s", recorder.Code, recorder.Body); got != want {
				t.Errorf("%q: %s, want %s", header, got, want)
			}
			if got := recorder.Header().Get("WWW-Authenticate"); got != "" {
				t.Errorf("%q: WWW-Authenticate %q; the service sends none", header, got)
			}
		}
	})
	t.Run("a token ends", func(t *testing.T) {
		s.get("/cameras/").want(t, 200, "[]")
		now = now.Add(24*time.Hour - time.Second)
		s.get("/cameras/").want(t, 200, "[]")
		now = now.Add(time.Second)
		s.get("/cameras/").want(t, 401, "Could not validate credentials")
		s.token = login(t, s.base)
		s.api.ExpireTokens()
		s.get("/cameras/").want(t, 401, "Could not validate credentials")
	})
	t.Run("inactive user", func(t *testing.T) {
		s.token = login(t, s.base)
		s.api.DeactivateUser("admin")
		s.get("/cameras/").want(t, 400, "Inactive user")
		s.json("POST", "/auth/login", `{"username":"admin","password":"admin12345"}`).want(t, 400, "Inactive user")
	})
	t.Run("the body is parsed before the token is looked at", func(t *testing.T) {
		s.token = ""
		s.json("POST", "/annotations/sequences/", `{"a":`).want(t, 422, `"JSON decode error"`)
		s.json("POST", "/annotations/sequences/", `{}`).want(t, 403, "Not authenticated")
	})
	t.Run("sources are open", func(t *testing.T) { s.get("/source-apis/").want(t, 200, "[]") })
}

// TestMissingTokenInNewerFastAPI: from 0.122 on FastAPI challenges whoever sends no token or another scheme.
func TestMissingTokenInNewerFastAPI(t *testing.T) {
	s := newSite(t, AnnotationOptions{ChallengeMissingToken: true})
	for header, want := range map[string]string{
		"":           `401 Bearer {"detail":"Not authenticated"}`,
		"Bearer":     `401 Bearer {"detail":"Not authenticated"}`,
		"Basic YTpi": `401 Bearer {"detail":"Not authenticated"}`,
		"Bearer abc": `401  {"detail":"Could not validate credentials"}`,
	} {
		request := httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/cameras/", http.NoBody)
		request.Header.Set("Authorization", header)
		recorder := httptest.NewRecorder()
		s.api.ServeHTTP(recorder, request)
		if got := fmt.Sprintf("%d %s %s", recorder.Code, recorder.Header().Get("WWW-Authenticate"), recorder.Body); got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
	s.get("/cameras/").want(t, 200, "[]")
}

func TestSequenceFormRules(t *testing.T) {
	for _, generation := range []string{"newest", "seed"} {
		t.Run(generation, func(t *testing.T) {
			s := newSite(t, AnnotationOptions{Generation: generation})
			seed := generation == "seed"
			pick := func(inSeed, inNewest int) int {
				if seed {
					return inSeed
				}
				return inNewest
			}
			s.sequence(map[string]string{"alert_api_id": "1"}).want(t, 201, `"id":1,`)
			s.sequence(map[string]string{"alert_api_id": "1"}).want(t, 409, "Resource already exists")
			s.sequence(map[string]string{"alert_api_id": "1", "source_api": "api_cenia"}).want(t, 201, `"id":3,`)
			s.sequence(map[string]string{"alert_api_id": "4", "source_api": "mars"}).want(t, pick(422, 500), "mars")
			if !seed {
				s.sequence(map[string]string{"alert_api_id": "4", "source_api": "mars", "platform_alert_id": "4"}).
					want(t, 422, `"loc":["source_api"]`)
			}
			s.sequence(map[string]string{"alert_api_id": "5000000000"}).want(t, pick(500, 201), "5000000000")
			s.sequence(map[string]string{"alert_api_id": "7", "azimuth": "-1", "lat": "91.5"}).want(t, 201, `{"azimuth":-1,"id":`)
			for _, field := range []string{"camera_id", "organisation_id", "azimuth"} { // columns of 32 bits
				s.sequence(map[string]string{"alert_api_id": "8", field: "2147483648"}).want(t, 500, "Traceback")
				s.sequence(map[string]string{"alert_api_id": "8", field: "-2147483649"}).want(t, 500, "Traceback")
			}
			s.sequence(map[string]string{"alert_api_id": "9", "recorded_at": "2026-08-01T12:00:00+02:00"}).
				want(t, 201, `"recorded_at":"2026-08-01T10:00:00Z"`)
			s.sequence(map[string]string{"alert_api_id": "10", "azimuth": "", "created_at": "1999-01-01"}).
				want(t, 201, `{"azimuth":null,`)
		})
	}
}

func TestPlatformAlertOfSplitObjects(t *testing.T) {
	s := newSite(t, AnnotationOptions{})
	orphan := s.sequence(map[string]string{"alert_api_id": "1000013001"})
	orphan.want(t, 201, `"platform_alert_id":1000013001`)
	s.sequence(map[string]string{"alert_api_id": "13"}).want(t, 201, `"platform_alert_id":13`)
	s.sequence(map[string]string{"alert_api_id": "1000013002"}).want(t, 201, `"platform_alert_id":13`)
	s.sequence(map[string]string{"alert_api_id": "1000013003", "source_api": "alert_wildfire"}).
		want(t, 201, `"platform_alert_id":1000013003`)
	s.sequence(map[string]string{"alert_api_id": "14", "platform_alert_id": "13"}).want(t, 201, `"platform_alert_id":13`)
	s.get("/sequences/?platform_alert_id=13&order_direction=asc").wantIDs(t, 2, 3, 5)
	alert := s.get("/sequences/alert?source_api=pyronear_french&platform_alert_id=13")
	alert.want(t, 200, `"lanes":[{"sequence":{"azimuth":120,"id":2,`)
	alert.want(t, 200, `"annotation":null}]}`)
	s.get("/sequences/alert?source_api=api_cenia&platform_alert_id=13").want(t, 404, "Alert not found")
	s.get("/sequences/alert?source_api=mars").want(t, 422, `"loc":["query","platform_alert_id"],"msg":"Field required"`)
}

func TestSequenceFilters(t *testing.T) {
	s := newSite(t, AnnotationOptions{Now: oddClock()})
	for i, fields := range []map[string]string{
		{"alert_api_id": "1", "recorded_at": "2026-08-01T10:00:00", "is_wildfire_alertapi": "other"},
		{"alert_api_id": "2", "recorded_at": "2026-08-03T10:00:00", "camera_id": "8", "camera_name": "été"},
		{"alert_api_id": "3", "recorded_at": "2026-08-02T10:00:00", "source_api": "api_cenia", "organisation_id": "3"},
	} {
		s.sequence(fields).want(t, 201, fmt.Sprintf(`"id":%d,`, i+1))
	}
	s.json("POST", "/annotations/sequences/", `{"sequence_id":1,"has_missed_smoke":true,"processing_stage":"imported",
		"annotation":{"sequences_bbox":[{"is_smoke":false,"false_positive_types":["dust"],"bboxes":[]}]}}`).want(t, 201, `"id":1,`)
	s.json("POST", "/annotations/sequences/", `{"sequence_id":2,"has_missed_smoke":false,"is_unsure":true,
		"processing_stage":"ready_to_annotate","annotation":{"sequences_bbox":[{"is_smoke":true,"smoke_type":"wildfire","bboxes":[]}]}}`).
		want(t, 201, `"id":2,`)
	for query, want := range map[string][]int64{
		"":                                         {3, 2, 1},
		"order_direction=asc":                      {1, 2, 3},
		"order_by=recorded_at":                     {2, 3, 1},
		"size=2":                                   {3, 2},
		"size=2&page=2":                            {1},
		"page=9":                                   {},
		"source_api=api_cenia":                     {3},
		"camera_id=8":                              {2},
		"camera_name=%C3%A9t%C3%A9":                {2},
		"organisation_id=3":                        {3},
		"organisation_name=nobody":                 {},
		"is_wildfire_alertapi=other":               {1},
		"is_wildfire_alertapi=null":                {3, 2},
		"is_wildfire_alertapi=nonsense":            {3, 2, 1},
		"recorded_at_gte=2026-08-02T10:00:00Z":     {3, 2},
		"recorded_at_lte=2026-08-02T10:00:00Z":     {3, 1},
		"recorded_at_gte=2026-08-02T10:00:00.1Z":   {2},
		"recorded_at_gte=2026-08-02T12:00%2B02:00": {3, 2},
		"has_annotation=true":                      {2, 1},
		"has_annotation=false":                     {3},
		"processing_stage=imported":                {1},
		"processing_stage=no_annotation":           {3},
		"processing_stage=imported&processing_stage=no_annotation":  {3, 1},
		"processing_stage=nonsense":                                 {3, 2, 1},
		"processing_stage=nonsense&processing_stage=imported":       {1},
		"has_missed_smoke=true":                                     {1},
		"has_smoke=true":                                            {2},
		"has_smoke=false":                                           {1},
		"has_false_positives=true":                                  {1},
		"false_positive_types=dust&false_positive_types=rain":       {1},
		"smoke_types=wildfire":                                      {2},
		"is_unsure=1":                                               {2},
		"needs_localization=true":                                   {1},
		"needs_localization=false":                                  {2},
		"detection_annotation_completion=incomplete":                {},
		"include_detection_stats=true&include_annotation=true":      {3, 2, 1},
		"platform_alert_id=2&source_api=pyronear_french&size=1":     {2},
		"platform_alert_id=2&source_api=alert_wildfire&camera_id=8": {},
	} {
		t.Run(query, func(t *testing.T) { s.get("/sequences/?"+query).wantIDs(t, want...) })
	}
	s.get("/sequences/?source_api=mars").want(t, 500, "Traceback")
	s.get("/sequences/?recorded_at_gte=2026-08-02T12:00:00+02:00").want(t, 422, "unexpected extra characters")
	s.get("/sequences/?order_by=id").want(t, 422, "Input should be 'created_at' or 'recorded_at'")
	s.get("/annotations/sequences/?order_by=sequence_recorded_at&order_direction=asc").wantIDs(t, 1, 2)
	s.get("/annotations/sequences/?processing_stage=imported").wantIDs(t, 1)
	s.get("/annotations/sequences/?smoke_types=wildfire&is_unsure=true").wantIDs(t, 2)
	s.get("/cameras/").want(t, 200, `[{"id":7,"name":"brison-01"},{"id":8,"name":"été"}]`)
	s.get("/organizations/").want(t, 200, `[{"id":2,"name":"sdis-07"},{"id":3,"name":"sdis-07"}]`)
	s.get("/sequences/?camera_id=8&include_annotation=true").want(t, 200, `"camera_name": "\u00e9t\u00e9", "camera_id": 8`)
}

func TestRouting(t *testing.T) {
	for generation, cases := range map[string]map[string]string{
		"newest": {
			"GET /sequences?page=2":           "307 /api/v1/sequences/?page=2",
			"POST /detections":                "307 /api/v1/detections/",
			"GET /sequences/1/":               "307 /api/v1/sequences/1",
			"GET /sequences//":                "404 Not Found",
			"GET /nope":                       "404 Not Found",
			"PUT /sequences/":                 "405 POST",
			"PATCH /sequences/1":              "405 GET",
			"GET /sequences/temporal-score":   "422 int_parsing",
			"GET /sequences/-1":               "422 greater_than_equal",
			"GET /detections/x/url":           "422 int_parsing",
			"GET /sequences/99999999999":      "500 int32",
			"DELETE /annotations/sequences/5": "404 Sequence annotation not found.",
			"GET /detections/5/url":           `404 {"detail":"Detection not found"}`,
			"GET /detections/5":               `404 {"detail":"Detection not found."}`,
		},
		"seed": {
			"PATCH /sequences/temporal-score": "405 GET",
			"GET /sequences/alert":            "422 int_parsing",
			"POST /sequences/alert/skip":      "404 Not Found",
		},
	} {
		s := newSite(t, AnnotationOptions{Generation: generation})
		for request, want := range cases {
			t.Run(generation+" "+request, func(t *testing.T) {
				method, path, _ := strings.Cut(request, " ")
				got := s.do(method, path, "", http.NoBody)
				text := got.body + got.header.Get("Allow") + strings.TrimPrefix(got.header.Get("Location"), s.base)
				status, needle, _ := strings.Cut(want, " ")
				if fmt.Sprint(got.status) != status || !strings.Contains(text, needle) {
					t.Errorf("answered %d %s, want %s", got.status, text, want)
				}
			})
		}
	}
}

func TestCounters(t *testing.T) {
	s := newSite(t, AnnotationOptions{})
	s.api.ResetCounters()
	s.sequence(nil)
	s.sequence(nil)
	s.get("/sequences/1")
	s.get("/sequences/2")
	if got := s.api.Writes(); got != 1 {
		t.Errorf("%d writes, want 1", got)
	}
	want := []RequestCount{{"GET /api/v1/sequences/{sequence_id}", 2}, {"POST /api/v1/sequences/", 2}}
	if diff := cmp.Diff(want, s.api.Requests()); diff != "" {
		t.Error(diff)
	}
	if got := s.api.RequestsTo("POST /api/v1/sequences/"); got != 2 {
		t.Errorf("%d requests, want 2", got)
	}
	s.sequence(map[string]string{"alert_api_id": "2", "lat": "nan"}).want(t, 500, "Traceback") // stored, but unwritable
	if got := s.api.Writes(); got != 1 || len(s.api.Sequences()) != 2 {
		t.Errorf("%d writes, want 1: only what was answered with success counts", got)
	}
}

func TestInternalErrorsInProduction(t *testing.T) {
	s := newSite(t, AnnotationOptions{HideTracebacks: true})
	s.get("/sequences/?source_api=mars").want(t, 500, `{"detail":"An internal server error occurred"}`)
	s = newSite(t, AnnotationOptions{})
	if n := len(s.get("/sequences/?source_api=mars").body); n < 9000 {
		t.Errorf("the traceback has %d bytes; real ones have 10 kB", n)
	}
}
