//go:build unix

package torture

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"pyrobundle/internal/faultproxy"
	"pyrobundle/internal/sandbox"
	"pyrobundle/serve"
)

// stranger is another host. It remembers what was sent to it.
type stranger struct {
	url string

	mu       sync.Mutex
	requests int
	secrets  []string
}

// newStranger listens on another loopback address than the API.
func newStranger(t *testing.T, address string, answer http.HandlerFunc) *stranger {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux answers on all of 127.0.0.0/8")
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s := &stranger{url: "http://" + listener.Addr().String()}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20)) // of a test's own request
		s.mu.Lock()
		s.requests++
		if token := r.Header.Get("Authorization"); token != "" {
			s.secrets = append(s.secrets, token)
		}
		if strings.Contains(string(body), serve.DefaultPassword) || strings.Contains(string(body), "admin12345") {
			s.secrets = append(s.secrets, string(body))
		}
		s.mu.Unlock()
		answer(w, r)
	})}
	go func() { _ = server.Serve(listener) }() // ends with Close
	t.Cleanup(func() { _ = server.Close() })
	return s
}

func (s *stranger) seen() (requests int, secrets []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests, s.secrets
}

// TestARedirectToAnotherHostIsNotFollowedAndGetsNoToken, from any route of either API, with any kind of redirect.
func TestARedirectToAnotherHostIsNotFollowedAndGetsNoToken(t *testing.T) {
	t.Parallel()
	for _, status := range times2([]int{302, 307}, []int{301, 302, 303, 307, 308}) {
		for _, route := range append([]string{"annotation"}, platformRoutes...) {
			if route == "/storage/" {
				continue // images may be elsewhere
			}
			t.Run(fmt.Sprint(status, route), func(t *testing.T) {
				t.Parallel()
				other := newStranger(t, "127.0.0.2", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[]") })
				away := func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.url+r.URL.Path, status) }
				s := newMeasuredStage(t)
				var e ended
				if route == "annotation" {
					s.bundle = world
					s.serveTarget(sandbox.AnnotationOptions{}, faultproxy.Plan{}, instead("/sequences/", away))
					e = s.run(s.loadArgs("--retry-for", "1s")...)
				} else {
					s.servePlatform(faultproxy.Plan{}, instead(route, away))
					e = s.run(s.fetchArgs("--retry-for", "1s")...)
				}
				requests, secrets := other.seen()
				if requests != 0 || secrets != nil {
					t.Errorf("the other host got %d requests, with %q", requests, secrets)
				}
				if route != "/organizations/" && e.code == exitDone {
					t.Errorf("exit %d\n%s", e.code, e)
				}
				if !strings.Contains(e.stderr+e.stdout, "not followed") {
					t.Errorf("it does not say why\n%s", e)
				}
			})
		}
	}
}

// rehost makes the platform's image URLs lead to another place.
func rehost(to func(path string) string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/storage/") {
				next.ServeHTTP(w, r)
				return
			}
			recorded := httptest.NewRecorder()
			next.ServeHTTP(recorded, r)
			body := strings.ReplaceAll(recorded.Body.String(), "http://"+r.Host+"/storage/", to("/storage/"))
			for name, values := range recorded.Header() {
				if name != "Content-Length" {
					w.Header()[name] = values
				}
			}
			w.WriteHeader(recorded.Code)
			_, _ = io.WriteString(w, body)
		})
	}
}

// TestImagesOfAPrivateHostComeWithoutToken: an API on a private address may have its images on another one; that host is
// never sent the token.
func TestImagesOfAPrivateHostComeWithoutToken(t *testing.T) {
	t.Parallel()
	s := newMeasuredStage(t)
	storage := newStranger(t, "127.0.0.3", func(w http.ResponseWriter, r *http.Request) {
		r.Host = strings.TrimPrefix(s.platform.URL, "http://")
		// The signature is the platform's own; the image comes from it through another host.
		resp, err := http.Get(s.platform.URL + r.URL.RequestURI())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	})
	s.servePlatform(faultproxy.Plan{}, rehost(func(path string) string { return storage.url + path }))
	s.expect(s.run(s.fetchArgs()...), exitDone)
	s.expectWhole()
	requests, secrets := storage.seen()
	if requests == 0 || secrets != nil {
		t.Errorf("the storage got %d requests, with secrets %q", requests, secrets)
	}
}

// TestImagesFromForbiddenAddressesAreNotAskedFor: metadata services, link-local and unspecified addresses, other schemes, and
// hosts that redirect there.
func TestImagesFromForbiddenAddressesAreNotAskedFor(t *testing.T) {
	t.Parallel()
	hop := newStranger(t, "127.0.0.4", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
	})
	for name, to := range map[string]string{
		"metadata": "http://169.254.169.254", "link-local": "http://[fe80::1]", "unspecified": "http://0.0.0.0:1", "multicast": "http://224.0.0.1",
		"mapped": "http://[::ffff:169.254.169.254]", "decimal": "http://2852039166", "file": "file://", "gopher": "gopher://127.0.0.1",
		"redirected": hop.url,
	} {
		if !long() && (name == "multicast" || name == "unspecified" || name == "decimal" || name == "file") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newMeasuredStage(t)
			s.servePlatform(faultproxy.Plan{}, rehost(func(path string) string { return to + path }))
			e := s.expect(s.run(s.fetchArgs("--retry-for", "1s", "--sequence-list", "101,102")...), exitFailures)
			expectBounded(t, e)
			if e.took > 20*time.Second {
				t.Errorf("it took %s: was it tried?\n%s", e.took, e)
			}
			s.verify()
			listed := e.report(t).failed()
			if listed[101] == "" || listed[102] == "" {
				t.Errorf("the images are missing, and the report does not say so\n%s", e)
			}
			if !strings.Contains(e.stdout+e.stderr, "address refused") {
				t.Errorf("it does not say that it has not asked\n%s", e)
			}
		})
	}
}

// TestAPublicAPIMayNotSendUsToPrivateHosts: an API that is reached by a name through a proxy, so that nothing says that it is
// private, names image hosts of the inside.
func TestAPublicAPIMayNotSendUsToPrivateHosts(t *testing.T) {
	t.Parallel()
	inside := newStranger(t, "127.0.0.5", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") })
	s := newMeasuredStage(t)
	s.servePlatform(faultproxy.Plan{}, rehost(func(path string) string { return inside.url + path }))
	proxied := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := http.NewRequestWithContext(r.Context(), r.Method, s.platform.URL+r.URL.RequestURI(), r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		out.Header, out.Host = r.Header.Clone(), r.Host
		resp, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		for name, values := range resp.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	defer proxied.Close()
	s.env = append(s.env, "HTTP_PROXY="+proxied.URL, "NO_PROXY=")
	args := s.fetchArgs("--retry-for", "1s", "--sequence-list", "101", "--url-api-platform", "http://platform.example")
	e := s.expect(s.run(args...), exitFailures)
	if requests, _ := inside.seen(); requests != 0 {
		t.Errorf("the inner host got %d requests\n%s", requests, e)
	}
	if !strings.Contains(e.stderr, "private address") {
		t.Errorf("it does not say why\n%s", e)
	}
}
