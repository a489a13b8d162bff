package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// MergeOptions choose how Merge works.
type MergeOptions struct {
	Progress func(done, total int64) // sequences of the bundles that are merged; may be nil

	write WriteOptions // for tests
}

// MergeResult is what Merge did. It is filled in also where Merge failed.
type MergeResult struct {
	Source     Source
	New        int64 // sequences that the bundle did not have
	Updated    int64
	Unchanged  int64
	Images     int64 // copied, each hashed on the way
	ImageBytes int64
	Reused     int64 // frames whose image was there
	Damaged    int64 // images that no sequence shows and that no bundle has whole: left out
	Problems   int64 // on record that none of the other bundles has solved
	Solved     int64 // that one of them has
}

// mergeWorkers is how many sequences are on their way at once: what they put shares syncs and transactions.
const mergeWorkers = 8

// Merge writes into the bundle at path, which is made where there is none, what the bundles at from hold. All must mirror
// the same platform, else ErrSource, before anything is written.
//
// The newest document wins, by Coverage.FetchedAt: the records of a sequence are joined from the oldest to the newest
// (docs/bundle-format.md, Joining), the bundle at path being one of them; of equally old ones the record that says Gone counts
// as newer, then the one whose JSON sorts later. Cameras and organizations come from the bundle that was last fetched into. So
// the outcome does not depend on the order of from, merging again changes nothing, and an interrupted Merge is taken up by the
// next. Images are stored once, and hashed again as they are copied; where one is damaged another bundle's copy is taken, and if
// there is none ErrCorrupt returned.
func Merge(ctx context.Context, path string, from []string, o MergeOptions) (result MergeResult, err error) {
	m := &merge{options: o}
	defer func() {
		if err != nil {
			err = fmt.Errorf("merge into bundle %s: %w", path, err)
		}
	}()
	defer func() { err = errors.Join(err, m.close()) }()
	if err := m.open(ctx, path, from); err != nil {
		return MergeResult{}, err
	}
	for _, step := range []func(context.Context) error{
		m.documents, m.problems, m.sequences, m.keys, m.days, m.solve,
	} {
		if err := step(ctx); err != nil {
			return m.result, err
		}
	}
	return m.result, nil
}

// merge is the state of one Merge.
//
// The steps come in an order that makes taking up an interrupted run easy: nothing is decided by what the run itself has
// written. Cameras and organizations are settled while the bundle still says how old its own are; problems are on record before
// the sequences that have them, and struck off after those that solve them; a day is listed once all its sequences are there.
type merge struct {
	options MergeOptions
	writer  *Writer
	bundles []*Bundle // the one that is written to first, then the others
	result  MergeResult
	mu      sync.Mutex     // of result
	images  [64]sync.Mutex // by the first byte of the hash: an image that two sequences share is copied once
}

func (m *merge) open(ctx context.Context, path string, from []string) error {
	source := Source{}
	var others []*Bundle
	for _, other := range from {
		if sameFile(path, other) {
			continue // merging a bundle into itself changes nothing
		}
		b, err := Open(other)
		if err != nil {
			return err
		}
		others = append(others, b)
		m.bundles = others // for close
		if source, err = agree(source, b); err != nil {
			return err
		}
	}
	o := m.options.write
	o.Source = source
	writer, err := OpenWriter(ctx, path, o)
	if err != nil {
		return err
	}
	m.writer = writer
	m.bundles = append([]*Bundle{writer.Bundle}, others...)
	m.result.Source = writer.Source()
	return nil
}

func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

// agree adds a bundle's source to what is known of the platform, or returns ErrSource.
func agree(known Source, b *Bundle) (Source, error) {
	have := b.Source()
	for _, pair := range []struct{ known, have string }{{known.URL, have.URL}, {known.API, have.API}} {
		if pair.known != "" && pair.have != "" && pair.known != pair.have {
			return Source{}, fmt.Errorf("bundle %s: %w: it mirrors %s, not %s", b.path, ErrSource, pair.have, pair.known)
		}
	}
	return Source{URL: cmp.Or(known.URL, have.URL), API: cmp.Or(known.API, have.API)}, nil
}

func (m *merge) close() (err error) {
	if m.writer != nil {
		err = m.writer.Close()
		m.bundles = m.bundles[1:]
	}
	for _, b := range m.bundles {
		err = errors.Join(err, b.Close())
	}
	return err
}

// readable returns an entry's body, or an error that says whose it is.
func (m *merge) readable(i int, e *entry) ([]byte, error) {
	if e.err != nil {
		return nil, fmt.Errorf("bundle %s: %w", m.bundles[i].path, e.err)
	}
	return e.body, nil
}

// documents settles cameras and organizations.
func (m *merge) documents(ctx context.Context) error {
	listed := make([]age, len(m.bundles))
	for i, b := range m.bundles {
		var err error
		if listed[i], err = b.lastListed(ctx); err != nil {
			return fmt.Errorf("bundle %s: %w", b.path, err)
		}
	}
	if err := m.each(ctx, bucketOrganizations, func(ctx context.Context, row []*entry) error {
		i, err := m.newest(row, listed)
		if err != nil || i < 0 {
			return err
		}
		o, err := organizationUnder(row[i].key, row[i].body)
		if err != nil {
			return fmt.Errorf("bundle %s: %w", m.bundles[i].path, err)
		}
		return m.writer.PutOrganizations(ctx, []Organization{o})
	}); err != nil {
		return err
	}
	return m.each(ctx, bucketCameras, func(ctx context.Context, row []*entry) error {
		i, err := m.newest(row, listed)
		if err != nil || i < 0 {
			return err
		}
		c, err := cameraUnder(row[i].key, row[i].body)
		if err != nil {
			return fmt.Errorf("bundle %s: %w", m.bundles[i].path, err)
		}
		return m.writer.PutCameras(ctx, []Camera{c})
	})
}

// each settles what the bundles have under the same keys of a bucket, several keys at once: what is put then shares syncs and
// transactions.
func (m *merge) each(ctx context.Context, bucket string, settle func(context.Context, []*entry) error) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(mergeWorkers)
	var unread error
	for row, err := range together(groupCtx, m.bundles, bucket) {
		if unread = err; err != nil {
			break
		}
		group.Go(func() error { return settle(groupCtx, row) })
	}
	if err := group.Wait(); err != nil {
		return err // and not that the reading was interrupted by it
	}
	return unread
}

// age says when the platform was last read into a bundle. A fetch begins with the directory, then lists days, then sequences.
type age struct{ fetched, listed time.Time }

func (a age) compare(b age) int {
	return cmp.Or(a.fetched.Compare(b.fetched), a.listed.Compare(b.listed))
}

func (b *Bundle) lastListed(ctx context.Context) (last age, err error) {
	for s, err := range b.Summaries(ctx, Query{}) {
		if err != nil {
			return age{}, err
		}
		if s.Coverage.FetchedAt.After(last.fetched) {
			last.fetched = s.Coverage.FetchedAt
		}
	}
	for d, err := range b.Days(ctx) {
		if err != nil {
			return age{}, err
		}
		if d.ListedAt.After(last.listed) {
			last.listed = d.ListedAt
		}
	}
	return last, nil
}

// newest chooses the bundle whose document counts: the one that was listed last, of equally old ones the one whose document sorts
// last; -1 where the bundle that is written to has that document.
func (m *merge) newest(row []*entry, listed []age) (best int, err error) {
	best = -1
	for i, e := range row {
		if e == nil {
			continue
		}
		body, err := m.readable(i, e)
		if err != nil {
			return -1, err
		}
		if best < 0 || cmp.Or(listed[i].compare(listed[best]), bytes.Compare(body, row[best].body)) > 0 {
			best = i
		}
	}
	if row[0] != nil && bytes.Equal(row[0].body, row[best].body) {
		return -1, nil
	}
	return best, nil
}

// sequences joins the records of each sequence and writes what the bundle does not say yet.
func (m *merge) sequences(ctx context.Context) error {
	var done, total int64
	for _, b := range m.bundles {
		total += b.count(bucketSequences)
	}
	return m.each(ctx, bucketSequences, func(ctx context.Context, row []*entry) error {
		err := m.sequence(ctx, row)
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, e := range row {
			if e != nil {
				done++
			}
		}
		if err == nil && m.options.Progress != nil {
			m.options.Progress(done, max(done, total))
		}
		return err
	})
}

// aged is a record and what decides which of two is the newer.
type aged struct {
	record SequenceRecord
	text   []byte
}

func (m *merge) record(i int, e *entry) (aged, error) {
	body, err := m.readable(i, e)
	if err != nil {
		return aged{}, err
	}
	b := m.bundles[i]
	record, err := b.codec.openRecord(documentID(e.key), body)
	if err != nil {
		return aged{}, fmt.Errorf("bundle %s: %w", b.path, err)
	}
	return newAged(record)
}

func newAged(record SequenceRecord) (aged, error) {
	arrange(&record)
	text, err := encodeRecord(&record)
	if err != nil {
		return aged{}, fmt.Errorf("sequence %d: %w", record.Sequence.ID, err)
	}
	return aged{record, text}, nil
}

// compareAge orders the records of a sequence from the oldest to the newest.
func compareAge(a, b aged) int {
	gone := func(a aged) int {
		if a.record.Coverage.Gone {
			return 1
		}
		return 0
	}
	return cmp.Or(
		a.record.Coverage.FetchedAt.Compare(b.record.Coverage.FetchedAt),
		cmp.Compare(gone(a), gone(b)),
		bytes.Compare(a.text, b.text),
	)
}

// sequence joins the records that the bundles have of one sequence.
func (m *merge) sequence(ctx context.Context, row []*entry) error {
	var records []aged
	var before []byte
	for i, e := range row {
		if e == nil {
			continue
		}
		record, err := m.record(i, e)
		if err != nil {
			return err
		}
		if i == 0 {
			before = record.text
		}
		records = append(records, record)
	}
	if before != nil && len(records) == 1 {
		return nil // none of the other bundles has it
	}
	slices.SortFunc(records, compareAge)
	var joined SequenceRecord
	for i, newer := range records {
		if i == 0 {
			joined = newer.record // joined with itself: what is derived is derived again
		}
		joined = join(joined, newer.record)
	}
	whole, err := newAged(joined)
	if err == nil {
		err = joinable(whole.record)
	}
	if err != nil {
		return err
	}
	if bytes.Equal(before, whole.text) {
		m.count(func(r *MergeResult) { r.Unchanged++ })
		return nil
	}
	for _, f := range whole.record.Frames {
		if f.Image.IsZero() {
			continue
		}
		if err := m.image(ctx, whole.record.OrganizationID(), f.Key, f.Image); err != nil {
			return fmt.Errorf("sequence %d: %w", whole.record.Sequence.ID, err)
		}
	}
	if err := m.writer.PutSequence(ctx, whole.record); err != nil {
		return err
	}
	m.count(func(r *MergeResult) {
		if before == nil {
			r.New++
		} else {
			r.Updated++
		}
	})
	return nil
}

// joinable refuses a sequence of which each bundle has as much as can be stored, and all together more.
func joinable(joined SequenceRecord) error {
	if err := checkNumbers(joined); err != nil {
		return fmt.Errorf("join sequence %d: %w", joined.Sequence.ID, err)
	}
	return nil
}

func (m *merge) count(change func(*MergeResult)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.result)
}

// days takes over what listings were read: of each day and organization the newest.
func (m *merge) days(ctx context.Context) error {
	return m.each(ctx, bucketDays, func(ctx context.Context, row []*entry) error {
		var newest DayRecord
		for i, e := range row {
			if e == nil {
				continue
			}
			body, err := m.readable(i, e)
			if err != nil {
				return err
			}
			var d DayRecord
			if err = decodeJSON(body, &d); err == nil && !bytes.Equal(dayRecordKey(d), e.key) {
				err = corruptf("index: day %s lies under another day", d.Day)
			}
			if err != nil {
				return fmt.Errorf("bundle %s: %w", m.bundles[i].path, err)
			}
			if newest.Day == "" || compareDays(d, newest) > 0 {
				newest = d
			}
		}
		return m.writer.PutDay(ctx, newest)
	})
}

// compareDays orders listings of one day by age, equally old ones by how much they say.
func compareDays(a, b DayRecord) int {
	complete := func(d DayRecord) int {
		if d.Complete {
			return 1
		}
		return 0
	}
	return cmp.Or(a.ListedAt.Compare(b.ListedAt), cmp.Compare(complete(a), complete(b)), cmp.Compare(a.Sequences, b.Sequences))
}
