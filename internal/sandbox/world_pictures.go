package sandbox

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"

	"pyrobundle/store"
)

// pictures makes the bytes of frames.
type pictures struct {
	size      int // bytes, of padded ones
	tinyJPEG  []byte
	tinyPNG   []byte
	scenery   *scenery // the last one drawn: the frames of a scene follow one another
	sceneryOf light
}

func newPictures(size int) (pictures, error) {
	p := pictures{size: size}
	tiny := image.NewGray(image.Rect(0, 0, 16, 9))
	for i := range tiny.Pix {
		tiny.Pix[i] = uint8(200 - i)
	}
	var asJPEG, asPNG bytes.Buffer
	if err := jpeg.Encode(&asJPEG, tiny, &jpeg.Options{Quality: 50}); err != nil {
		return pictures{}, fmt.Errorf("encode tiny JPEG: %w", err)
	}
	if err := png.Encode(&asPNG, tiny); err != nil {
		return pictures{}, fmt.Errorf("encode tiny PNG: %w", err)
	}
	p.tinyJPEG, p.tinyPNG = asJPEG.Bytes(), asPNG.Bytes()
	return p, nil
}

// drawn returns the landscape with its plumes on a frame.
func (p *pictures) drawn(land *landscape, hour light, plumes []plume, frame int, caption string) ([]byte, store.Format, error) {
	if p.scenery == nil || p.scenery.landscape != land || p.sceneryOf != hour {
		p.scenery, p.sceneryOf = land.in(hour), hour
	}
	picture := p.scenery.with(plumes, frame)
	write(picture, caption)
	var data bytes.Buffer
	if err := jpeg.Encode(&data, picture, &jpeg.Options{Quality: 80}); err != nil {
		return nil, "", fmt.Errorf("encode picture: %w", err)
	}
	return data.Bytes(), store.JPEG, nil
}

// write puts a caption into the lower left corner, as cameras do.
func write(picture *image.RGBA, caption string) {
	const left, bottom = 8, pictureHeight - 8
	pen := font.Drawer{Dst: picture, Face: basicfont.Face7x13}
	for _, ink := range []struct {
		shift int
		color color.Color
	}{{1, color.Black}, {0, color.White}} {
		pen.Src, pen.Dot = image.NewUniform(ink.color), fixed.P(left+ink.shift, bottom+ink.shift)
		pen.DrawString(caption)
	}
}

// padded returns a tiny image of about p.size bytes that differs for every tag, one of eight a PNG. It decodes like any
// other: the padding lies in comment segments, or in an ancillary chunk. It does not compress, as photographs do not.
func (p *pictures) padded(tag uint64) ([]byte, store.Format, error) {
	if tag%8 == 7 {
		return padPNG(p.tinyPNG, p.size, tag), store.PNG, nil
	}
	return padJPEG(p.tinyJPEG, p.size, tag), store.JPEG, nil
}

// minPadding makes images differ even where there is no room for padding, in bytes.
const minPadding = 16

// padJPEG inserts comment segments behind the start of the image.
func padJPEG(tiny []byte, size int, tag uint64) []byte {
	const start, header, most = 2, 4, 65_533 // bytes: start marker, segment's marker and length, segment's content
	data := make([]byte, 0, max(size, len(tiny)+header+minPadding))
	data = append(data, tiny[:start]...)
	for room := size - len(tiny); room >= header+minPadding || len(data) == start; {
		n := max(min(room-header, most), minPadding)
		data = append(data, 0xff, 0xfe)
		data = binary.BigEndian.AppendUint16(data, uint16(n+2)) // the length counts itself
		data = appendNoise(data, n, &tag)
		room -= n + header
	}
	return append(data, tiny[start:]...)
}

// padPNG inserts an ancillary private chunk behind the header.
func padPNG(tiny []byte, size int, tag uint64) []byte {
	const start, frame = 33, 12 // bytes: signature and header chunk; a chunk's length, name and checksum
	n := max(size-len(tiny)-frame, minPadding)
	data := make([]byte, 0, len(tiny)+frame+n)
	data = append(data, tiny[:start]...)
	data = binary.BigEndian.AppendUint32(data, uint32(n))
	named := len(data)
	data = append(data, "paDd"...)
	data = appendNoise(data, n, &tag)
	data = binary.BigEndian.AppendUint32(data, crc32.ChecksumIEEE(data[named:]))
	return append(data, tiny[start:]...)
}

// appendNoise appends n bytes that follow from state, and moves it on.
func appendNoise(data []byte, n int, state *uint64) []byte {
	var word [8]byte
	for n > 0 {
		*state += 0x9e3779b97f4a7c15
		binary.LittleEndian.PutUint64(word[:], scramble(*state))
		data = append(data, word[:min(n, len(word))]...)
		n -= len(word)
	}
	return data
}
