package store

import (
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestEveryRequestOfALongQueueIsAnswered: the owner once took one request more off the channel than it served, whenever the
// queue did not run empty for a whole batch, and its caller waited for ever.
func TestEveryRequestOfALongQueueIsAnswered(t *testing.T) {
	w := openWriterForTest(t, filepath.Join(t.TempDir(), "long.bundle"), WriteOptions{})
	image := []byte("the same image again and again keeps the owner quick")
	const callers = 8 * batchRequests // so many wait at once that the queue stays full
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		var group sync.WaitGroup
		for range callers {
			group.Go(func() {
				for range 2 {
					if _, err := w.PutImage(t.Context(), 1, "1-20260801100000-0a1b2c3d.jpg", JPEG, image); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		group.Wait()
	}()
	select {
	case <-answered:
	case <-time.After(5 * time.Minute): // no bound on how quick it is
		t.Fatal("requests are left without an answer")
	}
}
