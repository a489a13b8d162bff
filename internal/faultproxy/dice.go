package faultproxy

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"net/url"
)

// meet counts a request and says which fault it meets, with the source of further chance for that fault.
//
// What decides is the request itself and how often it was made before, not when it arrives among others: so a seed means
// the same however workers interleave.
func (p *Proxy) meet(r *http.Request) (Fault, *rand.Rand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.requests
	p.requests++
	p.underWay++
	if token := r.Header.Get("Authorization"); token != "" {
		p.tokens[token]++
	}
	same := identity(r)
	chance := source(p.plan.Seed, same, p.times[same])
	p.times[same]++
	if p.healed || p.plan.Match != nil && !p.plan.Match(r) {
		return None, chance
	}
	if p.plan.Schedule != nil {
		if fault := p.plan.Schedule(n, r); p.fits(fault, r) {
			return fault, chance
		}
		return None, chance
	}
	if chance.Float64() >= p.plan.Rate {
		return None, chance
	}
	var fitting []Fault
	for _, fault := range p.plan.Faults {
		if p.fits(fault, r) {
			fitting = append(fitting, fault)
		}
	}
	if len(fitting) == 0 {
		return None, chance
	}
	return fitting[chance.IntN(len(fitting))], chance
}

// identity is what makes a request the same as another: a presigned URL is, whatever its signature.
func identity(r *http.Request) string {
	query := url.Values{}
	for name, values := range r.URL.Query() {
		if !isSignature(name) {
			query[name] = values
		}
	}
	return r.Method + " " + r.URL.Path + "?" + query.Encode()
}

func source(seed uint64, same string, times int) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, seed))
	_, _ = h.Write([]byte(same))
	_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, uint64(times))) //nolint:gosec // a count
	return rand.New(rand.NewPCG(seed, h.Sum64()))                        //nolint:gosec // no secret
}
