package report

import (
	"context"
	"fmt"
	"html/template"
	"image"
	"math"
	"slices"
	"time"

	"pyrobundle/store"
)

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
