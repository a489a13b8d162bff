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
	"slices"
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
			s.sequence(map[string]string{"alert_api_id": "8", "camera_id": "3000000000"}).want(t, 500, "Traceback")
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

func TestDetectionRefusals(t *testing.T) {
	for _, generation := range []string{"newest", "seed"} {
		s := newSite(t, AnnotationOptions{Generation: generation})
		s.sequence(nil).want(t, 201, `"id":1,`)
		image := jpegLike(64)
		for _, c := range []struct {
			name    string
			changes map[string]string
			status  int
			text    string
		}{
			{"large text field", map[string]string{"algo_predictions": strings.Repeat(" ", 1<<20) + goodBox}, 400, `{"detail":"Part exceeded maximum size of 1024KB."}`},
			{"largest text field", map[string]string{"alert_api_id": "77", "algo_predictions": strings.Repeat(" ", 1<<20-len(goodBox)) + goodBox}, 201, `"alert_api_id":77`},
			{"no JSON", map[string]string{"algo_predictions": "hello"}, 422, `{"detail":"Invalid algo_predictions format: 1 validation error for AlgoPredictions\n  Invalid JSON: expected value at line 1 column 1 [type=json_invalid, input_value='hello', input_type=str]\n    For further information visit https://errors.pydantic.dev/2.11/v/json_invalid"}`},
			{"null", map[string]string{"algo_predictions": "null"}, 422, `Input should be an object [type=model_type, input_value=None, input_type=NoneType]`},
			{"list", map[string]string{"algo_predictions": "[]"}, 422, `Input should be an object [type=model_type, input_value=[], input_type=list]`},
			{"nothing", map[string]string{"algo_predictions": ""}, 422, `EOF while parsing a value at line 1 column 0`},
			{"five corners", map[string]string{"algo_predictions": `{"predictions":[{"xyxyn":[0,0,1,1,1],"confidence":1,"class_name":"s"}]}`}, 422, `predictions.0.xyxyn\n  List should have at most 4 items after validation, not 5 [type=too_long`},
			{"two bad boxes", map[string]string{"algo_predictions": `{"predictions":[{"xyxyn":[0,0.3,1,0.2],"confidence":1,"class_name":"s"},{"xyxyn":[0,0,0,0],"confidence":-1}]}`}, 422, `4 validation errors for AlgoPredictions\npredictions.0.xyxyn\n  Value error, y1 must be <= y2`},
			{"others", map[string]string{"others_bboxes": `{}`}, 422, `Invalid others_bboxes format: 1 validation error for AlgoPredictions\npredictions\n  Field required [type=missing, input_value={}, input_type=dict]`},
			{"unknown sequence", map[string]string{"sequence_id": "999999"}, 409, "Resource already exists"},
			{"sequence beyond int32", map[string]string{"sequence_id": "3000000000"}, 500, "Traceback"},
			{"NUL", map[string]string{"algo_predictions": `{"predictions":[{"xyxyn":[0,0,1,1],"confidence":1,"class_name":"\u0000"}]}`}, 500, "Traceback"},
		} {
			t.Run(generation+" "+c.name, func(t *testing.T) { s.detection(1, 5, image, c.changes).want(t, c.status, c.text) })
		}
		s.detection(1, 5, nil, nil).want(t, 422, `{"detail":[{"type":"missing","loc":["body","file"],"msg":"Field required","input":null}]}`)
		s.detection(1, 5, nil, map[string]string{"file": "text"}).want(t, 422, "Expected UploadFile, received: <class 'str'>")
	}
}

func TestDetectionKeysFollowContent(t *testing.T) {
	s := newSite(t, AnnotationOptions{})
	s.sequence(nil)
	for i, c := range []struct {
		image []byte
		key   string
	}{
		{[]byte("\xff\xd8\xff\xe0abc"), `20260801_120000_det1_`},
		{nil, ``},
		{[]byte{}, `_det2_e3b0c442"`},
		{[]byte("plain text\n"), `.txt"`},
		{[]byte(`{"status":"ok"}`), `.json"`},
		{[]byte("\x89PNG\r\n\x1a\nabc"), `.png"`},
		{[]byte{0, 1, 2, 3}, `.bin"`},
	} {
		if c.image == nil {
			continue
		}
		// The key shows the clock as it was sent, the row shows UTC.
		s.detection(1, int64(i), c.image, map[string]string{"recorded_at": "2026-08-01T12:00:00+02:00"}).want(t, 201, c.key)
	}
	s.get("/detections/1").want(t, 200, `"recorded_at":"2026-08-01T10:00:00Z"`)
}

func TestE14_SamePairTwice(t *testing.T) {
	image := jpegLike(64)
	newest := newSite(t, AnnotationOptions{})
	newest.sequence(nil)
	newest.detection(1, 9, image, nil).want(t, 201, `"id":1,`)
	newest.detection(1, 9, image, nil).want(t, 409, "Resource already exists")
	newest.detection(1, 10, image, nil).want(t, 201, `"id":3,`)

	seed := newSite(t, AnnotationOptions{Generation: "seed"})
	seed.sequence(nil)
	seed.detection(1, 9, image, nil).want(t, 201, `"id":1,`)
	seed.detection(1, 9, image, nil).want(t, 201, `"id":2,`)
	if got := len(seed.api.Detections(1)); got != 2 {
		t.Errorf("seed era holds %d rows, want 2", got)
	}
	seed.detection(1, 3000000000, image, nil).want(t, 500, "Traceback")
}

func TestStoredImages(t *testing.T) {
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	s := newSite(t, AnnotationOptions{Now: func() time.Time { return now }})
	s.sequence(nil)
	image := jpegLike(5000)
	s.detection(1, 9, image, nil).want(t, 201, `"id":1,`)
	if got, ok := s.api.Image(1); !ok || !bytes.Equal(got, image) {
		t.Errorf("Image returned %d bytes, %t", len(got), ok)
	}
	var link struct{ URL string }
	if err := json.Unmarshal([]byte(s.get("/detections/1/url").body), &link); err != nil {
		t.Fatal(err)
	}
	token := s.token
	s.get(link.URL).want(t, 400, "InvalidArgument") // the API's token has no business at the storage
	s.token = ""
	if got := s.get(link.URL); got.status != 200 || got.body != string(image) {
		t.Errorf("storage answered %d and %d bytes", got.status, len(got.body))
	}
	s.get(link.URL+"0").want(t, 403, "SignatureDoesNotMatch")
	now = now.Add(storageLifetime)
	s.get(link.URL).want(t, 403, "AccessDenied")
	now = now.Add(-storageLifetime)
	s.token = token
	s.delete("/sequences/1?force=true").want(t, 204, "")
	s.token = ""
	s.get(link.URL).want(t, 200, string(image)) // deleting a sequence leaves its images
	s.token = token
	s.sequence(nil)
	s.detection(3, 9, image, nil).want(t, 409, "") // the sequence is number 2
	s.detection(2, 9, image, nil).want(t, 201, `"id":3,`)
	s.api.DropImage(3)
	s.get("/detections/3/url").want(t, 404, "File cannot be found on the bucket storage")
	s.delete("/detections/3").want(t, 204, "")
	s.detection(2, 9, image, nil).want(t, 201, `"id":4,`)
}

func TestDiscardedImagesKeepSumAndSize(t *testing.T) {
	s := newSite(t, AnnotationOptions{DiscardImages: true})
	s.sequence(nil)
	s.detection(1, 9, jpegLike(5000), nil).want(t, 201, `"id":1,`)
	if _, ok := s.api.Image(1); ok {
		t.Error("Image has bytes")
	}
	row := s.api.Detections(1)[0]
	if row.Size != 5000 || row.SHA256[:8] != row.BucketKey[len(row.BucketKey)-12:len(row.BucketKey)-4] {
		t.Errorf("size %d, sum %s, key %s", row.Size, row.SHA256, row.BucketKey)
	}
}

func TestServerSideImages(t *testing.T) {
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok.jpg":
			_, _ = w.Write(jpegLike(100))
		case "/empty":
		case "/moved":
			http.Redirect(w, r, "/ok.jpg", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer source.Close()
	s := newSite(t, AnnotationOptions{PlatformObject: func(bucket, key string) ([]byte, bool) {
		return jpegLike(50), bucket == "platform-alert-api-2" && key == "3-1b3645d0.jpg"
	}})
	s.sequence(nil)
	post := func(route, source string, sequence, alert int) result {
		t.Helper()
		return s.json("POST", "/detections/"+route, fmt.Sprintf(`{%s,"sequence_id":%d,"alert_api_id":%d,`+
			`"recorded_at":"2026-08-03T09:48:02.048757","algo_predictions":%s,"foo":1}`, source, sequence, alert, goodBox))
	}
	// Rows are flushed before the image is fetched: every try takes an id.
	post("from-bucket-key", `"source_key":"3-1b3645d0.jpg"`, 1, 3).want(t, 201, `"detections/sequence_1/20260803_094802_det1_`)
	post("from-bucket-key", `"source_key":"3-1b3645d0.jpg"`, 1, 3).want(t, 409, "Resource already exists")
	post("from-bucket-key", `"source_key":"missing.jpg"`, 1, 6).want(t, 422, "Source object not found")
	post("from-bucket-key", `"source_key":""`, 1, 6).want(t, 422, `"type":"string_too_short"`)
	post("from-bucket-key", `"source_key":"x"`, 999999, 6).want(t, 404, "Sequence 999999 not found")
	post("from-url", `"source_url":"`+source.URL+`/ok.jpg"`, 1, 22).want(t, 201, `"id":4,`)
	post("from-url", `"source_url":"`+source.URL+`/none"`, 1, 28).want(t, 422, "Source URL returned HTTP 404")
	post("from-url", `"source_url":"`+source.URL+`/moved"`, 1, 28).want(t, 502, "Source URL server error: HTTP 302")
	post("from-url", `"source_url":"`+source.URL+`/empty"`, 1, 28).want(t, 422, "Source URL returned empty response")
	post("from-url", `"source_url":"http://127.0.0.1:1/x.jpg"`, 1, 28).want(t, 502, "Could not connect to source URL: http://127.0.0.1:1/x.jpg")
	post("from-url", `"source_url":"not a url"`, 1, 28).want(t, 500, "Traceback")
	post("from-url", `"source_url":"http://127.0.0.1:1/"`, 999999, 28).want(t, 409, "Resource already exists")
	s.detection(1, 31, jpegLike(64), nil).want(t, 201, `"id":11,`)
}

func TestLists(t *testing.T) {
	s := newSite(t, AnnotationOptions{Now: oddClock()})
	s.sequence(nil)
	for i := range 5 {
		s.detection(1, int64(i), jpegLike(64), map[string]string{"recorded_at": fmt.Sprintf("2026-08-01T10:0%d:00Z", 9-i)})
	}
	s.get("/detections/?sequence_id=1").wantIDs(t, 5, 4, 3, 2, 1)
	s.get("/detections/?sequence_id=1&order_by=recorded_at").wantIDs(t, 1, 2, 3, 4, 5)
	s.get("/detections/?size=2&page=2&order_direction=asc").wantIDs(t, 3, 4)
	s.get("/detections/?sequence_id=7").want(t, 200, `{"items":[],"total":0,"page":1,"size":50,"pages":0}`)
	s.get("/detections/?sequence_id=1&size=1").want(t, 200, `"total":5,"page":1,"size":1,"pages":5}`)
	s.get("/detections/?page=0").want(t, 422, `"ctx":{"ge":1}},{"type":"greater_than_equal"`) // said twice
}

func TestAnnotationLife(t *testing.T) {
	const empty = `{"sequence_id":1,"has_missed_smoke":false,"annotation":{"sequences_bbox":[]},"processing_stage":"ready_to_annotate"}`
	for _, generation := range []string{"newest", "seed"} {
		t.Run(generation, func(t *testing.T) {
			s := newSite(t, AnnotationOptions{Generation: generation, Now: oddClock()})
			newest := generation == "newest"
			s.sequence(nil)
			s.json("POST", "/annotations/sequences/", empty).want(t, 201, `"annotation":{"sequences_bbox":[]}`)
			s.json("POST", "/annotations/sequences/", empty).want(t, 409, "Resource already exists")
			s.detection(1, 9, jpegLike(64), nil)
			s.json("PATCH", "/annotations/sequences/1", `{"has_missed_smoke":false}`).
				want(t, 200, `"bboxes":[{"detection_id":1,"xyxyn":[0.1,0.2,0.3,0.4]}]`) // any change regenerates an empty one
			if got := !s.api.Annotations()[0].UpdatedAt.IsZero(); got != newest {
				t.Errorf("updated_at set: %t, want %t", got, newest)
			}
			s.json("PATCH", "/annotations/sequences/1", `{"updated_at":"2026-01-01T00:00:00Z"}`)
			january := s.api.Annotations()[0].UpdatedAt.Month() == time.January
			if january == newest {
				t.Errorf("updated_at of a client counts: %t, want %t", january, !newest)
			}
			for _, key := range []string{"confidence_threshold", "iou_threshold", "min_cluster_size"} {
				s.json("PATCH", "/annotations/sequences/1", `{"has_missed_smoke":true,"`+key+`":1}`).want(t, 500, "Traceback")
				s.json("PATCH", "/annotations/sequences/1", `{"has_missed_smoke":true,"`+key+`":null}`).want(t, 500, "Traceback")
			}
			if s.api.Annotations()[0].MissedSmoke {
				t.Error("a refused update was stored")
			}
			s.json("PATCH", "/annotations/sequences/1", `{"annotation":null}`).want(t, 500, "Traceback")
			s.json("PATCH", "/annotations/sequences/1", `{"processing_stage":null}`).want(t, 409, "Resource already exists")
			s.json("PATCH", "/annotations/sequences/1", `{"annotation":{"sequences_bbox":[{"is_smoke":true,"bboxes":[{"detection_id":8,"xyxyn":[0,0,1,1]},{"detection_id":7,"xyxyn":[0,0,1,1]}]}]}}`).
				want(t, 422, `{"detail":"Detection IDs [7, 8] do not exist in the database"}`)
			s.json("PATCH", "/annotations/sequences/1", `{"processing_stage":"annotated","annotation":{"sequences_bbox":[{"is_smoke":false,"false_positive_types":["dust","sky","dust"],"bboxes":[]}]}}`).
				want(t, 200, `"has_smoke":false,"has_false_positives":true,"false_positive_types":["dust","sky"],"smoke_types":[]`)
			s.json("PATCH", "/annotations/sequences/1", `{"is_unsure":true}`).
				want(t, 200, `"contributors":[{"id":1,"username":"admin"}]`)
			s.get("/annotations/sequences/").want(t, 200, `"contributors":[{"id":1,"username":"admin"},{"id":1,"username":"admin"}]`)
			if got := s.api.Detections(1)[0].Stage; got != stageAnnotated {
				t.Errorf("detections of a false positive are at %q, want annotated", got)
			}
			s.get("/sequences/?detection_annotation_completion=complete").wantIDs(t, 1)
			s.delete("/annotations/sequences/1").want(t, 204, "")
			s.delete("/annotations/sequences/1").want(t, 404, "Sequence annotation not found.")
			s.json("POST", "/annotations/sequences/", empty).want(t, 201, `"id":3,`)
			s.delete("/sequences/1?force=true").want(t, 204, "")
			if n := len(s.api.Detections(0)) + len(s.api.Annotations()); n != 0 {
				t.Errorf("%d rows survive their sequence", n)
			}
		})
	}
}

func TestNewestGuardsOfAnnotated(t *testing.T) {
	s := newSite(t, AnnotationOptions{})
	s.sequence(nil)
	s.detection(1, 9, jpegLike(64), nil)
	smoke := `{"sequence_id":1,"has_missed_smoke":false,"processing_stage":"%s","annotation":{"sequences_bbox":[{"is_smoke":true,"bboxes":[]}]}}`
	s.json("POST", "/annotations/sequences/", fmt.Sprintf(smoke, "annotated")).
		want(t, 422, "Cannot mark annotated: 1 detection(s) of sequence 1 lack an annotated-stage detection annotation")
	s.json("POST", "/annotations/sequences/", fmt.Sprintf(smoke, "seq_annotation_done")).want(t, 201, `"id":1,`)
	s.json("PATCH", "/annotations/sequences/1", `{"processing_stage":"annotated"}`).want(t, 422, "Cannot mark annotated")
	if !s.api.EditDetection(1, func(row *DetectionRow) { row.Stage, row.Boxes = stageAnnotated, 1 }) {
		t.Fatal("no detection 1")
	}
	s.json("POST", "/sequences/alert/skip", `{"source_api":"pyronear_french","platform_alert_id":4242}`).want(t, 201, `"note":null`)
	s.json("PATCH", "/annotations/sequences/1", `{"processing_stage":"annotated"}`).want(t, 409, "Alert is skipped — unskip it before submitting")
	s.delete("/sequences/alert/skip?source_api=pyronear_french&platform_alert_id=4242").want(t, 204, "")
	s.delete("/sequences/alert/skip?source_api=pyronear_french&platform_alert_id=4242").want(t, 404, "Alert is not skipped")
	s.json("PATCH", "/annotations/sequences/1", `{"processing_stage":"annotated"}`).want(t, 200, `"annotated"`)
	s.json("PATCH", "/annotations/sequences/1", `{"processing_stage":"seq_annotation_done"}`).want(t, 422, "Cannot demote")
	s.json("POST", "/sequences/alert/skip", `{"source_api":"pyronear_french","platform_alert_id":4242,"note":"x"}`).
		want(t, 409, "Alert is fully annotated — nothing to skip")
	s.json("POST", "/sequences/alert/skip", `{"source_api":"pyronear_french","platform_alert_id":1}`).want(t, 404, "Alert not found")
}

func TestWhatOthersLeave(t *testing.T) {
	s := newSite(t, AnnotationOptions{})
	s.sequence(nil)
	s.json("POST", "/annotations/sequences/", `{"sequence_id":1,"has_missed_smoke":false,"processing_stage":"imported","annotation":{"sequences_bbox":[]}}`)
	edited := s.api.EditAnnotation(1, func(row *AnnotationRow) {
		row.Stage, row.Unsure, row.Contributors = stageAnnotated, true, []string{"marie"}
		row.Tracks = []Track{{IsSmoke: true, SmokeType: "industrial", FalsePositive: []string{"rain"}}}
	})
	if !edited || s.api.EditAnnotation(2, func(*AnnotationRow) {}) {
		t.Error("EditAnnotation must report whether the row exists")
	}
	s.get("/annotations/sequences/1").want(t, 200, `"smoke_types":["industrial"],"has_missed_smoke":false,"is_unsure":true`)
	s.get("/annotations/sequences/1").want(t, 200, `"contributors":[{"id":2,"username":"marie"}]`)
	s.api.EditSequence(1, func(row *SequenceRow) { row.CameraName, row.IsManual = "other", true })
	s.get("/sequences/1").want(t, 200, `"camera_name":"other"`)
	s.delete("/sequences/1").want(t, 204, "") // added by hand
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
}

func TestInternalErrorsInProduction(t *testing.T) {
	s := newSite(t, AnnotationOptions{HideTracebacks: true})
	s.get("/sequences/?source_api=mars").want(t, 500, `{"detail":"An internal server error occurred"}`)
	s = newSite(t, AnnotationOptions{})
	if n := len(s.get("/sequences/?source_api=mars").body); n < 9000 {
		t.Errorf("the traceback has %d bytes; real ones have 10 kB", n)
	}
}

// TestConcurrentUploads makes sure that one pair has one row, whoever comes first.
func TestConcurrentUploads(t *testing.T) {
	s := newSite(t, AnnotationOptions{})
	s.sequence(nil)
	done := make(chan int)
	for range 8 {
		go func() {
			statuses := 0
			for alert := range 20 {
				body, contentType := detectionForm(t, 1, int64(alert), jpegLike(64), nil)
				request := httptest.NewRequestWithContext(t.Context(), "POST", "/api/v1/detections/", body)
				request.Header.Set("Content-Type", contentType)
				request.Header.Set("Authorization", "Bearer "+s.token)
				recorder := httptest.NewRecorder()
				s.api.ServeHTTP(recorder, request)
				if recorder.Code == http.StatusCreated {
					statuses++
				}
			}
			done <- statuses
		}()
	}
	created := 0
	for range 8 {
		created += <-done
	}
	rows := s.api.Detections(1)
	if created != 20 || len(rows) != 20 {
		t.Errorf("%d answers of 201 and %d rows, want 20", created, len(rows))
	}
	if !slices.IsSortedFunc(rows, func(x, y DetectionRow) int { return int(x.ID - y.ID) }) {
		t.Error("rows are not in order of id")
	}
}
