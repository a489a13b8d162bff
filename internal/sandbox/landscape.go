package sandbox

import (
	"image"
	"image/color"
)

// The size of a drawn picture in pixels: half of what the stations' cameras send each way.
const (
	pictureWidth  = 640
	pictureHeight = 360
)

// one is 1 in the fixed-point numbers of the landscape. Everything is drawn with integers, because floating point may be
// fused differently on another processor and equal options promise equal bytes.
const one = 1 << 16

// landscape is what a camera sees in one direction when nothing burns: ridges one behind the other under the sky.
type landscape struct {
	seed   uint64
	ridges [ridgeCount][pictureWidth]int // y of each ridge's line in 1/256 pixel, the farthest first
}

const ridgeCount = 5

// light is the colours of an hour.
type light struct {
	zenith, horizon tone // of the sky
	haze            tone // of the air between the ridges
	forest          tone // of the nearest ridge
	cloud           tone
	clouds          int // how much of the sky they cover, 0 to one
	smoke, shadow   tone
}

type tone struct{ r, g, b int }

// lightAt returns the light of an hour of the day, 0 to 23. At night cameras see near infrared, in grey.
func lightAt(hour int) light {
	switch {
	case hour < 5 || hour >= 21:
		return light{
			zenith: tone{34, 34, 36}, horizon: tone{104, 104, 106}, haze: tone{88, 88, 90}, forest: tone{20, 20, 21},
			cloud: tone{92, 92, 94}, clouds: one * 46 / 100, smoke: tone{188, 188, 190}, shadow: tone{104, 104, 106},
		}
	case hour < 8: // dawn
		return light{
			zenith: tone{92, 112, 160}, horizon: tone{250, 205, 170}, haze: tone{214, 186, 182}, forest: tone{38, 46, 52},
			cloud: tone{252, 214, 196}, clouds: one * 45 / 100, smoke: tone{226, 212, 208}, shadow: tone{150, 138, 146},
		}
	case hour < 11: // morning
		return light{
			zenith: tone{70, 130, 200}, horizon: tone{206, 226, 240}, haze: tone{176, 200, 218}, forest: tone{34, 62, 40},
			cloud: tone{248, 250, 252}, clouds: one * 50 / 100, smoke: tone{242, 242, 240}, shadow: tone{140, 144, 150},
		}
	case hour < 18: // noon and after
		return light{
			zenith: tone{88, 150, 214}, horizon: tone{222, 230, 230}, haze: tone{196, 206, 208}, forest: tone{58, 76, 44},
			cloud: tone{250, 250, 248}, clouds: one * 38 / 100, smoke: tone{250, 249, 246}, shadow: tone{132, 128, 126},
		}
	default: // dusk
		return light{
			zenith: tone{66, 78, 128}, horizon: tone{252, 176, 110}, haze: tone{210, 146, 122}, forest: tone{36, 34, 44},
			cloud: tone{240, 150, 120}, clouds: one * 52 / 100, smoke: tone{214, 176, 160}, shadow: tone{122, 96, 104},
		}
	}
}

// newLandscape shapes the ridges that seed stands for.
func newLandscape(seed uint64) *landscape {
	land := &landscape{seed: seed}
	for i := range land.ridges {
		// Nearer ridges lie lower, swing wider and longer, and show the tips of their trees.
		base := pictureHeight * (46 + 10*i) / 100 << 8
		swing := pictureHeight * (9 + 3*i) / 100 << 8
		wave := 170 - 14*i // pixels
		for x := range land.ridges[i] {
			y := base - swing*(2*fractal(seed+uint64(i), x*one/wave, 0, 5)-one)/one
			if i >= 2 {
				y -= treetops(seed+uint64(i), x, 2*(i-1))
			}
			land.ridges[i][x] = y
		}
	}
	return land
}

// treetops returns by how much the conifers on a ridge raise its line at x, in 1/256 pixel; size is a tree's width in pixels.
func treetops(seed uint64, x, size int) int {
	tree, within := x/size, x%size
	height := size * noise(seed^0x7ee5, tree, 0) / one * 256 * 3 / 2
	fromTip := 2*within - (size - 1) // the tip is in the middle
	if fromTip < 0 {
		fromTip = -fromTip
	}
	return height * (size - fromTip) / size
}

// ground returns the height of a ridge at x, as y in pixels.
func (l *landscape) ground(ridge, x int) int {
	return l.ridges[ridge][min(max(x, 0), pictureWidth-1)] >> 8
}

// scenery is a landscape drawn in the light of an hour: the picture without smoke, and how near the land is in every
// pixel, so that smoke rises behind what is nearer than its fire.
type scenery struct {
	*landscape
	light   light
	picture *image.RGBA
	depth   []uint8 // 0 is sky, 1 the farthest ridge
}

// in draws the landscape.
func (l *landscape) in(hour light) *scenery {
	s := &scenery{
		landscape: l,
		light:     hour,
		picture:   image.NewRGBA(image.Rect(0, 0, pictureWidth, pictureHeight)),
		depth:     make([]uint8, pictureWidth*pictureHeight),
	}
	for y := range pictureHeight {
		for x := range pictureWidth {
			c, depth := s.at(x, y)
			s.picture.SetRGBA(x, y, color.RGBA{uint8(c.r), uint8(c.g), uint8(c.b), 255})
			s.depth[y*pictureWidth+x] = depth
		}
	}
	return s
}

// at returns the colour and the depth of a pixel.
func (s *scenery) at(x, y int) (tone, uint8) {
	for i := ridgeCount - 1; i >= 0; i-- {
		below := y<<8 - s.ridges[i][x] // how far under the line of the ridge, in 1/256 pixel
		switch {
		case below >= 256:
			return s.slope(i, x, y, below), uint8(i + 1)
		case below > 0: // the line goes through this pixel
			behind, _ := s.behind(i, x, y)
			return mix(behind, s.slope(i, x, y, below), below*256), uint8(i + 1)
		}
	}
	return s.sky(x, y), 0
}

// behind is at without the ridges from i on.
func (s *scenery) behind(i, x, y int) (tone, uint8) {
	for j := i - 1; j >= 0; j-- {
		if below := y<<8 - s.ridges[j][x]; below >= 0 {
			return s.slope(j, x, y, below), uint8(j + 1)
		}
	}
	return s.sky(x, y), 0
}

// sky is deepest at the top and has clouds that flatten towards the horizon.
func (s *scenery) sky(x, y int) tone {
	height := min(one, y*one/(pictureHeight*52/100))
	c := mix(s.light.zenith, s.light.horizon, smooth(height))
	stretch := 40 + 160*(one-height)/one // rows of cloud lie closer far away
	cover := fractal(s.seed^0xc10d, x*one/150, y*one/stretch*2, 5)
	cover = (cover - one + s.light.clouds*110/100) * 5 / 2
	cover = min(max(cover, 0), one) * (one - height*2/3) / one
	return mix(c, s.light.cloud, cover*85/100)
}

// slope is the side of ridge i: bluer and paler the farther it is, with mist in the valley before the next ridge.
func (s *scenery) slope(i, x, y, below int) tone {
	nearness := one * (i*i + 2*i + 3) / (ridgeCount*ridgeCount + 2)
	c := mix(s.light.haze, s.light.forest, nearness)
	// Light and shade of crowns and clearings; coarser and stronger where the land is near.
	grain := fractal(s.seed+uint64(50+i), x*one/(3+3*i), y*one/(2+2*i), 3) - one/2
	patch := fractal(s.seed+uint64(70+i), x*one/90, y*one/40, 2) - one/2
	shade := grain*(14+9*i)/100 + patch*(20+6*i)/100
	c = c.shaded(shade)
	mist := min(one, below/256*one/(40+14*i))
	return mix(c, s.light.haze, mist*(42-7*i)/100)
}

// shaded makes a tone lighter or darker by a part of itself.
func (c tone) shaded(by int) tone {
	f := func(v int) int { return min(max(v+v*by/one, 0), 255) }
	return tone{f(c.r), f(c.g), f(c.b)}
}

// mix goes from a to b as t goes from 0 to one.
func mix(a, b tone, t int) tone {
	f := func(a, b int) int { return a + (b-a)*t/one }
	return tone{f(a.r, b.r), f(a.g, b.g), f(a.b, b.b)}
}

// smooth eases in and out: 3t²-2t³ for t from 0 to one.
func smooth(t int) int {
	squared := t * t / one
	return squared * (3*one - 2*t) / one
}

// noise is a random number from 0 to one for a point of a grid.
func noise(seed uint64, x, y int) int {
	return int(scramble(seed^uint64(x)*0x9e3779b97f4a7c15^uint64(y)*0xc2b2ae3d27d4eb4f) >> 48)
}

// scramble is a bijection that leaves no trace of how near two numbers were.
func scramble(v uint64) uint64 {
	v ^= v >> 30
	v *= 0xbf58476d1ce4e5b9
	v ^= v >> 27
	v *= 0x94d049bb133111eb
	return v ^ v>>31
}

// valley is noise between the grid's points too, smoothly; x and y are fixed-point.
func valley(seed uint64, x, y int) int {
	left, top := x>>16, y>>16
	tx, ty := smooth(x&(one-1)), smooth(y&(one-1))
	upper := between(noise(seed, left, top), noise(seed, left+1, top), tx)
	if ty == 0 {
		return upper
	}
	lower := between(noise(seed, left, top+1), noise(seed, left+1, top+1), tx)
	return between(upper, lower, ty)
}

// fractal adds octaves of valley, each twice as fine and half as strong; 0 to one.
func fractal(seed uint64, x, y, octaves int) int {
	sum, weight, total := 0, one, 0
	for range octaves {
		sum += valley(seed, x, y) * weight / one
		total += weight
		weight /= 2
		x, y, seed = 2*x, 2*y, seed+0x51ed
	}
	return sum * one / total
}

func between(a, b, t int) int { return a + (b-a)*t/one }
