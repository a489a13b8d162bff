package store

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// A packed bundle is a POSIX ustar archive of regular files in this order: manifest.json, index.db, the shards by number, and
// SHA256SUMS, the hashes of those before it. Nothing else is in it, so any tar unpacks it, and sha256sum -c SHA256SUMS proves it.

// checksumsName is the last member of a packed bundle.
const checksumsName = "SHA256SUMS"

// maxMember bounds a member, in bytes: what the eleven octal digits of a ustar header can say.
const maxMember = 1<<33 - 1

// PackOptions choose how a bundle is packed.
type PackOptions struct {
	SplitSize int64                   // bytes of a part; 0: one file
	Progress  func(done, total int64) // bytes of the archive; may be nil

	folder func(folder) folder // for tests: what stands before the real one
}

// Packed is what became of a packed bundle.
type Packed struct {
	Parts   []Part // none of a stream
	Members int    // of the archive
	Bytes   int64  // of the archive
}

// Pack writes the bundle to w as one archive. The same bundle gives the same bytes.
//
// Damage is not packed: the structure is verified before the first byte is written, and shards are hashed on the way; ErrCorrupt
// then. What an interrupted writer left behind the committed end of the open shard stays out.
func (b *Bundle) Pack(ctx context.Context, w io.Writer, o PackOptions) (Packed, error) {
	p, err := b.newPacking(ctx, o)
	if err == nil {
		err = p.writeTo(ctx, w)
	}
	if err != nil {
		return Packed{}, fmt.Errorf("pack bundle %s: %w", b.path, err)
	}
	return Packed{Members: len(p.members) + 1, Bytes: p.total}, nil
}

// PackFile writes the archive into a file, or with SplitSize into parts path.001, path.002 and so on, and the hashes of these
// files into path.sha256.
//
// Each file is written under the name with ".part" and renamed when it is complete. A run that was interrupted is continued:
// what is there is compared with what belongs there, and only what differs or is missing is written. A file that is no packed
// bundle is not replaced.
func (b *Bundle) PackFile(ctx context.Context, path string, o PackOptions) (packed Packed, err error) {
	defer func() {
		if err != nil {
			packed, err = Packed{}, fmt.Errorf("pack bundle %s: %w", b.path, err)
		}
	}()
	p, err := b.newPacking(ctx, o)
	if err != nil {
		return Packed{}, err
	}
	if b.holds(filepath.Dir(path)) {
		return Packed{}, fmt.Errorf("%s would lie in the bundle itself; name another directory", path)
	}
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return Packed{}, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	var in folder = rootFolder{root}
	if o.folder != nil {
		in = o.folder(in)
	}
	w := &partWriter{in: in, name: filepath.Base(path), split: o.SplitSize}
	defer w.abandon()
	if err := w.mayReplace(p.total); err != nil {
		return Packed{}, err
	}
	err = p.writeTo(ctx, w)
	if err == nil {
		err = w.finish()
	}
	if err != nil {
		return Packed{}, fullDisk(err, p.total, p.done)
	}
	return Packed{Parts: w.parts, Members: len(p.members) + 1, Bytes: p.total}, nil
}

// holds reports whether a directory is the bundle's or lies in it.
func (b *Bundle) holds(directory string) bool {
	if led, err := filepath.EvalSymlinks(directory); err == nil {
		directory = led
	}
	at, err := filepath.Abs(directory)
	for err == nil {
		if sameFile(at, b.path) {
			return true
		}
		parent := filepath.Dir(at)
		if parent == at {
			return false
		}
		at = parent
	}
	return false
}

// packing is the state of one Pack.
type packing struct {
	b       *Bundle
	options PackOptions
	members []packedMember
	time    time.Time
	total   int64 // bytes of the archive
	done    int64
	buffer  []byte
}

// packedMember is a file of a packed bundle.
type packedMember struct {
	name string
	size int64
	sum  Hash   // zero where it is not known beforehand
	data []byte // its contents, where they do not come from the file of that name
	open uint32 // the number of the shard, if it is the open one
}

// newPacking proves the structure and lists what is packed. The shared lock keeps writers out until the bundle is closed.
func (b *Bundle) newPacking(ctx context.Context, o PackOptions) (*packing, error) {
	if o.SplitSize < 0 {
		return nil, fmt.Errorf("parts of %d bytes cannot be", o.SplitSize)
	}
	report, err := b.Verify(ctx, VerifyOptions{})
	if err != nil {
		return nil, err
	}
	if n := len(report.Findings); n > 0 {
		return nil, corruptf("%s: %s (%d findings in all); what is damaged is not packed", report.Findings[0].Object, report.Findings[0].Reason, n)
	}
	m, err := b.describe()
	if err != nil {
		return nil, err
	}
	text, err := m.encode()
	if err != nil {
		return nil, err
	}
	info, err := os.Lstat(filepath.Join(b.path, indexName))
	if err != nil {
		return nil, err
	}
	p := &packing{b: b, options: o, members: membersOf(m, text, info.Size()), buffer: make([]byte, 1<<20)}
	p.total = packedSize(p.members)
	for _, member := range p.members {
		if member.size > maxMember {
			return nil, fmt.Errorf("%s has %d bytes, a plain tar holds %d at most: copy the directory instead", member.name, member.size, int64(maxMember))
		}
	}
	p.time = m.UpdatedAt.Truncate(time.Second)
	if p.time.Unix() < 0 || p.time.Unix() > maxMember {
		p.time = time.Unix(0, 0) // a header's time is as long as its size
	}
	return p, nil
}

// describe is the manifest of the bundle as its index says it is now: that on disk may be older.
func (b *Bundle) describe() (m manifest, err error) {
	f, err := openRegular(filepath.Join(b.path, indexName))
	if err != nil {
		return manifest{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, valid, err := readMetaPages(f)
	if err != nil {
		return manifest{}, err
	}
	err = b.view(func(tx *bbolt.Tx) error {
		meta, err := readMeta(tx)
		if err != nil {
			return err
		}
		shards, err := readShards(tx, meta)
		m = manifestOf(meta, shards, valid < 2) // a torn meta page is no damage where somebody was writing
		return err
	})
	return m, err
}

// membersOf are the members of a packed bundle before the last, as its manifest describes them.
func membersOf(m manifest, text []byte, indexSize int64) []packedMember {
	members := []packedMember{
		{name: manifestName, size: int64(len(text)), sum: sha256.Sum256(text), data: text},
		{name: indexName, size: indexSize},
	}
	for _, s := range m.Shards {
		members = append(members, packedMember{name: s.Name, size: s.Size, sum: s.SHA256})
	}
	if m.OpenShard.Size > 0 {
		members = append(members, packedMember{name: m.OpenShard.Name, size: m.OpenShard.Size, open: uint32(len(m.Shards) + 1)})
	}
	return members
}

// checksumsOf is the contents of the last member: a line for each of the others, as sha256sum writes it.
func checksumsOf(members []packedMember) []byte {
	var list bytes.Buffer
	for _, m := range members {
		fmt.Fprintf(&list, "%s  %s\n", m.sum, m.name)
	}
	return list.Bytes()
}

// packedSize is the size of the archive.
func packedSize(members []packedMember) int64 {
	size := blockSize + padded(int64(len(checksumsOf(members)))) + endSize
	for _, m := range members {
		size += blockSize + padded(m.size)
	}
	return size
}

// writeTo writes the archive.
func (p *packing) writeTo(ctx context.Context, w io.Writer) error {
	archive := tar.NewWriter(w)
	for i := range p.members {
		m := &p.members[i]
		if err := p.member(ctx, archive, m); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	list := checksumsOf(p.members)
	if err := p.member(ctx, archive, &packedMember{name: checksumsName, size: int64(len(list)), data: list}); err != nil {
		return fmt.Errorf("%s: %w", checksumsName, err)
	}
	return archive.Close()
}

// member writes one member and learns its hash.
func (p *packing) member(ctx context.Context, archive *tar.Writer, m *packedMember) (err error) {
	if err := archive.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: m.name, Size: m.size, Mode: fileMode, ModTime: p.time, Format: tar.FormatUSTAR,
	}); err != nil {
		return err
	}
	from := io.Reader(bytes.NewReader(m.data))
	if m.data == nil {
		f, err := openRegular(filepath.Join(p.b.path, filepath.FromSlash(m.name)))
		if isMissing(err) {
			return corruptf("it is missing")
		}
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if m.open != 0 {
			if err := checkMembers(ctx, f, m.open, m.size, p.buffer); err != nil {
				return err
			}
		}
		from = io.NewSectionReader(f, 0, m.size)
	}
	h := sha256.New()
	to := io.MultiWriter(archive, h, writerFunc(func(b []byte) { p.advance(int64(len(b))) }))
	n, err := io.CopyBuffer(to, interruptible{ctx, from}, p.buffer)
	if err != nil {
		return err
	}
	sum := Hash(h.Sum(nil))
	if n != m.size || !m.sum.IsZero() && m.sum != sum {
		return corruptf("its bytes are not what was stored; verify --read-data says which images it concerns")
	}
	m.sum = sum
	p.advance(blockSize + padded(m.size) - m.size)
	return nil
}

// advance tells how far the archive is.
func (p *packing) advance(n int64) {
	p.done += n
	if p.options.Progress != nil {
		p.options.Progress(p.done, p.total)
	}
}

// writerFunc sees what is written.
type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

// checkMembers hashes the images of the open shard, of which no hash of the whole is known.
func checkMembers(ctx context.Context, r io.ReaderAt, shard uint32, size int64, buffer []byte) error {
	for position := int64(0); position < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := readHeader(r, shard, position)
		if err == nil {
			err = hashMember(r, m, nil, buffer)
		}
		if err == nil && m.end() > size {
			err = io.ErrUnexpectedEOF
		}
		if isDamage(err) {
			return corruptf("its image at %d is not what was stored: %w", position, err)
		}
		if err != nil {
			return err
		}
		position = m.end()
	}
	return nil
}
