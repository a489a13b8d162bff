package store

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	bbolterrors "go.etcd.io/bbolt/errors"
)

// UnpackOptions choose how a bundle is unpacked.
type UnpackOptions struct {
	Progress func(done, total int64) // bytes of the members; may be nil

	folder func(folder) folder // for tests: what stands before the real one
}

// Unpacked is what Unpack did.
type Unpacked struct {
	Members      int   // of the archive
	Kept         int   // of them, those that an interrupted run had written already
	Bytes        int64 // of the members
	AlreadyThere bool  // the bundle was unpacked before; nothing was written
}

// unpackingSuffix is that of the directory, beside the bundle's place, that an archive is unpacked into.
const unpackingSuffix = ".unpacking"

// UnpackFile unpacks the file at archive, or the parts of which it is the name or the first, as Unpack does. A missing part is
// named.
func UnpackFile(ctx context.Context, archive, path string, o UnpackOptions) (Unpacked, error) {
	files, err := openParts(archive)
	if err != nil {
		return Unpacked{}, fmt.Errorf("unpack %s: %w", archive, err)
	}
	defer func() { _ = files.Close() }() // it was only read
	done, err := unpack(ctx, files, path, o)
	if errors.Is(err, errEndsEarly) && files.paths[0] != files.name {
		next := partName(files.name, len(files.paths)+1)
		err = fmt.Errorf("%w: %s", files.missing(next), errEndsEarly.Error())
	}
	if err != nil {
		return Unpacked{}, fmt.Errorf("unpack %s: %w", archive, err)
	}
	return done, nil
}

// Unpack makes the bundle at path from an archive that Pack wrote. There must be nothing at path yet, or the same bundle.
//
// Nothing of the archive is trusted: it may hold the members of a bundle in their order and nothing else, of the sizes that its
// manifest says, else ErrNotBundle; each is hashed on the way, and the structure verified, else ErrCorrupt (ErrVersion for a
// format that this version cannot read). They are written into a directory beside path, which gets its name when all is proven;
// until then it is no bundle. An interrupted run is continued: what is complete there, with the right hash, is not written
// again.
func Unpack(ctx context.Context, r io.Reader, path string, o UnpackOptions) (Unpacked, error) {
	done, err := unpack(ctx, r, path, o)
	if err != nil {
		return Unpacked{}, fmt.Errorf("unpack: %w", err)
	}
	return done, nil
}

// errEndsEarly is part of the error of an archive that is not there to its end.
var errEndsEarly = errors.New("the archive ends too early")

func unpack(ctx context.Context, r io.Reader, path string, o UnpackOptions) (Unpacked, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Unpacked{}, err
	}
	u := &unpacking{ctx: ctx, options: o, path: path, buffer: make([]byte, 1<<20), proven: map[string]bool{}}
	u.source = interruptible{ctx, r}
	if seeker, ok := r.(io.Seeker); ok {
		u.source = seekable{u.source, seeker}
	}
	u.archive = tar.NewReader(u.source)
	if err := u.readManifest(); err != nil {
		return Unpacked{}, err
	}
	there, err := u.alreadyThere()
	if err == nil && !there {
		there, err = u.into()
		err = fullDisk(err, u.total, u.written)
	}
	if err != nil {
		return Unpacked{}, err
	}
	if there {
		_, err := io.Copy(io.Discard, u.rest(r)) // whoever writes the stream may end in peace
		return Unpacked{Members: len(u.members) + 1, AlreadyThere: true}, err
	}
	return Unpacked{Members: len(u.members) + 1, Kept: u.kept, Bytes: u.total}, nil
}

// seekable lets the archive skip what is there already.
type seekable struct {
	io.Reader
	io.Seeker
}

// unpacking is the state of one Unpack.
type unpacking struct {
	ctx     context.Context // of one call of Unpack
	options UnpackOptions
	path    string // of the bundle
	source  io.Reader
	archive *tar.Reader
	buffer  []byte

	text    []byte // of the manifest
	format  manifest
	members []packedMember // but the last
	in      folder
	index   *output // settled, without its name yet
	proven  map[string]bool
	kept    int
	total   int64 // bytes of the members
	done    int64
	written int64
}

// alreadyThere reports whether the bundle was unpacked before. Anything else in its place is an error that matches fs.ErrExist.
func (u *unpacking) alreadyThere() (bool, error) {
	info, err := os.Lstat(u.path)
	if isMissing(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	entries, err := os.ReadDir(u.path)
	if err == nil && len(entries) == 0 && info.IsDir() {
		return false, nil
	}
	taken := fmt.Errorf("%s: %w, and is not this bundle; name another directory with -o", u.path, fs.ErrExist)
	if err != nil {
		return false, errors.Join(taken, err)
	}
	f, err := openRegular(filepath.Join(u.path, manifestName))
	if err != nil {
		return false, taken
	}
	text, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err = errors.Join(err, f.Close()); err != nil || !bytes.Equal(text, u.text) {
		return false, errors.Join(taken, err)
	}
	b, err := Open(u.path)
	if err != nil {
		return true, err
	}
	return true, verifyStructure(u.ctx, b)
}

// verifyStructure returns a bundle's damage as ErrCorrupt, and closes it.
func verifyStructure(ctx context.Context, b *Bundle) (err error) {
	defer func() { err = errors.Join(err, b.Close()) }()
	report, err := b.Verify(ctx, VerifyOptions{})
	if err != nil {
		return err
	}
	if n := len(report.Findings); n > 0 {
		return corruptf("%s: %s (%d findings in all)", report.Findings[0].Object, report.Findings[0].Reason, n)
	}
	return nil
}

// rest is what is left of a stream, nothing of files.
func (u *unpacking) rest(r io.Reader) io.Reader {
	if _, ok := r.(*parts); ok {
		return strings.NewReader("")
	}
	return u.source
}

// into unpacks the members behind the manifest into the directory beside the bundle's place, and gives it its name. there is true
// where another Unpack has done so while this one waited for the lock.
func (u *unpacking) into() (there bool, err error) {
	directory, parent := u.path+unpackingSuffix, filepath.Dir(u.path)
	if err := makeDirectories(parent, syncDir); err != nil {
		return false, err
	}
	unlock, err := lockOut(directory + ".lock")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if there, err := u.alreadyThere(); err != nil || there {
		return there, err
	}
	if err := u.fill(directory); err != nil {
		return false, err
	}
	if err := os.Remove(u.path); err != nil && !isMissing(err) { // an empty directory
		return false, err
	}
	if err := patiently(func() error { return os.Rename(directory, u.path) }, isInUse); err != nil {
		return false, err
	}
	return false, syncDir(parent)
}

// lockOut keeps a second Unpack out of the same directory, by bbolt's lock: it works wherever bundles do. A lock that was got of a
// file which lost its name meanwhile keeps nobody out; the file that has the name is locked then.
func lockOut(file string) (unlock func() error, err error) {
	const most = 100 // tries: a file system that cannot tell files apart is no reason to refuse it
	for tries := 1; ; tries++ {
		if err := requireRegular(file); err != nil && !isMissing(err) {
			return nil, err
		}
		lock, err := takeOver(file, openLock)
		if errors.Is(err, bbolterrors.ErrTimeout) {
			return nil, fmt.Errorf("%w: it is being unpacked", ErrLocked)
		}
		if err != nil {
			return nil, err
		}
		held, heldErr := lock.file.Stat()
		if named, err := os.Lstat(file); err == nil && heldErr == nil && os.SameFile(held, named) || tries == most {
			return func() error { return unlockAndRemove(lock, file) }, nil
		}
		if err := errors.Join(heldErr, lock.Close()); err != nil {
			return nil, err
		}
	}
}

func openLock(file string) (lock *indexFile, err error) {
	defer guard(&err)()
	return openHandle(file, false, os.OpenFile)
}

// unlockAndRemove removes the file before its lock is free: whoever has that next can tell that it is no longer the one of the name.
func unlockAndRemove(lock *indexFile, file string) error {
	err := os.Remove(file)
	closed := lock.Close()
	if err != nil && !isMissing(err) { // Windows removes no open file, nor one that somebody else waits for
		err = os.Remove(file)
	}
	if isInUse(err) || isMissing(err) {
		err = nil
	}
	return errors.Join(err, closed)
}

// isRefusal reports whether an archive was refused for what it holds, as opposed to one that is not all there yet.
func isRefusal(err error) bool {
	return errors.Is(err, ErrNotBundle) || errors.Is(err, ErrVersion) || errors.Is(err, ErrCorrupt) && !errors.Is(err, errEndsEarly)
}

// fill makes the directory a bundle, or leaves in it what the next run can use. Of a refused archive that is the shards
// whose hashes were as its manifest says, and nothing that looks like a bundle.
func (u *unpacking) fill(directory string) (err error) {
	if err := os.Mkdir(directory, dirMode); err != nil && !os.IsExist(err) {
		return err
	}
	if info, err := os.Lstat(directory); err != nil || !info.IsDir() {
		return errors.Join(fmt.Errorf("%s is in the way: it is not a directory", directory), err)
	}
	root, err := os.OpenRoot(directory)
	if err != nil {
		return err
	}
	defer func() {
		if isRefusal(err) {
			tidy(root, u.proven)
		}
		err = errors.Join(err, root.Close())
		if isRefusal(err) {
			_ = os.Remove(directory) // unless a shard is left in it
		}
	}()
	u.in = rootFolder{root}
	if u.options.folder != nil {
		u.in = u.options.folder(u.in)
	}
	if err := u.prepare(root); err != nil {
		return err
	}
	defer func() {
		if u.index != nil {
			u.index.abandon()
		}
	}()
	if err := u.unpackMembers(); err != nil {
		return err
	}
	return u.prove(directory)
}

// prove verifies what was unpacked, and only then makes it a bundle: without its manifest nobody takes it for one.
func (u *unpacking) prove(directory string) error {
	if err := u.index.publish(); err != nil {
		return fmt.Errorf("write %s: %w", indexName, err)
	}
	text, err := settleWhole(u.in, manifestName, u.text)
	if err != nil {
		return fmt.Errorf("write %s: %w", manifestName, err)
	}
	b, err := openBundle(directory, manifestName+partSuffix)
	if err != nil {
		return err
	}
	if err := verifyStructure(u.ctx, b); err != nil {
		return err
	}
	if err := text.publish(); err != nil {
		return fmt.Errorf("write %s: %w", manifestName, err)
	}
	return nil
}

// prepare removes what an interrupted run of another archive has left, and makes the directory no bundle.
func (u *unpacking) prepare(root *os.Root) error {
	if err := root.Mkdir(imagesName, dirMode); err != nil && !os.IsExist(err) {
		return err
	}
	if info, err := root.Lstat(imagesName); err != nil || !info.IsDir() {
		return errors.Join(fmt.Errorf("%s is in the way: it is not a directory", imagesName), err)
	}
	expected := map[string]bool{}
	for _, m := range u.members[2:] {
		expected[m.name], expected[m.name+partSuffix] = true, true
	}
	images, err := fs.ReadDir(root.FS(), imagesName)
	if err != nil {
		return err
	}
	for _, e := range images {
		if name := path.Join(imagesName, e.Name()); !expected[name] {
			if err := root.Remove(name); err != nil {
				return err
			}
		}
	}
	others, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range others {
		switch e.Name() {
		case imagesName, manifestName + partSuffix, indexName + partSuffix:
			continue
		case manifestName:
			err = root.Remove(manifestName)
		case indexName:
			err = root.Rename(indexName, indexName+partSuffix)
		default:
			err = fmt.Errorf("%s holds something else (%s)", root.Name(), e.Name())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tidy removes what nothing is proven of.
func tidy(root *os.Root, proven map[string]bool) {
	images, err := fs.ReadDir(root.FS(), imagesName)
	if err != nil {
		return // nothing was begun
	}
	names := []string{manifestName, indexName, manifestName + partSuffix, indexName + partSuffix}
	for _, e := range images {
		if name := path.Join(imagesName, e.Name()); !proven[name] {
			names = append(names, name)
		}
	}
	for _, name := range append(names, imagesName) { // the directory last, if it is empty
		_ = root.Remove(name) // the error that led here counts
	}
}

// unpackMembers writes the members behind the manifest, and compares their hashes with the list that ends the archive.
func (u *unpacking) unpackMembers() error {
	for i := 1; i < len(u.members); i++ {
		m := &u.members[i]
		h, err := u.next()
		if err != nil {
			return err
		}
		if m.name == indexName && h.Size >= 2*pageSize {
			m.size = h.Size // the manifest does not know it
			u.total += m.size
		}
		if h.Name != m.name || h.Size != m.size {
			return fmt.Errorf("%w: it holds %s of %d bytes where %s should be", ErrNotBundle, h.Name, h.Size, m.name)
		}
		if err := u.member(m); err != nil {
			return err
		}
		u.written += m.size
	}
	return u.checksums()
}

// member writes one member, unless it is there already.
func (u *unpacking) member(m *packedMember) error {
	there, err := u.have(m)
	if err != nil {
		return err
	}
	if there {
		u.kept++
		u.proven[m.name] = true
		u.advance(m.size)
		return nil // the archive skips it
	}
	out, err := openOutput(u.in, m.name)
	if err != nil {
		return fmt.Errorf("write %s: %w", m.name, err)
	}
	defer out.abandon()
	h := sha256.New()
	for {
		n, err := u.archive.Read(u.buffer)
		h.Write(u.buffer[:n])
		u.advance(int64(n))
		if _, err := out.Write(u.buffer[:n]); err != nil {
			return fmt.Errorf("write %s: %w", m.name, err)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return u.readError(err)
		}
	}
	sum := Hash(h.Sum(nil))
	if !m.sum.IsZero() && m.sum != sum {
		return corruptf("%s is not what was packed", m.name)
	}
	if err := out.settle(); err != nil {
		return fmt.Errorf("write %s: %w", m.name, err)
	}
	if out.kept == m.size {
		u.kept++
	}
	u.proven[m.name], m.sum = !m.sum.IsZero(), sum
	if m.name == indexName {
		u.index = out
		return nil // without its name the directory is no bundle
	}
	if err := out.publish(); err != nil {
		return fmt.Errorf("write %s: %w", m.name, err)
	}
	return nil
}

// have reports whether a member whose hash is known is there, whole and sound.
func (u *unpacking) have(m *packedMember) (there bool, err error) {
	if m.sum.IsZero() {
		return false, nil
	}
	info, err := u.in.stat(m.name)
	if isMissing(err) || err == nil && (!info.Mode().IsRegular() || info.Size() != m.size) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	f, err := u.in.open(m.name, os.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	_, err = io.CopyBuffer(struct{ io.Writer }{h}, interruptible{u.ctx, io.NewSectionReader(f, 0, m.size)}, u.buffer)
	if u.ctx.Err() != nil {
		return false, u.ctx.Err()
	}
	return err == nil && Hash(h.Sum(nil)) == m.sum, nil // what cannot be read is written again
}

// advance tells how much of the members was read.
func (u *unpacking) advance(n int64) {
	u.done += n
	if u.options.Progress != nil {
		u.options.Progress(u.done, max(u.done, u.total))
	}
}
