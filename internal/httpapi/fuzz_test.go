package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

// What servers write into addresses: the hosts of images, and where redirects lead.

// insideNames spell hosts that no public API may send us to, in the ways of resolvers, proxies and browsers.
var insideNames = []string{
	"127.0.0.1", "localhost", "LOCALHOST.", "a.localhost", "[::1]", "10.0.0.1", "192.168.0.1:9000", "169.254.169.254", "169.254.169.254.", "[fe80::1%25eth0]",
	"[::ffff:10.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]", "[::7f00:1]", "2852039166", "0xa9fea9fe", "0xA9.0xfe.0251.254", "127.1", "0", "0x7f.1",
	"metadata.google.internal", "Metadata", "instance-data", "１２７.0.0.1", "127。0。0。1", "%31%32%37.0.0.1", "①27.0.0.1", "ⓛocalhost", "100.100.100.200",
	"[fd00:ec2::254]", "168.63.129.16", "0.0.0.0", "[::]", "localhost:80", "127.0.0.1:443",
}

// inside judges a host by itself, not by the code under test: an address by the ranges of the RFCs, numbers as inet_aton reads them.
func inside(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") || host == "metadata.google.internal" {
		return true
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		var ok bool
		if a, ok = inetAton(host); !ok {
			return false
		}
	}
	a = a.Unmap().WithZone("")
	return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsUnspecified() || a.IsMulticast() || a == netip.MustParseAddr("168.63.129.16") ||
		netip.MustParsePrefix("100.64.0.0/10").Contains(a)
}

// inetAton reads one to four numbers, decimal, octal or hexadecimal, of which the last fills what is left.
func inetAton(host string) (netip.Addr, bool) {
	parts := strings.Split(host, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var sum uint64
	for i, part := range parts {
		var n uint64
		var rest string
		format := "%d%s"
		if digits, ok := strings.CutPrefix(part, "0x"); ok {
			part, format = digits, "%x%s"
		} else if len(part) > 1 && part[0] == '0' {
			format = "%o%s"
		}
		if read, _ := fmt.Sscanf(part, format, &n, &rest); read != 1 || strings.Trim(part, "0123456789abcdef") != "" {
			return netip.Addr{}, false
		}
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		if n >= 1<<bits {
			return netip.Addr{}, false
		}
		sum = sum<<bits | n
	}
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}), true
}

// publicClient is one whose API is public and known to be so; what it sends goes to send.
func publicClient(send roundTripper) *Client {
	c := New(Config{
		BaseURL: "https://api.example/prefix", Transport: send, Retry: once,
		Login: func(context.Context, *Client) (string, error) { return "c4n4ry-token", nil },
	})
	c.api.note(netip.MustParseAddr("8.8.8.8"))
	return c
}

// checkSent complains of a request that no public API may make us send.
func checkSent(t *testing.T, r *http.Request, given string) {
	t.Helper()
	ours := r.URL.Scheme == "https" && strings.EqualFold(strings.TrimSuffix(r.URL.Host, ":443"), "api.example")
	var wire bytes.Buffer // as a server or a proxy reads it
	sent := r.Clone(context.Background())
	if err := sent.WriteProxy(&wire); err != nil {
		return // net/http sends nothing
	}
	if !ours && strings.Contains(wire.String(), "c4n4ry") && !strings.Contains(given, "c4n4ry") {
		t.Errorf("%q: another origin gets the token: %q", given, wire.String())
	}
	read, err := url.Parse("//" + hostLine(wire.String()))
	if err == nil && inside(read.Hostname()) || inside(r.URL.Hostname()) {
		t.Errorf("%q: sent to %q", given, r.URL.Host)
	}
	if r.URL.User != nil || r.URL.Scheme != "http" && r.URL.Scheme != "https" {
		t.Errorf("%q: sent to %q", given, r.URL)
	}
}

func hostLine(wire string) string {
	_, rest, _ := strings.Cut(wire, "\r\nHost: ")
	host, _, _ := strings.Cut(rest, "\r\n")
	return host
}

var errSent = errors.New("sent")

// FuzzTarget gives URLs as a listing does.
func FuzzTarget(f *testing.F) {
	for _, host := range insideNames {
		f.Add("http://" + host + "/x.jpg?Signature=1")
	}
	for _, seed := range []string{
		"https://api.example/x", "HTTPS://API.EXAMPLE:443/x", "https://api.example@evil.example/x", "https://api.example:443:80/x", "http://api.example/x",
		"https://evil.example/https://api.example/", "https://s3.example/b/k?x=%zz#f", "/x", "x://y", "https://", "http:///x", "https://api.example\\@evil.example/x",
		"https://API.EXAMPLE./x", "http://user:pw@127.0.0.1/", "/sequences/7?limit=1", "//127.0.0.1/x", "http://h:99999/x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, given string) {
		sent := 0
		c := publicClient(func(r *http.Request) (*http.Response, error) {
			sent++
			checkSent(t, r, given)
			if r.Header.Get("Authorization") != "" && isAbsolute(given) {
				t.Errorf("%q gets the token", given)
			}
			if !isAbsolute(given) && (r.URL.Scheme != "https" || r.URL.Host != "api.example" || !strings.HasPrefix(r.URL.Path, "/prefix/")) {
				t.Errorf("%q led out of the API, to %s", given, r.URL)
			}
			return nil, errSent
		})
		_, _, err := c.Bytes(t.Context(), Request{Path: given})
		if sent > 1 || (sent == 1) != errors.Is(err, errSent) {
			t.Errorf("%q: sent %d times: %v", given, sent, err)
		}
	})
}

// FuzzRedirect follows a Location, from the API and from an image's host.
func FuzzRedirect(f *testing.F) {
	for _, host := range insideNames {
		f.Add("http://"+host+"/x", http.StatusFound)
		f.Add("//"+host+"/latest/meta-data", http.StatusTemporaryRedirect)
	}
	for _, seed := range []string{
		"/x/", "x", "", "?y", "#z", "https://api.example/prefix/x/", "https://api.example:443/x", "//evil.example/x", "http://api.example/x", "file:///etc/passwd",
		"https://api.example@evil.example/", "\\\\evil.example\\x", "/\\evil.example", "https:evil.example", "javascript:x", "%zz", "ht\ntp://x", "//api.example.evil.example",
	} {
		f.Add(seed, http.StatusPermanentRedirect)
	}
	f.Fuzz(func(t *testing.T, location string, status int) {
		for _, first := range []string{"/x", "https://images.example/x.jpg", "http://images.example/x.jpg"} {
			sent := 0
			c := publicClient(func(r *http.Request) (*http.Response, error) {
				if sent++; sent == 1 {
					return &http.Response{StatusCode: status, Header: http.Header{"Location": {location}}, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
				}
				checkSent(t, r, location)
				if first == "/x" && origin(r.URL) != "https://api.example" || strings.HasPrefix(first, "https:") && r.URL.Scheme != "https" {
					t.Errorf("%q: from %s to %s", location, first, r.URL)
				}
				if first != "/x" && r.Header.Get("Authorization") != "" {
					t.Errorf("%q: from an image's host to %s with the token", location, r.URL)
				}
				return nil, errSent
			})
			if _, _, err := c.Bytes(t.Context(), Request{Path: first}); sent > 2 || sent == 2 && !errors.Is(err, errSent) {
				t.Errorf("%q: sent %d times: %v", location, sent, err)
			}
		}
	})
}

// FuzzPermitURL judges hosts as they are written.
func FuzzPermitURL(f *testing.F) {
	for _, host := range append(insideNames, "s3.example", "8.8.8.8:9000", "[2001:4860:4860::8888]", "1.example", "0x.example", "xn--a.example", "", ".", "1.2.3.4.5", "0x", "a..") {
		f.Add("https", host)
	}
	f.Add("gopher", "s3.example")
	f.Fuzz(func(t *testing.T, scheme, host string) {
		u := &url.URL{Scheme: scheme, Host: host, Path: "/x"}
		var far, home apiReach
		far.note(netip.MustParseAddr("8.8.8.8"))
		home.note(netip.MustParseAddr("127.0.0.1"))
		publicErr, homeErr := far.permitURL(u), home.permitURL(u)
		for _, err := range []error{publicErr, homeErr} {
			if err != nil && !errors.Is(err, ErrHostRefused) {
				t.Errorf("%q: %v is not ErrHostRefused", u, err)
			}
		}
		if publicErr == nil && homeErr != nil {
			t.Errorf("%q: a private API may not what a public one may: %v", u, homeErr)
		}
		if publicErr == nil && inside(u.Hostname()) {
			t.Errorf("%q is inside, and permitted", u)
		}
		if publicErr == nil && scheme != "http" && scheme != "https" {
			t.Errorf("%q: permitted", u)
		}
		if a, err := netip.ParseAddr(strings.TrimSuffix(u.Hostname(), ".")); err == nil && (publicErr == nil) != (scheme == "http" || scheme == "https") && reachOf(a) == public {
			t.Errorf("%q is public, and refused: %v", u, publicErr)
		}
		if homeErr == nil && strings.TrimSuffix(strings.ToLower(u.Hostname()), ".") == "169.254.169.254" {
			t.Errorf("%q: a metadata service", u)
		}
	})
}

// FuzzReachOf has every address as its bytes, and in whatever carries it.
func FuzzReachOf(f *testing.F) {
	for _, a := range []string{
		"8.8.8.8", "127.0.0.1", "10.0.0.1", "169.254.169.254", "169.254.1.1", "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "168.63.129.16",
		"::", "::1", "fe80::1", "fd00:ec2::254", "ff02::1", "2001:4860:4860::8888", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:a00:1::", "::a00:1", "::ffff:0:7f00:1", "fec0::1",
	} {
		f.Add(netip.MustParseAddr(a).AsSlice())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, ok := netip.AddrFromSlice(raw)
		if !ok {
			a = netip.Addr{}
		}
		got := reachOf(a)
		if got != public && got != private && got != linkLocal && got != never {
			t.Fatalf("%s: %d", a, got)
		}
		if got == public && (!a.IsValid() || inside(a.String())) {
			t.Errorf("%s is public", a)
		}
		if a.Is6() && reachOf(a.WithZone("eth0")) != got {
			t.Errorf("%s: another with a zone", a)
		}
		if !a.Is4() {
			return
		}
		b := a.As4()
		for name, carrier := range map[string]netip.Addr{
			"mapped":     netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff, 12: b[0], 13: b[1], 14: b[2], 15: b[3]}),
			"translated": netip.AddrFrom16([16]byte{8: 0xff, 9: 0xff, 12: b[0], 13: b[1], 14: b[2], 15: b[3]}),
			"NAT64":      netip.AddrFrom16([16]byte{1: 0x64, 2: 0xff, 3: 0x9b, 12: b[0], 13: b[1], 14: b[2], 15: b[3]}),
			"6to4":       netip.AddrFrom16([16]byte{0x20, 0x02, b[0], b[1], b[2], b[3], 9: 7}),
		} {
			if r := reachOf(carrier); r != got {
				t.Errorf("%s, %s: %d, not %d", a, name, r, got)
			}
		}
	})
}
