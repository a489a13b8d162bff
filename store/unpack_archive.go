package store

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// memberPattern matches the names that a packed bundle has members of. A shard's number has six digits or, from 1,000,000 on,
// more.
var memberPattern = regexp.MustCompile(`^(manifest\.json|index\.db|images/[0-9]{6,10}\.tar|SHA256SUMS)$`)

// next reads the header of the next member. Whatever is not a plain regular file of a bundle is refused.
func (u *unpacking) next() (*tar.Header, error) {
	h, err := u.archive.Next()
	if err != nil {
		return nil, u.readError(err)
	}
	switch {
	case !memberPattern.MatchString(h.Name):
		return nil, fmt.Errorf("%w: it holds %.100q", ErrNotBundle, h.Name)
	case h.Typeflag != tar.TypeReg, len(h.PAXRecords) > 0, h.Format&(tar.FormatUSTAR|tar.FormatGNU) == 0:
		return nil, fmt.Errorf("%w: its %s is not a plain file", ErrNotBundle, h.Name)
	case h.Size < 0 || h.Size > maxMember:
		return nil, fmt.Errorf("%w: its %s has %d bytes", ErrNotBundle, h.Name, h.Size)
	}
	return h, nil
}

// readError tells damage of the archive from an error of reading it.
func (u *unpacking) readError(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return corruptf("%w", errEndsEarly)
	case errors.Is(err, tar.ErrHeader), errors.Is(err, tar.ErrFieldTooLong), errors.Is(err, tar.ErrInsecurePath):
		return corruptf("the archive: %w", err)
	}
	return err
}

// readManifest reads the first member, which says what the others are.
func (u *unpacking) readManifest() error {
	h, err := u.next()
	switch {
	case errors.Is(err, tar.ErrHeader), errors.Is(err, errEndsEarly):
		return fmt.Errorf("%w: it does not begin as a packed bundle", ErrNotBundle)
	case err != nil:
		return err
	case h.Name != manifestName || h.Size > maxManifest:
		return fmt.Errorf("%w: it does not begin with %s", ErrNotBundle, manifestName)
	}
	if u.text, err = io.ReadAll(u.archive); err != nil {
		return u.readError(err)
	}
	if u.format, err = decodeManifest(u.text); err != nil {
		return err
	}
	u.members = membersOf(u.format, u.text, 0)
	u.total = int64(len(u.text))
	for i, m := range u.members[2:] {
		if m.name != shardName(uint32(i+1)) || m.size < 1 || m.size > maxMember || m.size%blockSize != 0 {
			return fmt.Errorf("%w: its manifest lists %.100q of %d bytes", ErrNotBundle, m.name, m.size)
		}
		if m.open == 0 && m.sum.IsZero() { // nothing would prove it
			return fmt.Errorf("%w: its manifest lists %s without a hash", ErrNotBundle, m.name)
		}
		u.total += m.size
	}
	if open := shardName(uint32(len(u.format.Shards) + 1)); u.format.OpenShard.Name != open || u.format.OpenShard.Size < 0 {
		return fmt.Errorf("%w: its manifest does not say which shard is open", ErrNotBundle)
	}
	u.advance(int64(len(u.text)))
	return nil
}

// checksums reads the last member, which must list what was read, and the end of the archive.
func (u *unpacking) checksums() error {
	want := checksumsOf(u.members)
	h, err := u.next()
	if err != nil {
		return err
	}
	if h.Name != checksumsName || h.Size != int64(len(want)) {
		return fmt.Errorf("%w: it holds %s of %d bytes where %s should be", ErrNotBundle, h.Name, h.Size, checksumsName)
	}
	list, err := io.ReadAll(u.archive)
	if err != nil {
		return u.readError(err)
	}
	lines, wanted := strings.SplitAfter(string(list), "\n"), strings.SplitAfter(string(want), "\n")
	for i, m := range u.members {
		if i >= len(lines) || lines[i] != wanted[i] {
			return corruptf("%s is not what was packed", m.name)
		}
	}
	switch _, err := u.archive.Next(); {
	case err == nil:
		return fmt.Errorf("%w: something follows its last member", ErrNotBundle)
	case !errors.Is(err, io.EOF):
		return u.readError(err)
	}
	return u.end()
}

// end looks at what follows the archive: zeros, of which some programs write a few.
func (u *unpacking) end() error {
	const most = 1 << 20 // bytes
	rest, err := io.ReadAll(io.LimitReader(u.source, most))
	if err != nil {
		return err
	}
	if len(rest) == most || !isZero(rest) {
		return fmt.Errorf("%w: something follows its end", ErrNotBundle)
	}
	return nil
}
