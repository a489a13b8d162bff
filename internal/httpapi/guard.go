package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"unicode/utf8"
)

// The platform's answers name the hosts of its images, and a hostile answer could name our own network: a router, a cloud's
// metadata service. So other hosts than the API's are held to addresses that reach no further inside than the API's own
// address does: private ones only if the API itself is private. What counts is the address dialled, after DNS, so that a
// name that changes its address between two look-ups gains nothing.
//
// Through a proxy (HTTPS_PROXY) the address dialled is the proxy's, often private and always the user's own choice: there the
// guard looks at the target as it is written, and names are the proxy's to resolve and to allow.

// reach is how far inside an address lies. The order matters not; each has its rule in apiReach.permit.
type reach uint32

const (
	public    reach = 1 << iota
	private         // loopback, RFC 1918, unique local, carrier-grade NAT, benchmarking
	linkLocal       // 169.254.0.0/16, fe80::/10
	never           // metadata services, multicast, unspecified, reserved
)

// reserved knows the prefixes that netip.Addr has no method for. The first that fits counts.
func reserved(a netip.Addr) (reach, bool) {
	for _, r := range []struct {
		prefix string
		reach  reach
	}{
		{"169.254.169.254/32", never}, // metadata service of most clouds
		{"169.254.170.2/32", never},   // and of containers there
		{"100.100.100.200/32", never}, // and of Alibaba's
		{"168.63.129.16/32", never},   // of Azure, whose address looks public
		{"192.0.0.192/32", never},     // of Oracle's
		{"fd00:ec2::/32", never},      // of Amazon's by IPv6
		{"fd20:ce::254/128", never},   // of Google's
		{"0.0.0.0/8", never},          // this host on this network (RFC 1122)
		{"240.0.0.0/4", never},        // reserved, broadcast (RFC 1112)
		{"100.64.0.0/10", private},    // carrier-grade NAT (RFC 6598)
		{"192.0.0.0/24", private},     // protocol assignments (RFC 6890)
		{"198.18.0.0/15", private},    // benchmarking (RFC 2544)
		{"64:ff9b:1::/48", private},   // local translation (RFC 8215)
		{"fec0::/10", private},        // site-local of old (RFC 3879)
	} {
		if netip.MustParsePrefix(r.prefix).Contains(a) {
			return r.reach, true
		}
	}
	return 0, false
}

// reachOf classifies an address; those that carry an IPv4 address inside (mapped, translated, NAT64, 6to4) are judged by that.
func reachOf(a netip.Addr) reach {
	a = a.Unmap().WithZone("")
	if inner, ok := embedded(a); ok {
		return reachOf(inner)
	}
	if r, ok := reserved(a); ok {
		return r
	}
	switch {
	case !a.IsValid(), a.IsUnspecified(), a.IsMulticast():
		return never
	case a.IsLinkLocalUnicast():
		return linkLocal
	case a.IsLoopback(), a.IsPrivate():
		return private
	default:
		return public
	}
}

func embedded(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() {
		return netip.Addr{}, false
	}
	b := a.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(a), // NAT64 (RFC 6052)
		netip.MustParsePrefix("::ffff:0:0:0/96").Contains(a): // IPv4-translated (RFC 2765)
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case b[0] == 0x20 && b[1] == 0x02: // 6to4 (RFC 3056)
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case netip.MustParsePrefix("::/96").Contains(a) && b[12] != 0: // IPv4-compatible (RFC 4291)
		return netip.AddrFrom4([4]byte(b[12:16])), true
	}
	return netip.Addr{}, false
}

// apiReach is what is known of the API's own addresses: written in its URL, dialled, or at the other end of a connection that
// another Client of the same transport has dialled.
type apiReach struct{ seen atomic.Uint32 }

func (r *apiReach) note(a netip.Addr) { r.seen.Or(uint32(reachOf(a))) }

// permit says whether another host may have this address.
func (r *apiReach) permit(a netip.Addr) error {
	seen := reach(r.seen.Load())
	inside := seen&public == 0
	switch reachOf(a) {
	case public:
		return nil
	case private:
		if inside && seen&(private|linkLocal) != 0 {
			return nil
		}
		return refusal("private address %s: only an API that is private itself may send us there", a)
	case linkLocal:
		if inside && seen&linkLocal != 0 {
			return nil
		}
		return refusal("link-local address %s: no image lives there", a)
	default:
		return refusal("address %s: no image lives there", a)
	}
}

func refusal(format string, a netip.Addr) error {
	return fmt.Errorf("%w: "+format, ErrHostRefused, a)
}

// literal returns the address that a URL's host is, if it is written as one or is this computer's own name.
func literal(u *url.URL) (netip.Addr, bool) {
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), true
	}
	switch host {
	case "metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal":
		return netip.AddrFrom4([4]byte{169, 254, 169, 254}), true
	}
	a, err := netip.ParseAddr(host)
	return a, err == nil
}

// disguised tells whether a host that is no address as netip reads it may be one to others: resolvers and proxies take
// 2852039166, 0xa9fea9fe and 127.1 for addresses, and net/http turns １２７.0.0.1 into one. No domain ends in a number (WHATWG
// URL), and on the wire none has other characters than ASCII.
func disguised(u *url.URL) bool {
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if strings.ContainsFunc(host, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return true
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	hex, isHex := strings.CutPrefix(last, "0x")
	return last != "" && strings.Trim(last, "0123456789") == "" || isHex && strings.Trim(hex, "0123456789abcdef") == ""
}

// permitURL judges a host as it is written; names pass, their addresses are judged when dialled.
func (r *apiReach) permitURL(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%w: %s is neither http nor https", ErrHostRefused, u.Scheme)
	}
	if a, ok := literal(u); ok {
		return r.permit(a)
	}
	if disguised(u) {
		return fmt.Errorf("%w: a host that is neither a name nor an address as they are written", ErrHostRefused)
	}
	return nil
}

// dialPolicy travels in a request's context to the dialler.
type dialPolicy struct {
	api     *apiReach
	foreign bool // another host than the API's
	proxied bool // the address dialled is a proxy's
}

type dialPolicyKey struct{}

func withDialPolicy(ctx context.Context, p dialPolicy) context.Context {
	return context.WithValue(ctx, dialPolicyKey{}, p)
}

func dialPolicyOf(ctx context.Context) (dialPolicy, bool) {
	p, ok := ctx.Value(dialPolicyKey{}).(dialPolicy)
	return p, ok
}

// control is the net.Dialer's hook: it sees each address before it is connected to.
func control(ctx context.Context, _, address string, _ syscall.RawConn) error {
	p, ok := dialPolicyOf(ctx)
	if !ok || p.proxied {
		return nil
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return errors.New("dialled address is no address")
	}
	if p.foreign {
		return p.api.permit(ap.Addr())
	}
	p.api.note(ap.Addr())
	return nil
}

// withConnected notes the API's address of a connection that is there already: it may have been dialled for another Client.
// Through a proxy its other end is the proxy.
func withConnected(ctx context.Context, p dialPolicy) context.Context {
	if p.foreign || p.proxied {
		return ctx
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if at, ok := info.Conn.RemoteAddr().(*net.TCPAddr); ok {
			p.api.note(at.AddrPort().Addr())
		}
	}})
}
