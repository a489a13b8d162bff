package serve

import (
	"net/http"
	"strings"
	"testing"
)

// A web page whose name is made to resolve to this machine is of the same origin as what is served here.
func TestReboundNamesDoNotReachABundleOfThisMachine(t *testing.T) {
	guarded := serveBundle(t, recordedBundle(t), Options{LoopbackOnly: true})
	open := serveBundle(t, recordedBundle(t), Options{})
	for host, want := range map[string]int{
		"localhost": 200, "LocalHost:8080": 200, "127.0.0.1": 200, "127.0.0.1:8080": 200, "127.200.3.4:80": 200, "[::1]": 200, "[::1]:8080": 200,
		"evil.example": 421, "evil.example:8080": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example": 421,
		"192.168.1.5:8080": 421, "0.0.0.0": 421, "[::]:80": 421, "[fe80::1]:80": 421, "[::2]": 421,
	} {
		got := guarded.with("Host", host).get("/status")
		if got.status != want {
			t.Errorf("%s: %s, want %d", host, got, want)
		}
		if want == http.StatusMisdirectedRequest && !strings.Contains(string(got.body), "to this machine alone") {
			t.Errorf("%s is not told why: %s", host, got)
		}
		if got := open.with("Host", host).get("/status"); got.status != http.StatusOK {
			t.Errorf("%s, not guarded: %s", host, got)
		}
	}
	c := guarded.as("org-2")
	image := c.list("/api/v1/sequences/1/detections?limit=1")[0]["url"].(string)
	for _, path := range []string{"/api/v1/cameras/", "/api/v1/nope", image} {
		if got := c.with("Host", "evil.example").get(path); got.status != http.StatusMisdirectedRequest {
			t.Errorf("%s: %s", path, got)
		}
	}
	if got := (client{t: t}).get(image); got.status != http.StatusOK {
		t.Errorf("the image by its own name: %s", got)
	}
}
