package sandbox

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// FuzzParsePython holds the reader of JSON against encoding/json: it never panics, takes every document that the other
// takes, and what it has read writes back equal.
func FuzzParsePython(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,2.5,-0,1e3,"é\ud83d\ude00\\",null,true]}`, `[1,]`, `{"a":1,}`, `"\u12`, `"\ud800\ud83d\ude00"`, `nan`, `NaN`, `1.`, `01`, "[\n\n", `{"a" 1}`,
		"\x00", `123456789012345678901`, strings.Repeat("[", 300), `"` + "\xff" + `"`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		value, syntax := parsePython(text)
		if syntax != nil {
			if syntax.offset < 0 || syntax.offset > len(text) || syntax.Error() == "" {
				t.Errorf("error out of the document: %+v", syntax)
			}
			if json.Valid([]byte(text)) && !strings.Contains(syntax.builtin, "recursion") {
				t.Errorf("%q refused: %v", text, syntax)
			}
			return
		}
		_ = pyRepr(value)
		encoded, ok := compactStyle().encode(nil, value)
		if !ok {
			return // NaN and infinities are read, never written
		}
		again, syntax := parsePython(string(encoded))
		if syntax != nil || pyRepr(again) != pyRepr(value) {
			t.Errorf("%q written as %s reads back as %s (%v)", text, encoded, pyRepr(again), syntax)
		}
	})
}

// FuzzDatetime never panics, and what it takes, it writes so that it reads back equal.
func FuzzDatetime(f *testing.F) {
	for _, seed := range []string{
		"2026-08-01T10:00:00.123456Z", "2026-08-01", "2026-08-01 10:00+02:00", "1785578400", "yesterday", "2026-13-01", "T", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		read, reason := parseDatetime(text)
		if reason != "" || read.Year() < 1 || read.Year() > 9999 {
			return
		}
		again, reason := parseDatetime(isoZ(read))
		if reason != "" || !again.Equal(read.Truncate(time.Microsecond)) {
			t.Errorf("%q read as %v, written as %s, read again as %v %s", text, read, isoZ(read), again, reason)
		}
	})
}

// FuzzRequestBodies sends anything to every route that reads a body: no panic, always an answer of the API's forms,
// and nothing stored that breaks its own rules.
func FuzzRequestBodies(f *testing.F) {
	const boundary = "b"
	routes := []struct{ method, path, contentType string }{
		{"POST", "/detections/", "multipart/form-data; boundary=" + boundary},
		{"POST", "/sequences/", "application/x-www-form-urlencoded"},
		{"POST", "/annotations/sequences/", "application/json"},
		{"PATCH", "/annotations/sequences/1", "application/json"},
		{"POST", "/detections/from-bucket-key", "application/json"},
		{"PATCH", "/sequences/temporal-score", "application/json"},
		{"POST", "/auth/login", "application/json"},
	}
	part := func(name, value string) string {
		return "--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
	}
	f.Add(0, []byte(part("algo_predictions", goodBox)+part("alert_api_id", "1")+part("sequence_id", "1")+
		part("recorded_at", "2026-08-01")+part(`file"; filename="f`, "x")+"--"+boundary+"--\r\n"))
	f.Add(1, []byte("source_api=pyronear_french&alert_api_id=2&camera_name=%zz&camera_id=1&organisation_name=o&organisation_id=1&"+
		"lat=1&lon=inf&recorded_at=2026-08-01"))
	f.Add(2, []byte(`{"sequence_id":1,"has_missed_smoke":0,"processing_stage":"ready_to_annotate","annotation":{"sequences_bbox":[]}}`))
	f.Add(3, []byte(`{"annotation":{"sequences_bbox":[{"is_smoke":true,"bboxes":[{"detection_id":1,"xyxyn":[0,0,1,1]}]}]}}`))
	f.Add(4, []byte(`{"source_key":"k","sequence_id":1,"recorded_at":1e10,"alert_api_id":3,"algo_predictions":`+goodBox+`}`))
	f.Add(5, []byte(`{"source_api":"pyronear_french","alert_api_id":4242,"temporal_model_score":NaN,"temporal_model_version":null,"temporal_api_version":null}`))
	f.Add(6, []byte(`{"username":"admin","password":"admin12345"}`))
	f.Fuzz(func(t *testing.T, route int, body []byte) {
		api := NewAnnotationAPI(AnnotationOptions{PlatformObject: func(string, string) ([]byte, bool) { return []byte("x"), true }})
		token := api.sign(claims{Sub: "admin", UserID: 1, Exp: time.Now().Add(time.Hour).Unix()})
		send := func(method, path, contentType string, body []byte) int {
			request := httptest.NewRequestWithContext(t.Context(), method, "/api/v1"+path, bytes.NewReader(body))
			request.Header.Set("Content-Type", contentType)
			request.Header.Set("Authorization", "Bearer "+token)
			recorder := httptest.NewRecorder()
			api.ServeHTTP(recorder, request)
			answer := recorder.Body.Bytes()
			if recorder.Code != http.StatusInternalServerError && recorder.Code != http.StatusNoContent && !json.Valid(answer) {
				t.Errorf("%s %s answered %d with no JSON: %q", method, path, recorder.Code, answer)
			}
			return recorder.Code
		}
		send("POST", "/sequences/", "application/x-www-form-urlencoded", []byte("source_api=pyronear_french&alert_api_id=4242&"+
			"camera_name=c&camera_id=1&organisation_name=o&organisation_id=1&lat=1&lon=1&recorded_at=2026-08-01"))
		send("POST", "/detections/from-bucket-key", "application/json", []byte(`{"source_key":"k","sequence_id":1,`+
			`"recorded_at":"2026-08-01","alert_api_id":1,"algo_predictions":`+goodBox+`}`))
		send("POST", "/annotations/sequences/", "application/json", []byte(`{"sequence_id":1,"has_missed_smoke":false,`+
			`"processing_stage":"imported","annotation":{"sequences_bbox":[]}}`))
		chosen := routes[int(uint(route)%uint(len(routes)))]
		send(chosen.method, chosen.path, chosen.contentType, body)
		for _, path := range []string{"/sequences/?include_annotation=true", "/detections/", "/annotations/sequences/"} {
			send("GET", path, "", nil)
		}
		for _, row := range api.Detections(0) {
			for _, p := range row.Predictions {
				if boxRule(p.Box) != "" || math.IsNaN(p.Confidence) || p.Confidence < 0 || p.Confidence > 1 {
					t.Errorf("stored prediction %+v", p)
				}
			}
		}
		for _, row := range api.Annotations() {
			for _, track := range row.Tracks {
				if len(track.repeated()) > 0 {
					t.Errorf("stored track with two boxes on one detection: %+v", track)
				}
			}
		}
	})
}

// BenchmarkDetectionUpload measures what scale tests rest on: multipart detections through real HTTP.
func BenchmarkDetectionUpload(b *testing.B) {
	api := NewAnnotationAPI(AnnotationOptions{DiscardImages: true})
	server := httptest.NewServer(api)
	defer server.Close()
	token := api.sign(claims{Sub: "admin", UserID: 1, Exp: time.Now().Add(time.Hour).Unix()})
	post := func(path, contentType string, body *bytes.Reader) int {
		request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, server.URL+"/api/v1"+path, body)
		if err != nil {
			b.Fatal(err)
		}
		request.Header.Set("Content-Type", contentType)
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			b.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	post("/sequences/", "application/x-www-form-urlencoded", bytes.NewReader([]byte("source_api=pyronear_french&alert_api_id=1&"+
		"camera_name=c&camera_id=1&organisation_name=o&organisation_id=1&lat=1&lon=1&recorded_at=2026-08-01")))
	image := jpegLike(10_000)
	count := int64(0)
	for b.Loop() {
		count++
		form, contentType := detectionForm(b, 1, count, image, nil)
		var body bytes.Buffer
		if _, err := body.ReadFrom(form); err != nil {
			b.Fatal(err)
		}
		if status := post("/detections/", contentType, bytes.NewReader(body.Bytes())); status != http.StatusCreated {
			b.Fatalf("status %d", status)
		}
	}
	b.ReportMetric(float64(count)/b.Elapsed().Seconds(), "detections/s")
}
