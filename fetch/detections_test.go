package fetch_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pyrobundle/fetch"
	"pyrobundle/store"
)

func limited(limit int, order store.Order) fetch.Config {
	cfg := config()
	cfg.Limit, cfg.Order = limit, order
	return cfg
}

func TestE6_LongSequenceIsListedToItsEnd(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 250)
	b := newBundle(t, p)
	result := b.fetch(limited(0, store.Ascending))
	wantNoProblems(t, result)
	if got, want := frameKeys(b.record(41)), p.keys(41); !slices.Equal(got, want) {
		t.Errorf("%d frames, want %d", len(got), len(want))
	}
	if c := b.record(41).Coverage; !c.Exhausted || !c.Complete {
		t.Errorf("coverage %+v", c)
	}
}

func TestLimitCountsFramesFromTheEndAskedFor(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 150)
	keys := p.keys(41)
	for name, test := range map[string]struct {
		limit     int
		order     store.Order
		want      []string
		exhausted bool
	}{
		"the first ten":                 {10, store.Ascending, keys[:10], false},
		"the last ten":                  {10, store.Descending, keys[140:], false},
		"the first 120, over two pages": {120, store.Ascending, keys[:120], false},
		"the last 120, over two pages":  {120, store.Descending, keys[30:], false},
		"exactly all":                   {150, store.Ascending, keys, true},
		"more than there are":           {200, store.Descending, keys, true},
		"all":                           {0, store.Descending, keys, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBundle(t, p)
			result := b.fetch(limited(test.limit, test.order))
			wantNoProblems(t, result)
			record := b.record(41)
			if got := frameKeys(record); !slices.Equal(got, test.want) {
				t.Errorf("frames %v\nwant %v", got, test.want)
			}
			if record.Coverage.Exhausted != test.exhausted || !record.Coverage.Complete {
				t.Errorf("coverage %+v", record.Coverage)
			}
		})
	}
}

func TestE7_AllRowsOfAFrameAreKeptAndCountOnce(t *testing.T) {
	p := newFakePlatform(t)
	at := started(firstDay, 0)
	p.sequence(41, 1, at, 0)
	p.mu.Lock()
	for i := range 5 {
		t := at.Add(time.Duration(i) * time.Minute)
		key := p.row(41, t, "", "[(0.1,0.1,0.2,0.2,0.5)]")
		for range 14 { // more siblings than any margin
			p.row(41, t, key, "[(0.3,0.3,0.4,0.4,0.6)]")
		}
	}
	p.mu.Unlock()
	b := newBundle(t, p)
	b.fetch(limited(3, store.Ascending))
	record := b.record(41)
	if len(record.Frames) != 3 || len(record.Detections) != 45 {
		t.Errorf("%d frames and %d rows, want 3 and 45", len(record.Frames), len(record.Detections))
	}
}

func TestE36_ContinuityRowsAreKeptAndDoNotCount(t *testing.T) {
	p := newFakePlatform(t)
	at := started(firstDay, 0)
	p.sequence(41, 1, at, 0)
	p.mu.Lock()
	for i := range 12 { // every third frame has a box
		bbox := "[]"
		if i%3 == 0 {
			bbox = "[(0.1,0.1,0.2,0.2,0.5)]"
		}
		p.row(41, at.Add(time.Duration(i)*time.Minute), "", bbox)
	}
	p.mu.Unlock()
	keys := p.keys(41)
	for _, test := range []struct {
		limit int
		order store.Order
		want  []string
	}{
		{2, store.Ascending, keys[:6]}, // frames 0 and 3, and the rows up to the next frame with boxes
		{2, store.Descending, keys[4:]},
		{4, store.Ascending, keys}, // met, and the listing ends: nothing is cut off
		{30, store.Ascending, keys},
	} {
		t.Run(fmt.Sprint(test.limit, test.order), func(t *testing.T) {
			b := newBundle(t, p)
			wantNoProblems(t, b.fetch(limited(test.limit, test.order)))
			if got := frameKeys(b.record(41)); !slices.Equal(got, test.want) {
				t.Errorf("frames %v\nwant %v", got, test.want)
			}
		})
	}
}

func TestWiderLimitFetchesTheRestAndNarrowerOneRemovesNothing(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 40)
	b := newBundle(t, p)
	b.fetch(limited(10, store.Ascending))
	result := b.fetch(limited(25, store.Ascending))
	if result.Images.Downloaded != 15 || result.Images.Reused != 10 || result.Sequences.Updated != 1 {
		t.Errorf("wider: %+v", result)
	}
	p.forgetRequests()
	result = b.fetch(limited(10, store.Ascending))
	if result.Sequences.Unchanged != 1 || p.asked("/detections") != 0 || len(b.record(41).Frames) != 25 {
		t.Errorf("narrower: %+v", result)
	}
	p.set(41, "last_seen_at", wire(started(firstDay, 59)))
	b.fetch(limited(10, store.Ascending))
	if c := b.record(41).Coverage; c.Limit != 25 || len(b.record(41).Frames) != 25 {
		t.Errorf("narrower after a change: %+v", c)
	}
	result = b.fetch(limited(5, store.Descending))
	if got := len(b.record(41).Frames); got != 30 || result.Images.Downloaded != 5 {
		t.Errorf("from the other end: %d frames, %+v", got, result.Images)
	}
}

func TestOtherEndOfAGrownSequenceIsNotTakenForAllOfIt(t *testing.T) {
	for name, first := range map[string]fetch.Config{
		"all of it held":             limited(0, store.Ascending),
		"more held than there were":  limited(60, store.Ascending),
		"all of it held, newest on":  limited(0, store.Descending),
		"the first ones of it held":  limited(20, store.Ascending),
		"the latest ones of it held": limited(20, store.Descending),
	} {
		t.Run(name, func(t *testing.T) {
			p := newFakePlatform(t)
			p.sequence(41, 1, started(firstDay, 0), 40)
			b := newBundle(t, p)
			b.fetch(first)
			for i := range 50 {
				p.grow(41, started(firstDay, 60+i))
			}
			for _, order := range []store.Order{store.Descending, store.Ascending} {
				wantNoProblems(t, b.fetch(limited(10, order)))
			}
			wantNoProblems(t, b.fetch(limited(0, store.Ascending)))
			if n := len(b.record(41).Frames); n != 90 {
				t.Errorf("%d of 90 frames after a fetch of everything; coverage %+v", n, b.record(41).Coverage)
			}
		})
	}
}

func TestWhatWasFetchedWholeStaysWholeAsItGrows(t *testing.T) {
	for _, order := range []store.Order{store.Ascending, store.Descending} {
		t.Run(string(order), func(t *testing.T) {
			p := newFakePlatform(t)
			p.sequence(41, 1, started(firstDay, 0), 40)
			b := newBundle(t, p)
			b.fetch(limited(0, store.Ascending))
			for i := range 20 {
				p.grow(41, started(firstDay, 60+i))
			}
			wantNoProblems(t, b.fetch(limited(5, order)))
			if c := b.record(41).Coverage; len(b.record(41).Frames) != 60 || c.Limit != 0 || !c.Exhausted {
				t.Errorf("%d frames; coverage %+v", len(b.record(41).Frames), c)
			}
		})
	}
}

func TestRerunFromTheOtherEndHasNothingToAsk(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 40)
	b := newBundle(t, p)
	b.fetch(limited(25, store.Ascending))
	b.fetch(limited(5, store.Descending))
	p.forgetRequests()
	if result := b.fetch(limited(5, store.Descending)); p.asked("/detections") != 0 || result.Sequences.Unchanged != 1 {
		t.Errorf("%d listings in a rerun with nothing new; coverage %+v", p.asked("/detections"), b.record(41).Coverage)
	}
}

func TestTiesInTimeLoseNoRow(t *testing.T) {
	p := newFakePlatform(t)
	at := started(firstDay, 0)
	p.sequence(41, 1, at, 0)
	p.mu.Lock()
	for i := range 230 { // groups of 7 rows received in the same microsecond, across the pages' ends
		p.row(41, at.Add(time.Duration(i/7)*time.Second), "", "[(0.1,0.1,0.2,0.2,0.5)]")
	}
	p.mu.Unlock()
	var turn atomic.Int64
	p.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/detections") { // a database gives ties in any order
			p.mu.Lock()
			slices.Reverse(p.detections[41])
			p.mu.Unlock()
			turn.Add(1)
		}
		return false
	})
	b := newBundle(t, p)
	result := b.fetch(limited(0, store.Ascending))
	wantNoProblems(t, result)
	if got := len(b.record(41).Detections); got != 230 {
		t.Errorf("%d rows, want 230", got)
	}
	if n := turn.Load(); n != 3 {
		t.Errorf("%d pages asked for, want 3: ties are no change", n)
	}
}

func TestPagesThatShiftWhileTheyAreReadLoseNoRow(t *testing.T) {
	for name, change := range map[string]func(p *fakePlatform){
		"rows come at the front": func(p *fakePlatform) {
			at := started(firstDay, -60)
			for i := range 3 {
				p.row(41, at.Add(time.Duration(i)*time.Second), "", "[(0.1,0.1,0.2,0.2,0.5)]")
			}
		},
		"rows go from the front": func(p *fakePlatform) {
			p.detections[41] = p.detections[41][5:]
			p.find(41)["detections_count"] = len(p.detections[41])
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newFakePlatform(t)
			p.sequence(41, 1, started(firstDay, 0), 230)
			var pages atomic.Int64
			p.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
				if strings.HasSuffix(r.URL.Path, "/detections") && pages.Add(1) == 2 {
					p.mu.Lock()
					defer p.mu.Unlock()
					change(p)
				}
				return false
			})
			b := newBundle(t, p)
			b.fetch(limited(0, store.Ascending))
			b.fetch(limited(0, store.Ascending)) // the document that was listed first had another count
			held := frameKeys(b.record(41))
			for _, key := range p.keys(41) {
				if !slices.Contains(held, key) {
					t.Errorf("frame %s is missing", key)
				}
			}
		})
	}
}

func TestServerWithoutOffsetShowsBothEnds(t *testing.T) {
	for _, test := range []struct {
		rows, want int
		incomplete bool
	}{
		{100, 100, false},
		{150, 150, false}, // the two ends overlap
		{200, 200, false}, // they touch, and the count says so
		{250, 200, true},
	} {
		t.Run(fmt.Sprint(test.rows), func(t *testing.T) {
			p := newFakePlatform(t)
			p.noOffset = true
			p.sequence(41, 1, started(firstDay, 0), test.rows)
			b := newBundle(t, p)
			result := b.fetch(limited(0, store.Ascending))
			record := b.record(41)
			if len(record.Frames) != test.want {
				t.Errorf("%d frames, want %d", len(record.Frames), test.want)
			}
			if !test.incomplete {
				wantNoProblems(t, result)
				return
			}
			wantOneProblem(t, result, store.Incomplete, "sequence 41", "200 of 250")
			if record.Coverage.Complete || record.Coverage.Exhausted {
				t.Errorf("coverage %+v", record.Coverage)
			}
			p.forgetRequests()
			result = b.fetch(limited(0, store.Ascending))
			wantOneProblem(t, result, store.Incomplete, "sequence 41")
			if n := p.asked("/detections"); n != 0 {
				t.Errorf("%d listings though nothing more can be had", n)
			}
			p.noOffset = false // the server was updated
			cfg := limited(0, store.Ascending)
			cfg.RetryIncomplete = true
			result = b.fetch(cfg)
			wantNoProblems(t, result)
			if got := len(b.record(41).Frames); got != 250 {
				t.Errorf("%d frames after --retry-incomplete, want 250", got)
			}
		})
	}
}

func TestServerWithoutOffsetIsNoObstacleToALimit(t *testing.T) {
	p := newFakePlatform(t)
	p.noOffset = true
	p.sequence(41, 1, started(firstDay, 0), 250)
	b := newBundle(t, p)
	wantNoProblems(t, b.fetch(limited(30, store.Ascending)))
	if got, want := frameKeys(b.record(41)), p.keys(41)[:30]; !slices.Equal(got, want) {
		t.Errorf("frames %v", got)
	}
}

// The frames that fill up a limit from behind a gap are not the ones that it asks for.
func TestServerWithoutOffsetThatHidesPartOfTheLimitIsIncomplete(t *testing.T) {
	boxes := func(p *fakePlatform, frames, each int) {
		p.sequence(41, 1, started(firstDay, 0), 0)
		p.mu.Lock()
		defer p.mu.Unlock()
		for i := range frames {
			at := started(firstDay, 0).Add(time.Duration(i) * 30 * time.Second)
			key := p.row(41, at, "", "[(0.1,0.1,0.2,0.2,0.5)]")
			for range each - 1 {
				p.row(41, at, key, "[(0.3,0.3,0.4,0.4,0.6)]")
			}
		}
	}
	for name, test := range map[string]struct {
		limit int
		order store.Order
		build func(p *fakePlatform)
		want  []string
	}{
		"more frames than a page": {120, store.Ascending, func(p *fakePlatform) { boxes(p, 250, 1) }, []string{"200 of 250"}},
		"from the other end":      {120, store.Descending, func(p *fakePlatform) { boxes(p, 250, 1) }, []string{"200 of 250"}},
		"several rows each frame": {30, store.Ascending, func(p *fakePlatform) { boxes(p, 60, 5) }, []string{"200 of 300"}},
		"a first page cut short by an image that is gone": {30, store.Ascending, func(p *fakePlatform) {
			boxes(p, 130, 1)
			p.checksImages = true
			delete(p.images, p.keys(41)[17])
		}, []string{"117 of 130"}},
		"a row that cannot be read, in each page": {0, store.Ascending, func(p *fakePlatform) {
			boxes(p, 250, 1)
			p.detections[41][3]["created_at"], p.detections[41][240]["created_at"] = "0soon", "later"
		}, []string{"198 of 250", "2 detections cannot be read"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newFakePlatform(t)
			p.noOffset = true
			test.build(p)
			b := newBundle(t, p)
			wantOneProblem(t, b.fetch(limited(test.limit, test.order)), store.Incomplete, append(test.want, "sequence 41")...)
			if c := b.record(41).Coverage; c.Complete || c.Exhausted {
				t.Errorf("coverage %+v", c)
			}
		})
	}
}

func TestServerWithoutOffsetIsRecognisedThoughARowCameMeanwhile(t *testing.T) {
	p := newFakePlatform(t)
	p.noOffset = true
	p.sequence(41, 1, started(firstDay, 0), 150)
	var listings atomic.Int64
	p.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/detections") && listings.Add(1) == 2 {
			p.grow(41, started(firstDay, 600))
		}
		return false
	})
	b := newBundle(t, p)
	wantNoProblems(t, b.fetch(limited(140, store.Descending)))
	if n := listings.Load(); n != 5 { // three pages until two are the same, then one from either end
		t.Errorf("%d listings, want 5", n)
	}
}

func TestListingRefusedForOneImageIsReadInSmallerPages(t *testing.T) {
	for _, noOffset := range []bool{false, true} {
		t.Run(fmt.Sprint("without offset: ", noOffset), func(t *testing.T) {
			p := newFakePlatform(t)
			p.checksImages, p.noOffset = true, noOffset
			p.sequence(41, 1, started(firstDay, 0), 130)
			keys := p.keys(41)
			delete(p.images, keys[17])
			b := newBundle(t, p)
			result := b.fetch(limited(0, store.Ascending))
			wantOneProblem(t, result, store.Incomplete, "sequence 41")
			got := frameKeys(b.record(41))
			want := slices.Delete(slices.Clone(keys), 17, 18)
			if noOffset {
				want = slices.Concat(keys[:17], keys[30:]) // a hundred from the other end
			}
			if !slices.Equal(got, want) {
				t.Errorf("%d frames, want %d: %v", len(got), len(want), got)
			}
		})
	}
}

func TestSequenceGoneWhileItIsFetchedIsNoFailure(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 3)
	p.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/detections") {
			p.remove(41)
		}
		return false
	})
	b := newBundle(t, p)
	wantOneProblem(t, b.fetch(config()), store.Incomplete, "sequence 41", "gone")
}

// Each row of a page that is refused costs a request, so that somebody has to ask whether there still are any.
func TestSequenceGoneWhileItsPagesAreHalvedIsSoonKnownToBeGone(t *testing.T) {
	for name, noOffset := range map[string]bool{"with offset": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			p := newFakePlatform(t)
			p.checksImages, p.noOffset = true, noOffset
			p.sequence(41, 1, started(firstDay, 0), 130)
			delete(p.images, p.keys(41)[17])
			var listings atomic.Int64
			p.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/detections") {
					return false
				}
				switch listings.Add(1) {
				case 3:
					p.remove(41)
				case 1000:
					t.Error("a thousand listings of a sequence of 130 rows")
				}
				return false
			})
			b := newBundle(t, p)
			wantOneProblem(t, b.fetch(config()), store.Incomplete, "sequence 41", "gone from the platform")
		})
	}
}
