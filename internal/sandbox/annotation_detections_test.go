package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
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
