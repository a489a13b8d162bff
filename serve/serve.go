// Package serve answers a bundle as the platform API: login, listings, detections, images behind signed expiring URLs.
//
// It is an offline stand-in for any client of the platform, and the platform of this project's own tests. Status codes,
// bodies, defaults, limits and orders are those of contract part A, so that a client written for the platform needs another
// base URL and nothing else. What a bundle does not hold is not invented: it answers as a platform without alerts and
// occlusion masks, users are not there, and nothing can be written.
//
// Its one neighbour is store, whose documents it serves verbatim: a bundle fetched from a served bundle has its digest.
package serve

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"pyrobundle/store"
)

// SourceAPIHeader carries the bundle's source_api (contract B.1) on every answer, so that a bundle fetched from a served
// one keeps it. It is absent where the bundle does not know.
const SourceAPIHeader = "X-Pyrobundle-Source-Api"

// Lifetimes of what the platform signs (contract A.1, A.4).
const (
	defaultTokenLifetime = 365 * 24 * time.Hour
	defaultURLLifetime   = 24 * time.Hour
)

// Options change how a bundle is served. The zero value serves as a current platform with the default accounts.
type Options struct {
	Accounts []Account // who may log in; nil: DefaultAccounts

	// OldPlatform serves as a server before detections had an offset (contract A.4, before 2026-06-02): offset is ignored,
	// there are no crops, one frame without image makes a whole detections answer 404, and an administrator who belongs to
	// an organization lists the sequences of that one only, through the risk filter.
	OldPlatform bool

	// LoopbackOnly refuses requests by another host name than localhost or a loopback address, with 421. Where anybody can
	// log in because the accounts are known to all, a web page must not reach the bundle by a name of its own that resolves
	// to this machine; its requests would be of the same origin, so that no rule of the browser's keeps it from reading.
	LoopbackOnly bool

	URLLifetime   time.Duration    // of signed image URLs, rounded up to a second; 0: 24 h
	TokenLifetime time.Duration    // 0: 365 days
	Now           func() time.Time // nil: time.Now
	Log           *slog.Logger     // requests at debug, without tokens and signatures; unknown routes at warn; nil: silent
}

// New returns the platform API over bundle, which must stay open and unchanged while it is served. In a test it is one
// line:
//
//	platform := httptest.NewServer(serve.New(bundle, serve.Options{}))
//
// The keys that sign tokens and image URLs are made here and never leave the handler: another handler refuses them.
func New(bundle *store.Bundle, o Options) http.Handler {
	if o.URLLifetime <= 0 {
		o.URLLifetime = defaultURLLifetime
	}
	if o.TokenLifetime <= 0 {
		o.TokenLifetime = defaultTokenLifetime
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &server{
		bundle:    bundle,
		options:   o,
		log:       o.Log,
		routes:    routes(),
		tokens:    signer{key: newKey(), now: o.Now},
		storage:   storage{key: newKey(), now: o.Now, lifetime: o.URLLifetime},
		sourceAPI: bundle.Source().API,
	}
}

// newKey returns 256 random bits.
func newKey() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: crypto/rand
	return key
}

// server is the handler. Beside what is read late, each part behind its mutex, it is never written after New.
type server struct {
	bundle    *store.Bundle
	options   Options
	log       *slog.Logger
	routes    []route
	tokens    signer
	storage   storage
	sourceAPI string

	accountsMu sync.Mutex
	accounts   []Account // nil until the first login

	indexMu  sync.Mutex
	indexing *indexing // nil until the first question for a single detection, and after a building that failed

	alertsAsked sync.Once // the warning that there are none
}

// ServeHTTP answers one request and logs it.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w, began: time.Now()}
	defer func() {
		if v := recover(); v != nil {
			if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares the same way
				panic(v)
			}
			s.fail(rec, r, fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
		}
		s.log.LogAttrs(r.Context(), slog.LevelDebug, "request",
			slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.String("query", harmless(parsePairs(r.URL.RawQuery))),
			slog.Int("status", rec.status), slog.Int64("bytes", rec.bytes), slog.Duration("took", time.Since(rec.began)))
	}()
	if s.sourceAPI != "" {
		rec.Header().Set(SourceAPIHeader, s.sourceAPI)
	}
	if err := s.answer(rec, r); err != nil {
		s.fail(rec, r, err)
	}
}

// fail answers with an error: a refusal as the platform words it, anything else as its plain 500. Once an answer has begun
// the connection is cut instead, so that the client sees a broken answer and not a short one.
func (s *server) fail(w *recorder, r *http.Request, err error) {
	var refused answerer
	if errors.As(err, &refused) && w.status == 0 {
		refused.writeTo(w)
		return
	}
	if r.Context().Err() == nil {
		s.log.Error("request could not be answered", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	const body = "Internal Server Error"
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusInternalServerError)
	_, _ = w.Write([]byte(body))
}

// harmless keeps the query parameters that may be logged; signatures and whatever else a client sends are not.
func harmless(q url.Values) string {
	kept := url.Values{}
	for _, name := range []string{
		"from_date", "to_date", "limit", "offset", "desc", "order_desc", "risk_score", "with_crop", "include_non_trustable",
	} {
		if v, ok := q[name]; ok {
			kept[name] = v
		}
	}
	return kept.Encode()
}
