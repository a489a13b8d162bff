package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// gateway answers for a server that is dead behind it.
func gateway(status int, retryAfter string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		text(status, fmt.Sprintf("<html><head><title>%d %s</title></head>", status, http.StatusText(status)))(w, r)
	}
}

// TestDeadServerBehindAGateway ends a run as one that cannot be reached: the gateway's answers are none of the server. How many
// requests give up before a silence means anything is chance: full jitter may choose short waits only.
func TestDeadServerBehindAGateway(t *testing.T) {
	for _, status := range []int{http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, tr := newNetwork(t, inTurn(text(200, "[]"), gateway(status, "")))
				c := New(Config{Name: "platform", BaseURL: base, Transport: tr})
				if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
					t.Fatal(err)
				}
				said := fmt.Sprintf("a gateway answers %d %s", status, http.StatusText(status))
				start := time.Now()
				var mu sync.Mutex
				single := 0
				var all sync.WaitGroup
				for worker := range 16 {
					all.Go(func() {
						for i := range 100 {
							err := c.JSON(t.Context(), Request{Path: fmt.Sprintf("/%d/%d", worker, i)}, nil)
							mu.Lock()
							switch {
							case !errors.Is(err, ErrUnreachable):
								if time.Since(start) >= silence {
									single++
								}
							case Status(err) != 0 || strings.Count(err.Error(), fmt.Sprint(status)) != 1 || !strings.HasSuffix(err.Error(), said):
								t.Errorf("got %v", err)
							}
							mu.Unlock()
						}
					})
				}
				all.Wait()
				if single >= giveUpsToOpen {
					t.Errorf("%d requests failed on their own", single)
				}
			})
		})
	}
}

// TestServerThatAsksToComeBackIsAlive, whether a gateway says it or the server.
func TestServerThatAsksToComeBackIsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tr := newNetwork(t, gateway(http.StatusServiceUnavailable, "1"))
		c := New(Config{BaseURL: base, Transport: tr})
		for range 2 * giveUpsToOpen {
			if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); Status(err) != http.StatusServiceUnavailable || errors.Is(err, ErrUnreachable) {
				t.Errorf("got %v", err)
			}
		}
	})
}

// TestGatewayThatFailsOneRequest opens no circuit while others are answered.
func TestGatewayThatFailsOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, tr := newNetwork(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/heavy" {
				gateway(http.StatusGatewayTimeout, "")(w, r)
			}
		}))
		c := New(Config{BaseURL: base, Transport: tr})
		for range 2 * giveUpsToOpen {
			if err := c.JSON(t.Context(), Request{Path: "/heavy"}, nil); Status(err) != http.StatusGatewayTimeout {
				t.Errorf("heavy: %v", err)
			}
			if err := c.JSON(t.Context(), Request{Path: "/fine"}, nil); err != nil {
				t.Errorf("fine: %v", err)
			}
		}
	})
}
