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
		{"a name like a secret goes", "sequence", `{"id":1,"Webhook":1,"resetToken":2,"imageUrl":3,"passwordHint":4,"apikey":5}`, `{"id":1}`, []string{"sequence.Webhook", "sequence.resetToken", "sequence.imageUrl", "sequence.passwordHint", "sequence.apikey"}},
		{"a known name in other letters goes", "sequence", `{"id":1,"ID":2,"Camera_Id":3}`, `{"id":1}`, []string{"sequence.ID", "sequence.Camera_Id"}},
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
