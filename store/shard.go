package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	blockSize = 512
	endSize   = 2 * blockSize // bytes of zero that end a sealed shard

	// maxImage bounds one image, in bytes. The platform's are around 250 kB; 32 MiB lets any camera's PNG through and still
	// fits a few times into memory.
	maxImage = 32 << 20

	// sealSize is where a shard is sealed, in bytes: a file of half a gigabyte is read in seconds, is a fair unit to copy
	// again, and stays far below the 4 GiB that a FAT32 stick takes.
	sealSize = 512 << 20
)

// damage says what is wrong with a shard's contents, as opposed to an error of reading them.
type damage string

func (d damage) Error() string { return string(d) }

// isDamage reports whether an error is about contents: wrong, or missing at the end.
func isDamage(err error) bool {
	var d damage
	return errors.As(err, &d) || errors.Is(err, io.ErrUnexpectedEOF)
}

// memberHeader is the tar header of an image: the same for equal name and size (docs/bundle-format.md, Shards).
func memberHeader(h Hash, f Format, size int64) [blockSize]byte {
	var b [blockSize]byte
	copy(b[0:], memberName(h, f))
	copy(b[100:], "0000444\x000000000\x000000000\x00")
	copy(b[124:], fmt.Sprintf("%011o\x00", size))
	copy(b[136:], "00000000000\x00")
	copy(b[148:], "        ")
	b[156] = '0'
	copy(b[257:], "ustar\x0000")
	copy(b[329:], "0000000\x000000000\x00")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// parseHeader reads a member's header. Any byte that memberHeader would not have written makes it fail.
func parseHeader(b *[blockSize]byte) (Hash, Format, int64, error) {
	name, _, _ := strings.Cut(string(b[:100]), "\x00")
	digits, suffix, _ := strings.Cut(name, ".")
	h, err := ParseHash(digits)
	if err != nil {
		return Hash{}, "", 0, damage("its name is not an image's")
	}
	format := Format(suffix)
	if format != JPEG && format != PNG {
		return Hash{}, "", 0, damage("its name is not an image's")
	}
	size, err := strconv.ParseInt(string(b[124:135]), 8, 64)
	if err != nil || size < 1 || size > maxImage {
		return Hash{}, "", 0, damage("its size is out of range")
	}
	if *b != memberHeader(h, format, size) {
		return Hash{}, "", 0, damage("its header is not as it was written")
	}
	return h, format, size, nil
}

// padded rounds up to whole blocks.
func padded(size int64) int64 { return (size + blockSize - 1) / blockSize * blockSize }

// member is an image as it lies in a shard.
type member struct {
	hash Hash
	at   location
}

// end is where the next member begins.
func (m member) end() int64 { return m.at.offset + padded(m.at.size) }

// readHeader reads the header of the member that begins at position.
func readHeader(r io.ReaderAt, shard uint32, position int64) (member, error) {
	var b [blockSize]byte
	if err := readFull(r, b[:], position); err != nil {
		return member{}, err
	}
	h, format, size, err := parseHeader(&b)
	if err != nil {
		return member{}, err
	}
	return member{h, location{shard: shard, offset: position + blockSize, size: size, format: format}}, nil
}

// readFull reads len(b) bytes at off; fewer are io.ErrUnexpectedEOF.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// hashMember hashes a member's image and looks at its padding, in constant memory. also, if not nil, sees every byte of
// the member.
func hashMember(r io.ReaderAt, m member, also io.Writer, buffer []byte) error {
	h := sha256.New()
	var to io.Writer = h
	if also != nil {
		to = io.MultiWriter(h, also)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{to}, io.NewSectionReader(r, m.at.offset, m.at.size), buffer)
	if err != nil {
		return err
	}
	if n != m.at.size {
		return io.ErrUnexpectedEOF
	}
	if Hash(h.Sum(nil)) != m.hash {
		return damage("its bytes are not what was stored")
	}
	var rest [blockSize]byte
	padding := rest[:padded(m.at.size)-m.at.size]
	if err := readFull(r, padding, m.at.offset+m.at.size); err != nil {
		return err
	}
	if !isZero(padding) {
		return damage("its padding is not zero")
	}
	if also != nil {
		if _, err := also.Write(padding); err != nil {
			return err
		}
	}
	return nil
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
