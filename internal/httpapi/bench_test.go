package httpapi

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
)

// BenchmarkDownload compares images of 250 kB through the client with net/http alone: what the checks cost.
func BenchmarkDownload(b *testing.B) {
	image := bytes.Repeat([]byte{0xff}, 250_000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(image)))
		_, _ = w.Write(image)
	}))
	defer srv.Close()
	bench := func(name string, download func() (int, error)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(image)))
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if n, err := download(); err != nil || n != len(image) {
						b.Errorf("%d bytes, %v", n, err)
						return
					}
				}
			})
		})
	}
	plain := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: perHost}}
	defer plain.CloseIdleConnections()
	bench("net/http", func() (int, error) {
		resp, err := plain.Get(srv.URL + "/x") //nolint:noctx // a benchmark's baseline
		if err != nil {
			return 0, err
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		return len(body), err
	})
	c := New(Config{BaseURL: srv.URL})
	defer c.Close()
	bench("client", func() (int, error) {
		body, _, err := c.Bytes(b.Context(), Request{Path: "/x"})
		return len(body), err
	})
}
