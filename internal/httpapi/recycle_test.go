package httpapi

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
)

// TestRecycledBodiesHoldOnlyTheirAnswer: whatever was in the memory before, and however much of it, a body is what was sent.
func TestRecycledBodiesHoldOnlyTheirAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size, err := strconv.Atoi(r.URL.Path[1:])
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Length", strconv.Itoa(size))
		_, _ = w.Write(bytes.Repeat([]byte{byte(size)}, size))
	}))
	defer server.Close()
	c := New(Config{BaseURL: server.URL})
	defer c.Close()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for _, size := range []int{0, 100, recycledSize - 1, recycledSize, 250_000, 249_999, 130_000, 250_001, 900_001, 250_002} {
				limit := int64(max(size, 1))
				body, _, err := c.Bytes(t.Context(), Request{Path: server.URL + "/" + strconv.Itoa(size), NoAuth: true, MaxBytes: limit})
				if err != nil {
					t.Error(err)
					return
				}
				if !bytes.Equal(body, bytes.Repeat([]byte{byte(size)}, size)) {
					t.Errorf("%d bytes: the body is another", size)
				}
				if most := max(int64(512), limit+1); int64(cap(body)) > most {
					t.Errorf("%d bytes lie in %d, want at most %d", size, cap(body), most)
				}
				c.Recycle(body)
			}
		})
	}
	group.Wait()
}
