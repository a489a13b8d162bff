package fetch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"image"
	"image/jpeg"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"pyrobundle/fetch/platform"
	"pyrobundle/store"
)

func TestWithinKeepsWholeFramesUpToTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		box, none := "[(0.1,0.2,0.3,0.4,0.5)]", "[]"
		l := &lister{
			rows:       map[int64]platform.Detection{},
			limit:      rapid.IntRange(0, 6).Draw(t, "limit"),
			descending: rapid.Bool().Draw(t, "descending"),
			ended:      rapid.Bool().Draw(t, "ended"),
		}
		boxed := map[string]bool{}
		for id := range int64(rapid.IntRange(0, 30).Draw(t, "rows")) {
			key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h"}).Draw(t, "key")
			bbox := &none
			if rapid.Bool().Draw(t, "box") {
				bbox, boxed[key] = &box, true
			}
			at := time.Unix(int64(rapid.IntRange(0, 10).Draw(t, "at")), 0)
			l.rows[id+1] = platform.Detection{Detection: store.Detection{
				ID: id + 1, BucketKey: key, BBox: bbox, CreatedAt: store.Time{Time: at},
			}}
		}
		kept := l.within()
		want := len(boxed)
		if l.limit > 0 {
			want = min(want, l.limit)
		}
		counted := map[string]bool{}
		for i, row := range kept.rows {
			if hasBox(row.Detection) {
				counted[row.BucketKey] = true
			}
			if i > 0 && compareDetections(kept.rows[i-1].Detection, row.Detection) >= 0 {
				t.Fatalf("rows are out of order at %d", i)
			}
		}
		if len(counted) != want {
			t.Fatalf("%d frames with boxes, want %d", len(counted), want)
		}
		ids := map[int64]bool{}
		for _, row := range kept.rows {
			ids[row.ID] = true
		}
		for id, row := range l.rows {
			if counted[row.BucketKey] && !ids[id] {
				t.Fatalf("row %d of frame %s was cut off", id, row.BucketKey)
			}
		}
		if kept.toEnd && (len(kept.rows) != len(l.rows) || !l.ended) {
			t.Fatal("it claims to be all and is not")
		}
	})
}

func TestCovers(t *testing.T) {
	for name, test := range map[string]struct {
		held  store.Coverage
		limit int
		order store.Order
		want  bool
	}{
		"the same":                        {store.Coverage{Limit: 30, Order: "asc"}, 30, "asc", true},
		"less":                            {store.Coverage{Limit: 30, Order: "asc"}, 10, "asc", true},
		"more":                            {store.Coverage{Limit: 30, Order: "asc"}, 40, "asc", false},
		"all where some are held":         {store.Coverage{Limit: 30, Order: "asc"}, 0, "asc", false},
		"some where all are held":         {store.Coverage{Limit: 0, Order: "asc"}, 30, "asc", true},
		"from the other end":              {store.Coverage{Limit: 30, Order: "asc"}, 30, "desc", false},
		"some from the other end of all":  {store.Coverage{Limit: 0, Order: "asc"}, 30, "desc", true},
		"anything where there is no more": {store.Coverage{Limit: 30, Order: "asc", Exhausted: true}, 0, "desc", true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := covers(test.held, test.limit, test.order); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestDownloadsLeaveRoomForWhatWaitsForTheDisk(t *testing.T) {
	for _, workers := range []int{1, 4, 16, 32, 64, 1000} {
		room := firstRoom(workers)
		if room < leastRoom || room > mostRoom || workers <= 32 && int64(workers)*room > bufferBytes/2 {
			t.Errorf("%d workers reserve %d bytes each", workers, room)
		}
	}
}

func TestE32_HeaderWithoutHeightOrWidthIsNoImage(t *testing.T) {
	var drawn bytes.Buffer
	if err := jpeg.Encode(&drawn, image.NewGray(image.Rect(0, 0, 16, 16)), nil); err != nil {
		t.Fatal(err)
	}
	frame := bytes.Index(drawn.Bytes(), []byte{0xff, 0xc0}) // then two bytes of length, one of precision, the height, the width
	for name, at := range map[string]int{"height": frame + 5, "width": frame + 7} {
		t.Run(name, func(t *testing.T) {
			data := bytes.Clone(drawn.Bytes())
			data[at], data[at+1] = 0, 0
			if _, err := checkImage("plain.jpg", store.NewContent(data)); err == nil {
				t.Errorf("taken without a %s", name)
			}
		})
	}
}

func TestDryRunRemembersImagesAndTakesNoneForAnother(t *testing.T) {
	f := newForeseen()
	for i := range 2 * foreseenSlots {
		if f.again(2, strconv.Itoa(i)) {
			t.Fatalf("image %d is taken for another", i)
		}
	}
	last := strconv.Itoa(2*foreseenSlots - 1)
	if !f.again(2, last) || f.again(3, last) {
		t.Error("an image is its organization's, and counted once")
	}
}

func TestUnloadableNamesTheLowestAndCountsAll(t *testing.T) {
	var list []Unloadable
	for id := int64(30); id > 0; id-- {
		list = JoinUnloadable(list, Unloadable{Reason: "no name", Sequences: 1, IDs: []int64{id}})
	}
	list = JoinUnloadable(list, Unloadable{Reason: "no place", Sequences: 1, IDs: []int64{99}})
	want := []Unloadable{
		{Reason: "no name", Sequences: 30, IDs: []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		{Reason: "no place", Sequences: 1, IDs: []int64{99}},
	}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func FuzzCheckImage(f *testing.F) {
	var drawn bytes.Buffer
	if err := jpeg.Encode(&drawn, image.NewGray(image.Rect(0, 0, 8, 8)), nil); err != nil {
		f.Fatal(err)
	}
	hash := sha256.Sum256(drawn.Bytes())
	f.Add("1-20260801080000-"+hex.EncodeToString(hash[:4])+".jpg", drawn.Bytes())
	f.Add("1-20260801080000-00000000.jpg", drawn.Bytes())
	f.Add("", []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff\xff\xff\xff\xff\xff\xff\xff\x08\x06\x00\x00\x00"))
	f.Add("x", []byte("\xff\xd8\xff\xe0\x00\x10JFIF"))
	f.Fuzz(func(t *testing.T, key string, data []byte) {
		format, err := checkImage(key, store.NewContent(data))
		var wrong *wrongImage
		if err != nil && (!errors.As(err, &wrong) || wrong.Error() == "") {
			t.Fatalf("an error of another kind: %v", err)
		}
		if err != nil {
			return
		}
		config, name, decodeErr := image.DecodeConfig(bytes.NewReader(data))
		if decodeErr != nil || config.Width*config.Height > maxPixels || (name == "jpeg") != (format == store.JPEG) {
			t.Fatalf("taken as %s: %s, %+v, %v", format, name, config, decodeErr)
		}
		sum := sha256.Sum256(data)
		if promised := keyHash(key); promised != "" && promised != hex.EncodeToString(sum[:4]) {
			t.Fatalf("taken under a key of another hash")
		}
	})
}
