package sandbox

import (
	"image"
	"image/draw"
)

// plume is the smoke of one fire as the frames of a scene see it. Lengths are thousandths of the picture's width for x
// and of its height for y, as in box strings.
type plume struct {
	x      int // of the fire
	ridge  int // that the fire lies behind, 0 to ridgeCount-1
	height int // on the first frame
	growth int // per frame, until it has tripled
	lean   int // how far the wind carries the top to the right; negative: to the left
	brown  bool
}

// puff is one ball of smoke, in pixels and opacity 0 to one.
type puff struct {
	x, y, radius, opacity int
	lightness             int // 0 to one
}

// puffs returns the smoke on a frame, from the fire upwards: each ball is wider, fainter and farther downwind than the one below, and
// from frame to frame they rise.
func (p plume) puffs(l *landscape, frame int) []puff {
	height := pictureHeight * p.heightAt(frame) / 1000
	lean := pictureWidth * p.lean / 1000 * p.heightAt(frame) / (2 * p.height)
	footX := pictureWidth * p.x / 1000
	footY := l.ground(p.ridge, footX) + 3
	count := 30 + height/3
	puffs := make([]puff, 0, count)
	for j := range count {
		up := (j*one + frame*one*37/100) % (count * one) / count // 0 at the fire, one at the top
		swirl := valley(l.seed^uint64(p.x), j*one*3/4, frame*one/5) - one/2
		width := 2 + height*(up+one/8)/one/5 // of the column at this height
		puffs = append(puffs, puff{
			x:         footX + lean*(up*up/one*2/3+up/3)/one + width*swirl/one + width*(noise(l.seed, j, 5)-one/2)/one*3/2,
			y:         footY - height*up/one + width*(noise(l.seed, j, p.x)-one/2)/one,
			radius:    3 + width*(one+noise(l.seed, j, 11)/2)/one,
			opacity:   (one - up*up/one) * (40 + 45*noise(l.seed, j, 3)/one) / 100,
			lightness: noise(l.seed, j, 7)*7/10 + up*3/10,
		})
	}
	return puffs
}

func (p plume) heightAt(frame int) int { return min(p.height+p.growth*frame, 3*p.height) }

// bounds returns the box around what can be seen of the plume: left, top, right, bottom in thousandths of the picture.
func (p plume) bounds(l *landscape, frame int) [4]int {
	left, top, right, bottom := pictureWidth, pictureHeight, 0, 0
	for _, ball := range p.puffs(l, frame) {
		if ball.opacity < one/5 { // too faint to be told from haze
			continue
		}
		reach := ball.radius * 3 / 4
		left, right = min(left, ball.x-reach), max(right, ball.x+reach)
		top = min(top, ball.y-reach)
		bottom = max(bottom, min(ball.y+reach, l.ground(p.ridge, ball.x)+3))
	}
	wobble := func(corner int) int { return noise(l.seed^0xb0c5, 4*frame+corner, p.x)*5/one - 2 } // a model is never quite sure
	return [4]int{
		inside(left*1000/pictureWidth + wobble(0)), inside(top*1000/pictureHeight + wobble(1)),
		inside(right*1000/pictureWidth + wobble(2)), inside(bottom*1000/pictureHeight + wobble(3)),
	}
}

// inside keeps a coordinate within the picture.
func inside(v int) int { return min(max(v, 0), 1000) }

// with returns the scenery's picture with the plumes as they are on a frame.
func (s *scenery) with(plumes []plume, frame int) *image.RGBA {
	picture := image.NewRGBA(s.picture.Rect)
	draw.Draw(picture, picture.Rect, s.picture, image.Point{}, draw.Src)
	for _, p := range plumes {
		for _, ball := range p.puffs(s.landscape, frame) {
			s.blow(picture, ball, p)
		}
	}
	return picture
}

// blow blends one ball of smoke into the picture, behind the ridges nearer than the fire.
func (s *scenery) blow(picture *image.RGBA, ball puff, p plume) {
	smoke := mix(s.light.shadow, s.light.smoke, ball.lightness)
	if p.brown {
		smoke = mix(smoke, tone{150, 118, 84}, one*3/4)
	}
	square := ball.radius * ball.radius
	for y := max(ball.y-ball.radius, 0); y <= min(ball.y+ball.radius, pictureHeight-1); y++ {
		for x := max(ball.x-ball.radius, 0); x <= min(ball.x+ball.radius, pictureWidth-1); x++ {
			dx, dy := x-ball.x, y-ball.y
			distance := dx*dx + dy*dy
			at := y*pictureWidth + x
			if distance >= square || int(s.depth[at]) > p.ridge {
				continue
			}
			soft := one - distance*one/square
			opacity := soft * smooth(soft) / one * ball.opacity / one
			lit := smoke.shaded((-dy - dx/2) * one / 5 / ball.radius) // the sun stands up and to the left
			pixel := picture.Pix[4*at : 4*at+3 : 4*at+3]
			pixel[0] = blend(pixel[0], lit.r, opacity)
			pixel[1] = blend(pixel[1], lit.g, opacity)
			pixel[2] = blend(pixel[2], lit.b, opacity)
		}
	}
}

func blend(under uint8, over, opacity int) uint8 {
	return uint8(int(under) + (over-int(under))*opacity/one)
}
