// Package sandbox is the world that pyrobundle is tried in: synthetic data written into a bundle, and an in-memory
// annotation API of either generation, as strict as the real one.
package sandbox

import (
	"context"
	"net/http"
	"time"
)

// WorldOptions shape the synthetic data; the zero value is the demo's world. Equal options, equal bytes.
type WorldOptions struct {
	Seed       uint64
	Sequences  int // 0: the hand-made cases of the demo; more: those and as many generated ones
	Days       int
	ImageBytes int    // 0: drawn landscapes; otherwise small or padded images of about this size
	FirstDay   string // default 2026-08-01
}

// WriteBundle writes the synthetic world into a new bundle at path.
func WriteBundle(ctx context.Context, path string, o WorldOptions) error { panic("not built yet") }

// AnnotationOptions shape the in-memory annotation API.
type AnnotationOptions struct {
	Generation      string        // "newest" (default) or "seed"
	Login, Password string        // default admin / admin12345
	TokenLifetime   time.Duration // default 24 h
	Now             func() time.Time
}

// AnnotationAPI is an http.Handler with inspection methods for tests.
type AnnotationAPI struct{}

func NewAnnotationAPI(o AnnotationOptions) *AnnotationAPI { panic("not built yet") }

func (a *AnnotationAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) { panic("not built yet") }
