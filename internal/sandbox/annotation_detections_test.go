package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

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
	post("from-bucket-key", `"source_key":"x"`, 3000000000, 6).want(t, 500, "Traceback") // the sequence is looked up first
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

// TestUploadsFrom8MiBAreCorrupted: from there on the service's storage client uploads in parts, and what the storage
// then reports is no MD5 of the whole. Copies inside the storage are not compared.
func TestUploadsFrom8MiBAreCorrupted(t *testing.T) {
	limit := jpegLike(8 << 20)
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/limit" {
			_, _ = w.Write(limit)
			return
		}
		_, _ = w.Write(limit[:len(limit)-1])
	}))
	defer source.Close()
	for _, generation := range []string{"newest", "seed"} {
		t.Run(generation, func(t *testing.T) {
			s := newSite(t, AnnotationOptions{
				Generation: generation, DiscardImages: true,
				PlatformObject: func(string, string) ([]byte, bool) { return limit, true },
			})
			s.sequence(nil)
			s.api.ResetCounters()
			const corrupted = `{"detail":"Data was corrupted during upload"}`
			s.detection(1, 1, limit[:len(limit)-1], nil).want(t, 201, `"id":1,`)
			s.detection(1, 2, limit, nil).want(t, 500, corrupted)
			s.detectionOf("from-url", source.URL+"/limit", 3).want(t, 500, corrupted)
			s.detectionOf("from-url", source.URL+"/below", 4).want(t, 201, `"id":4,`) // refused rows have taken theirs
			s.detectionOf("from-bucket-key", "any.jpg", 5).want(t, 201, `"id":5,`)
			s.detection(1, 2, jpegLike(64), nil).want(t, 201, `"id":6,`)
			if rows, writes := len(s.api.Detections(1)), s.api.Writes(); rows != 4 || writes != 4 {
				t.Errorf("%d rows and %d writes, want 4", rows, writes)
			}
		})
	}
}

// detectionOf posts a detection of sequence 1 whose image the server gets itself.
func (s *site) detectionOf(route, source string, alertID int64) result {
	s.t.Helper()
	field := map[string]string{"from-url": "source_url", "from-bucket-key": "source_key"}[route]
	return s.json("POST", "/detections/"+route, fmt.Sprintf(`{"%s":%q,"sequence_id":1,"alert_api_id":%d,`+
		`"recorded_at":"2026-08-01T10:00:00Z","algo_predictions":%s}`, field, source, alertID, goodBox))
}

// TestSlowStorageCommitsIntoPagesAlreadyRead: created_at is stamped before the storage runs, so a row can appear among
// rows that a client has passed.
func TestSlowStorageCommitsIntoPagesAlreadyRead(t *testing.T) {
	for _, route := range []string{"from-url", "from-bucket-key"} {
		t.Run(route, func(t *testing.T) {
			reached, release := make(chan struct{}), make(chan struct{})
			wait := func() {
				close(reached)
				<-release
			}
			source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				wait()
				_, _ = w.Write(jpegLike(64))
			}))
			defer source.Close()
			s := newSite(t, AnnotationOptions{Now: oddClock(), PlatformObject: func(string, string) ([]byte, bool) {
				wait()
				return jpegLike(64), true
			}})
			s.sequence(nil)
			answered := make(chan result)
			go func() { answered <- s.detectionOf(route, source.URL, 1) }()
			<-reached
			s.detection(1, 2, jpegLike(64), nil).want(t, 201, `"id":2,`)
			s.get("/detections/?order_direction=asc&size=1").wantIDs(t, 2)
			close(release)
			(<-answered).want(t, 201, `"id":1,`)
			s.get("/detections/?order_direction=asc&size=1&page=2").wantIDs(t, 2) // again: row 1 came before it
		})
	}
}

// TestFilePartWithoutAName: the parameter makes a part a file, not its value.
func TestFilePartWithoutAName(t *testing.T) {
	s := newSite(t, AnnotationOptions{})
	s.sequence(nil)
	form, contentType := detectionForm(t, 1, 9, jpegLike(64), nil)
	raw, err := io.ReadAll(form)
	if err != nil {
		t.Fatal(err)
	}
	raw = bytes.Replace(raw, []byte(`filename="frame.jpg"`), []byte(`filename=""`), 1)
	s.do("POST", "/detections/", contentType, bytes.NewReader(raw)).want(t, 201, `.jpg"`)
	raw = bytes.Replace(raw, []byte(`; filename=""`), nil, 1)
	s.do("POST", "/detections/", contentType, bytes.NewReader(raw)).want(t, 422, "Expected UploadFile")
}

// TestLoneSurrogates: no text may hold half a character. Form fields are refused by the reader of their JSON; request
// bodies are read, and whatever the half character then reaches fails.
func TestLoneSurrogates(t *testing.T) {
	s := newSite(t, AnnotationOptions{PlatformObject: func(string, string) ([]byte, bool) { return jpegLike(64), true }})
	s.sequence(nil)
	box := func(class string) string { return strings.Replace(goodBox, `"smoke"`, class, 1) }
	for class, reason := range map[string]string{
		`"\ud800"`:  "unexpected end of hex escape at line 1 column 81",
		`"\udc00x"`: "lone leading surrogate in hex escape at line 1 column 80",
	} {
		s.detection(1, 9, jpegLike(64), map[string]string{"algo_predictions": box(class)}).
			want(t, 422, "Invalid algo_predictions format: 1 validation error for AlgoPredictions\\n  Invalid JSON: "+reason)
	}
	post := func(key, class, more string) result {
		t.Helper()
		return s.json("POST", "/detections/from-bucket-key", `{"source_key":`+key+`,"sequence_id":1,"alert_api_id":9,`+
			`"recorded_at":"2026-08-01","algo_predictions":`+box(class)+more+`}`)
	}
	post(`"k"`, `"\ud800"`, ``).want(t, 500, "Traceback")
	post(`"\udfff"`, `"s"`, ``).want(t, 500, "Traceback")
	post(`"k"`, `1`, `,"\ud800":1`).want(t, 422, `"string_type"`) // an unknown key that no answer repeats
	post(`"k"`, `"\ud83d\ude00"`, `,"foo":"\ud800"`).want(t, 201, "\U0001F600")
	s.json("POST", "/auth/login", `{"username":"\ud800","password":"x"}`).want(t, 500, "Traceback")
	s.json("POST", "/auth/login", `{"\ud800":"x","password":"x"}`).want(t, 500, "Traceback") // the answer repeats the key
	s.json("PATCH", "/sequences/temporal-score", `{"source_api":"pyronear_french","alert_api_id":4242,"temporal_model_score":1,`+
		`"temporal_model_version":"\ud800","temporal_api_version":null}`).want(t, 500, "Traceback")
}

// TestYearsBeyondTheCalendar: year 0 is read but cannot be kept, and a zone that leads out of years 1 to 9999 fails at
// the database.
func TestYearsBeyondTheCalendar(t *testing.T) {
	const year0 = `"msg":"Input should be a valid datetime, year 0 is out of range","input":"0000-02-29T10:00:00Z",` +
		`"ctx":{"error":"year 0 is out of range"}}]}`
	const before, after = "0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-01:00"
	for _, generation := range []string{"newest", "seed"} {
		s := newSite(t, AnnotationOptions{Generation: generation})
		s.sequence(nil).want(t, 201, `"id":1,`)
		s.sequence(map[string]string{"alert_api_id": "1", "recorded_at": "0000-02-29T10:00:00Z"}).
			want(t, 422, `{"detail":[{"type":"datetime_parsing","loc":["body","recorded_at"],`+year0)
		s.detection(1, 1, jpegLike(64), map[string]string{"recorded_at": "0000-02-29T10:00:00Z"}).want(t, 422, year0)
		s.get("/sequences/?recorded_at_gte=0000-02-29T10:00:00Z").want(t, 422, year0)
		s.sequence(map[string]string{"alert_api_id": "1", "last_seen_at": "0000-12-31T23:00:00-02:00"}).
			want(t, 422, "year 0 is out of range") // in UTC it is year 1
		for _, out := range []string{before, after} {
			s.sequence(map[string]string{"alert_api_id": "1", "recorded_at": out}).want(t, 500, "Traceback")
			s.sequence(map[string]string{"alert_api_id": "1", "last_seen_at": out}).want(t, 500, "Traceback")
			s.detection(1, 1, jpegLike(64), map[string]string{"recorded_at": out}).want(t, 500, "Traceback")
			s.get("/sequences/?recorded_at_gte="+url.QueryEscape(out)).want(t, 500, "Traceback")
			s.get("/sequences/?recorded_at_lte="+url.QueryEscape(out)).want(t, 500, "Traceback")
		}
		s.sequence(map[string]string{"alert_api_id": "1", "recorded_at": "0001-01-01T23:00:00+23:00"}).
			want(t, 201, `"recorded_at":"0001-01-01T00:00:00Z"`)
		s.detection(1, 1, jpegLike(64), map[string]string{"recorded_at": "9999-12-31T23:59:59Z"}).want(t, 201, `"id":1,`)
	}
}
