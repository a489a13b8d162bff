package report_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"image"
	"image/png"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"pyrobundle/store"
)

// stranger writes a bundle as somebody who means no good would.
func stranger(t testing.TB) string {
	t.Helper()
	const evil = `"><script src="https://evil.example/x.js"></script><img src=x onerror=alert(1)>'` + "\u202e\x00\x1b</style>{{.}}"
	const worse = `</bdi></td></table><script>alert(1)</script>` // a problem may hold no URL
	path := filepath.Join(t.TempDir(), `a"><b>.bundle`)
	if runtime.GOOS == "windows" {
		path = filepath.Join(t.TempDir(), "stranger.bundle")
	}
	w, err := store.OpenWriter(t.Context(), path, store.WriteOptions{Source: store.Source{URL: "https://evil.example/<x>"}})
	if err != nil {
		t.Fatal(err)
	}
	text := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	organization, err := store.ParseOrganization(json.RawMessage(`{"id":1,"name":` + text(evil) + `}`))
	if err != nil {
		t.Fatal(err)
	}
	camera, err := store.ParseCamera(json.RawMessage(`{"id":1,"organization_id":1,"name":` + text(evil+strings.Repeat("long ", 4000)) +
		`,"lat":1e308,"lon":-1e308,"angle_of_view":1e300,"is_trustable":true}`))
	if err != nil {
		t.Fatal(err)
	}
	var wide, many bytes.Buffer
	if err := png.Encode(&wide, image.NewGray(image.Rect(0, 0, 4000, 2))); err != nil {
		t.Fatal(err)
	}
	if err := png.Encode(&many, image.NewGray(image.Rect(0, 0, 4, 3))); err != nil {
		t.Fatal(err)
	}
	huge := many.Bytes() // says of itself that it has 60,000 by 60,000 pixels
	copy(huge[16:24], []byte{0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60})
	binary.BigEndian.PutUint32(huge[29:], crc32.ChecksumIEEE(huge[12:29]))
	pictures := [][]byte{[]byte("\xff\xd8\xff\xe0 no picture"), wide.Bytes(), huge, []byte("\x89PNG\r\n\x1a\n"), {}}
	var r store.SequenceRecord
	r.Camera, r.Organization = &camera, &organization
	r.Coverage = store.Coverage{FetchedAt: time.Date(2026, 8, 9, 0, 0, 0, 0, time.UTC), Limit: 3}
	if r.Sequence, err = store.ParseSequence(json.RawMessage(`{"id":7,"camera_id":1,"camera_azimuth":-1e300,"is_wildfire":` + text(evil) +
		`,"started_at":"2026-08-01T10:00:00","last_seen_at":"1990-08-01T10:00:00","temporal_model_score":1e308,"temporal_model_version":` + text(evil) + `}`)); err != nil {
		t.Fatal(err)
	}
	for i, data := range pictures {
		key := fmt.Sprintf("%d-%s", i, evil[:20])
		f := store.Frame{Key: key}
		if len(data) > 0 {
			format := store.PNG
			if data[0] == 0xff {
				format = store.JPEG
			}
			if f.Image, err = w.PutImage(t.Context(), 1, key, format, data); err != nil {
				t.Fatal(err)
			}
		} else {
			f.Problem = evil
		}
		r.Frames = append(r.Frames, f)
		d, err := store.ParseDetection(json.RawMessage(fmt.Sprintf(
			`{"id":%d,"camera_id":1,"sequence_id":7,"bucket_key":%s,"bbox":"[(0.1,0.1,0.2,0.2,0.5),(-3,0,1e300,5,9),(0.5,0.5,0.1,0.1,0.1)]","others_bboxes":"[(0.3,0.3,0.4,0.4,0.4)]","created_at":"2026-08-01T10:00:0%d"}`,
			70+i, text(key), i)))
		if err != nil {
			t.Fatal(err)
		}
		r.Detections = append(r.Detections, d)
	}
	for _, err := range []error{
		w.PutSequence(t.Context(), r),
		w.PutProblem(t.Context(), store.Problem{Class: store.Failed, Kind: "sequence", ID: "8", SequenceID: 8, Reason: worse}),
		w.PutProblem(t.Context(), store.Problem{Class: store.Incomplete, Kind: "<b>", ID: "</td><i>", SequenceID: 7, Reason: worse}),
		w.PutProblem(t.Context(), store.Problem{Class: store.Failed, Kind: "day", ID: "2026-08-03", Reason: "refused"}),
		w.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestWriteEscapesStrangersTexts(t *testing.T) {
	page, result := write(t, open(t, stranger(t)), defaults())
	checkPage(t, page)
	if result.FramesShown != 0 || result.Damaged != 0 {
		t.Errorf("result %+v: want no picture shown, and none damaged: they are as they were stored", result)
	}
	if strings.ContainsAny(page, "\u202e\x00\x1b") {
		t.Error("characters that are unseen reach the page")
	}
	for _, reason := range []string{
		"cannot be decoded", "4000 by 2 pixels is no camera", "60000 by 60000 pixels, a report decodes 24 million at most",
		"1 frame without image, left out by load", "10 boxes left out by load", "limited to 3 frames with boxes", "sequence 8", "day 2026-08-03",
	} {
		if !strings.Contains(page, reason) {
			t.Errorf("the page does not say %q", reason)
		}
	}
	if len(page) > 120_000 {
		t.Errorf("the page has %d bytes: texts are not shortened", len(page))
	}
}
