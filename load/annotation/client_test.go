package annotation_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/annotate"
	"pyrobundle/internal/httpapi"
	"pyrobundle/internal/sandbox"
	"pyrobundle/load/annotation"
)

// exchange is one recorded request with the real service's answer.
type exchange struct {
	Method   string            `json:"method"`
	Path     string            `json:"path"`
	Query    map[string]string `json:"query"`
	Status   int               `json:"status"`
	Response json.RawMessage   `json:"response"`
	Request  json.RawMessage   `json:"request"`
}

func recorded(t *testing.T, name string) []exchange {
	t.Helper()
	file, err := os.Open(filepath.Join("..", "..", "testdata", "recorded", name))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var all []exchange
	for lines := bufio.NewReader(file); ; {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			var e exchange
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal(err)
			}
			all = append(all, e)
		}
		if errors.Is(err, io.EOF) {
			return all
		}
	}
}

// replay answers with the first recorded success of a method and path.
func replay(t *testing.T, name string) *annotation.Client {
	t.Helper()
	all := recorded(t, name)
	return dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, e := range all {
			if e.Method == r.Method && e.Path == r.URL.Path && e.Status/100 == 2 &&
				(e.Query["include_annotation"] == r.URL.Query().Get("include_annotation")) {
				if e.Path == "/api/v1/auth/login" {
					e.Response = json.RawMessage(`{"access_token":"a.b.c","token_type":"bearer"}`)
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(e.Status)
				_, _ = w.Write(whole(t, e.Response))
				return
			}
		}
		http.NotFound(w, r)
	}))
}

// whole makes a list of its own of a recorded page of three rows.
func whole(t *testing.T, response json.RawMessage) []byte {
	t.Helper()
	var list map[string]json.RawMessage
	var items []json.RawMessage
	if json.Unmarshal(response, &list) != nil || json.Unmarshal(list["items"], &items) != nil {
		return response
	}
	list["total"], list["pages"] = json.RawMessage(strconv.Itoa(len(items))), json.RawMessage("1")
	encoded, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func dial(t *testing.T, handler http.Handler) *annotation.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client, err := annotation.Dial(t.Context(), configOf(server))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// rowsOf are the detections of sequence 1.
func rowsOf(t *testing.T, client *annotation.Client) []annotation.Detection {
	t.Helper()
	var rows []annotation.Detection
	for row, err := range client.Detections(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

func configOf(server *httptest.Server) annotation.Config {
	return annotation.Config{
		BaseURL: server.URL, Login: "admin", Password: "admin12345",
		Retry: httpapi.Retry{Attempts: 2, Base: time.Millisecond, Max: time.Millisecond},
	}
}

// TestReadsWhatTheRealServicesAnswered, of both generations, with both forms of times.
func TestReadsWhatTheRealServicesAnswered(t *testing.T) {
	for name, generation := range map[string]annotation.Generation{
		"annotation-newest.jsonl": annotation.Newest, "annotation-seed-era.jsonl": annotation.SeedEra,
	} {
		t.Run(name, func(t *testing.T) {
			client := replay(t, name)
			if client.Generation() != generation {
				t.Errorf("generation = %s, want %s", client.Generation(), generation)
			}
			for _, annotations := range []bool{false, true} {
				var got []annotation.Sequence
				for s, err := range client.Sequences(t.Context(), annotation.SequenceFilter{Annotations: annotations}) {
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, s)
				}
				if len(got) != 2 || got[0].AlertAPIID != 4242 || got[0].CameraName != "brison-01" || *got[0].Azimuth != 120 || got[1].Azimuth != nil {
					t.Fatalf("sequences = %+v", got)
				}
				if want := time.Date(2026, 8, 1, 10, 0, 0, 123456000, time.UTC); !got[0].RecordedAt.Equal(want) {
					t.Errorf("recorded_at = %s, want %s", got[0].RecordedAt, want)
				}
				if (got[0].PlatformAlertID != nil) != (generation == annotation.Newest) {
					t.Errorf("platform_alert_id = %v", got[0].PlatformAlertID)
				}
				if (got[0].Annotation != nil) != annotations {
					t.Fatalf("annotation = %+v", got[0].Annotation)
				}
				if annotations && (len(got[0].Annotation.Document.Tracks) != 1 || got[0].Annotation.ProcessingStage != "ready_to_annotate") {
					t.Errorf("annotation = %+v", got[0].Annotation)
				}
			}
			detections := rowsOf(t, client)
			withOthers := slices.IndexFunc(detections, func(d annotation.Detection) bool { return d.OthersBBoxes != nil })
			if withOthers < 0 || len(detections[0].AlgoPredictions.Boxes()) != 1 || len(detections[withOthers].OthersBBoxes.Boxes()) != 1 {
				t.Errorf("detections = %+v", detections)
			}
		})
	}
}

// TestTheSandboxIsReadTheSameWay: generations are told apart with and without sequences.
func TestTheSandboxIsReadTheSameWay(t *testing.T) {
	for _, generation := range []annotation.Generation{annotation.SeedEra, annotation.Newest} {
		api := sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{Generation: string(generation)})
		client := dial(t, api)
		_, err := client.CreateSequence(t.Context(), annotation.NewSequence{
			SourceAPI: "pyronear_french", AlertAPIID: 1, CameraName: "ÿ & Söhne +1 日", CameraID: 1, OrganisationName: "o", OrganisationID: 1,
			RecordedAt: time.Now(), LastSeenAt: time.Now(),
		})
		if err != nil {
			t.Fatal(err)
		}
		again := dial(t, api)
		if client.Generation() != generation || again.Generation() != generation {
			t.Errorf("empty: %s, filled: %s, want %s", client.Generation(), again.Generation(), generation)
		}
		if got := api.Sequences()[0].CameraName; got != "ÿ & Söhne +1 日" {
			t.Errorf("camera name = %q", got)
		}
	}
}

func TestDialRefused(t *testing.T) {
	server := httptest.NewServer(sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{Password: "another one"}))
	defer server.Close()
	if _, err := annotation.Dial(t.Context(), configOf(server)); !errors.Is(err, httpapi.ErrUnauthorized) || strings.Contains(err.Error(), "admin12345") {
		t.Errorf("error = %v, want ErrUnauthorized without the password", err)
	}
}

// TestAnAPIWithoutDescriptionIsTakenForTheOlder, whose rules are the stricter.
func TestAnAPIWithoutDescriptionIsTakenForTheOlder(t *testing.T) {
	api := sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{})
	client := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/openapi.json" {
			http.NotFound(w, r)
			return
		}
		api.ServeHTTP(w, r)
	}))
	if client.Generation() != annotation.SeedEra {
		t.Errorf("generation = %s", client.Generation())
	}
}

// TestPagesAreReadOnceEach, ids that move to the next page come once, and a server without end does not hold us.
func TestPagesAreReadOnceEach(t *testing.T) {
	type item struct {
		ID int64 `json:"id"`
	}
	for name, c := range map[string]struct {
		pages [][]int64
		claim int // of pages
		want  []int64
		asked int
	}{
		"none":              {[][]int64{{}}, 0, nil, 1},
		"one":               {[][]int64{{1, 2}}, 1, []int64{1, 2}, 1},
		"two":               {[][]int64{{1, 2}, {3}}, 2, []int64{1, 2, 3}, 2},
		"shifted":           {[][]int64{{1, 2}, {2, 3}}, 2, []int64{1, 2, 3}, 2},
		"empty before end":  {[][]int64{{1}, {}}, 1 << 40, []int64{1}, 2},
		"the same for ever": {[][]int64{{1}, {1}}, 1 << 40, []int64{1}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			client := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodPost:
					_, _ = io.WriteString(w, `{"access_token":"a.b.c"}`)
				case r.URL.Path == "/api/v1/detections/":
					var number int
					if _, err := fmt.Sscan(r.URL.Query().Get("page"), &number); err != nil || r.URL.Query().Get("size") != "100" {
						t.Errorf("query = %v", r.URL.Query())
					}
					items := []item{}
					for _, id := range c.pages[min(number, len(c.pages))-1] {
						items = append(items, item{id})
					}
					asked++
					_ = json.NewEncoder(w).Encode(map[string]any{"items": items, "pages": c.claim})
				default:
					_, _ = io.WriteString(w, `{"items":[],"pages":0}`)
				}
			}))
			var got []int64
			for _, row := range rowsOf(t, client) {
				got = append(got, row.ID)
			}
			if diff := cmp.Diff(c.want, got); diff != "" || asked != c.asked {
				t.Errorf("%d pages asked for, want %d; -want +got\n%s", asked, c.asked, diff)
			}
		})
	}
}

// TestMultipartIsByteExact: the parts in the API's names, the image as it is, and a length that was announced.
func TestMultipartIsByteExact(t *testing.T) {
	image := bytes.Repeat([]byte("\xff\xd8\r\n--boundary\x00"), 5000)
	parts := map[string]string{}
	client := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method + r.URL.Path {
		case "POST/api/v1/auth/login":
			_, _ = io.WriteString(w, `{"access_token":"a.b.c"}`)
		case "POST/api/v1/detections/":
			_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
			if err != nil || r.ContentLength < int64(len(image)) {
				t.Errorf("content type %v, length %d", err, r.ContentLength)
			}
			form := multipart.NewReader(r.Body, params["boundary"])
			for part, err := form.NextPart(); err == nil; part, err = form.NextPart() {
				data, err := io.ReadAll(part)
				if err != nil {
					t.Error(err)
				}
				parts[part.FormName()+"|"+part.FileName()] = string(data)
			}
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, `{"id":7}`)
		default:
			_, _ = io.WriteString(w, `{"items":[],"pages":0}`)
		}
	}))
	others := annotate.Predict(nil)
	before := client.BytesSent()
	created, err := client.CreateDetection(t.Context(), annotation.NewDetection{
		SequenceID: 3, AlertAPIID: 9, RecordedAt: time.Date(2026, 8, 1, 12, 0, 0, 5000, time.FixedZone("CEST", 7200)),
		Predictions:  annotate.Predict([]annotate.Box{{X1: .1, Y1: .1, X2: .2, Y2: 1, Confidence: 0}}),
		OthersBBoxes: &others, Image: image, FileName: "9.jpg", ContentType: "image/jpeg",
	})
	if err != nil || created.ID != 7 {
		t.Fatalf("%+v, %v", created, err)
	}
	want := map[string]string{
		"algo_predictions|": `{"predictions":[{"xyxyn":[0.1,0.1,0.2,1],"confidence":0,"class_name":"smoke"}]}`,
		"others_bboxes|":    `{"predictions":[]}`,
		"alert_api_id|":     "9", "sequence_id|": "3", "recorded_at|": "2026-08-01T10:00:00.000005Z",
		"file|9.jpg": string(image),
	}
	if diff := cmp.Diff(want, parts); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if sent := client.BytesSent() - before; sent < int64(len(image)) {
		t.Errorf("%d bytes counted as sent, of %d", sent, len(image))
	}
}

// TestE22_UpdatesHaveNoThresholds, and creations only those that were given.
func TestE22_UpdatesHaveNoThresholds(t *testing.T) {
	bodies := map[string]map[string]any{}
	client := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		if r.Method != http.MethodGet && json.NewDecoder(r.Body).Decode(&body) == nil {
			bodies[r.Method] = body
		}
		_, _ = io.WriteString(w, `{"access_token":"a.b.c","items":[],"pages":0}`)
	}))
	if _, err := client.UpdateAnnotation(t.Context(), 1, annotation.Update{ProcessingStage: "ready_to_annotate"}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateAnnotation(t.Context(), annotation.NewAnnotation{
		SequenceID: 1, ProcessingStage: "ready_to_annotate", Thresholds: &annotate.Thresholds{IoU: .3, MinClusterSize: 2},
	}); err != nil {
		t.Fatal(err)
	}
	keys := func(method string) []string { return slices.Sorted(maps.Keys(bodies[method])) }
	if diff := cmp.Diff([]string{"annotation", "has_missed_smoke", "is_unsure", "processing_stage"}, keys("PATCH")); diff != "" {
		t.Errorf("PATCH: -want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		"annotation", "confidence_threshold", "has_missed_smoke", "iou_threshold", "is_unsure", "min_cluster_size", "processing_stage", "sequence_id",
	}, keys("POST")); diff != "" {
		t.Errorf("POST: -want +got\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"sequences_bbox": []any{}}, bodies["PATCH"]["annotation"]); diff != "" {
		t.Errorf("empty document: -want +got\n%s", diff)
	}
}

// TestTimesAreAskedForInUTC: the API takes a + in a query for a blank, and a time without zone for its own.
func TestTimesAreAskedForInUTC(t *testing.T) {
	var asked url.Values
	client := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Query()
		_, _ = io.WriteString(w, `{"access_token":"a.b.c","items":[],"pages":0}`)
	}))
	zone := time.FixedZone("CEST", 7200)
	for sequence, err := range client.Sequences(t.Context(), annotation.SequenceFilter{
		SourceAPI: "pyronear_french", From: time.Date(2026, 8, 1, 2, 0, 0, 0, zone), To: time.Date(2026, 8, 2, 1, 59, 59, 999999000, zone),
		CameraID: 7, PlatformAlertID: 41, Annotations: true,
	}) {
		t.Errorf("a sequence of nothing: %+v, %v", sequence, err)
	}
	want := url.Values{
		"source_api": {"pyronear_french"}, "recorded_at_gte": {"2026-08-01T00:00:00Z"}, "recorded_at_lte": {"2026-08-01T23:59:59.999999Z"},
		"camera_id": {"7"}, "include_annotation": {"true"}, "order_by": {"created_at"}, "order_direction": {"asc"}, "page": {"1"}, "size": {"100"},
	} // platform_alert_id is a filter of the newer generation alone
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestTime(t *testing.T) {
	want := time.Date(2026, 5, 1, 10, 0, 0, 123456000, time.UTC)
	for text, want := range map[string]time.Time{
		`"2026-05-01T10:00:00.123456Z"`:      want,
		`"2026-05-01 10:00:00.123456+00:00"`: want,
		`"2026-05-01T12:00:00.123456+02:00"`: want,
		`"2026-05-01T10:00:00.123456"`:       want,
		`"2026-05-01 10:00:00"`:              want.Truncate(time.Second),
		`null`:                               {},
	} {
		var got annotation.Time
		if err := json.Unmarshal([]byte(text), &got); err != nil || !got.Equal(want) {
			t.Errorf("%s: %s, %v, want %s", text, got.Time, err, want)
		}
	}
	for _, text := range []string{`""`, `"yesterday"`, `7`, `"2026-13-01T00:00:00Z"`} {
		if err := json.Unmarshal([]byte(text), new(annotation.Time)); err == nil {
			t.Errorf("%s was read", text)
		}
	}
	// An error shows a text whole, to be masked, or not at all: of half a secret nobody would know that it is one.
	for _, text := range []string{strings.Repeat("x", 64), strings.Repeat("x", 65), strings.Repeat("x", 1<<20)} {
		err := json.Unmarshal([]byte(`"`+text+`"`), new(annotation.Time))
		if err == nil || strings.Contains(err.Error(), text) != (len(text) == 64) || strings.Contains(err.Error(), "xx") != (len(text) == 64) {
			t.Errorf("%d bytes: %.200v", len(text), err)
		}
	}
}

// The decoders of what the API sends: no input makes them panic, and what they accept is kept.
func FuzzSequence(f *testing.F) {
	for _, seed := range []string{
		`{"id":1,"alert_api_id":4242,"recorded_at":"2026-08-01 10:00:00.123456+00:00","azimuth":null,"annotation":{"id":1,"annotation":{"sequences_bbox":[{"is_smoke":true,"bboxes":[{"detection_id":1,"xyxyn":[0.1,0.1,0.2,0.2]}]}]},"contributors":[{"id":1,"username":"ana"}]}}`,
		`{"annotation":null}`, `{"annotation":[]}`, `{"id":1e400}`, `[]`, `{"recorded_at":7}`, `{"temporal_model_score":"x"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var s annotation.Sequence
		if json.Unmarshal(data, &s) == nil && s.Annotation != nil && !json.Valid(s.Annotation.Verbatim) {
			t.Errorf("verbatim document %q", s.Annotation.Verbatim)
		}
	})
}

func FuzzDetection(f *testing.F) {
	for _, seed := range []string{
		`{"id":1,"alert_api_id":9,"recorded_at":"2026-08-01T10:00:00Z","algo_predictions":{"predictions":[{"xyxyn":[0.1,0.1,0.2,0.2],"confidence":0.3,"class_name":"smoke"}]},"others_bboxes":null}`,
		`{"algo_predictions":null}`, `{"algo_predictions":{"predictions":[{"xyxyn":[1,2,3]}]}}`, `{"others_bboxes":{}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var d annotation.Detection
		if json.Unmarshal(data, &d) == nil {
			annotate.Generate([]annotate.Frame{{DetectionID: d.ID, Boxes: d.AlgoPredictions.Boxes()}}, annotate.Thresholds{MinClusterSize: 1})
		}
	})
}

func TestACancelledListEnds(t *testing.T) {
	client := dial(t, sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range client.Sequences(ctx, annotation.SequenceFilter{}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error = %v", err)
		}
	}
}
