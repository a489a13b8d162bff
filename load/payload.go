package load

import (
	"errors"
	"fmt"
	"math"
	"time"

	"pyrobundle/annotate"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// wanted is what a sequence of the bundle is to be on the target.
type wanted struct {
	sequence     annotation.NewSequence
	detections   []wantedDetection
	temporal     annotation.Temporal
	gone         lack // images that are proven to be nowhere
	absent       lack // images that another fetch may bring
	boxesLeftOut int
}

// lack is a number of frames that are left out for want of their image.
type lack struct {
	frames int
	reason string // of the first of them
}

func (l *lack) add(reason string) {
	l.frames++
	l.reason = orDefault(l.reason, reason)
}

// withoutFrames is why nothing of the sequence can be loaded. It is permanent only if every image is.
func (w wanted) withoutFrames() error {
	if w.absent.frames > 0 {
		return errNoFrames
	}
	return incomplete{errNoFrames}
}

// want transforms a record of the bundle (contract C.6). It returns an error where the annotation API would refuse the
// sequence for something that the bundle does not know (contract E9).
func (r *run) want(record store.SequenceRecord) (wanted, error) {
	return want(record, r.cfg, r.dst.Generation())
}

func want(record store.SequenceRecord, cfg Config, generation annotation.Generation) (wanted, error) {
	if err := fitting(record); err != nil {
		return wanted{}, err
	}
	sequence, err := newSequence(record, cfg.SourceAPI, generation)
	if err != nil {
		return wanted{}, err
	}
	w := wanted{sequence: sequence, temporal: temporalOf(record.Sequence)}
	for _, frame := range framesOf(record, cfg.Limit, cfg.Order) {
		if frame.Image.IsZero() && (record.Lost(frame.Frame) || !cfg.AssumeImages) {
			w.leaveOut(frame.Frame, record.Coverage.Gone)
			continue
		}
		if text := frame.text(); text > maxFrame {
			return wanted{}, incomplete{fmt.Errorf("the boxes of detection %d have %d bytes in the bundle; at most %d are loaded", frame.rows[0].ID, text, maxFrame)}
		}
		detection, leftOut := frame.detection(cfg.DetectionTime)
		w.boxesLeftOut += leftOut
		if err := fits(generation, "detection", detection.id); err != nil {
			return wanted{}, err
		}
		w.detections = append(w.detections, detection)
	}
	return w, nil
}

// leaveOut notes a frame without image; gone: its sequence is gone from the platform.
func (w *wanted) leaveOut(f store.Frame, gone bool) {
	switch {
	case f.Permanent:
		w.gone.add(short(f.Problem))
	case gone:
		w.gone.add("its sequence is gone from the platform")
	case f.Problem == "":
		w.absent.add("not downloaded yet; fetch again to get them")
	default:
		w.absent.add(short(f.Problem) + "; fetch again to get them")
	}
}

// newSequence is the sequence form of contract C.6. Fields of the newer generation are filled for it alone.
func newSequence(record store.SequenceRecord, source string, generation annotation.Generation) (annotation.NewSequence, error) {
	s, camera, organization := record.Sequence, record.Camera, record.Organization
	switch {
	case camera == nil:
		return annotation.NewSequence{}, fmt.Errorf("camera %d is not in the bundle; fetch with an account that sees it", s.CameraID)
	case camera.Name == "":
		return annotation.NewSequence{}, fmt.Errorf("camera %d has no name in the bundle", s.CameraID)
	case camera.Lat == nil || camera.Lon == nil:
		return annotation.NewSequence{}, fmt.Errorf("camera %d has no coordinates in the bundle", s.CameraID)
	case organization == nil || organization.Name == "":
		return annotation.NewSequence{}, fmt.Errorf("the name of organization %d is not in the bundle; fetch with an administrator's login", camera.OrganizationID)
	}
	if err := fits(generation, "sequence", s.ID); err != nil {
		return annotation.NewSequence{}, err
	}
	n := annotation.NewSequence{
		SourceAPI:        source,
		AlertAPIID:       s.ID,
		CameraName:       camera.Name,
		CameraID:         s.CameraID,
		OrganisationName: organization.Name,
		OrganisationID:   camera.OrganizationID,
		IsWildfire:       s.IsWildfire,
		Lat:              *camera.Lat,
		Lon:              *camera.Lon,
		Azimuth:          azimuth(s.CameraAzimuth),
		RecordedAt:       microseconds(s.StartedAt.Time),
		LastSeenAt:       microseconds(s.LastSeenAt.Time),
	}
	if s.LastSeenAt.IsZero() {
		n.LastSeenAt = n.RecordedAt // else the API would take the time of the load
	}
	if generation == annotation.Newest {
		n.PlatformAlertID = &n.AlertAPIID
		n.Temporal = temporalOf(s)
	}
	return n, nil
}

func temporalOf(s store.Sequence) annotation.Temporal {
	return annotation.Temporal{
		Score: s.TemporalModelScore, ModelVersion: s.TemporalModelVersion, APIVersion: s.TemporalAPIVersion,
	}
}

// fits refuses an id beyond the column of the older generation, which holds 32 bits (contract B.2, E28).
func fits(generation annotation.Generation, kind string, id int64) error {
	if generation == annotation.SeedEra && id > math.MaxInt32 {
		return incomplete{fmt.Errorf("%s id %d does not fit the older annotation API, which takes ids up to %d", kind, id, math.MaxInt32)}
	}
	return nil
}

// azimuth rounds degrees to whole ones, half to even, and into 0..359; nil stays nil.
func azimuth(degrees *float64) *int {
	if degrees == nil || math.IsNaN(*degrees) || math.IsInf(*degrees, 0) {
		return nil
	}
	whole := math.Mod(math.RoundToEven(*degrees), 360)
	if whole < 0 {
		whole += 360
	}
	rounded := int(whole)
	return &rounded
}

// microseconds is the precision of both APIs' times.
func microseconds(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// newDetection is the detection form of contract C.6. An image that is neither JPEG nor PNG is refused here: the target
// takes any bytes (contract E32).
func newDetection(d wantedDetection, sequenceID int64, image []byte) (annotation.NewDetection, error) {
	n := annotation.NewDetection{
		SequenceID:  sequenceID,
		AlertAPIID:  d.id,
		RecordedAt:  microseconds(d.recordedAt),
		Predictions: annotate.Predict(d.own),
		Image:       image,
	}
	if len(d.others) > 0 {
		others := annotate.Predict(d.others)
		n.OthersBBoxes = &others
	}
	switch {
	case hasPrefix(image, "\xff\xd8\xff"):
		n.FileName, n.ContentType = fmt.Sprintf("%d.jpg", d.id), "image/jpeg"
	case hasPrefix(image, "\x89PNG\r\n\x1a\n"):
		n.FileName, n.ContentType = fmt.Sprintf("%d.png", d.id), "image/png"
	default:
		return n, errors.New("its image is neither JPEG nor PNG")
	}
	return n, nil
}

func hasPrefix(data []byte, prefix string) bool {
	return len(data) >= len(prefix) && string(data[:len(prefix)]) == prefix
}
