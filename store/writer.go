package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Writer is a bundle opened for writing; it reads too, also what is not committed yet of images. It is safe for concurrent use.
//
// One goroutine owns the files. Images are appended to the open shard as they come and committed in batches; everything
// else is committed when its method returns, together with whatever others put at that moment.
type Writer struct {
	*Bundle
	log *slog.Logger

	requests chan request
	closing  chan struct{} // closed by Close
	done     chan struct{} // closed when the owner has ended
	close    sync.Once
	closed   error // of the owner; valid after done

	droppedMu sync.Mutex
	dropped   map[string]bool // names of dropped fields that were logged
}

// WriteOptions are what a Writer needs beside its path.
type WriteOptions struct {
	Source   Source       // a new bundle's source; an existing bundle's must agree, else ErrSource. A zero Source agrees with any existing one.
	Log      *slog.Logger // names of dropped fields at debug; nil: silent
	SealSize int64        // bytes at which a shard is sealed, up to 8 GiB; 0: 512 MiB
	Mend     bool         // take up a bundle that Verify found damaged, and put right what is put again (mend.go)

	disk       disk             // for tests; nil: the real one
	now        func() time.Time // for tests; nil: time.Now
	renewAfter int64            // for tests; 0: renewPages
}

// request is something for the owner to do. Exactly one of image, apply and own is set.
type request struct {
	image *newImage
	apply func(t *txn) error   // changes the index; refuses before its first change
	own   func(o *owner) error // needs the owner's own state
	done  chan error           // buffered: the owner never waits
}

// newImage is an image on its way into the open shard.
type newImage struct {
	ctx    context.Context //nolint:containedctx // of its caller: before it half a gigabyte may have to be sealed
	key    []byte          // by bucketKey
	hash   Hash
	format Format
	data   []byte
}

// Content is an image's bytes with their SHA-256, computed once, by this room: a Writer believes no other. Its zero value is
// an empty image, which is not stored.
type Content struct {
	data []byte
	hash Hash
}

// NewContent hashes data, which must not be changed as long as the Content is in use.
func NewContent(data []byte) Content { return Content{data: data, hash: sha256.Sum256(data)} }

// Hash is the SHA-256 of the bytes.
func (c Content) Hash() Hash { return c.hash }

// Bytes are those that NewContent was given; they are not to be changed.
func (c Content) Bytes() []byte { return c.data }

// PutImage stores the bytes once per content and remembers key (of that organization) for them. data may be reused after
// it returns. The image is durable when Flush or a later PutSequence returns.
func (w *Writer) PutImage(ctx context.Context, organizationID int64, key string, format Format, data []byte) (Hash, error) {
	content := Content{data: data}
	if len(data) <= maxImage { // no use hashing what is refused
		content = NewContent(data)
	}
	if err := w.PutContent(ctx, organizationID, key, format, content); err != nil {
		return Hash{}, err
	}
	return content.hash, nil
}

// PutContent is PutImage for callers that needed the hash themselves.
func (w *Writer) PutContent(ctx context.Context, organizationID int64, key string, format Format, content Content) error {
	err := checkContent(organizationID, key, format, content)
	if err == nil {
		err = w.do(ctx, request{image: &newImage{ctx: ctx, key: bucketKey(organizationID, key), hash: content.hash, format: format, data: content.data}})
	}
	if err != nil {
		return fmt.Errorf("store image %s of organization %d: %w", redact(key), organizationID, err)
	}
	return nil
}

// PutSequence commits a sequence, durably, after every image that it refers to. Secrets are removed from its documents. A
// stored sequence of the same id is replaced, its detections joined: a narrower record never removes rows or frames.
//
// What is stored are the documents; the typed fields beside them are read from these again. A record that can never be stored,
// such as one with a secret where a name is due, is ErrRefused.
func (w *Writer) PutSequence(ctx context.Context, r SequenceRecord) error {
	r, err := w.prepare(r)
	if err != nil {
		return fmt.Errorf("store sequence %d: %w", r.Sequence.ID, err)
	}
	if err := w.do(ctx, request{apply: func(t *txn) error { return w.putSequence(t, r) }}); err != nil {
		return fmt.Errorf("store sequence %d: %w", r.Sequence.ID, err)
	}
	return nil
}

// prepare strips and checks a record; everything about it that needs no index.
func (w *Writer) prepare(given SequenceRecord) (SequenceRecord, error) {
	r := given // its slices stay the caller's
	var err error
	if r.Sequence, err = clean(w, sequenceKind(), given.Sequence.Document, ParseSequence); err != nil {
		return given, err
	}
	if r.Sequence.ID != given.Sequence.ID {
		return given, refusedf("its document is that of sequence %d", r.Sequence.ID)
	}
	if given.Camera != nil {
		c, err := clean(w, cameraKind(), given.Camera.Document, ParseCamera)
		if err != nil {
			return given, err
		}
		if c.ID != r.Sequence.CameraID {
			return given, refusedf("its camera is %d, not %d", r.Sequence.CameraID, c.ID)
		}
		r.Camera = &c
	}
	if given.Organization != nil {
		o, err := clean(w, organizationKind(), given.Organization.Document, ParseOrganization)
		if err != nil {
			return given, err
		}
		r.Organization = &o
	}
	if err := checkNumbers(given); err != nil {
		return given, err
	}
	r.Detections = make([]Detection, len(given.Detections))
	for i, d := range given.Detections {
		if r.Detections[i], err = clean(w, detectionKind(), d.Document, ParseDetection); err != nil {
			return given, err
		}
		if err := CheckKey(r.Detections[i].BucketKey); err != nil {
			return given, fmt.Errorf("detection %d: %w", d.ID, err)
		}
	}
	r.Frames = make([]Frame, len(given.Frames))
	for i, f := range given.Frames {
		if err := CheckKey(f.Key); err != nil {
			return given, err
		}
		f.Problem = storedReason(f.Problem)
		r.Frames[i] = f
	}
	return r, nil
}

// clean strips a document and reads it again.
func clean[T any](w *Writer, k kind, doc []byte, parse func(json.RawMessage) (T, error)) (cleaned T, err error) {
	if len(doc) == 0 {
		return cleaned, refusedf("its %s has no document", k.name)
	}
	stripped, err := strip(k, doc, w.logDropped)
	if err == nil {
		cleaned, err = parse(stripped)
	}
	if err != nil {
		return cleaned, refusedf("%w", err)
	}
	return cleaned, nil
}

// logDropped tells once of each name of a field that is not stored. Its value is nobody's business.
func (w *Writer) logDropped(name string) {
	if w.log == nil {
		return
	}
	const most = 1000 // names are the platform's; a hostile one must not fill memory
	w.droppedMu.Lock()
	again := w.dropped[name] || len(w.dropped) >= most
	if !again {
		w.dropped[name] = true
	}
	w.droppedMu.Unlock()
	if !again {
		w.log.Debug("field not stored", "field", name)
	}
}

// putSequence joins a prepared record with the stored one and writes it.
func (w *Writer) putSequence(t *txn, r SequenceRecord) error {
	id := r.Sequence.ID
	stored, err := w.storedSequence(t, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err == nil {
		r = join(stored, r)
	}
	arrange(&r)
	if err := checkNumbers(r); err != nil { // joined, it has more
		return err
	}
	body, encodeErr := w.encode(&r)
	if encodeErr != nil {
		return encodeErr
	}
	for _, f := range r.Frames {
		if f.Image.IsZero() {
			continue
		}
		at, err := t.get(bucketImages, f.Image[:])
		if err != nil {
			return err
		}
		if at == nil {
			return fmt.Errorf("frame %s: image %s: %w", f.Key, f.Image, ErrNotFound)
		}
	}
	if err == nil && !stored.Sequence.StartedAt.Equal(r.Sequence.StartedAt.Time) {
		if err := t.remove(bucketByDay, dayKey(stored.Sequence.StartedAt.Time, id)); err != nil {
			return err
		}
	}
	for _, f := range r.Frames {
		if f.Image.IsZero() {
			continue
		}
		key := bucketKey(r.OrganizationID(), f.Key)
		if known, err := t.get(bucketKeys, key); err != nil {
			return err
		} else if known == nil {
			if err := t.put(bucketKeys, key, f.Image[:]); err != nil {
				return err
			}
		}
	}
	return putEncoded(t, &r, body)
}

// storedSequence reads a sequence inside a transaction, or ErrNotFound.
func (w *Writer) storedSequence(t *txn, id int64) (SequenceRecord, error) {
	body, err := t.get(bucketSequences, idKey(id))
	if err != nil {
		return SequenceRecord{}, err
	}
	if body == nil {
		return SequenceRecord{}, ErrNotFound
	}
	return w.codec.openRecord(id, body)
}

func (w *Writer) writeSequence(t *txn, r *SequenceRecord) error {
	body, err := w.encode(r)
	if err != nil {
		return err
	}
	return putEncoded(t, r, body)
}

// encode makes the stored body of a record.
func (w *Writer) encode(r *SequenceRecord) ([]byte, error) {
	data, err := encodeRecord(r)
	if err != nil {
		return nil, err
	}
	body, err := w.codec.compress(data)
	if err == nil && hashSize+len(body) > maxValue {
		err = refusedf("its record has %d bytes compressed, at most %d are stored", len(body), maxValue-hashSize)
	}
	return body, err
}

func putEncoded(t *txn, r *SequenceRecord, body []byte) error {
	if err := t.put(bucketSequences, idKey(r.Sequence.ID), body); err != nil {
		return err
	}
	return t.putJSON(bucketByDay, dayKey(r.Sequence.StartedAt.Time, r.Sequence.ID), summarise(r))
}

// PutCameras replaces the documents of the given ids; unchanged ones are not written. If one is ErrRefused, none is.
func (w *Writer) PutCameras(ctx context.Context, cameras []Camera) error {
	docs := make([]document, 0, len(cameras))
	for _, c := range cameras {
		cleaned, err := clean(w, cameraKind(), c.Document, ParseCamera)
		if err != nil {
			return fmt.Errorf("store camera %d: %w", c.ID, err)
		}
		docs = append(docs, document{cleaned.ID, cleaned.Document})
	}
	return w.putDocuments(ctx, bucketCameras, docs)
}

// PutOrganizations replaces the documents of the given ids; unchanged ones are not written. If one is ErrRefused, none is.
func (w *Writer) PutOrganizations(ctx context.Context, organizations []Organization) error {
	docs := make([]document, 0, len(organizations))
	for _, o := range organizations {
		cleaned, err := clean(w, organizationKind(), o.Document, ParseOrganization)
		if err != nil {
			return fmt.Errorf("store organization %d: %w", o.ID, err)
		}
		docs = append(docs, document{cleaned.ID, cleaned.Document})
	}
	return w.putDocuments(ctx, bucketOrganizations, docs)
}

// document is a stripped document and its id.
type document struct {
	id   int64
	text []byte
}

func (w *Writer) putDocuments(ctx context.Context, bucket string, docs []document) error {
	err := w.do(ctx, request{apply: func(t *txn) error {
		for _, d := range docs {
			if err := t.put(bucket, idKey(d.id), d.text); err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		return fmt.Errorf("store %s: %w", bucket, err)
	}
	return nil
}

// MarkGone sets Coverage.Gone of a stored sequence.
func (w *Writer) MarkGone(ctx context.Context, id int64, gone bool) error {
	err := w.do(ctx, request{apply: func(t *txn) error {
		r, err := w.storedSequence(t, id)
		if err != nil || r.Coverage.Gone == gone {
			return err
		}
		r.Coverage.Gone = gone
		return w.writeSequence(t, &r)
	}})
	if err != nil {
		return fmt.Errorf("mark sequence %d as gone: %w", id, err)
	}
	return nil
}

// PutDay records that a day's listing was read; a record of the same day and organization is replaced.
func (w *Writer) PutDay(ctx context.Context, d DayRecord) error {
	if _, err := ParseDay(string(d.Day)); err != nil {
		return fmt.Errorf("store day: %w", err)
	}
	d.ListedAt = d.ListedAt.UTC()
	if err := w.do(ctx, request{apply: func(t *txn) error { return t.putJSON(bucketDays, dayRecordKey(d), d) }}); err != nil {
		return fmt.Errorf("store day %s: %w", d.Day, err)
	}
	return nil
}

// PutProblem records a problem under ProblemID; one of the same kind and id is replaced. URLs in its reason lose their query.
func (w *Writer) PutProblem(ctx context.Context, p Problem) error {
	p.ID = ProblemID(p.Kind, p.ID)
	if err := checkProblem(p.Kind, p.ID); err != nil {
		return fmt.Errorf("store problem: %w", err)
	}
	p.Reason = storedReason(p.Reason)
	p.At = p.At.UTC()
	key := problemKey(p.Kind, p.ID)
	if err := w.do(ctx, request{apply: func(t *txn) error { return t.putJSON(bucketProblems, key, p) }}); err != nil {
		return fmt.Errorf("store problem of %s %s: %w", p.Kind, p.ID, err)
	}
	return nil
}

// storedReason is what is stored of the reason of a problem.
func storedReason(text string) string {
	const longest = 4096 // bytes: an answer's body may be in it
	text = redact(strings.ToValidUTF8(text, "\uFFFD"))
	return strings.ToValidUTF8(text[:min(len(text), longest)], "") // without the rest of a rune that is cut: as it is read back
}

// ClearProblem forgets a problem, and is no error where there is none.
func (w *Writer) ClearProblem(ctx context.Context, kind, id string) error {
	id = ProblemID(kind, id)
	if err := checkProblem(kind, id); err != nil {
		return nil //nolint:nilerr // what cannot be stored is not there
	}
	key := problemKey(kind, id)
	if known, err := w.get(ctx, bucketProblems, key); err == nil && known == nil {
		return nil
	}
	if err := w.do(ctx, request{apply: func(t *txn) error { return t.remove(bucketProblems, key) }}); err != nil {
		return fmt.Errorf("clear problem of %s %s: %w", kind, id, err)
	}
	return nil
}

// Flush makes everything put so far durable.
func (w *Writer) Flush(ctx context.Context) error {
	if err := w.do(ctx, request{apply: func(*txn) error { return nil }}); err != nil {
		return fmt.Errorf("flush bundle %s: %w", w.path, err)
	}
	return nil
}

// Close flushes, rewrites the manifest and releases the lock. After a write has failed it only releases the lock, and returns that failure.
func (w *Writer) Close() error {
	w.close.Do(func() { close(w.closing) })
	<-w.done
	if w.closed != nil {
		return fmt.Errorf("close bundle %s: %w", w.path, w.closed)
	}
	return nil
}

// do hands a request to the owner and waits for its outcome. Once taken it is carried out: a cancelled ctx only keeps it
// from being taken.
func (w *Writer) do(ctx context.Context, r request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.done = make(chan error, 1)
	select {
	case w.requests <- r:
		return <-r.done
	case <-ctx.Done():
		return ctx.Err()
	case <-w.done:
		return fs.ErrClosed
	}
}
