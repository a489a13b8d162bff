package sandbox

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"pyrobundle/store"
)

// maxOthers is how many boxes others_bboxes has room for (contract A.5).
const maxOthers = 4

// record puts the images of a scene and returns its sequences, ready to be committed.
func (w *world) record(ctx context.Context, bundle bundleWriter, s scene) ([]store.SequenceRecord, error) {
	takes := make([]take, len(s.sequences))
	for i, one := range s.sequences {
		takes[i] = take{scene: s, strand: one}
	}
	for frame := range s.frames {
		shot, err := w.expose(ctx, bundle, s, frame)
		if err != nil {
			return nil, err
		}
		uploaded := shot.at
		for i := range takes {
			for _, row := range takes[i].rows(shot) {
				w.detections++
				if err := takes[i].add(w.detections, uploaded, shot, row); err != nil {
					return nil, err
				}
				if !s.tied { // the server writes rows one after the other
					uploaded = uploaded.Add(time.Duration(10_500+noise(w.options.Seed, frame, i)%1000) * time.Microsecond)
				}
			}
		}
	}
	records := make([]store.SequenceRecord, len(takes))
	for i := range takes {
		var err error
		if records[i], err = w.finish(&takes[i]); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// exposure is one uploaded frame.
type exposure struct {
	at    time.Time
	key   string
	image store.Hash
	seen  []*sighting // by plume; nil where the model saw nothing
}

// expose takes the picture of a frame, puts it into the bundle and lets the model look at it.
func (w *world) expose(ctx context.Context, bundle bundleWriter, s scene, frame int) (exposure, error) {
	pose := poseID(s.camera, s.pose)
	shot := exposure{at: w.first.Add(s.start + time.Duration(frame)*s.every)}
	if s.start%time.Second != 0 { // no two frames have equal microseconds
		shot.at = shot.at.Add(time.Duration(noise(w.options.Seed, frame, int(s.start))%500) * time.Microsecond)
	}
	pictured, lens := frame, shot.at
	if s.frozenFrom > 0 && frame > s.frozenFrom {
		pictured = s.frozenFrom
		lens = w.first.Add(s.start + time.Duration(pictured)*s.every)
	}

	land := w.landscape(pose)
	for i, p := range s.plumes {
		if s.missed != nil && s.missed(i, pictured) {
			shot.seen = append(shot.seen, nil)
			continue
		}
		corners := p.bounds(land, pictured)
		confidence := 0
		if !s.faint {
			confidence = 220 + noise(land.seed, pictured, p.x)*480/one + min(200, 4*pictured)
		}
		shot.seen = append(shot.seen, &sighting{corners[0], corners[1], corners[2], corners[3], confidence})
	}

	data, format, err := w.picture(s, land, pictured, lens)
	if err != nil {
		return exposure{}, err
	}
	organization := w.cameras[s.camera].OrganizationID
	shot.key = bucketKey(s.camera, shot.at, sha256.Sum256(data), format)
	shot.image, err = bundle.PutImage(ctx, organization, shot.key, format, data)
	return shot, err
}

// picture returns the bytes of a frame: drawn, or padded to the size that the options ask for.
func (w *world) picture(s scene, land *landscape, frame int, lens time.Time) ([]byte, store.Format, error) {
	if w.options.ImageBytes == 0 {
		azimuth := stations()[s.camera-1].azimuths[s.pose]
		caption := fmt.Sprintf("%s UTC   CAM %d   AZ %s", lens.UTC().Format("2006-01-02 15:04:05"), s.camera, jsonFloat(azimuth, 1))
		return w.pictures.drawn(land, lightAt(lens.UTC().Hour()), s.plumes, frame, caption)
	}
	if s.sequences[0].id < FirstGenerated {
		tag := uint64(s.sequences[0].id)<<32 | uint64(frame)
		return w.pictures.padded(scramble(w.options.Seed ^ tag))
	}
	tag := w.frames
	w.frames++
	if w.options.DistinctImages > 0 {
		tag %= uint64(w.options.DistinctImages)
	}
	return w.pictures.padded(scramble(w.options.Seed + 0xf4a3e5 + tag))
}

// take is a sequence while its scene is recorded.
type take struct {
	scene
	strand
	detections []store.Detection
	uploads    []store.Frame
	best       *sighting // the most confident of its own boxes
}

// row is what the platform says of one detection.
type row struct {
	own    *sighting // nil: a continuity row
	others []sighting
}

// rows returns what a frame adds to the sequence: a row for each of its own boxes, or one without a box.
func (t *take) rows(shot exposure) []row {
	var rows []row
	for _, own := range t.own {
		if shot.seen[own] == nil {
			continue
		}
		r := row{own: shot.seen[own]}
		for other, box := range shot.seen {
			if other != own && box != nil && len(r.others) < maxOthers {
				r.others = append(r.others, *box)
			}
		}
		rows = append(rows, r)
	}
	if len(rows) == 0 {
		rows = append(rows, row{})
	}
	return rows
}

// add appends a row as the platform's document.
func (t *take) add(id int64, created time.Time, shot exposure, r row) error {
	doc := detectionDocument{
		ID: id, CameraID: t.camera, PoseID: poseID(t.camera, t.pose), SequenceID: t.id,
		BucketKey: shot.key, BBox: "[]",
		CreatedAt:  platformTime(created),
		RecordedAt: platformTime(shot.at.Truncate(time.Second).Add(-2 * time.Second)), // what the upload took
	}
	if r.own != nil {
		doc.BBox = boxString([]sighting{*r.own}, t.terse)
		if t.best == nil || r.own[4] > t.best[4] {
			t.best = r.own
		}
		if t.cropped {
			crop := sha256.Sum256([]byte(shot.key))
			doc.CropBucketKey = pointer("crop_0_" + bucketKey(t.camera, shot.at, crop, store.JPEG))
		}
	}
	if len(r.others) > 0 {
		doc.OthersBBoxes = pointer(boxString(r.others, t.terse))
	}
	parsed, err := store.ParseDetection(document(doc))
	if err != nil {
		return err
	}
	t.detections = append(t.detections, parsed)
	if n := len(t.uploads); n == 0 || t.uploads[n-1].Key != shot.key {
		t.uploads = append(t.uploads, store.Frame{Key: shot.key, Image: shot.image})
	}
	return nil
}

// finish makes the record of a sequence whose scene is over.
func (w *world) finish(t *take) (store.SequenceRecord, error) {
	station := stations()[t.camera-1]
	azimuth := station.azimuths[t.pose]
	doc := sequenceDocument{
		ID: t.id, CameraID: t.camera, PoseID: poseID(t.camera, t.pose),
		CameraAzimuth:   jsonFloat(azimuth, 1),
		StartedAt:       platformTime(t.detections[0].CreatedAt.Time),
		LastSeenAt:      platformTime(t.detections[len(t.detections)-1].CreatedAt.Time),
		IsValidated:     t.label != "" || t.id%3 != 0,
		DetectionsCount: len(t.detections),
	}
	if t.label != "" {
		doc.IsWildfire = &t.label
	}
	if t.score > 0 {
		doc.TemporalModelScore = pointer(jsonFloat(t.score, 6))
		doc.TemporalModelVersion, doc.TemporalAPIVersion = pointer("0.1.0"), pointer("v0.2.0")
	}
	if t.best != nil { // the smoke's bearing is that of its box across the camera's view
		aside := station.view * ((t.best[0]+t.best[2])/2 - 500) / 1000
		doc.SequenceAzimuth = pointer(jsonFloat((azimuth+aside+3600)%3600, 1))
		doc.ConeAngle = pointer(jsonFloat(max(1, station.view*(t.best[2]-t.best[0])/1000), 1))
		doc.MaxConf = pointer(jsonFloat(t.best[4], 3))
	}
	sequence, err := store.ParseSequence(document(doc))
	if err != nil {
		return store.SequenceRecord{}, err
	}
	camera := w.cameras[t.camera]
	organization := w.organizations[camera.OrganizationID]
	return store.SequenceRecord{
		Sequence:     sequence,
		Camera:       &camera,
		Organization: &organization,
		Detections:   t.detections,
		Frames:       t.uploads,
		Coverage:     store.Coverage{FetchedAt: w.fetched, Order: store.Ascending, Complete: true, Exhausted: true},
	}, nil
}
