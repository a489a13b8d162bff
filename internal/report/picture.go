package report

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"

	"golang.org/x/image/draw"
	"golang.org/x/sync/semaphore"

	"pyrobundle/store"
)

// Limits of what is decoded. A progressive JPEG without subsampling takes 15 bytes of memory per pixel while it is decoded,
// and scaling it some more, so all workers together take at most half a gigabyte for such a picture, and for cameras of 1280 by
// 720 pixels some 30 MB each.
const (
	maxPixels = 24_000_000 // decoded at once
	maxAspect = 8          // a wider or higher picture is no camera's
)

// darkroom makes small pictures of a bundle's images.
type darkroom struct {
	bundle Bundle
	pixels *semaphore.Weighted // of images decoded at this moment
}

func newDarkroom(bundle Bundle) *darkroom {
	return &darkroom{bundle: bundle, pixels: semaphore.NewWeighted(maxPixels)}
}

// flaw is why there is no picture of an image.
type flaw struct {
	reason  string
	damaged bool // the bundle could not give the bytes that it has
}

// develop decodes an image and hands it to use, which must not keep it. An error is the context's alone.
func (d *darkroom) develop(ctx context.Context, hash store.Hash, use func(image.Image)) (*flaw, error) {
	data, err := d.bundle.ReadImage(ctx, hash)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return &flaw{reason: err.Error(), damaged: true}, nil
	}
	measure, decode, err := decoders(data)
	if err != nil {
		return &flaw{reason: err.Error()}, nil
	}
	config, err := measure()
	width, height := config.Width, config.Height
	switch {
	case err != nil:
		return undecodable(err), nil
	case width < 1 || height < 1 || width > maxPixels/height:
		return &flaw{reason: fmt.Sprintf("%d by %d pixels, a report decodes %d million at most", width, height, maxPixels/1_000_000)}, nil
	case width > maxAspect*height || height > maxAspect*width:
		return &flaw{reason: fmt.Sprintf("%d by %d pixels is no camera's picture", width, height)}, nil
	}
	weight := int64(width) * int64(height)
	if err := d.pixels.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	defer d.pixels.Release(weight)
	decoded, err := decode()
	if err != nil {
		return undecodable(err), nil
	}
	use(decoded)
	return nil, nil
}

func undecodable(err error) *flaw { return &flaw{reason: "cannot be decoded: " + err.Error()} }

// decoders are chosen by signature; what the bundle says of the format is not asked.
func decoders(data []byte) (measure func() (image.Config, error), decode func() (image.Image, error), err error) {
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xd8\xff")):
		return func() (image.Config, error) { return jpeg.DecodeConfig(bytes.NewReader(data)) },
			func() (image.Image, error) { return jpeg.Decode(bytes.NewReader(data)) }, nil
	case bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")):
		return func() (image.Config, error) { return png.DecodeConfig(bytes.NewReader(data)) },
			func() (image.Image, error) { return png.Decode(bytes.NewReader(data)) }, nil
	}
	return nil, nil, errors.New("neither JPEG nor PNG")
}

// shrink returns the picture at a width of at most width pixels, its shape kept; it never enlarges.
func shrink(picture image.Image, width int) *image.RGBA {
	from := picture.Bounds()
	width = min(width, from.Dx())
	height := max(1, (from.Dy()*width+from.Dx()/2)/from.Dx())
	small := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.Draw(small, small.Bounds(), image.NewUniform(color.Gray{Y: 128}), image.Point{}, draw.Src) // behind what is transparent
	if width == from.Dx() {
		draw.Draw(small, small.Bounds(), picture, from.Min, draw.Over)
	} else {
		draw.CatmullRom.Scale(small, small.Bounds(), picture, from, draw.Over, nil)
	}
	return small
}

// thumbnail is a small JPEG.
type thumbnail struct {
	data          []byte
	width, height int // pixels
}

const (
	fineQuality = 80
	fairQuality = 65 // what is planned for
	poorQuality = 35
	minWidth    = 24 // pixels; the least that still is a picture
)

// compress encodes a picture in at most limit bytes: as well as they allow, then smaller. Nil where nothing fits.
func compress(picture *image.RGBA, limit int) (*thumbnail, error) {
	for {
		size := picture.Bounds().Size()
		for quality := fineQuality; quality >= poorQuality; quality -= 15 {
			data, err := encode(picture, quality)
			if err != nil {
				return nil, err
			}
			if len(data) <= limit {
				return &thumbnail{data: data, width: size.X, height: size.Y}, nil
			}
		}
		if size.X*3/4 < minWidth {
			return nil, nil
		}
		picture = shrink(picture, size.X*3/4)
	}
}

func encode(picture *image.RGBA, quality int) ([]byte, error) {
	var data bytes.Buffer
	if err := jpeg.Encode(&data, picture, &jpeg.Options{Quality: quality}); err != nil {
		return nil, fmt.Errorf("encode a thumbnail: %w", err)
	}
	return data.Bytes(), nil
}

// source is the src attribute of an img. The alphabet of base64 needs no escaping.
func (t *thumbnail) source() template.HTMLAttr {
	const before = `src="data:image/jpeg;base64,`
	attribute := make([]byte, 0, len(before)+base64.StdEncoding.EncodedLen(len(t.data))+1)
	attribute = append(attribute, before...)
	attribute = base64.StdEncoding.AppendEncode(attribute, t.data)
	return template.HTMLAttr(append(attribute, '"'))
}
