package fetch

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"regexp"

	"pyrobundle/store"
)

// Limits of what is taken for a camera's frame, so that whoever decodes it later needs no more memory than a large frame.
const (
	maxSide   = 16384       // pixels; the widest panoramic cameras have 12,000
	maxPixels = 100_000_000 // a third of a gigabyte once decoded; the largest sensors in use have 50 million
)

// wrongImage is a download that is not the image that its key promises.
type wrongImage struct {
	reason  string
	hash    store.Hash // of what came instead
	lasting bool       // if the same comes again, it is what the storage holds, not an accident on the way
}

func (e *wrongImage) Error() string { return e.reason }

// checkImage says what format the bytes are and whether they are the image that key names: platforms take any bytes as an
// image (E32). It looks at the signature, the size in pixels, and the hash within the key.
func checkImage(key string, content store.Content) (store.Format, error) {
	data, hash := content.Bytes(), content.Hash()
	wrong := func(lasting bool, format string, args ...any) error {
		return &wrongImage{reason: fmt.Sprintf(format, args...), hash: hash, lasting: lasting}
	}
	promised := keyHash(key)
	proven := promised != "" && promised == hex.EncodeToString(hash[:4])

	var format store.Format
	var decode func([]byte) (image.Config, error)
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xd8\xff")):
		format, decode = store.JPEG, func(b []byte) (image.Config, error) { return jpeg.DecodeConfig(bytes.NewReader(b)) }
	case bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")):
		format, decode = store.PNG, func(b []byte) (image.Config, error) { return png.DecodeConfig(bytes.NewReader(b)) }
	case len(data) == 0:
		return "", wrong(false, "the storage sent 0 bytes")
	default:
		return "", wrong(proven, "%d bytes that are neither JPEG nor PNG", len(data))
	}
	config, err := decode(data)
	switch {
	case err != nil:
		return "", wrong(proven, "%d bytes that cannot be decoded: %v", len(data), err)
	case config.Width == 0 || config.Height == 0:
		return "", wrong(proven, "%d by %d pixels", config.Width, config.Height)
	case config.Width > maxSide || config.Height > maxSide || config.Width*config.Height > maxPixels:
		return "", wrong(proven, "%d by %d pixels, at most %d million are taken", config.Width, config.Height, maxPixels/1_000_000)
	case promised != "" && !proven:
		return "", wrong(true, "its SHA-256 begins with %x, its key says %s", hash[:4], promised)
	}
	return format, nil
}

// keyHash returns the first 8 hexadecimal digits of the SHA-256 that a bucket key ends with (contract A.4), empty for keys
// of another form.
func keyHash(key string) string {
	match := keyPattern.FindStringSubmatch(key)
	if match == nil {
		return ""
	}
	return match[1]
}

var keyPattern = regexp.MustCompile(`^\d+-\d{14}-([0-9a-f]{8})(?:\.[A-Za-z0-9]+)?$`) //nolint:gochecknoglobals // compiled once
