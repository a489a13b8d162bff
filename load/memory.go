package load

import (
	"fmt"
	"strings"

	"pyrobundle/internal/httpapi"
	"pyrobundle/load/annotation"
	"pyrobundle/store"
)

// A run holds what the sequences in flight need, and a bundle or an API may send as much of it as it likes. These bounds are
// far beyond what cameras make, so that ordinary sequences meet none of them and never wait; all are in bytes unless they
// say otherwise.
const (
	// recordMemory bounds the records of the bundle that are held at once, with what is made of them. One of 40 frames
	// weighs some 50 kB, one of a whole day 4 MB. One that weighs more than all of it goes alone.
	recordMemory = 64 << 20

	maxRows  = 100_000   // detections of one sequence, a month of them: as many as a bundle has room for
	maxText  = 8 << 20   // boxes of one sequence, as text; those of a day have some 200 kB
	maxFrame = 256 << 10 // boxes of one frame, as text; the API takes 1 MiB of a field, in which a box is four times as long

	// maxRowBytes bounds the target's rows of one sequence: 200,000 short ones, as many as a list may have. Of those from
	// largeRows on, the rows of a day and more, only one sequence's are held at a time. The same goes for its annotation.
	maxRowBytes = 32 << 20
	largeRows   = 1 << 20

	// maxSurroundings bounds what is known of the target's sequences of three days: again 200,000 with short names, where
	// all cameras together make some thousands.
	maxSurroundings = 96 << 20
)

// weigh estimates what a record takes while its sequence is loaded.
func weigh(record store.SequenceRecord) int64 {
	const (
		row, frame = 320, 300 // of structs and maps
		parsed     = 4        // bytes of boxes for each of their text
	)
	weight := int64(len(record.Detections)*row + len(record.Frames)*frame + len(record.Sequence.Document))
	for _, d := range record.Detections {
		weight += int64(len(d.BucketKey)+len(d.Document)) + parsed*textOf(d)
	}
	for _, f := range record.Frames {
		weight += int64(len(f.Key) + len(f.Problem))
	}
	return weight
}

// textOf is how long the boxes of a row are, as the platform writes them.
func textOf(d store.Detection) int64 {
	size := 0
	for _, text := range []*string{d.BBox, d.OthersBBoxes} {
		if text != nil {
			size += len(*text)
		}
	}
	return int64(size)
}

// fitting refuses a record that no camera has made, before anything is made of it.
func fitting(record store.SequenceRecord) error {
	if n := len(record.Detections); n > maxRows {
		return incomplete{fmt.Errorf("it has %d detections in the bundle; at most %d are loaded", n, maxRows)}
	}
	var text int64
	for _, d := range record.Detections {
		text += textOf(d)
	}
	if text > maxText {
		return incomplete{fmt.Errorf("its boxes have %d bytes in the bundle; at most %d are loaded", text, maxText)}
	}
	return nil
}

// short cuts a text of the bundle for a message.
func short(text string) string {
	const longest = 200 // bytes
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "…"
}

// rowsOf reads the target's detections of a sequence. Where they are many, it waits for its turn; it holds none meanwhile, not
// even a page of them, and reads them anew.
func (r *run) rowsOf(sequence int64, turn *httpapi.Turn) ([]annotation.Detection, error) {
	rows, ours, err := r.readRows(sequence, turn)
	if err == nil && !ours {
		if err = turn.Begin(r.ctx); err == nil {
			rows, _, err = r.readRows(sequence, turn)
		}
	}
	return rows, err
}

// readRows is rowsOf as far as it goes without waiting; ours is false, and there are no rows, where others have the turn.
func (r *run) readRows(sequence int64, turn *httpapi.Turn) (rows []annotation.Detection, ours bool, err error) {
	var held int64
	for row, err := range r.dst.Detections(r.ctx, sequence) {
		if err != nil {
			return nil, true, err
		}
		if held += bytesOfRow(row); held > maxRowBytes {
			return nil, true, fmt.Errorf("the target's rows of it take more than %d MiB; a sequence of cameras has a hundredth of that", maxRowBytes>>20)
		}
		if held > largeRows && !turn.Try() {
			return nil, false, nil
		}
		rows = append(rows, row)
	}
	return rows, true, nil
}

// annotationOf reads the annotation of a sequence. Where it is large, it waits for its turn as rowsOf does.
func (r *run) annotationOf(sequence int64, turn *httpapi.Turn) (*annotation.SequenceAnnotation, error) {
	current, err := r.dst.AnnotationOf(r.ctx, sequence)
	if err != nil || current == nil || len(current.Verbatim) <= largeRows || turn.Try() {
		return current, err
	}
	if err := turn.Begin(r.ctx); err != nil {
		return nil, err
	}
	return r.dst.AnnotationOf(r.ctx, sequence)
}

// bytesOfRow is what a row of the target takes in memory.
func bytesOfRow(d annotation.Detection) int64 {
	const row, box = 144, 56
	size := row + len(d.BucketKey) + len(d.AlgoPredictions.Predictions)*box
	for _, p := range d.AlgoPredictions.Predictions {
		size += len(p.ClassName)
	}
	if d.OthersBBoxes != nil {
		size += len(d.OthersBBoxes.Predictions) * box
		for _, p := range d.OthersBBoxes.Predictions {
			size += len(p.ClassName)
		}
	}
	return int64(size)
}

// bytesOfKnown is what is kept of a sequence of the target.
func bytesOfKnown(k *known) int64 {
	const sequence = 448 // with its places in maps
	size := sequence + len(k.SourceAPI) + len(k.CameraName) + len(k.OrganisationName)
	for _, text := range []*string{k.IsWildfire, k.ModelVersion, k.APIVersion} {
		if text != nil {
			size += len(*text)
		}
	}
	if k.note != nil {
		size += len(k.note.worked)
	}
	return int64(size)
}
