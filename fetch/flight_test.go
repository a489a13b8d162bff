package fetch

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/jpeg"
	"path/filepath"
	"testing"
	"testing/synctest"

	"pyrobundle/store"
)

// stuckOnce is a platform whose storage does not answer the first download of an image.
type stuckOnce struct {
	Source
	image []byte
	asked int
}

func (s *stuckOnce) Image(ctx context.Context, _ string, _ int64) ([]byte, error) {
	if s.asked++; s.asked == 1 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return bytes.Clone(s.image), nil
}

func (*stuckOnce) Recycle([]byte) {}

// Two sequences wait for one download. That the one which began it is ended concerns the other no more than that it has to
// begin anew.
func TestSharedDownloadOutlivesTheSequenceThatBeganIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var drawn bytes.Buffer
		if err := jpeg.Encode(&drawn, image.NewGray(image.Rect(0, 0, 8, 8)), nil); err != nil {
			t.Fatal(err)
		}
		dst, err := store.OpenWriter(t.Context(), filepath.Join(t.TempDir(), "b.bundle"), store.WriteOptions{Source: store.Source{URL: "http://p"}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := dst.Close(); err != nil {
				t.Error(err)
			}
		}()
		src := &stuckOnce{image: drawn.Bytes()}
		r, err := newRun(src, dst, Config{})
		if err != nil {
			t.Fatal(err)
		}
		type outcome struct {
			frame store.Frame
			err   error
		}
		begin := func(ctx context.Context) <-chan outcome {
			done := make(chan outcome, 1)
			go func() {
				d := &draft{listed: true, urls: map[int64]string{1: "http://s/x"}}
				frame, _, err := r.frame(ctx, d, store.Frame{Key: "shared.jpg"}, []int64{1})
				done <- outcome{frame, err}
			}()
			synctest.Wait() // it hangs in its download, or waits for the other's
			return done
		}
		ctx, end := context.WithCancel(t.Context())
		first, second := begin(ctx), begin(t.Context())
		end()
		if got := <-first; !errors.Is(got.err, context.Canceled) {
			t.Errorf("the sequence that was ended: %+v, want context.Canceled", got)
		}
		if got := <-second; got.err != nil || got.frame.Image.IsZero() || src.asked != 2 {
			t.Errorf("the other: %+v after %d downloads, want its image after 2", got, src.asked)
		}
	})
}
