package report

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"pyrobundle/annotate"
	"pyrobundle/store"
)

//go:embed page.html page.css
var files embed.FS

// page is the page's templates.
type page struct {
	templates *template.Template
	style     template.CSS
}

func newPage() (*page, error) {
	style, err := files.ReadFile("page.css")
	if err != nil {
		return nil, fmt.Errorf("read the page's style: %w", err)
	}
	templates, err := template.ParseFS(files, "page.html")
	if err != nil {
		return nil, fmt.Errorf("read the page's templates: %w", err)
	}
	return &page{templates: templates, style: template.CSS(style)}, nil
}

// head is everything above the sequences.
type head struct {
	Style      template.CSS
	Title      string
	Source     string
	Made       string
	Period     string
	Selection  []string // what restricts it
	Thresholds annotate.Thresholds
	Tiles      []tile
	Layout     string // m1 for one month, m2 for two or three: the calendar stands beside the cameras
	Months     []month
	MonthsLeft int
	DaysLost   int64
	Most       int64
	Cameras    []bar
	MoreBars   int
	Labels     []tile
	Attention  []attention
	More       int64
	Damaged    int64
	Missing    []missingRow
	MoreGaps   int
	Elsewhere  int
	ProblemsOf map[string]int64
}

type tile struct{ Value, Name, Class string }

type bar struct {
	Name      string
	Sequences int64
	Frames    string
	Percent   int
}

type missingRow struct {
	Class, What, Reason string
}

const (
	barsShown    = 24
	missingShown = 100
)

// head describes the selection.
func (s *survey) head(bundle Bundle, o Options) head {
	missing, elsewhere := s.missing(isEverything(o.Query))
	h := head{
		Title: shorten(filepath.Base(bundle.Path())), Source: shorten(bundle.Source().URL),
		Thresholds: o.Thresholds, Selection: selection(o.Query),
		DaysLost: s.calendar.lost, More: s.more, Damaged: s.damaged, Attention: s.attention, Elsewhere: elsewhere,
		ProblemsOf: map[string]int64{"failed": s.problems.counts[store.Failed], "incomplete": s.problems.counts[store.Incomplete]},
	}
	if !o.Made.IsZero() {
		h.Made = o.Made.UTC().Format("2 January 2006, 15:04 UTC")
	}
	if s.sequences > 0 {
		h.Period = between(s.first.Format("2 January 2006"), s.last.Format("2 January 2006"))
	}
	h.Tiles = s.tiles()
	for label, n := range s.labels {
		if n > 0 {
			h.Labels = append(h.Labels, tile{Value: thousands(n), Name: labelName(label)})
		}
	}
	h.Months, h.MonthsLeft = s.calendar.months()
	switch n := len(h.Months); {
	case n == 1:
		h.Layout = "m1"
	case n <= 3:
		h.Layout = "m2"
	}
	for _, day := range s.calendar.days {
		h.Most = max(h.Most, day.sequences)
	}
	h.Cameras, h.MoreBars = s.bars()
	for i, p := range missing {
		if i == missingShown {
			h.MoreGaps = len(missing) - i
			break
		}
		what := p.Kind + " " + p.ID
		if p.SequenceID != 0 && p.Kind != "sequence" {
			what += fmt.Sprintf(" of sequence %d", p.SequenceID)
		}
		h.Missing = append(h.Missing, missingRow{Class: string(p.Class), What: shorten(what), Reason: p.Reason})
	}
	h.MoreGaps += int(s.problems.left)
	return h
}

func (s *survey) tiles() []tile {
	tiles := []tile{
		{Value: thousands(s.sequences), Name: of(s.sequences, "sequence")},
		{Value: thousands(int64(len(s.cameras))), Name: of(int64(len(s.cameras)), "camera")},
		{Value: thousands(s.frames), Name: of(s.frames, "frame")},
		{Value: thousands(s.annotatable), Name: "would be annotated"},
		{Value: thousands(s.clusters), Name: of(s.clusters, "cluster")},
		{Value: thousands(s.several), Name: "with several clusters"},
	}
	if n := s.sequences - s.annotatable; n > 0 {
		tiles = append(tiles, tile{Value: thousands(n), Name: "without annotation", Class: "bad"})
	}
	if n := s.frames - s.pictures; n > 0 {
		tiles = append(tiles, tile{Value: thousands(n), Name: of(n, "frame") + " without image", Class: "bad"})
	}
	return tiles
}

// bars are the cameras with most sequences.
func (s *survey) bars() (bars []bar, more int) {
	cameras := make([]*cameraCount, 0, len(s.cameras))
	var most int64
	for _, camera := range s.cameras {
		cameras = append(cameras, camera)
		most = max(most, camera.sequences)
	}
	slices.SortFunc(cameras, func(a, b *cameraCount) int {
		if a.sequences != b.sequences {
			return int(b.sequences - a.sequences)
		}
		return int(a.id - b.id)
	})
	if more = max(len(cameras)-barsShown, 0); more > 0 {
		cameras = cameras[:barsShown]
	}
	for _, c := range cameras {
		bars = append(bars, bar{Name: c.name, Sequences: c.sequences, Frames: thousands(c.frames), Percent: max(share(c.sequences, most), 1)})
	}
	return bars, more
}

func isEverything(q store.Query) bool {
	return q.From == "" && q.To == "" && q.CameraID == 0 && q.OrganizationID == 0 && len(q.IDs) == 0
}

// selection says in words what restricts the page.
func selection(q store.Query) []string {
	var words []string
	if q.From != "" {
		words = append(words, "from "+string(q.From))
	}
	if q.To != "" {
		words = append(words, "to "+string(q.To))
	}
	if q.CameraID != 0 {
		words = append(words, fmt.Sprintf("camera %d", q.CameraID))
	}
	if q.OrganizationID != 0 {
		words = append(words, fmt.Sprintf("organization %d", q.OrganizationID))
	}
	switch n := len(q.IDs); {
	case n == 1:
		words = append(words, fmt.Sprintf("sequence %d", q.IDs[0]))
	case n > 0:
		words = append(words, fmt.Sprintf("%d named sequences", n))
	}
	return words
}

func (p *page) head(w io.Writer, h head) error {
	h.Style = p.style
	return p.execute(w, "head", h)
}

func (p *page) foot(w io.Writer, sequences int64) error { return p.execute(w, "foot", sequences) }

func (p *page) execute(w io.Writer, name string, data any) error {
	if err := p.templates.ExecuteTemplate(w, name, data); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// finished is a card ready to be written.
type finished struct {
	day   store.Day // empty: not known
	html  bytes.Buffer
	drawn drawn
	err   error
}

// writeCards draws the cards side by side and writes them in the order of their sequences, a day at a time.
func writeCards(ctx context.Context, w io.Writer, p *page, bundle Bundle, s *survey, o Options, result *Result) error {
	ctx, cancel := context.WithCancel(ctx)
	a := &artist{
		darkroom: newDarkroom(bundle), thresholds: o.Thresholds, ration: rationOf(s.sequences), problems: s.problems.ofSequence,
	}
	queue := make(chan chan *finished, o.Workers) // with those being drawn, all that is in memory
	var producer sync.WaitGroup
	producer.Go(func() {
		defer close(queue)
		var workers errgroup.Group
		workers.SetLimit(o.Workers)
		defer func() { _ = workers.Wait() }() // their errors go with the cards
		for record, err := range bundle.Sequences(ctx, o.Query) {
			slot := make(chan *finished, 1)
			select {
			case queue <- slot:
			case <-ctx.Done():
				return
			}
			if err != nil {
				slot <- p.unreadable(err)
				continue
			}
			workers.Go(func() error {
				slot <- p.card(ctx, a, record)
				return nil
			})
		}
	})
	defer func() {
		cancel()
		for slot := range queue { // lets the producer end
			<-slot
		}
		producer.Wait()
	}()

	var day store.Day
	for slot := range queue {
		f := <-slot
		if f.err != nil {
			return f.err
		}
		if f.day != day && f.day != "" {
			if err := p.newDay(w, day, f.day, s.calendar.days[f.day]); err != nil {
				return err
			}
			day = f.day
		}
		if _, err := w.Write(f.html.Bytes()); err != nil {
			return err
		}
		result.FramesShown += f.drawn.shown
		result.Damaged += f.drawn.damaged
		o.Progress("sequences", 1, 0)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if day != "" {
		return p.execute(w, "dayend", nil)
	}
	return nil
}

func (p *page) card(ctx context.Context, a *artist, record store.SequenceRecord) *finished {
	f := &finished{day: store.DayOf(record.Sequence.StartedAt.Time)}
	c, drawn, err := a.card(ctx, record)
	if f.drawn, f.err = drawn, err; err == nil {
		f.err = p.execute(&f.html, "card", c)
	}
	return f
}

// unreadable is the card of a sequence that the bundle cannot give. Damage concerns it alone; anything else ends the page.
func (p *page) unreadable(err error) *finished {
	f := &finished{}
	if !errors.Is(err, store.ErrCorrupt) {
		f.err = err
		return f
	}
	f.err = p.execute(&f.html, "unreadable", shorten(err.Error()))
	return f
}

func (p *page) newDay(w io.Writer, before, day store.Day, count *dayCount) error {
	if before != "" {
		if err := p.execute(w, "dayend", nil); err != nil {
			return err
		}
	}
	heading := struct{ Anchor, Title, Count string }{Anchor: dayAnchor(day), Title: day.Start().Format("Monday, 2 January 2006")}
	if count != nil {
		heading.Count = plural(int(count.sequences), "sequence")
	}
	return p.execute(w, "day", heading)
}
