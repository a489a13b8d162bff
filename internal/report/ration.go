package report

// ration says how many bytes of pictures a sequence gets, and in which sizes.
type ration struct {
	key      int // bytes of the key frame's picture
	keyWidth int // pixels
	sheet    int // bytes of the contact sheet together
	width    int // pixels, of a picture on the sheet
	most     int // pictures on the sheet
}

const (
	pageBytes   = 37 << 20 // of up to 500 sequences, so that a page stays under 50 MB even where strangers fill their markup
	markupBytes = 20 << 10 // of a sequence, beside its pictures
	leastBytes  = 6 << 10  // a sequence's pictures get at least: one, however many sequences there are
	mostBytes   = 480 << 10
	mostSheet   = 30 // pictures; more show no more
)

// rationOf divides a page among its sequences. A picture takes 4 bytes of the page for every 3 of its own.
func rationOf(sequences int64) ration {
	bytes := int(min(max(pageBytes/max(sequences, 1)-markupBytes, leastBytes), mostBytes)) * 3 / 4
	switch {
	case bytes >= 150<<10:
		return ration{key: 80 << 10, keyWidth: 720, sheet: bytes - 80<<10, width: 240, most: mostSheet}
	case bytes >= 60<<10:
		return ration{key: bytes / 3, keyWidth: 560, sheet: bytes - bytes/3, width: 240, most: mostSheet}
	case bytes >= 20<<10:
		return ration{key: bytes / 3, keyWidth: 480, sheet: bytes - bytes/3, width: 200, most: mostSheet}
	}
	return ration{key: bytes, keyWidth: 400}
}

// count returns how many of a sequence's frames go on the sheet, given what one of them takes at fair quality.
func (r ration) count(frames, typical int) int {
	return min(frames, r.most, r.sheet/max(typical, 1))
}

// spread returns n of the indexes 0 to of-1, evenly, the first and the last among them.
func spread(n, of int) []int {
	switch {
	case n <= 0:
		return nil
	case n >= of:
		n = of
	case n == 1:
		return []int{of / 2}
	}
	chosen := make([]int, n)
	for i := range chosen {
		if n > 1 {
			chosen[i] = i * (of - 1) / (n - 1)
		}
	}
	return chosen
}
