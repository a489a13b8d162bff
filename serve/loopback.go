package serve

import (
	"net"
	"net/http"
	"strings"
)

// refuseStrangers refuses a request that names another host than this machine, where Options.LoopbackOnly asks for it.
func (s *server) refuseStrangers(r *http.Request) error {
	if !s.options.LoopbackOnly || isLoopback(r.Host) {
		return nil
	}
	s.log.Warn("a bundle with the default accounts is served to this machine alone; ask by a loopback address, or set an account", "host", r.Host)
	return refuse(http.StatusMisdirectedRequest,
		"A bundle with the default accounts is served to this machine alone: ask for it by localhost or a loopback address.")
}

// isLoopback reports whether the host of a request, with or without port, is localhost or a loopback address.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || (ip != nil && ip.IsLoopback())
}
