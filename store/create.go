package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// neverDone is the context of the owner's own reads: they answer requests that were taken, and take no time.
var neverDone = context.Background() //nolint:gochecknoglobals // a constant in all but type

// OpenWriter opens the bundle at path for writing and creates it where there is none. It takes up an interrupted writer's
// work: complete images in the open shard are adopted, an incomplete tail is cut.
//
// It returns ErrNotBundle, ErrVersion, ErrLocked, ErrCorrupt, ErrSource or ErrSpace, wrapped.
func OpenWriter(ctx context.Context, path string, o WriteOptions) (*Writer, error) {
	if o.disk == nil {
		o.disk = osDisk{}
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.SealSize <= 0 {
		o.SealSize = sealSize
	}
	o.SealSize = min(o.SealSize, maxMember)
	source, err := cleanSource(o.Source)
	if err != nil {
		return nil, fmt.Errorf("open bundle %s: %w", path, err)
	}
	o.Source = source
	w, err := openWriter(ctx, path, o)
	if err != nil {
		return nil, fmt.Errorf("open bundle %s: %w", path, err)
	}
	return w, nil
}

// cleanSource takes from a source's URL what must not be stored.
func cleanSource(s Source) (Source, error) {
	if s.URL == "" {
		return s, nil
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return Source{}, errors.New("the source is not a URL") // url.Parse's error repeats it, with its password
	}
	if u.Host == "" { // of name:password@host without a scheme the password would be taken for a path
		return Source{}, errors.New("the source is not a URL with a host")
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = nil, "", false, "", ""
	s.URL = strings.TrimRight(u.String(), "/")
	return s, nil
}

func openWriter(ctx context.Context, path string, o WriteOptions) (w *Writer, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := roomToBegin(o.disk, path); err != nil {
		return nil, err
	}
	if err := prepareDirectory(path, o); err != nil {
		return nil, err
	}
	if err := checkBeforeWriting(path); err != nil {
		return nil, err
	}
	index, err := openIndex(path, false)
	if err != nil {
		return nil, err
	}
	if o.renewAfter > 0 {
		index.renewAfter = o.renewAfter
	}
	b := &Bundle{path: path, manifest: manifestName, index: index, codec: newCodec(), pending: newPending()}
	owner, err := takeUp(ctx, b, o)
	if err != nil {
		return nil, errors.Join(err, index.Close())
	}
	w = &Writer{
		Bundle: b, log: o.Log, dropped: map[string]bool{},
		requests: make(chan request), closing: make(chan struct{}), done: make(chan struct{}),
	}
	owner.w = w
	go owner.run()
	return w, nil
}

// prepareDirectory makes sure that path is a bundle's directory with an index, or creates both.
func prepareDirectory(path string, o WriteOptions) error {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return fmt.Errorf("%w: it is not a directory", ErrNotBundle)
	}
	if err := makeDirectories(path, o.disk.syncDir); err != nil {
		return err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	has := func(name string) bool {
		return slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == name })
	}
	switch {
	case has(manifestName):
		if err := mustBeBundle(path); err != nil {
			return err
		}
		return makeImages(path) // a copy may lack it while it was empty
	case has(indexName):
		return makeImages(path)
	}
	for _, e := range entries {
		switch {
		case e.Type().IsRegular() && (e.Name() == indexNewName || e.Name() == manifestNewName):
			continue
		case e.IsDir() && e.Name() == imagesName:
			if images, err := os.ReadDir(filepath.Join(path, imagesName)); err == nil && len(images) == 0 {
				continue
			}
		}
		return fmt.Errorf("%w: the directory holds something else (%s)", ErrNotBundle, e.Name())
	}
	if err := makeImages(path); err != nil {
		return err
	}
	return createIndex(path, o)
}

func makeImages(path string) error {
	if err := os.Mkdir(filepath.Join(path, imagesName), dirMode); err != nil && !os.IsExist(err) {
		return err
	}
	return requireImages(path)
}

// createIndex makes an empty index under its temporary name, whose lock keeps a second creator out, and renames it.
func createIndex(path string, o WriteOptions) (err error) {
	temporary, final := filepath.Join(path, indexNewName), filepath.Join(path, indexName)
	db, err := takeOver(temporary, openNew)
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return fmt.Errorf("%w: it is being created", ErrLocked)
	}
	if err != nil {
		return err
	}
	open := true
	defer func() {
		if open {
			err = errors.Join(err, db.Close())
		}
	}()
	if done, err := exists(final); err != nil || done {
		return err // another creator was faster
	}
	if err := db.Update(func(tx *bbolt.Tx) error { return initialise(tx, o) }); err != nil {
		return fmt.Errorf("create the index: %w", err)
	}
	if err := db.Sync(); err != nil {
		return fmt.Errorf("create the index: %w", err)
	}
	open = false
	if err := db.Close(); err != nil { // Windows renames no open file
		return fmt.Errorf("create the index: %w", err)
	}
	if err := o.disk.rename(temporary, final); err != nil {
		return fmt.Errorf("create the index: %w", err)
	}
	if err := o.disk.syncDir(path); err != nil {
		return err
	}
	return o.disk.syncDir(filepath.Dir(path))
}

// takeOver opens a database that lasts only as long as some work, and makes it anew where a process that was killed has left what
// is none. Its error is bbolt's ErrTimeout where another process has it open.
func takeOver[T any](path string, open func(path string) (T, error)) (T, error) {
	opened, err := open(path)
	if err == nil || errors.Is(err, bbolterrors.ErrTimeout) || os.Remove(path) != nil { // what cannot be removed is no leftover
		return opened, err
	}
	return open(path)
}

func openNew(path string) (db *bbolt.DB, err error) {
	defer guard(&err)()
	return bbolt.Open(path, fileMode, indexOptions(false))
}

// initialise writes the buckets and the meta record of an empty index.
func initialise(tx *bbolt.Tx, o WriteOptions) error {
	m := indexMeta{
		Format: formatVersion, MinReader: minReader, Source: o.Source, Generation: 1, OpenShard: 1,
		Counts: map[string]int64{}, CreatedAt: o.now().UTC(), UpdatedAt: o.now().UTC(),
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	m.ID = hex.EncodeToString(id[:])
	for _, name := range append(dataBuckets(), bucketMeta) {
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return err
		}
		if name != bucketMeta {
			m.Counts[name] = 0
		}
	}
	return writeMeta(tx, m)
}

// checkBeforeWriting looks at every page of the index: a writer would build on what is damaged.
func checkBeforeWriting(path string) (err error) {
	defer guard(&err)()
	index, err := openIndex(path, true)
	if err != nil {
		return err
	}
	return errors.Join(checkPages(filepath.Join(path, indexName), allPages), index.Close())
}

// takeUp reads the index, compares it with manifest and shards, and adopts what an interrupted writer left.
func takeUp(ctx context.Context, b *Bundle, o WriteOptions) (_ *owner, err error) {
	defer guard(&err)()
	w := &owner{
		w: &Writer{Bundle: b}, disk: o.disk, now: o.now, sealSize: o.SealSize, mending: o.Mend, doubtful: map[uint32]bool{},
		ageTimer: time.NewTimer(time.Hour),
	}
	if err := b.index.view(func(tx *bbolt.Tx) (err error) {
		if w.meta, err = readMeta(tx); err != nil {
			return err
		}
		if o.Mend {
			w.shards, err = w.knownShards(tx)
		} else {
			w.shards, err = readShards(tx, w.meta)
		}
		return err
	}); err != nil {
		return nil, err
	}
	if err := mayWrite(w.meta); err != nil {
		return nil, err
	}
	b.meta = w.meta
	for _, name := range []string{indexNewName, manifestNewName} { // before a manifest is written under that name
		if err := os.Remove(filepath.Join(b.path, name)); err != nil && !isMissing(err) {
			return nil, err
		}
	}
	if err := w.compareManifest(); err != nil {
		return nil, err
	}
	if err := w.settleSource(o.Source); err != nil {
		return nil, err
	}
	if o.Mend {
		if err := w.mend(ctx); err != nil {
			return nil, err
		}
	}
	if err := w.adopt(ctx); err != nil {
		return nil, err
	}
	return w, nil
}

// mayWrite refuses formats that this version can read only.
func mayWrite(m indexMeta) error {
	if m.Format > formatVersion {
		return fmt.Errorf("%w: format %d can be read, but not written", ErrVersion, m.Format)
	}
	return nil
}

// readShards returns the sealed shards in order.
func readShards(tx *bbolt.Tx, m indexMeta) ([]sealed, error) {
	var out []sealed
	for n := uint32(1); n < m.OpenShard; n++ {
		body, err := lookup(tx, bucketShards, shardKey(n))
		if err != nil {
			return nil, err
		}
		if body == nil {
			return nil, corruptf("index: shard %06d is missing", n)
		}
		s, err := decodeSealed(body)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// compareManifest reads the manifest; an index that nothing was put into may have none yet.
func (o *owner) compareManifest() error {
	m, err := readManifest(o.w.path, o.w.manifest)
	if isMissing(err) && o.meta.Generation == 1 {
		return o.writeManifest(false)
	}
	if isMissing(err) {
		return corruptf("%s is missing; fetch --repair writes it again", manifestName)
	}
	if err != nil {
		return err
	}
	o.manifestWriting, o.manifestState, o.manifestAt = m.Writing, m.Generation, o.now()
	return m.agrees(o.meta)
}

// settleSource compares the platform with the bundle's, or writes it where the bundle has none.
func (o *owner) settleSource(given Source) error {
	have := o.meta.Source
	if given.URL != "" && have.URL != "" && given.URL != have.URL {
		return fmt.Errorf("%w: it mirrors %s, not %s", ErrSource, have.URL, given.URL)
	}
	if given.API != "" && have.API != "" && given.API != have.API {
		return fmt.Errorf("%w: it mirrors %s, not %s", ErrSource, have.API, given.API)
	}
	settled := have
	if have.URL == "" {
		settled.URL = given.URL
	}
	if have.API == "" {
		settled.API = given.API
	}
	if settled == have {
		return nil
	}
	return o.update(func(t *txn) error {
		t.meta.Source = settled
		t.writes++
		return nil
	})
}

// adopt compares the shards with the index and enters what lies behind its end (docs/bundle-format.md, Writing).
func (o *owner) adopt(ctx context.Context) error {
	for i, s := range o.shards {
		info, err := os.Lstat(shardPath(o.w.path, uint32(i+1)))
		if isMissing(err) {
			return corruptf("shard %06d is missing", i+1)
		}
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || info.Size() != s.size {
			return corruptf("shard %06d has %d bytes instead of %d", i+1, info.Size(), s.size)
		}
	}
	for {
		more, err := o.adoptTail(ctx)
		if err != nil || !more {
			return err
		}
	}
}

// adoptTail takes up the open shard; more means that another one follows it.
func (o *owner) adoptTail(ctx context.Context) (more bool, err error) {
	n := o.meta.OpenShard
	o.end = o.meta.OpenSize
	path := shardPath(o.w.path, n)
	if err := requireRegular(path); isMissing(err) {
		if o.end > 0 {
			return false, corruptf("shard %06d is missing", n)
		}
		return false, nil
	} else if err != nil {
		return false, err
	}
	if err := o.openShard(); err != nil {
		return false, err
	}
	info, err := o.file.Stat()
	if err != nil {
		return false, err
	}
	if info.Size() < o.end {
		return false, corruptf("shard %06d has %d bytes instead of %d", n, info.Size(), o.end)
	}
	if info.Size() > o.end {
		if err := o.adoptMembers(ctx); err != nil {
			return false, err
		}
		if err := o.file.Truncate(o.end); err != nil {
			return false, fmt.Errorf("cut shard %06d: %w", n, err)
		}
		if err := o.file.Sync(); err != nil {
			return false, fmt.Errorf("cut shard %06d: %w", n, err)
		}
	}
	next, err := exists(shardPath(o.w.path, n+1))
	if err != nil || !next || o.end == 0 {
		return false, err
	}
	return true, o.seal(ctx)
}

// adoptMembers enters the complete members behind the committed end into the index, and leaves end behind the last.
func (o *owner) adoptMembers(ctx context.Context) error {
	const most = 1024 // members of a transaction
	buffer := make([]byte, 256<<10)
	for {
		m, found, err := o.nextMember(ctx, buffer)
		if err != nil {
			return err
		}
		if !found || len(o.members) >= most {
			if _, err := o.transact(nil); err != nil {
				return err
			}
		}
		if !found {
			return nil
		}
		o.remember(m)
	}
}

// nextMember reads the member behind end, if one is there whole and the index does not know its image.
func (o *owner) nextMember(ctx context.Context, buffer []byte) (m member, found bool, err error) {
	if err := ctx.Err(); err != nil {
		return member{}, false, err
	}
	m, err = readHeader(o.file, o.meta.OpenShard, o.end)
	if err == nil {
		err = hashMember(o.file, m, nil, buffer)
	}
	if isDamage(err) {
		return member{}, false, nil
	}
	if err != nil {
		return member{}, false, fmt.Errorf("read shard %06d: %w", o.meta.OpenShard, err)
	}
	if _, err = o.w.locate(ctx, m.hash); errors.Is(err, ErrNotFound) {
		return m, true, nil
	}
	return member{}, false, err // a second copy is none that a writer appended
}
