package fetch

import (
	"context"
	"fmt"

	"pyrobundle/internal/httpapi"
	"pyrobundle/store"
)

// What is kept of documents, in bytes, whatever a platform sends and a bundle holds. Each of the sequences in flight may keep a
// share of what the bundle has of it, and as much of what is listed. One that needs more waits for its turn, keeping no more
// meanwhile, and has the turn until it is committed. There is only one, so that with the strings read out of documents and the
// record made of them a run needs some hundreds of megabytes at worst. No ordinary sequence notices: a row has 1 kB, and those of
// more than a thousand rows have images enough to keep every worker busy.
const (
	sharedBytes = 32 << 20  // of all sequences in flight together: 1 MiB for each with 16 workers
	leastShare  = 256 << 10 // however many workers there are: twice a full page of real rows
	maxListing  = 64 << 20  // of one listing: a bundle takes no record of more; 3000 rows, a camera's watch of a day, have 3 MB
	maxPreview  = 512 << 20 // of one day of a Preview; a real day of the whole platform has a fifth of it
	readers     = 2         // that read records of the bundle at once: one may be large, which its reader finds out by reading it
)

// inFlight is how many sequences are under way at once.
func inFlight(workers int) int { return 2 * workers }

// shareOf is what each of the sequences in flight may keep.
func shareOf(workers int) int64 {
	return max(leastShare, sharedBytes/int64(inFlight(workers)))
}

// portion is what one sequence may keep in memory: its share, or more when it is its turn.
type portion struct {
	share int64
	turn  *httpapi.Turn
}

func (r *run) portion() *portion { return &portion{share: r.share, turn: httpapi.TurnOf(r.turns)} }

// holds reports whether bytes may be kept now; it takes the turn if they are more than the share and nobody has it.
func (p *portion) holds(bytes int64) bool { return bytes <= p.share || p.turn.Try() }

// wait waits for the turn. The caller keeps no more than its share.
func (p *portion) wait(ctx context.Context) error { return p.turn.Begin(ctx) }

// page is how many bytes a page may have; 0: as many as any answer.
func (p *portion) page() int64 {
	if p.turn.Mine() {
		return 0
	}
	return p.share
}

func (p *portion) end() { p.turn.End() }

// sizeOf is how many bytes the texts of a record have.
func sizeOf(record *store.SequenceRecord) int64 {
	size := len(record.Sequence.Document)
	for _, row := range record.Detections {
		size += len(row.Document)
	}
	for _, frame := range record.Frames {
		size += len(frame.Key) + len(frame.Problem)
	}
	return int64(size)
}

// errListing is a listing of more than maxListing.
var errListing = fmt.Errorf("its detections have more than %d MiB, which no bundle takes", maxListing>>20)
