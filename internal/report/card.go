package report

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"pyrobundle/annotate"
	"pyrobundle/store"
)

// card is a sequence on the page.
type card struct {
	ID           int64
	Camera       string
	Organization string
	Started      string
	Label        string
	LabelClass   string
	States       []string
	Verdict      string
	Refused      bool
	Notes        []note
	Facts        []fact
	Key          *picture
	Sheet        []picture
	SheetText    string // which frames are shown
	Clusters     []cluster
	MoreClusters int
	Compass      *compass
	Chart        *chart
}

// note is something that a reader should know before loading.
type note struct {
	Class string // bad: worth another fetch, or a loss; warn: good to know
	Text  string
}

type fact struct{ Name, Value string }

// cluster is a track of the annotation that load would write.
type cluster struct {
	Number     int
	Class      string // its colour: k1 to k7, then k1 again
	Boxes      string
	Times      string
	Confidence string
	centre     float64 // mean of the boxes' middles, as a fraction of the picture's width
}

// What a card shows at most of what a stranger may give it without end.
const (
	clusterColours = 7
	clustersListed = 7
	boxesDrawn     = 12 // on a picture, of each kind
	notesListed    = 8
)

// artist makes cards.
type artist struct {
	darkroom   *darkroom
	thresholds annotate.Thresholds
	ration     ration
	problems   map[int64][]store.Problem
}

// drawn says what came of drawing a card, beside it.
type drawn struct {
	shown   int64 // frames with their picture
	damaged int64 // pictures that the bundle could not give
}

// card draws a sequence. An error is the context's, or the encoder's.
func (a *artist) card(ctx context.Context, record store.SequenceRecord) (card, drawn, error) {
	r := read(record, a.thresholds)
	sequence := record.Sequence
	c := card{
		ID:      sequence.ID,
		Camera:  cameraName(record),
		Started: sequence.StartedAt.UTC().Format(time.TimeOnly),
		States:  states(record.Coverage),
		Refused: r.refusal != "",
		Facts:   facts(record, r),
	}
	if record.Organization != nil {
		c.Organization = shorten(record.Organization.Name)
	}
	c.Label, c.LabelClass = label(sequence.IsWildfire)
	clusters := clustersOf(r)
	c.Clusters = clusters[:min(len(clusters), clustersListed)]
	c.MoreClusters = len(clusters) - len(c.Clusters)
	c.Verdict = verdict(r)
	c.Notes = a.notes(record, r)
	view := (*float64)(nil)
	if record.Camera != nil {
		view = record.Camera.AngleOfView
	}
	c.Compass = newCompass(sequence.CameraAzimuth, view, c.Clusters)
	c.Chart = newChart(r.frames, c.Clusters, a.thresholds.Confidence)
	done, err := a.pictures(ctx, &c, r.frames)
	return c, done, err
}

func states(c store.Coverage) []string {
	var words []string
	if !c.Complete {
		words = append(words, "unfinished")
	}
	if c.Live {
		words = append(words, "live when fetched")
	}
	if c.Gone {
		words = append(words, "gone upstream")
	}
	if c.Limit > 0 && !c.Exhausted {
		words = append(words, fmt.Sprintf("limited to %s with boxes", plural(c.Limit, "frame")))
	}
	return words
}

func label(value *string) (text, class string) {
	switch i := labelOf(value); i {
	case labelWildfire:
		return labelName(i), "wildfire"
	case labelNone:
		return labelName(i), "none"
	case labelUnknown:
		return shorten(*value), "other"
	default:
		return labelName(i), "other"
	}
}

func verdict(r reading) string {
	if r.refusal != "" {
		return "load would make no annotation: " + shorten(r.refusal)
	}
	boxes := 0
	for _, track := range r.tracks {
		boxes += len(track.Boxes)
	}
	return fmt.Sprintf("load would make %s of %s", plural(len(r.tracks), "cluster"), plural(boxes, "box"))
}

// notes say what is missing or odd.
func (a *artist) notes(record store.SequenceRecord, r reading) []note {
	var notes []note
	add := func(class, format string, args ...any) {
		notes = append(notes, note{Class: class, Text: fmt.Sprintf(format, args...)})
	}
	var missing, withoutBoxes, leftOut, below, repeated int
	var reason string
	seen := map[store.Hash]bool{}
	for _, f := range r.frames {
		leftOut += f.leftOut
		if len(f.own) == 0 {
			withoutBoxes++
		}
		for _, box := range f.own {
			if a.thresholds.Confidence > 0 && box.Confidence < a.thresholds.Confidence {
				below++
			}
		}
		switch {
		case f.Image.IsZero():
			missing++
			if reason == "" {
				reason = shorten(withoutImage(f.Frame))
			}
		case seen[f.Image]:
			repeated++
		default:
			seen[f.Image] = true
		}
	}
	if missing > 0 {
		add("bad", "%s without image, left out by load: %s", plural(missing, "frame"), reason)
	}
	switch c := record.Coverage; {
	case !c.Complete && c.Gone:
		add("bad", "not fetched to its end before it was gone from the platform")
	case !c.Complete:
		add("bad", "not fetched to its end; fetch again to complete it")
	}
	for i, p := range a.problems[record.Sequence.ID] {
		if i == notesListed {
			add("bad", "and %s; see inspect problems", plural(len(a.problems[record.Sequence.ID])-i, "problem"))
			break
		}
		add("bad", "%s %s %s: %s", p.Class, p.Kind, p.ID, p.Reason)
	}
	if leftOut > 0 {
		add("warn", "%s left out by load: the annotation API would refuse them", plural(leftOut, "box"))
	}
	if repeated > 0 {
		add("warn", "%s an earlier one's image again: did the camera hang?", has(repeated, "frame"))
	}
	if below > 0 {
		add("warn", "%s below the confidence threshold", plural(below, "box"))
	}
	if withoutBoxes > 0 && withoutBoxes < len(r.frames) {
		add("info", "%s no boxes", has(withoutBoxes, "frame"))
	}
	return notes
}

func has(n int, noun string) string {
	if n == 1 {
		return plural(n, noun) + " has"
	}
	return plural(n, noun) + " have"
}

// facts are what the platform says of a sequence.
func facts(record store.SequenceRecord, r reading) []fact {
	sequence := record.Sequence
	var facts []fact
	add := func(name, format string, args ...any) {
		facts = append(facts, fact{Name: name, Value: fmt.Sprintf(format, args...)})
	}
	if !sequence.LastSeenAt.IsZero() {
		add("Seen for", "%s", lasted(sequence.LastSeenAt.Sub(sequence.StartedAt.Time)))
	}
	own, others := 0, 0
	for _, f := range r.frames {
		own += len(f.own)
		others += len(f.others)
	}
	add("Frames", "%d, of %s", len(r.frames), plural(len(record.Detections), "detection"))
	if others > 0 {
		add("Boxes", "%d, and %d of other sequences", own, others)
	} else {
		add("Boxes", "%d", own)
	}
	if camera := record.Camera; camera != nil && camera.Lat != nil && camera.Lon != nil {
		add("Camera at", "%s, %s", coordinate(*camera.Lat), coordinate(*camera.Lon))
	}
	if sequence.TemporalModelScore != nil {
		model := ""
		if sequence.TemporalModelVersion != nil {
			model = " (" + shorten(*sequence.TemporalModelVersion) + ")"
		}
		add("Temporal score", "%s%s", decimal(*sequence.TemporalModelScore), model)
	}
	var smoke struct {
		Azimuth *float64 `json:"sequence_azimuth"`
		Cone    *float64 `json:"cone_angle"`
	}
	if json.Unmarshal(sequence.Document, &smoke) == nil && smoke.Azimuth != nil {
		text := decimal(*smoke.Azimuth) + "°"
		if smoke.Cone != nil {
			text += " ± " + decimal(*smoke.Cone/2) + "°"
		}
		add("Smoke at", "%s", text)
	}
	return facts
}

func coordinate(degrees float64) string {
	if math.IsNaN(degrees) || math.Abs(degrees) > 360 {
		return "?"
	}
	return fmt.Sprintf("%.4f", degrees)
}

// clustersOf describes the tracks of a reading.
func clustersOf(r reading) []cluster {
	clusters := make([]cluster, len(r.tracks))
	type extent struct {
		first, last     time.Time
		lowest, highest float64
		boxes           int
	}
	extents := make([]extent, len(r.tracks))
	for _, f := range r.frames {
		for i, box := range f.own {
			if f.cluster[i] < 0 {
				continue
			}
			e := &extents[f.cluster[i]]
			if e.boxes == 0 {
				e.first, e.lowest = f.at, box.Confidence
			}
			e.last = f.at
			e.lowest, e.highest = min(e.lowest, box.Confidence), max(e.highest, box.Confidence)
			e.boxes++
		}
	}
	for i, track := range r.tracks {
		e := extents[i]
		centre := 0.0
		for _, box := range track.Boxes {
			centre += (box.XYXYN[0] + box.XYXYN[2]) / 2 / float64(len(track.Boxes))
		}
		clusters[i] = cluster{
			Number: i + 1, Class: colour(i),
			Boxes:      plural(e.boxes, "box") + " on " + plural(len(track.Boxes), "frame"),
			Times:      between(e.first.Format(time.TimeOnly), e.last.Format(time.TimeOnly)),
			Confidence: between(hundredths(e.lowest), hundredths(e.highest)),
			centre:     centre,
		}
	}
	return clusters
}

func colour(cluster int) string { return fmt.Sprintf("k%d", cluster%clusterColours+1) }

func between(from, to string) string {
	if from == to {
		return from
	}
	return from + " to " + to
}
