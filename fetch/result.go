package fetch

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"pyrobundle/store"
)

// Result is what a Run did.
type Result struct {
	Days       int // listed whole
	Sequences  Sequences
	Detections int64
	Images     Images
	Estimate   *Estimate       // of a dry run
	Unloadable []Unloadable    // sequences that cannot be loaded as they are, by reason
	Taken      int             // of MaxSequences
	LeftOut    int             // by MaxSequences
	Gone       int             // sequences that the bundle keeps and the platform does not show any more
	Unshown    []int64         // of Config.Sequences, by a Run that came to its end: neither listed nor tried again, or not the account's to see
	Problems   []store.Problem // what this Run met, and what the bundle has on record that is not another account's
}

// Unloadable are the sequences that an annotation API would not take for one reason. However many they are, only some are
// named: an operator needs the reason and a few to look at.
type Unloadable struct {
	Reason    string
	Sequences int64
	IDs       []int64 // the lowest of them, at most ten
}

// JoinUnloadable adds others to a list that has each reason once.
func JoinUnloadable(list []Unloadable, others ...Unloadable) []Unloadable {
	const named = 10
	for _, other := range others {
		i := slices.IndexFunc(list, func(u Unloadable) bool { return u.Reason == other.Reason })
		if i < 0 {
			list = append(list, other)
			continue
		}
		ids := slices.Sorted(slices.Values(slices.Concat(list[i].IDs, other.IDs)))
		list[i].IDs = ids[:min(len(ids), named)]
		list[i].Sequences += other.Sequences
	}
	return list
}

// Sequences count sequences. Successful + Failed = Total; New + Updated + Unchanged = Successful. A sequence with an image
// that is gone for good is successful; it is among the problems.
type Sequences struct{ Total, Successful, Failed, New, Updated, Unchanged int64 }

// Images count frames' images. Total = Downloaded + Reused + Failed + Gone; of a dry run, Downloaded is what would be.
type Images struct {
	Total, Downloaded, Reused, Failed, Gone int64
	Bytes                                   int64 // downloaded
}

// Estimate is what a fetch would transfer.
type Estimate struct {
	Images, Bytes int64
	Duration      time.Duration
}

// tally is the Result in the making. It is safe for concurrent use.
type tally struct {
	mu     sync.Mutex
	result Result
}

func (t *tally) count(add func(*Result)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	add(&t.result)
}

// summary is the Result as it stands, in an order that does not depend on the order of completion.
func (r *run) summary() Result {
	r.tally.mu.Lock()
	defer r.tally.mu.Unlock()
	result := r.tally.result
	result.Unloadable = slices.Clone(result.Unloadable)
	slices.SortFunc(result.Unloadable, func(a, b Unloadable) int {
		return cmp.Or(cmp.Compare(a.IDs[0], b.IDs[0]), cmp.Compare(a.Reason, b.Reason))
	})
	result.Taken, result.Unshown = r.selection()
	result.Problems = slices.DeleteFunc(r.ledger.all(), func(p store.Problem) bool { return !r.concerns(p) })
	if r.cfg.DryRun {
		result.Estimate = r.estimate(result.Images.Downloaded)
	}
	return result
}
