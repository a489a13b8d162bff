package report

import (
	"context"
	"encoding/json"
	"fmt"
	"html/template"
	"image"
	"math"
	"slices"
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

// pictures develops the key frame and the contact sheet within the ration.
func (a *artist) pictures(ctx context.Context, c *card, frames []frame) (drawn, error) {
	var done drawn
	if len(frames) == 0 {
		return done, nil
	}
	show := func(f frame, wide int, thumb *thumbnail, missing *flaw) picture {
		p := newPicture(f, wide, thumb)
		switch {
		case missing != nil:
			p.Missing = shorten(missing.reason)
			if missing.damaged {
				done.damaged++
			}
		case thumb == nil:
			p.Missing = "no room for its picture"
		default:
			done.shown++
		}
		return p
	}
	key := keyFrame(frames)
	large, small, missing, err := a.developKey(ctx, frames[key])
	if err != nil {
		return done, err
	}
	picture := show(frames[key], keyView, large, missing)
	c.Key = &picture
	if len(frames) == 1 || a.ration.sheet == 0 {
		c.SheetText = shown(1, len(frames))
		return done, nil
	}

	typical := 1 << 10
	if small != nil {
		if data, err := encode(small, fairQuality); err == nil {
			typical = len(data)
		}
	}
	left := a.ration.sheet
	chosen := spread(a.ration.count(len(frames), typical), len(frames))
	for n, i := range chosen {
		thumb, missing, err := a.developSmall(ctx, frames[i], left/(len(chosen)-n), i == key, small, missing)
		if err != nil {
			return done, err
		}
		if thumb != nil {
			left -= len(thumb.data)
		}
		before := done
		c.Sheet = append(c.Sheet, show(frames[i], sheetView, thumb, missing))
		if i == key {
			done = before // it was counted with the large picture
		}
	}
	count := len(chosen)
	if !slices.Contains(chosen, key) {
		count++
	}
	c.SheetText = shown(count, len(frames))
	return done, nil
}

// developKey makes the large picture of the key frame, and the small one still uncompressed.
func (a *artist) developKey(ctx context.Context, f frame) (large *thumbnail, small *image.RGBA, missing *flaw, err error) {
	if f.Image.IsZero() {
		return nil, nil, &flaw{reason: withoutImage(f.Frame)}, nil
	}
	var failed error
	missing, err = a.darkroom.develop(ctx, f.Image, func(original image.Image) {
		large, failed = compress(shrink(original, a.ration.keyWidth), a.ration.key)
		if a.ration.sheet > 0 {
			small = shrink(original, a.ration.width)
		}
	})
	if err == nil {
		err = failed
	}
	return large, small, missing, err
}

// developSmall makes a picture of the contact sheet; that of the key frame is already there.
func (a *artist) developSmall(ctx context.Context, f frame, limit int, isKey bool, key *image.RGBA, keyMissing *flaw) (thumb *thumbnail, missing *flaw, err error) {
	switch {
	case isKey && key == nil:
		return nil, keyMissing, nil
	case isKey:
		thumb, err = compress(key, limit)
		return thumb, nil, err
	case f.Image.IsZero():
		return nil, &flaw{reason: withoutImage(f.Frame)}, nil
	}
	var failed error
	missing, err = a.darkroom.develop(ctx, f.Image, func(original image.Image) {
		thumb, failed = compress(shrink(original, a.ration.width), limit)
	})
	if err == nil {
		err = failed
	}
	return thumb, missing, err
}

// keyFrame is the frame that shows most: of those with image the one of greatest confidence, in a cluster if any is.
func keyFrame(frames []frame) int {
	best, at := -1.0, 0
	for i, f := range frames {
		if f.Image.IsZero() {
			continue
		}
		worth := 0.0
		for j, box := range f.own {
			bonus := 0.0
			if f.cluster[j] >= 0 {
				bonus = 2 // above every confidence
			}
			worth = max(worth, box.Confidence+bonus)
		}
		if worth > best {
			best, at = worth, i
		}
	}
	return at
}

func shown(n, of int) string {
	switch {
	case of == 1:
		return "Its only frame"
	case n >= of:
		return fmt.Sprintf("All %d frames", of)
	}
	return fmt.Sprintf("%d of %d frames shown", n, of)
}

func withoutImage(f store.Frame) string {
	switch {
	case f.Problem == "":
		return "its image was not downloaded yet"
	case f.Permanent:
		return f.Problem
	}
	return f.Problem + "; fetch again to get it"
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
		return labelNames[i], "wildfire"
	case labelNone:
		return labelNames[i], "none"
	case labelUnknown:
		return shorten(*value), "other"
	default:
		return labelNames[i], "other"
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
	if !record.Coverage.Complete {
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

// picture is a frame on the page.
type picture struct {
	Source        template.HTMLAttr // its src; empty: there is none, for the reason in Missing
	Missing       string
	Width, Height int // pixels
	Alt           string
	Time          string
	Confidence    string // greatest, or what it has instead

	View     string // of the drawing over it; empty: there is none
	Halo     string // path under clusters and platform boxes, dark, so that they stand out
	Clusters []mark
	Others   string
	Platform string
}

type mark struct {
	Class  string
	Path   string
	X, Y   string // of its number
	Number int
}

// Widths of the drawings over pictures: near those on a screen, so that their strokes and numbers come out alike.
const (
	keyView   = 560
	sheetView = 210
)

func newPicture(f frame, wide int, thumb *thumbnail) picture {
	p := picture{Time: f.at.Format(time.TimeOnly), Confidence: "no boxes", Width: 16, Height: 9}
	if greatest, ok := f.confidence(); ok {
		p.Confidence = hundredths(greatest)
	}
	p.Alt = fmt.Sprintf("Frame of %s UTC, %s", p.Time, plural(len(f.own), "box"))
	if thumb == nil {
		return p
	}
	p.Source, p.Width, p.Height = thumb.source(), thumb.width, thumb.height
	if len(f.own)+len(f.others) == 0 {
		return p
	}
	w, h := float64(wide), math.Round(float64(wide)*float64(thumb.height)/float64(thumb.width))
	p.View = fmt.Sprintf("0 0 %g %g", w, h)

	union := map[int][4]float64{}
	var order []int
	for i, box := range f.own {
		if i < boxesDrawn {
			p.Platform += outline(box.XYXYN(), w, h)
		}
		of := f.cluster[i]
		if of < 0 {
			continue
		}
		corners, known := union[of]
		if !known {
			order = append(order, of)
			corners = box.XYXYN()
		}
		b := box.XYXYN()
		union[of] = [4]float64{min(corners[0], b[0]), min(corners[1], b[1]), max(corners[2], b[2]), max(corners[3], b[3])}
	}
	for _, box := range f.others[:min(len(f.others), boxesDrawn)] {
		p.Others += outline(box.XYXYN(), w, h)
	}
	p.Halo = p.Platform
	for _, of := range order[:min(len(order), boxesDrawn)] {
		box := union[of]
		path := outline(box, w, h)
		p.Halo += path
		y := box[1]*h - 5
		if y < 14 {
			y = min(box[3]*h+15, h-4) // no room above: below
		}
		p.Clusters = append(p.Clusters, mark{
			Class: colour(of), Path: path, Number: of + 1,
			X: fmt.Sprintf("%.1f", min(box[0]*w, w-14)), Y: fmt.Sprintf("%.1f", y),
		})
	}
	return p
}

// outline is the path of a box of fractions on a drawing.
func outline(box [4]float64, w, h float64) string {
	return fmt.Sprintf("M%.1f %.1fH%.1fV%.1fH%.1fZ", box[0]*w, box[1]*h, box[2]*w, box[3]*h, box[0]*w)
}
