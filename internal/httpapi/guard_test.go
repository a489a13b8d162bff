package httpapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReachOf(t *testing.T) {
	for address, want := range map[string]reach{
		"8.8.8.8": public, "2001:4860:4860::8888": public, "172.15.0.1": public, "172.32.0.1": public, "100.63.0.1": public, "100.128.0.1": public,
		"10.0.0.1": private, "172.16.0.1": private, "192.168.1.1": private, "127.0.0.1": private, "127.9.9.9": private, "::1": private,
		"fd12::1": private, "100.64.0.1": private, "198.18.0.1": private, "::ffff:10.0.0.1": private, "64:ff9b::10.0.0.1": private,
		"2002:0a00:0001::1": private, "::10.0.0.1": private, "64:ff9b::8.8.8.8": public, "fec0::1": private,
		"169.254.1.1": linkLocal, "fe80::1": linkLocal, "fe80::1%eth0": linkLocal, "::ffff:169.254.7.7": linkLocal,
		"169.254.169.254": never, "::ffff:169.254.169.254": never, "64:ff9b::169.254.169.254": never, "fd00:ec2::254": never,
		"168.63.129.16": never, "192.0.0.192": never, "fd20:ce::254": never, "::ffff:0:169.254.169.254": never,
		"::ffff:0:10.0.0.1": private, "::ffff:0:8.8.8.8": public, "fd20:ce::1": private, "168.63.129.17": public,
		"100.100.100.200": never, "0.0.0.0": never, "0.1.2.3": never, "::": never, "224.0.0.1": never, "ff02::1": never, "255.255.255.255": never, "240.0.0.1": never,
	} {
		if got := reachOf(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %d, want %d", address, got, want)
		}
	}
}

func TestWhichHostsAnAPIMaySendUsTo(t *testing.T) {
	for _, tc := range []struct {
		api     []string // addresses seen
		allowed string   // of public, private, link-local, metadata
	}{
		{nil, "public"},
		{[]string{"8.8.8.8"}, "public"},
		{[]string{"10.0.0.1"}, "public private"},
		{[]string{"127.0.0.1"}, "public private"},
		{[]string{"169.254.3.4"}, "public private link-local"},
		{[]string{"10.0.0.1", "8.8.8.8"}, "public"}, // a name with both: whose it is, is not known
	} {
		t.Run(fmt.Sprint(tc.api), func(t *testing.T) {
			var r apiReach
			for _, a := range tc.api {
				r.note(netip.MustParseAddr(a))
			}
			var allowed []string
			for _, host := range [][2]string{{"public", "9.9.9.9"}, {"private", "192.168.0.9"}, {"link-local", "169.254.9.9"}, {"metadata", "169.254.169.254"}} {
				err := r.permit(netip.MustParseAddr(host[1]))
				if err == nil {
					allowed = append(allowed, host[0])
				} else if !errors.Is(err, ErrHostRefused) {
					t.Errorf("%v is not ErrHostRefused", err)
				}
			}
			if diff := cmp.Diff(tc.allowed, strings.Join(allowed, " ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// named is a transport with a DNS of its own; what it dials goes through the guard, as with NewTransport.
func named(proxy *url.URL, hosts map[string]string) *transport {
	dialer := &net.Dialer{Timeout: connectTimeout, ControlContext: control}
	return newTransport(func(*http.Request) (*url.URL, error) { return proxy, nil }, func(ctx context.Context, network, addr string) (net.Conn, error) {
		if to, ok := hosts[addr]; ok {
			addr = to
		}
		return dialer.DialContext(ctx, network, addr)
	})
}

func hostOf(srv *httptest.Server) string { return strings.TrimPrefix(srv.URL, "http://") }

// TestNameThatResolvesInside: the API is public; the image's name is harmless, its address is not.
func TestNameThatResolvesInside(t *testing.T) {
	var reached atomic.Int64
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer inside.Close()
	hosts := map[string]string{"images.example:80": hostOf(inside), "api.example:80": hostOf(inside)}

	c := New(Config{BaseURL: "http://api.example", Transport: named(nil, hosts)})
	defer c.Close()
	c.api.note(netip.MustParseAddr("8.8.8.8"))
	_, _, err := c.Bytes(t.Context(), Request{Path: "http://images.example/1.jpg"})
	var e *Error
	if !errors.Is(err, ErrHostRefused) || !errors.As(err, &e) || e.Attempts != 1 || reached.Load() != 0 {
		t.Errorf("reached %d times: %v", reached.Load(), err)
	}

	// The same where the API itself turns out to live there, which its first request shows.
	c = New(Config{BaseURL: "http://api.example", Transport: named(nil, hosts)})
	defer c.Close()
	if _, _, err := c.Bytes(t.Context(), Request{Path: "http://images.example/1.jpg"}); !errors.Is(err, ErrHostRefused) {
		t.Errorf("before anything is known of the API: %v", err)
	}
	if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Bytes(t.Context(), Request{Path: "http://images.example/1.jpg"}); err != nil {
		t.Errorf("private API: %v", err)
	}
}

// TestSecondClientOverAConnectionOfTheFirst: with several accounts the API was dialled for one of them, and it is as private for all.
func TestSecondClientOverAConnectionOfTheFirst(t *testing.T) {
	srv := httptest.NewUnstartedServer(text(200, "[]"))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Start()
	defer srv.Close()
	secure := httptest.NewTLSServer(text(200, "[]"))
	defer secure.Close()
	at, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, api string
		proxy     *url.URL
		allowed   bool
	}{
		{"http", "http://api.example", nil, true},
		{"https", "https://example.com", nil, true},
		{"through a private proxy, which says nothing of the API", "http://api.example", at, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var dials atomic.Int64
			tr := named(tc.proxy, map[string]string{"images.example:80": hostOf(srv), "api.example:80": hostOf(srv), "example.com:443": secure.Listener.Addr().String()})
			dial := tr.http.DialContext
			tr.http.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				dials.Add(1)
				return dial(ctx, network, addr)
			}
			tr.http.TLSClientConfig.RootCAs = x509.NewCertPool()
			tr.http.TLSClientConfig.RootCAs.AddCert(secure.Certificate())
			defer tr.CloseIdleConnections()
			for range 2 {
				c := New(Config{BaseURL: tc.api, Transport: tr})
				if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
					t.Fatal(err)
				}
				if dials.Load() != 1 {
					t.Fatalf("%d connections: the test is about one", dials.Load())
				}
				if err := c.api.permit(netip.MustParseAddr("10.0.0.1")); (err == nil) != tc.allowed {
					t.Errorf("private images: %v", err)
				}
				if tc.proxy == nil && c.api.permit(netip.MustParseAddr("169.254.169.254")) == nil {
					t.Error("a metadata service is allowed")
				}
			}
			c := New(Config{BaseURL: tc.api, Transport: tr})
			if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
				t.Fatal(err)
			}
			if _, _, err := c.Bytes(t.Context(), Request{Path: "http://images.example/1.jpg"}); err != nil {
				t.Errorf("an image of a name that is private: %v", err)
			}
		})
	}
}

func TestWrittenAddressIsJudgedWithAnyTransport(t *testing.T) {
	var asked atomic.Int64
	spy := roundTripper(func(*http.Request) (*http.Response, error) { asked.Add(1); return nil, errors.New("asked") })
	c := New(Config{BaseURL: "https://alertapi.example", Transport: spy, Retry: once})
	for _, image := range []string{
		"http://127.0.0.1/x", "http://localhost:9000/x", "https://a.localhost./x", "http://[::1]/x", "http://169.254.169.254/latest/meta-data",
		"http://metadata.google.internal/x", "http://metadata.goog/x", "http://instance-data/x", "http://[::ffff:10.0.0.1]/x",
		"http://169.254.169.254./x", "http://[fe80::1%25eth0]/x", "http://[::ffff:0:a9fe:a9fe]/x",
		// What others than netip take for addresses.
		"http://2852039166/x", "http://0xa9fea9fe/x", "http://0xa9.0xfe.0xa9.0xFE/x", "http://0251.0376.0251.0376/x", "http://127.1/x",
		"http://169.254.43518/x", "http://0/x", "http://１６９.254.169.254/x", "http://169。254。169。254/x", "http://ｌocalhost/x",
	} {
		if _, _, err := c.Bytes(t.Context(), Request{Path: image}); !errors.Is(err, ErrHostRefused) {
			t.Errorf("%s: %v", image, err)
		}
	}
	if asked.Load() != 0 {
		t.Errorf("%d requests were sent", asked.Load())
	}
	for _, image := range []string{"https://s3.example/x", "https://s3.fr-par.scw.cloud/x", "http://8.8.8.8:9000/x", "http://1.example/x", "http://0x.example./x"} {
		if _, _, err := c.Bytes(t.Context(), Request{Path: image}); errors.Is(err, ErrHostRefused) {
			t.Errorf("%s: %v", image, err)
		}
	}
}

// TestNewTransportHasTheGuard: the transport of the program, not one that a test has put together.
func TestNewTransportHasTheGuard(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") }))
	defer srv.Close()
	tr := NewTransport().(*transport)
	defer tr.CloseIdleConnections()
	var api apiReach
	api.note(netip.MustParseAddr("8.8.8.8"))
	ctx := withDialPolicy(t.Context(), dialPolicy{api: &api, foreign: true})
	if conn, err := tr.http.DialContext(ctx, "tcp", hostOf(srv)); !errors.Is(err, ErrHostRefused) {
		t.Errorf("dialled %v, %v", conn, err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestProxyOnAPrivateAddress: the guard is about the target, not the proxy.
func TestProxyOnAPrivateAddress(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String())
		_, _ = w.Write([]byte("[]"))
	}))
	defer proxy.Close()
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := New(Config{BaseURL: "http://api.example", Transport: named(at, nil)})
	defer c.Close()
	if err := c.JSON(t.Context(), Request{Path: "/x"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Bytes(t.Context(), Request{Path: "http://images.example/1.jpg"}); err != nil {
		t.Errorf("image through the proxy: %v", err)
	}
	// That the proxy is private says nothing of the API: an inner address stays refused.
	if _, _, err := c.Bytes(t.Context(), Request{Path: "http://10.0.0.1/1.jpg"}); !errors.Is(err, ErrHostRefused) {
		t.Errorf("inner address through the proxy: %v", err)
	}
	if diff := cmp.Diff([]string{"http://api.example/x", "http://images.example/1.jpg"}, asked); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRedirectsOfTheAPI(t *testing.T) {
	type seen struct{ Method, Path, Auth, Body string }
	var got []seen
	var other atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { other.Add(1) }))
	defer elsewhere.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 10)
		n, _ := r.Body.Read(b)
		got = append(got, seen{r.Method, r.URL.RequestURI(), r.Header.Get("Authorization"), string(b[:n])})
		switch r.URL.Path {
		case "/api/slash":
			http.Redirect(w, r, "/api/slash/?"+r.URL.RawQuery, http.StatusTemporaryRedirect)
		case "/api/found":
			http.Redirect(w, r, "slash/", http.StatusFound)
		case "/api/loop":
			http.Redirect(w, r, "loop", http.StatusPermanentRedirect)
		case "/api/away":
			http.Redirect(w, r, elsewhere.URL+"/x?token=canary", http.StatusTemporaryRedirect)
		}
	}))
	defer srv.Close()
	c := New(Config{BaseURL: srv.URL, Login: func(context.Context, *Client) (string, error) { return "tok", nil }})
	defer c.Close()
	shown := strings.TrimPrefix(elsewhere.URL, "")
	for _, tc := range []struct {
		name string
		r    Request
		want []seen
		err  string
	}{
		{
			"slash",
			Request{Method: "POST", Path: "/api/slash", Query: url.Values{"a": {"1"}}, Body: body("abc")},
			[]seen{{"POST", "/api/slash?a=1", "Bearer tok", "abc"}, {"POST", "/api/slash/?a=1", "Bearer tok", "abc"}},
			"<nil>",
		},
		{"found", Request{Path: "/api/found"}, []seen{{"GET", "/api/found", "Bearer tok", ""}, {"GET", "/api/slash/", "Bearer tok", ""}}, "<nil>"},
		{
			"found, but a POST",
			Request{Method: "POST", Path: "/api/found"},
			[]seen{{"POST", "/api/found", "Bearer tok", ""}},
			"POST /api/found: 302 Found: a redirect that would lose what was sent: not followed",
		},
		{
			"away",
			Request{Path: "/api/away"},
			[]seen{{"GET", "/api/away", "Bearer tok", ""}},
			"GET /api/away: 307 Temporary Redirect: a redirect to " + shown + "/x, another host or scheme: not followed; is the address right?",
		},
		{
			"loop",
			Request{Path: "/api/loop"},
			[]seen{{"GET", "/api/loop", "Bearer tok", ""}, {"GET", "/api/loop", "Bearer tok", ""}, {"GET", "/api/loop", "Bearer tok", ""}, {"GET", "/api/loop", "Bearer tok", ""}},
			"GET /api/loop: 308 Permanent Redirect: a redirect to " + srv.URL + "/api/loop, one too many: not followed",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got = nil
			err := c.JSON(t.Context(), tc.r, nil)
			if diff := cmp.Diff(tc.err, fmt.Sprint(err)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if other.Load() != 0 {
		t.Error("the other host was asked")
	}
}

func TestRedirectsOfImages(t *testing.T) {
	var tokens []string
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tokens = append(tokens, r.Header.Get("Authorization"))
		switch r.URL.Path {
		case "/region":
			http.Redirect(w, r, "/image", http.StatusTemporaryRedirect)
		case "/inside":
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		default:
			_, _ = w.Write([]byte("jpeg"))
		}
	}))
	defer plain.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain.URL+"/image", http.StatusFound)
	}))
	defer secure.Close()
	tr := named(nil, nil)
	pool := x509.NewCertPool()
	pool.AddCert(secure.Certificate())
	tr.http.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	c := New(Config{BaseURL: "http://127.0.0.1:1", Transport: tr, Login: func(context.Context, *Client) (string, error) { return "tok", nil }})
	defer c.Close()
	for path, want := range map[string]string{
		plain.URL + "/region":    "jpeg",
		plain.URL + "/inside?x=": "GET " + plain.URL + "/inside: 302 Found: a redirect to http://169.254.169.254/latest/meta-data: address refused: address 169.254.169.254: no image lives there",
		plain.URL + "/file":      "GET " + plain.URL + "/file: 302 Found: a redirect to (unreadable URL): address refused: file is neither http nor https",
		secure.URL + "/x?sig=c":  "GET " + secure.URL + "/x: 302 Found: a redirect to " + plain.URL + "/image, from https to http: not followed",
	} {
		got, _, err := c.Bytes(t.Context(), Request{Path: path})
		if err != nil {
			got = []byte(err.Error())
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	for _, token := range tokens {
		if token != "" {
			t.Errorf("an image's host was given %q", token)
		}
	}
}

// TestAbsoluteURLNeverGetsTheToken, not even on the API's own host: what is signed may refuse it.
func TestAbsoluteURLNeverGetsTheToken(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.Header.Get("Authorization"))) }))
	defer srv.Close()
	c := New(Config{BaseURL: srv.URL, Login: func(context.Context, *Client) (string, error) { return "tok", nil }})
	defer c.Close()
	got, _, err := c.Bytes(t.Context(), Request{Path: srv.URL + "/image?sig=1"})
	if err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
	got, _, err = c.Bytes(t.Context(), Request{Path: "/x"})
	if err != nil || string(got) != "Bearer tok" {
		t.Errorf("below the API: %q, %v", got, err)
	}
}

func TestUntrustedCertificateIsFinal(t *testing.T) {
	srv := httptest.NewUnstartedServer(text(200, "[]"))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of our hanging up
	srv.StartTLS()
	defer srv.Close()
	c := New(Config{BaseURL: srv.URL})
	defer c.Close()
	err := c.JSON(t.Context(), Request{Path: "/x"}, nil)
	var e *Error
	if !errors.As(err, &e) || e.Attempts != 1 || e.Ambiguous || !strings.Contains(err.Error(), "SSL_CERT_FILE") {
		t.Errorf("got %v", err)
	}
}
