package sandbox

import "context"

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
