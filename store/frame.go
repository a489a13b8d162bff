package store

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	maxFrame      = 64 << 20 // bytes of one decoded sequence: 100,000 detections with room to spare
	maxWindow     = 8 << 20  // bytes; the encoder's default
	maxDetections = 100_000  // of one sequence, and as many frames; a camera's watch of a day has under 3,000
)

// codec compresses sequence records. Its encoder and decoder are made once and used from many goroutines.
type codec struct {
	encoder func() (*zstd.Encoder, error)
	decoder func() (*zstd.Decoder, error)
}

func newCodec() *codec {
	return &codec{
		encoder: sync.OnceValues(func() (*zstd.Encoder, error) {
			return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(maxWindow),
				zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
		}),
		decoder: sync.OnceValues(func() (*zstd.Decoder, error) {
			return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxFrame),
				zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderLowmem(true))
		}),
	}
}

// compress makes one frame of body.
func (c *codec) compress(body []byte) ([]byte, error) {
	e, err := c.encoder()
	if err != nil {
		return nil, err
	}
	return e.EncodeAll(body, nil), nil
}

// expand decodes one frame. The frame says its size before anything is allocated; no more than that is.
func (c *codec) expand(frame []byte) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(frame); err != nil {
		return nil, err
	}
	if h.Skippable || !h.HasFCS || h.FrameContentSize > maxFrame || h.DictionaryID != 0 {
		return nil, fmt.Errorf("a zstd frame that is not a sequence's (%d bytes decoded)", h.FrameContentSize)
	}
	d, err := c.decoder()
	if err != nil {
		return nil, err
	}
	body, err := d.DecodeAll(frame, make([]byte, 0, h.FrameContentSize))
	if err != nil {
		return nil, err
	}
	if uint64(len(body)) != h.FrameContentSize {
		return nil, fmt.Errorf("a zstd frame of %d bytes instead of %d", len(body), h.FrameContentSize)
	}
	return body, nil
}

// encodeRecord writes the JSON of a sequence (docs/bundle-format.md, A sequence). Documents are already stripped.
func encodeRecord(r *SequenceRecord) ([]byte, error) {
	out := append([]byte(`{"sequence":`), r.Sequence.Document...)
	if r.Camera != nil {
		out = append(append(out, `,"camera":`...), r.Camera.Document...)
	}
	if r.Organization != nil {
		out = append(append(out, `,"organization":`...), r.Organization.Document...)
	}
	out = append(out, `,"detections":[`...)
	for i, d := range r.Detections {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, d.Document...)
	}
	out = append(out, `],"frames":[`...)
	for i, f := range r.Frames {
		if i > 0 {
			out = append(out, ',')
		}
		frame, err := json.Marshal(f)
		if err != nil {
			return nil, err
		}
		out = append(out, frame...)
	}
	coverage, err := json.Marshal(r.Coverage)
	if err != nil {
		return nil, err
	}
	out = append(append(out, `],"coverage":`...), coverage...)
	out = append(out, '}')
	if len(out) > maxFrame {
		return nil, refusedf("its record has %d bytes, at most %d are stored", len(out), maxFrame)
	}
	return out, nil
}

// decodeRecord reads what encodeRecord wrote. The record's documents lie in body.
func decodeRecord(body []byte) (SequenceRecord, error) {
	if !json.Valid(body) || firstByte(body) != '{' {
		return SequenceRecord{}, errors.New("its record is not a JSON object")
	}
	var r SequenceRecord
	for name, value := range members(body) {
		var err error
		switch name {
		case "sequence":
			r.Sequence, err = bounded(ParseSequence)(value)
		case "camera":
			var c Camera
			c, err = bounded(ParseCamera)(value)
			r.Camera = &c
		case "organization":
			var o Organization
			o, err = bounded(ParseOrganization)(value)
			r.Organization = &o
		case "detections":
			r.Detections, err = decodeAll(value, bounded(ParseDetection))
		case "frames":
			r.Frames, err = decodeAll(value, bounded(func(doc json.RawMessage) (f Frame, err error) {
				return f, json.Unmarshal(doc, &f)
			}))
		case "coverage":
			err = json.Unmarshal(value, &r.Coverage)
		}
		if err != nil {
			return SequenceRecord{}, err
		}
	}
	if r.Sequence.ID == 0 {
		return SequenceRecord{}, errors.New("its record holds no sequence")
	}
	return r, nil
}

// bounded refuses a document that no Writer stores: a large one before it is decoded, a deep one before it is read on.
func bounded[T any](parse func(json.RawMessage) (T, error)) func(json.RawMessage) (T, error) {
	return func(doc json.RawMessage) (T, error) {
		if len(doc) > maxDocument {
			var none T
			return none, fmt.Errorf("a document of %d bytes", len(doc))
		}
		value, err := parse(doc) // which proves that it is JSON
		if err == nil && tooDeep(doc) {
			err = errors.New("a document that is nested too deeply")
		}
		return value, err
	}
}

// decodeAll decodes the elements of an array, of which there may be maxDetections.
func decodeAll[T any](array json.RawMessage, decode func(json.RawMessage) (T, error)) ([]T, error) {
	if firstByte(array) != '[' {
		return nil, errors.New("an array was expected")
	}
	n := 0
	for range elements(array) {
		if n++; n > maxDetections {
			return nil, fmt.Errorf("more than %d entries", maxDetections)
		}
	}
	if n == 0 {
		return nil, nil
	}
	out := make([]T, 0, n)
	for element := range elements(array) {
		value, err := decode(element)
		if err != nil {
			return nil, err
		}
		out = append(out, value)
	}
	return out, nil
}

// openRecord decodes the stored body of a sequence and checks that it belongs under its key.
func (c *codec) openRecord(id int64, body []byte) (SequenceRecord, error) {
	data, err := c.expand(body)
	if err != nil {
		return SequenceRecord{}, corruptf("sequence %d: %w", id, err)
	}
	r, err := decodeRecord(data)
	if err != nil {
		return SequenceRecord{}, corruptf("sequence %d: %w", id, err)
	}
	if r.Sequence.ID != id {
		return SequenceRecord{}, corruptf("sequence %d: its record is that of sequence %d", id, r.Sequence.ID)
	}
	if r.Camera != nil && r.Camera.ID != r.Sequence.CameraID {
		return SequenceRecord{}, corruptf("sequence %d: its camera is %d, not %d", id, r.Camera.ID, r.Sequence.CameraID)
	}
	return r, nil
}

// summaryBody is the body of a summary in the bucket by_day.
type summaryBody struct {
	CameraID       int64    `json:"camera_id"`
	OrganizationID int64    `json:"organization_id"`
	Detections     int      `json:"detections"`
	Frames         int      `json:"frames"`
	Images         int      `json:"images"`
	Coverage       Coverage `json:"coverage"`
}

func summarise(r *SequenceRecord) summaryBody {
	s := summaryBody{
		CameraID: r.Sequence.CameraID, OrganizationID: r.OrganizationID(),
		Detections: len(r.Detections), Frames: len(r.Frames), Coverage: r.Coverage,
	}
	for _, f := range r.Frames {
		if !f.Image.IsZero() {
			s.Images++
		}
	}
	return s
}

func decodeSummary(key, body []byte) (Summary, error) {
	start, id, err := splitDayKey(key)
	if err != nil {
		return Summary{}, err
	}
	var s summaryBody
	if err := json.Unmarshal(body, &s); err != nil {
		return Summary{}, corruptf("summary of sequence %d: %w", id, err)
	}
	return Summary{
		ID: id, CameraID: s.CameraID, OrganizationID: s.OrganizationID, StartedAt: start,
		Detections: s.Detections, Frames: s.Frames, Images: s.Images, Coverage: s.Coverage,
	}, nil
}

// documentID reads the id of a stored document's key.
func documentID(key []byte) int64 {
	if len(key) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(key))
}

// join unites a newly fetched record with the stored one (docs/bundle-format.md, Joining).
func join(stored, fetched SequenceRecord) SequenceRecord {
	out := fetched
	if out.Camera == nil && stored.Camera != nil && stored.Camera.ID == out.Sequence.CameraID {
		out.Camera = stored.Camera
	}
	if out.Organization == nil && out.Camera != nil && stored.Organization != nil &&
		stored.Organization.ID == out.Camera.OrganizationID {
		out.Organization = stored.Organization
	}
	out.Detections = union(stored.Detections, fetched.Detections,
		func(d Detection) int64 { return d.ID }, func(_, fetched Detection) Detection { return fetched })
	out.Frames = union(stored.Frames, fetched.Frames,
		func(f Frame) string { return f.Key },
		func(stored, fetched Frame) Frame {
			if fetched.Image.IsZero() && !stored.Image.IsZero() {
				return stored
			}
			return fetched
		})
	if c := stored.Coverage; c.Complete && c.exceeds(fetched.Coverage) && !fetched.Sequence.GrewSince(stored.Sequence) {
		out.Coverage.Limit, out.Coverage.Order = c.Limit, c.Order
		out.Coverage.Complete, out.Coverage.Exhausted = c.Complete, c.Exhausted
	}
	for _, f := range out.Frames {
		if f.Image.IsZero() && !f.Permanent {
			out.Coverage.Complete = false
		}
	}
	return out
}

// exceeds reports whether c says of a sequence that did not grow all that a newer coverage says, and more. Of listings from
// different ends neither covers the other, unless one showed everything.
func (c Coverage) exceeds(newer Coverage) bool {
	if c.Exhausted != newer.Exhausted {
		return c.Exhausted
	}
	return (c.Exhausted || c.Order == newer.Order) && wider(c.Limit, newer.Limit)
}

// wider reports whether limit a asks for more than b; 0 asks for all.
func wider(a, b int) bool { return b != 0 && (a == 0 || a > b) }

// union joins two lists by key; what both have is settled by both.
func union[T any, K comparable](stored, fetched []T, key func(T) K, both func(stored, fetched T) T) []T {
	out := slices.Clone(stored)
	at := make(map[K]int, len(stored)+len(fetched))
	for i, v := range out {
		at[key(v)] = i
	}
	for _, v := range fetched {
		if i, ok := at[key(v)]; ok {
			out[i] = both(out[i], v)
			continue
		}
		at[key(v)] = len(out)
		out = append(out, v)
	}
	return out
}

// arrange puts detections and frames in their order, and gives every bucket key its frame.
func arrange(r *SequenceRecord) {
	slices.SortStableFunc(r.Detections, func(a, b Detection) int {
		if c := a.CreatedAt.Compare(b.CreatedAt.Time); c != 0 {
			return c
		}
		return cmp.Compare(a.ID, b.ID)
	})
	given := make(map[string]Frame, len(r.Frames))
	for _, f := range r.Frames {
		given[f.Key] = f
	}
	ordered := make([]Frame, 0, len(r.Frames))
	placed := make(map[string]bool, len(r.Frames))
	place := func(f Frame) {
		if !placed[f.Key] {
			placed[f.Key] = true
			ordered = append(ordered, f)
		}
	}
	for _, d := range r.Detections {
		f, ok := given[d.BucketKey]
		if !ok {
			f = Frame{Key: d.BucketKey, Problem: "not fetched"}
		}
		place(f)
	}
	for _, f := range r.Frames { // of no detection: kept, behind the others
		place(given[f.Key])
	}
	r.Frames = ordered
	for i, f := range r.Frames {
		if !f.Image.IsZero() {
			r.Frames[i].Problem, r.Frames[i].Permanent = "", false
		}
	}
	r.Coverage.FetchedAt = r.Coverage.FetchedAt.UTC().Round(0) // as it is read back
}
