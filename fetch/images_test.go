package fetch_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"pyrobundle/internal/httpapi"
	"pyrobundle/store"
)

func TestE15_ExpiredURLIsAskedForAgain(t *testing.T) {
	p := newFakePlatform(t)
	p.staleURLs = true
	p.sequence(41, 1, started(firstDay, 0), 3)
	b := newBundle(t, p)
	result := b.fetch(config())
	wantNoProblems(t, result)
	if result.Images.Downloaded != 3 || p.asked("/url") != 3 || p.asked("image ") != 6 {
		t.Errorf("images %+v, %d new URLs, %d downloads", result.Images, p.asked("/url"), p.asked("image "))
	}
}

func TestImageThatIsGoneMakesItsSequenceIncompleteNotAbsent(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 3)
	key := p.keys(41)[1]
	data := p.images[key]
	delete(p.images, key)
	b := newBundle(t, p)
	result := b.fetch(config())
	wantOneProblem(t, result, store.Incomplete, "image 41/"+key, "403")
	if result.Sequences.Successful != 1 || result.Images.Gone != 1 {
		t.Errorf("result %+v", result)
	}
	record := b.record(41)
	if frame := record.Frames[1]; !frame.Permanent || !frame.Image.IsZero() || frame.Problem == "" || !record.Coverage.Complete {
		t.Errorf("frame %+v, coverage %+v", frame, record.Coverage)
	}

	p.forgetRequests()
	wantOneProblem(t, b.fetch(config()), store.Incomplete, key)
	if n := p.asked("image ") + p.asked("/41"); n != 0 {
		t.Errorf("%d requests for what is gone", n)
	}
	p.images[key] = data
	cfg := config()
	cfg.RetryIncomplete = true
	wantNoProblems(t, b.fetch(cfg))
	if frame := b.record(41).Frames[1]; frame.Image.IsZero() {
		t.Errorf("frame %+v after --retry-incomplete", frame)
	}
}

func TestFailedImageIsRetriedWhateverDaysAreAskedFor(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 3)
	key := p.keys(41)[1]
	p.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, key) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	})
	b := newBundle(t, p)
	result := b.fetch(config())
	wantOneProblem(t, result, store.Failed, "image 41/"+key, "503")
	if result.Sequences.Failed != 1 || len(result.completed) != 0 || b.record(41).Coverage.Complete {
		t.Errorf("result %+v", result)
	}
	p.intercept(nil)
	p.forgetRequests()
	cfg := config()
	cfg.From, cfg.To = "2026-08-10", "2026-08-10"
	result = b.fetch(cfg)
	wantNoProblems(t, result)
	if !slices.Equal(result.completed, []int64{41}) || result.Images.Downloaded != 1 || p.asked("image ") != 1 {
		t.Errorf("result %+v", result)
	}
}

func TestE32_WhatIsNotTheImageIsNotTaken(t *testing.T) {
	var large bytes.Buffer
	if err := png.Encode(&large, image.NewGray(image.Rect(0, 0, 20000, 1))); err != nil {
		t.Fatal(err)
	}
	named := func(data []byte) string {
		hash := sha256.Sum256(data)
		return "1-20260801080000-" + hex.EncodeToString(hash[:4]) + ".png"
	}
	plain := "1-20260801080000.jpg" // a key without hash
	for name, test := range map[string]struct {
		key   string
		data  []byte
		class store.Class
		want  string
	}{
		"no bytes":                            {plain, nil, store.Failed, "0 bytes"},
		"a text":                              {plain, []byte("nothing to see"), store.Failed, "neither JPEG nor PNG"},
		"a text that is what was uploaded":    {named([]byte("not an image")), []byte("not an image"), store.Incomplete, "neither JPEG nor PNG"},
		"an HTML page":                        {plain, []byte("<!DOCTYPE html><html>portal</html>"), store.Failed, "HTML"},
		"another image than its key says":     {"1-20260801080000-00000000.jpg", picture(7), store.Incomplete, "its key says 00000000"},
		"a header without an image":           {plain, []byte("\xff\xd8\xff\xe0"), store.Failed, "cannot be decoded"},
		"an image of absurd size":             {named(large.Bytes()), large.Bytes(), store.Incomplete, "20000 by 1 pixels"},
		"an absurd image under a plain key":   {plain, large.Bytes(), store.Failed, "20000 by 1 pixels"},
		"a file larger than any frame may be": {plain, append(picture(1), make([]byte, 17<<20)...), store.Incomplete, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newFakePlatform(t)
			p.sequence(41, 1, started(firstDay, 0), 2)
			p.mu.Lock()
			p.row(41, started(firstDay, 10), test.key, "[(0.1,0.1,0.2,0.2,0.5)]")
			p.images[test.key] = test.data
			p.mu.Unlock()
			b := newBundle(t, p)
			wantOneProblem(t, b.fetch(config()), test.class, test.key, test.want)
			record := b.record(41)
			if frame := record.Frames[2]; !frame.Image.IsZero() || frame.Permanent != (test.class == store.Incomplete) {
				t.Errorf("frame %+v", frame)
			}
			if record.Frames[0].Image.IsZero() || record.Frames[1].Image.IsZero() {
				t.Error("the other frames went with it")
			}
			b.intact()
		})
	}
}

func TestWrongBytesOnceAreAnAccident(t *testing.T) {
	for name, wrong := range map[string]func(w http.ResponseWriter, data []byte){
		"a flipped byte": func(w http.ResponseWriter, data []byte) {
			data[len(data)-1] ^= 1
			_, _ = w.Write(data)
		},
		"a connection that breaks": func(w http.ResponseWriter, data []byte) {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data[:len(data)/2])
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newFakePlatform(t)
			p.sequence(41, 1, started(firstDay, 0), 1)
			var once atomic.Bool
			p.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(r.URL.Path, "/bucket-2/") || once.Swap(true) {
					return false
				}
				wrong(w, slices.Clone(p.images[p.keys(41)[0]]))
				return true
			})
			b := newBundle(t, p)
			wantNoProblems(t, b.fetch(config()))
			b.intact()
		})
	}
}

// TestGatewaysNotFoundDoesNotMakeAnImageGone: a gateway that has lost what is behind it answers 404 for everything, for a while.
func TestGatewaysNotFoundDoesNotMakeAnImageGone(t *testing.T) {
	const page = "<html><head><title>404 Not Found</title></head><body><center><h1>404 Not Found</h1></center></body></html>"
	for name, test := range map[string]struct {
		at   func(p *fakePlatform, path string) bool
		want string
	}{
		"of the storage": {func(_ *fakePlatform, path string) bool { return strings.HasPrefix(path, "/bucket-2/") }, "404"},
		"of the API, where the URL has expired": {func(p *fakePlatform, path string) bool {
			p.staleURLs = true
			return strings.HasSuffix(path, "/url")
		}, "image URL"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newFakePlatform(t)
			p.sequence(41, 1, started(firstDay, 0), 1)
			p.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if !test.at(p, r.URL.Path) {
					return false
				}
				w.WriteHeader(http.StatusNotFound)
				_, _ = w.Write([]byte(page))
				return true
			})
			b := newBundle(t, p)
			result := b.fetch(config())
			wantOneProblem(t, result, store.Failed, "image 41/", test.want)
			if result.Images.Gone != 0 || b.record(41).Frames[0].Permanent {
				t.Errorf("images %+v", result.Images)
			}
			p.intercept(nil)
			wantNoProblems(t, b.fetch(config()))
			b.intact()
		})
	}
}

// TestGatewaysNotFoundDoesNotMakeASequenceGone, neither one that is listed nor one that is asked for.
func TestGatewaysNotFoundDoesNotMakeASequenceGone(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 1)
	p.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/sequences/41") {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte("default backend - 404"))
			return true
		}
		return false
	})
	b := newBundle(t, p)
	wantOneProblem(t, b.fetch(config()), store.Failed, "sequence 41", "404")
	cfg := config()
	cfg.From, cfg.To = "", ""
	wantOneProblem(t, b.fetch(cfg), store.Failed, "sequence 41", "404")
	p.intercept(nil)
	wantNoProblems(t, b.fetch(cfg))
}

// TestOneAnswerThatIsTooLargeIsAnAccident: what is behind a fresh URL is the image.
func TestOneAnswerThatIsTooLargeIsAnAccident(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 1)
	var first sync.Map // the URL that leads to what is too large
	p.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/bucket-2/") {
			return false
		}
		if signature, _ := first.LoadOrStore("", r.FormValue("X-Amz-Signature")); signature != r.FormValue("X-Amz-Signature") {
			return false
		}
		_, _ = w.Write(make([]byte, 17<<20))
		return true
	})
	b := newBundle(t, p)
	wantNoProblems(t, b.fetch(config()))
	if n := p.asked("/url"); n != 1 {
		t.Errorf("%d new URLs, want 1", n)
	}
	b.intact()
}

// TestStorageOfTooLargeAnswersIsNotAskedTwiceForAll: who sends bombs is not to cost twice as much.
func TestStorageOfTooLargeAnswersIsNotAskedTwiceForAll(t *testing.T) {
	const looks = 16
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), looks+8)
	p.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/bucket-2/") {
			w.Header().Set("Content-Length", fmt.Sprint(17<<20)) // which is not read
			return true
		}
		return false
	})
	b := newBundle(t, p)
	cfg := config()
	cfg.Limit = 0
	images := b.fetch(cfg).Images
	if images.Gone != looks || images.Failed != 8 || p.asked("/url") != looks {
		t.Errorf("images %+v, %d new URLs", images, p.asked("/url"))
	}
	if images := b.fetch(cfg).Images; images.Gone != looks+8 || images.Failed != 0 {
		t.Errorf("the next run: %+v", images)
	}
}

func TestPNGAndLargeImagesAreTaken(t *testing.T) {
	var drawn bytes.Buffer
	if err := png.Encode(&drawn, image.NewGray(image.Rect(0, 0, 64, 64))); err != nil {
		t.Fatal(err)
	}
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 0)
	p.mu.Lock()
	p.row(41, started(firstDay, 0), "a.png", "[(0.1,0.1,0.2,0.2,0.5)]")
	p.images["a.png"] = drawn.Bytes()
	p.row(41, started(firstDay, 1), "b.jpg", "[(0.1,0.1,0.2,0.2,0.5)]")
	p.images["b.jpg"] = append(picture(1), make([]byte, 5<<20)...) // more than what a download reserves at first
	p.mu.Unlock()
	b := newBundle(t, p)
	wantNoProblems(t, b.fetch(config()))
	b.intact()
	record := b.record(41)
	b.read(func(opened *store.Bundle) {
		for i, want := range []store.Format{store.PNG, store.JPEG} {
			image, err := opened.StatImage(t.Context(), record.Frames[i].Image)
			if err != nil || image.Format != want {
				t.Errorf("image %d: %+v, %v", i, image, err)
			}
		}
	})
}

func TestImageThatSequencesShareIsDownloadedOnce(t *testing.T) {
	p := newFakePlatform(t)
	for id := int64(41); id < 49; id++ {
		p.sequence(id, 1, started(firstDay, 0), 0)
		p.mu.Lock()
		p.row(id, started(firstDay, 0), "shared.jpg", "[(0.1,0.1,0.2,0.2,0.5)]")
		p.mu.Unlock()
	}
	p.images["shared.jpg"] = picture(1)
	var meet sync.WaitGroup // the download waits until several sequences want it
	meet.Add(2)
	var listings atomic.Int64
	p.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/detections") && listings.Add(1) <= 2 {
			meet.Done()
		}
		if strings.HasSuffix(r.URL.Path, "shared.jpg") {
			meet.Wait()
		}
		return false
	})
	b := newBundle(t, p)
	result := b.fetch(config())
	wantNoProblems(t, result)
	if n := p.asked("image shared.jpg"); n != 1 || result.Images.Downloaded != 1 || result.Images.Reused != 7 {
		t.Errorf("%d downloads, %+v", n, result.Images)
	}
}

// Two sequences share an image, and the one that downloads it for both meets a refused account at another of its images.
func TestSharedDownloadThatIsCutShortDoesNotHideWhyTheRunEnds(t *testing.T) {
	const box = "[(0.1,0.1,0.2,0.2,0.5)]"
	for range 10 {
		p := newFakePlatform(t)
		p.sequence(41, 1, started(firstDay, 1), 0)
		p.sequence(42, 1, started(firstDay, 0), 0)
		p.mu.Lock()
		p.row(41, started(firstDay, 1), "shared.jpg", box)
		p.row(41, started(firstDay, 2), "refused.jpg", box)
		p.row(42, started(firstDay, 1), "shared.jpg", box)
		p.mu.Unlock()
		loading, waiting := make(chan struct{}), make(chan struct{})
		var begun sync.Once
		p.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case strings.HasSuffix(r.URL.Path, "/42/detections"):
				<-loading // 41 downloads the shared image first
				time.AfterFunc(30*time.Millisecond, func() { close(waiting) })
			case strings.HasSuffix(r.URL.Path, "shared.jpg"):
				begun.Do(func() { close(loading) })
				<-r.Context().Done()
				return true
			case strings.HasSuffix(r.URL.Path, "refused.jpg"):
				<-waiting // and 42 waits for it too, in all likelihood
				w.WriteHeader(http.StatusForbidden)
				return true
			case strings.HasSuffix(r.URL.Path, "/url"):
				detail(w, http.StatusUnauthorized, "Token has expired.")
				return true
			}
			return false
		})
		b := newBundle(t, p)
		if _, err := b.try(t.Context(), config()); !errors.Is(err, httpapi.ErrUnauthorized) {
			t.Fatalf("got %v, want ErrUnauthorized", err)
		}
	}
}

func TestDownloadsKeepToTheLimitOfTheirRate(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 1, started(firstDay, 0), 0)
	p.mu.Lock()
	for i := range 4 {
		key := p.row(41, started(firstDay, i), fmt.Sprintf("%d.jpg", i), "[(0.1,0.1,0.2,0.2,0.5)]")
		p.images[key] = append(picture(int64(i)), make([]byte, 50_000)...)
	}
	p.mu.Unlock()
	const perSecond, burst = 400_000, 64 << 10 // bytes
	p.rate = rate.NewLimiter(perSecond, burst)
	b := newBundle(t, p)
	began := time.Now()
	result := b.fetch(config())
	wantNoProblems(t, result)
	least := time.Duration(float64(result.Images.Bytes-burst) / perSecond * float64(time.Second))
	if took := time.Since(began); result.Images.Bytes < 200_000 || took < least {
		t.Errorf("%d bytes in %v, want at least %v", result.Images.Bytes, took, least)
	}
}

func TestDeadImageHostEndsTheRunBeforeItFillsTheReport(t *testing.T) {
	p := newFakePlatform(t)
	for i := range 10 {
		p.sequence(int64(41+i), 1, started(firstDay, i), 30)
	}
	p.storage.CloseClientConnections()
	p.storage.Close()
	b := newBundle(t, p)
	began := time.Now()
	result, err := b.try(t.Context(), config())
	if err == nil {
		t.Fatal("a run without any image ended well")
	}
	if len(result.Problems) > 64 {
		t.Errorf("%d problems for one dead host", len(result.Problems))
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	b.intact()
}

func TestImagesKeptUnderNoOrganizationAreFoundAgainWhenTheCameraIsKnown(t *testing.T) {
	p := newFakePlatform(t)
	p.sequence(41, 7, started(firstDay, 0), 2)
	b := newBundle(t, p)
	result := b.fetch(config())
	if len(result.Unloadable) != 1 || !strings.Contains(result.Unloadable[0].Reason, "camera 7") {
		t.Errorf("unloadable %v", result.Unloadable)
	}
	p.camera(7, 2)
	p.grow(41, started(firstDay, 10))
	result = b.fetch(config())
	wantNoProblems(t, result)
	if result.Images.Downloaded != 1 || len(result.Unloadable) != 0 {
		t.Errorf("result %+v", result)
	}
	b.read(func(opened *store.Bundle) {
		for _, key := range p.keys(41) {
			if _, err := opened.ImageOf(t.Context(), 2, key); err != nil {
				t.Error(err)
			}
		}
	})
	b.intact()
}
