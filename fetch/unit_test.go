package fetch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"image"
	"image/jpeg"
	"testing"
	"time"

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
		"anything where there is no more": {store.Coverage{Limit: 30, Order: "asc", Exhausted: true}, 0, "desc", true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := covers(test.held, test.limit, test.order); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestSameDocument(t *testing.T) {
	for name, test := range map[string]struct {
		held, listed string
		want         bool
	}{
		"equal":                          {`{"id":1,"a":1.50}`, `{"id":1,"a":1.50}`, true},
		"other order and blanks":         {`{"id":1,"a":1.5}`, `{ "a": 1.5, "id": 1 }`, true},
		"another value":                  {`{"id":1,"a":1.5}`, `{"id":1,"a":1.6}`, false},
		"another spelling of a number":   {`{"id":1,"a":1.5}`, `{"id":1,"a":1.50}`, false},
		"a field less":                   {`{"id":1,"a":1.5}`, `{"id":1}`, false},
		"a field more":                   {`{"id":1}`, `{"id":1,"temporal_model_score":null}`, false},
		"a presigned URL":                {`{"id":1}`, `{"id":1,"url":"https://s/x?X-Amz-Signature=1"}`, true},
		"an object, which is not stored": {`{"id":1}`, `{"id":1,"extra":{"a":1}}`, true},
		"a token by its name":            {`{"id":1}`, `{"id":1,"access_token":"x"}`, true},
		"not JSON":                       {`{"id":1}`, `{"id":`, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := sameDocument(json.RawMessage(test.held), json.RawMessage(test.listed)); got != test.want {
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

func FuzzSameDocument(f *testing.F) {
	f.Add([]byte(`{"id":1,"a":"x"}`), []byte(`{"id":1,"a":"x","url":""}`))
	f.Add([]byte(`{"id":1}`), []byte(`{"id":1,"b":}`))
	f.Fuzz(func(t *testing.T, held, listed []byte) {
		if sameDocument(held, listed) && json.Valid(listed) && !json.Valid(held) {
			t.Fatal("something that is no document is said to be one")
		}
	})
}
