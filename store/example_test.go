package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"pyrobundle/internal/sandbox"
	"pyrobundle/store"
)

// temporary returns a directory for an example, and what removes it.
func temporary() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	return dir, func() { _ = os.RemoveAll(dir) }
}

// A bundle is opened for reading by any number of processes at once. Its sequences come in the order in which they began.
func ExampleOpen() {
	ctx := context.Background()
	dir, remove := temporary()
	defer remove()
	path := filepath.Join(dir, "august.bundle")
	if err := sandbox.WriteBundle(ctx, path, sandbox.WorldOptions{ImageBytes: 1000}); err != nil { // in place of a fetch
		log.Fatal(err)
	}

	bundle, err := store.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = bundle.Close() }()

	for s, err := range bundle.Summaries(ctx, store.Query{From: "2026-08-02", To: "2026-08-02"}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("sequence %d of camera %d: %d of %d frames have their image\n", s.ID, s.CameraID, s.Images, s.Frames)
	}
	record, err := bundle.Sequence(ctx, 101)
	if err != nil {
		log.Fatal(err)
	}
	image, err := bundle.ReadImage(ctx, record.Frames[0].Image)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(record.Camera.Name, "saw", len(record.Detections), "detections; the first image begins with", fmt.Sprintf("%x", image[:3]))
	// Output:
	// sequence 105 of camera 1: 1 of 1 frames have their image
	// sequence 104 of camera 4: 130 of 130 frames have their image
	// sequence 106 of camera 5: 20 of 20 frames have their image
	// mont-lozère-01 saw 24 detections; the first image begins with ffd8ff
}

// A writer commits images by themselves and a sequence last, so that it never refers to what is not there. What a document
// must not keep, such as presigned URLs, is dropped on the way in.
func ExampleOpenWriter() {
	ctx := context.Background()
	dir, remove := temporary()
	defer remove()

	source := store.Source{URL: "https://alertapi.pyronear.org", API: "pyronear_french"}
	writer, err := store.OpenWriter(ctx, filepath.Join(dir, "new.bundle"), store.WriteOptions{Source: source})
	if err != nil {
		log.Fatal(err)
	}
	camera, err := store.ParseCamera(json.RawMessage(`{"id": 12, "organization_id": 2, "name": "brison-01", "angle_of_view": 54.2}`))
	if err != nil {
		log.Fatal(err)
	}
	sequence, err := store.ParseSequence(json.RawMessage(`{"id": 4242, "camera_id": 12, "camera_azimuth": 90,
		"started_at": "2026-08-01T10:30:00", "last_seen_at": "2026-08-01T10:30:30"}`))
	if err != nil {
		log.Fatal(err)
	}
	detection, err := store.ParseDetection(json.RawMessage(`{"id": 77, "camera_id": 12, "sequence_id": 4242, "bucket_key": "12-a.jpg",
		"bbox": "[(.306,.374,.357,.426,.867)]", "created_at": "2026-08-01T10:30:00", "url": "https://storage.example/12-a.jpg?signature=secret"}`))
	if err != nil {
		log.Fatal(err)
	}

	image, err := writer.PutImage(ctx, camera.OrganizationID, detection.BucketKey, store.JPEG, []byte("\xff\xd8\xff the bytes as downloaded"))
	if err != nil {
		log.Fatal(err)
	}
	err = writer.PutSequence(ctx, store.SequenceRecord{
		Sequence:   sequence,
		Camera:     &camera,
		Detections: []store.Detection{detection},
		Frames:     []store.Frame{{Key: detection.BucketKey, Image: image}},
		Coverage:   store.Coverage{Complete: true, Exhausted: true},
	})
	if err != nil {
		log.Fatal(err)
	}
	record, err := writer.Sequence(ctx, 4242)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(record.Detections[0].Document))
	if err := writer.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// {"id":77,"camera_id":12,"sequence_id":4242,"bucket_key":"12-a.jpg","bbox":"[(.306,.374,.357,.426,.867)]","created_at":"2026-08-01T10:30:00"}
}

// Verify reads a bundle that came from elsewhere to its last byte, and names what is damaged.
func ExampleBundle_Verify() {
	ctx := context.Background()
	dir, remove := temporary()
	defer remove()
	path := filepath.Join(dir, "copied.bundle")
	if err := sandbox.WriteBundle(ctx, path, sandbox.WorldOptions{ImageBytes: 1000}); err != nil {
		log.Fatal(err)
	}
	shard, err := os.OpenFile(filepath.Join(path, "images", "000001.tar"), os.O_RDWR, 0)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := shard.WriteAt([]byte("!"), 900); err != nil { // one byte, somewhere in the first image
		log.Fatal(err)
	}
	if err := shard.Close(); err != nil {
		log.Fatal(err)
	}

	bundle, err := store.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = bundle.Close() }()
	report, err := bundle.Verify(ctx, store.VerifyOptions{ReadData: true})
	if err != nil {
		log.Fatal(err)
	}
	for _, finding := range report.Findings {
		kind, _, _ := strings.Cut(finding.Object, " ")
		fmt.Printf("%s: %s; %d sequence shows it\n", kind, finding.Reason, len(finding.Sequences))
	}
	// Output:
	// image: its bytes are not what was stored; 1 sequence shows it
}
