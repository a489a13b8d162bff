package store

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestStrip(t *testing.T) {
	for _, tt := range []struct {
		name, kind, doc, want string // want "": refused
		dropped               []string
	}{
		{"known fields stay verbatim", "detection", ` {"id" : 1, "bbox":"[(.1,.1,.2,.2,.30)]", "created_at":"2026-01-01T00:00:00.10" } `, `{"id":1,"bbox":"[(.1,.1,.2,.2,.30)]","created_at":"2026-01-01T00:00:00.10"}`, nil},
		{"number literals stay", "camera", `{"lat":44.10,"lon":4e0,"id":1}`, `{"lat":44.10,"lon":4e0,"id":1}`, nil},
		{"presigned URLs go", "detection", `{"id":1,"url":"http://s/x?Signature=1","crop_url":null}`, `{"id":1}`, []string{"detection.url", "detection.crop_url"}},
		{"secrets of organizations go", "organization", `{"id":1,"name":"x","telegram_id":"-1","slack_hook":null}`, `{"id":1,"name":"x"}`, []string{"organization.telegram_id", "organization.slack_hook"}},
		{"what changes by itself goes", "camera", `{"id":1,"last_active_at":"2026-01-01T00:00:00","last_image":"k","last_image_url":null}`, `{"id":1}`, []string{"camera.last_active_at", "camera.last_image", "camera.last_image_url"}},
		{"poses are filtered by their own list", "camera", `{"id":1,"poses":[{"id":7,"azimuth":1.0,"image":"k","image_url":"http://x","new":5}, 3]}`, `{"id":1,"poses":[{"id":7,"azimuth":1.0,"new":5}]}`, []string{"pose.image", "pose.image_url"}},
		{"an unknown scalar stays", "sequence", `{"id":1,"model":"v 1.5","wind":3.50,"night":true,"none":null,"seen":"2026-11-23T01:09:42.608905"}`, `{"id":1,"model":"v 1.5","wind":3.50,"night":true,"none":null,"seen":"2026-11-23T01:09:42.608905"}`, nil},
		{"an unknown object goes", "sequence", `{"id":1,"deep":{"a":1},"list":[1]}`, `{"id":1}`, []string{"sequence.deep", "sequence.list"}},
		{"an unknown URL goes", "sequence", `{"id":1,"page":"see https://x.test/a"}`, `{"id":1}`, []string{"sequence.page"}},
		{"an unknown JWT goes", "sequence", `{"id":1,"x":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"}`, `{"id":1}`, []string{"sequence.x"}},
		{"an unknown word like a token goes", "sequence", `{"id":1,"x":"key 123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"}`, `{"id":1}`, []string{"sequence.x"}},
		{
			"an unknown word like a token goes, whatever stands around it", "sequence",
			`{"id":1,"a":"(eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln)","b":"key 123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw, rotated","c":"'AKIAIOSFODNN7EXAMPLE12345'","d":"k;123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw","e":"<123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw>","f":"clé「AKIAIOSFODNN7EXAMPLE12345」"}`,
			`{"id":1}`,
			[]string{"sequence.a", "sequence.b", "sequence.c", "sequence.d", "sequence.e", "sequence.f"},
		},
		{
			"timestamps and ordinary text stay", "sequence",
			`{"id":1,"a":"seen 2026-11-23T01:09:42.608905, moved","b":"[2026-11-23T01:09:42+02:00]","c":"since 2026-11-23T01:09:42.608905.","d":"Saint-Étienne-de-Tinée-tour-nord-2026","e":"fumée (vallée de l'Ardèche), 12 km; vent: 30 km/h"}`,
			`{"id":1,"a":"seen 2026-11-23T01:09:42.608905, moved","b":"[2026-11-23T01:09:42+02:00]","c":"since 2026-11-23T01:09:42.608905.","d":"Saint-Étienne-de-Tinée-tour-nord-2026","e":"fumée (vallée de l'Ardèche), 12 km; vent: 30 km/h"}`, nil,
		},
		{"a name like a secret goes", "sequence", `{"id":1,"Webhook":1,"resetToken":2,"imageUrl":3,"passwordHint":4,"apikey":5}`, `{"id":1}`, []string{"sequence.Webhook", "sequence.resetToken", "sequence.imageUrl", "sequence.passwordHint", "sequence.apikey"}},
		{"a known name in other letters goes", "sequence", `{"id":1,"ID":2,"Camera_Id":3}`, `{"id":1}`, []string{"sequence.ID", "sequence.Camera_Id"}},
		{"a known name in letters that Go takes for it goes", "sequence", `{"id":1,"ſtarted_at":"2026-01-01T00:00:00","iſ_wildfire":"other","\u017fequence_azimuth":2}`, `{"id":1}`, []string{"sequence.ſtarted_at", "sequence.iſ_wildfire", "sequence.ſequence_azimuth"}},
		{"a name like a secret in such letters goes", "sequence", `{"id":1,"paſſword":"cret","aſecret":2}`, `{"id":1}`, []string{"sequence.paſſword", "sequence.aſecret"}},
		{"escaped names are read", "detection", `{"id":1,"\u0075rl":"http://x"}`, `{"id":1}`, []string{"detection.url"}},
		{"the last of a repeated name counts", "detection", `{"id":1,"camera_id":2,"id":3}`, `{"id":3,"camera_id":2}`, nil},
		{"a known field that is an object goes", "camera", `{"id":1,"name":{"url":"http://x"}}`, `{"id":1}`, []string{"camera.name"}},
		{"poses that are no array go", "camera", `{"id":1,"poses":{"id":1}}`, `{"id":1}`, []string{"camera.poses"}},
		{"a signed URL in a known field", "detection", `{"id":1,"bucket_key":"http://s/x?X-Amz-Signature=1"}`, "", nil},
		{"an array", "camera", `[1]`, "", nil},
		{"no JSON", "camera", `{"id":1`, "", nil},
		{"no UTF-8", "camera", "{\"id\":1,\"name\":\"\xff\"}", "", nil},
		{"too large", "camera", `{"id":1,"name":"` + strings.Repeat("x", maxDocument) + `"}`, "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := map[string]kind{"detection": detectionKind(), "camera": cameraKind(), "organization": organizationKind(), "sequence": sequenceKind()}[tt.kind]
			var dropped []string
			got, err := strip(k, json.RawMessage(tt.doc), func(name string) { dropped = append(dropped, name) })
			if (err != nil) != (tt.want == "") || string(got) != tt.want {
				t.Errorf("got %s, %v; want %s", got, err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "http") {
				t.Errorf("the error tells the secret: %v", err)
			}
			if diff := cmp.Diff(tt.dropped, dropped); diff != "" {
				t.Errorf("dropped (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRedactLeavesNoPassword(t *testing.T) {
	for text, want := range map[string]string{
		"GET https://s.test/a/b.jpg: 403":                "GET https://s.test/a/b.jpg: 403",
		"GET https://s.test:8080/a/@2x/b.jpg: 403":       "GET https://2x/b.jpg: 403", // rather too much
		"GET https://s.test/a/@2x/b.jpg: 403":            "GET https://s.test/a/@2x/b.jpg: 403",
		"GET http://[::1]:8080/a: 403":                   "GET http://[::1]:8080/a: 403",
		"GET https://cret@s.test/a/@2x/b.jpg: 403":       "GET https://s.test/a/@2x/b.jpg: 403",
		"GET https://cret@host/x?to=a@b: 403":            "GET https://host/x: 403",
		"GET https://cret@host#@: 403":                   "GET https://host: 403",
		"PLATFORM_https://user:cret@host/x: 403":         "PLATFORM_https://host/x: 403",
		"GET https://user:cret@host/x?y=1#z: 503":        "GET https://host/x: 503",
		"GET https://user:s3@cret@host/x: 503":           "GET https://host/x: 503",
		"GET https://user:s3/cret@host/x: 503":           "GET https://host/x: 503",
		"GET https://user:s3?cret@host/x: 503":           "GET https://host/x: 503",
		"GET https://user:s3#cret@host/x: 503":           "GET https://host/x: 503",
		"GET https://user:s3'cret@host/x: 503":           "GET https://host/x: 503",
		`Get "https://user:cret@host:80/x": EOF`:         `Get "https://host:80/x": EOF`,
		"(see https://user:cret@host/x, 'https://h/y')":  "(see https://host/x, 'https://h/y')",
		`parse "https://user:cret": invalid port`:        `parse "https://***": invalid port`,
		"GET https://user@host/x, HTTPS://U:CRET@HOST/X": "GET https://host/x, HTTPS://HOST/X",
	} {
		if got := redact(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

// TestSourceIsStoredWithoutCredentials: what is no URL with a host is refused, without being repeated.
func TestSourceIsStoredWithoutCredentials(t *testing.T) {
	for given, want := range map[string]string{ // want "": refused
		"https://alert.example.org/api/":               "https://alert.example.org/api",
		"https://admin:cret@alert.example.org/?a=1#b":  "https://alert.example.org",
		"admin:cret@alert.example.org":                 "",
		"https:admin:cret@alert.example.org/api":       "",
		"https:/admin:cret@alert.example.org":          "",
		"alert.example.org/admin:cret@":                "",
		"https://admin:s3/cret@alert.example.org":      "",
		"https://admin:cret@alert.example.org:port/":   "",
		"//admin:cret@alert.example.org":               "//alert.example.org",
		"https://admin:cret%2F@alert.example.org:8080": "https://alert.example.org:8080",
	} {
		got, err := cleanSource(Source{URL: given})
		if got.URL != want || (err != nil) != (want == "") || err != nil && strings.Contains(err.Error(), "cret") {
			t.Errorf("%s: got %q, %v; want %q", given, got.URL, err, want)
		}
	}
}

func TestRecordedCameraIsStripped(t *testing.T) {
	data, err := os.ReadFile("../testdata/recorded/platform.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range bytes.Lines(data) {
		var exchange struct {
			Path     string          `json:"path"`
			Response json.RawMessage `json:"response"`
		}
		if err := json.Unmarshal(line, &exchange); err != nil {
			t.Fatal(err)
		}
		if exchange.Path != "/api/v1/cameras/" || firstByte(exchange.Response) != '[' {
			continue
		}
		for camera := range elements(exchange.Response) {
			seen++
			out, err := strip(cameraKind(), camera, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := forbidden(cameraKind(), out); err != nil {
				t.Errorf("%s: %v", out, err)
			}
			if !bytes.Contains(out, []byte(`"poses":[{"azimuth"`)) {
				t.Errorf("poses are lost: %s", out)
			}
		}
	}
	if seen == 0 {
		t.Fatal("no recorded camera")
	}
}

func TestJoinProperties(t *testing.T) {
	base := newSample(1, 8, 50).sequences[0]
	part := func(rt *rapid.T, name string) SequenceRecord {
		r := base
		r.Detections, r.Frames = nil, nil
		for i, d := range base.Detections {
			if rapid.Bool().Draw(rt, name) {
				r.Detections = append(r.Detections, d)
				f := base.Frames[i]
				if rapid.Bool().Draw(rt, name+" fails") {
					f = Frame{Key: f.Key, Problem: "503", Permanent: rapid.Bool().Draw(rt, name+" for ever")}
				}
				r.Frames = append(r.Frames, f)
			}
		}
		r.Coverage.Limit = rapid.IntRange(0, 3).Draw(rt, name+" limit")
		return r
	}
	rapid.Check(t, func(rt *rapid.T) {
		a, b := part(rt, "a"), part(rt, "b")
		joined := join(a, b)
		arrange(&joined)
		images := map[string]bool{}
		for _, f := range append(slices.Clone(a.Frames), b.Frames...) {
			if !f.Image.IsZero() {
				images[f.Key] = true
			}
		}
		complete := true
		for i, f := range joined.Frames {
			if f.Image.IsZero() == images[f.Key] {
				rt.Errorf("frame %s has image %v, was known %v", f.Key, f.Image, images[f.Key])
			}
			if f.Image.IsZero() && !f.Permanent {
				complete = false
			}
			if f.Key != joined.Detections[i].BucketKey {
				rt.Errorf("frame %d is out of order", i)
			}
		}
		if joined.Coverage.Complete && !complete {
			rt.Error("complete, with a frame that failed")
		}
		for _, limit := range []int{a.Coverage.Limit, b.Coverage.Limit} {
			if wider(limit, joined.Coverage.Limit) {
				rt.Errorf("limit %d is narrower than %d", joined.Coverage.Limit, limit)
			}
		}
		again := join(joined, b)
		arrange(&again)
		if diff := cmp.Diff(joined.Frames, again.Frames); diff != "" && a.Coverage.Limit == b.Coverage.Limit {
			rt.Errorf("joining again changes it:\n%s", diff)
		}
	})
}

func TestDocumentsAreTheSameIfABundleWouldHoldThemTheSame(t *testing.T) {
	for name, test := range map[string]struct {
		held, listed string
		want         bool
	}{
		"equal":                        {`{"id":1,"a":1.50}`, `{"id":1,"a":1.50}`, true},
		"other order and blanks":       {`{"id":1,"a":1.5}`, `{ "a": 1.5, "id": 1 }`, true},
		"another value":                {`{"id":1,"a":1.5}`, `{"id":1,"a":1.6}`, false},
		"another spelling of a number": {`{"id":1,"a":1.5}`, `{"id":1,"a":1.50}`, false},
		"another spelling of a text":   {`{"id":1,"a":"\u00e9"}`, `{"id":1,"a":"é"}`, true},
		"a field less":                 {`{"id":1,"a":1.5}`, `{"id":1}`, false},
		"a field more":                 {`{"id":1}`, `{"id":1,"temporal_model_score":null}`, false},
		"a known field more":           {`{"id":1}`, `{"id":1,"recorded_at":"2026-08-01T07:59:58.123456"}`, false},
		"a known field without value":  {`{"id":1}`, `{"id":1,"crop_bucket_key":null}`, false},
		"a text more":                  {`{"id":1}`, `{"id":1,"note":"a person with a fire pit"}`, false},
		"a presigned URL":              {`{"id":1}`, `{"id":1,"url":"https://s/x?X-Amz-Signature=1"}`, true},
		"an object, not stored":        {`{"id":1}`, `{"id":1,"extra":{"a":1}}`, true},
		"a token by its name":          {`{"id":1}`, `{"id":1,"access_token":"x"}`, true},
		"what is refused":              {`{"id":1}`, `{"id":1,"bbox":"signature=1"}`, false},
		"not JSON":                     {`{"id":1}`, `{"id":`, false},
		"nothing held":                 {``, `{"id":1}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			held, listed := Detection{Document: json.RawMessage(test.held)}, Detection{Document: json.RawMessage(test.listed)}
			if got := held.SameAs(listed); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	held, listed := Sequence{Document: json.RawMessage(`{"id":1}`)}, Sequence{Document: json.RawMessage(`{"id":1,"url":"x"}`)}
	if !held.SameAs(listed) {
		t.Error("a sequence with a field that is never stored is another")
	}
}

func FuzzDocumentIsTheSameAsItself(f *testing.F) {
	f.Add([]byte(`{"id":1,"a":"x"}`), []byte(`{"id":1,"a":"x","url":""}`))
	f.Add([]byte(`{"id":1}`), []byte(`{"id":1,"b":}`))
	f.Fuzz(func(t *testing.T, held, listed []byte) {
		if (Detection{Document: held}).SameAs(Detection{Document: listed}) && json.Valid(listed) && !json.Valid(held) {
			t.Fatal("something that is no document is said to be one")
		}
		stored, err := strip(detectionKind(), listed, nil)
		if err == nil && !(Detection{Document: stored}).SameAs(Detection{Document: listed}) {
			t.Fatalf("what is stored of %s is said to be another: %s", listed, stored)
		}
	})
}

func TestTarReadsShards(t *testing.T) {
	s := newSample(6, 4, 1000)
	path := s.build(t, WriteOptions{SealSize: 16_000})
	images := 0
	for n := range uint32(len(shardSizes(t, path))) { // all are sealed but the last
		f, err := os.Open(shardPath(path, n+1))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		r := tar.NewReader(f)
		for {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil || h.Name != memberName(hashOf(data), JPEG) || h.Mode != 0o444 || h.Format != tar.FormatUSTAR {
				t.Errorf("member %+v, %v", h, err)
			}
			names = append(names, h.Name)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		images += len(names)
		if program, err := exec.LookPath("tar"); err == nil {
			out, err := exec.CommandContext(t.Context(), program, "-tf", shardPath(path, n+1)).Output()
			if err != nil || string(out) != strings.Join(names, "\n")+"\n" {
				t.Errorf("tar lists %s, %v", out, err)
			}
		}
	}
	if images != 24 {
		t.Errorf("%d images", images)
	}
}

func TestDroppedFieldsAreLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	w := openWriterForTest(t, t.TempDir(), WriteOptions{Log: debugLogger(&out)})
	newSample(3, 3, 50).put(t, w)
	closeWriter(t, w)
	if n := strings.Count(out.String(), "field=detection.url"); n != 1 {
		t.Errorf("%d lines: %s", n, out.String())
	}
	if strings.Contains(out.String(), "Signature") {
		t.Errorf("a value is logged: %s", out.String())
	}
}
