package store

import (
	"bytes"
	"context"
	"fmt"
	"iter"
)

// together walks the same bucket of several bundles side by side: for each key that any of them has it yields one entry for
// each bundle, nil where the bundle lacks it. Keys come in their order, in constant memory.
//
// The error of a single entry is in it; one beside no entries ends the iteration, and says whose bundle it is.
func together(ctx context.Context, bundles []*Bundle, bucket string) iter.Seq2[[]*entry, error] {
	return func(yield func([]*entry, error) bool) {
		heads := make([]*entry, len(bundles))
		next := make([]func() (entry, error, bool), len(bundles))
		advance := func(i int) error {
			e, err, more := next[i]()
			switch {
			case !more:
				heads[i] = nil
			case e.key == nil:
				return fmt.Errorf("read %s of bundle %s: %w", bucket, bundles[i].path, err)
			default:
				heads[i] = &e
			}
			return nil
		}
		for i, b := range bundles {
			pull, stop := iter.Pull2(b.entries(ctx, bucket, nil))
			defer stop()
			next[i] = pull
			if err := advance(i); err != nil {
				yield(nil, err)
				return
			}
		}
		for {
			var least []byte
			for _, e := range heads {
				if e != nil && (least == nil || bytes.Compare(e.key, least) < 0) {
					least = e.key
				}
			}
			if least == nil {
				return
			}
			row := make([]*entry, len(bundles))
			for i, e := range heads {
				if e == nil || !bytes.Equal(e.key, least) {
					continue
				}
				row[i] = e
				if err := advance(i); err != nil {
					yield(nil, err)
					return
				}
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}
