package sandbox

import (
	"iter"
	"time"
)

// The hand-made sequences of every synthetic world, by platform id, for tests to speak of. There are HandMade of them,
// with ids from the first on without a gap; only SequenceBoxless cannot become an annotation.
const (
	SequenceTwoObjects   int64 = 101 + iota // two fires far apart on every frame, both rows in this sequence
	SequenceSiblingLeft                     // one of two fires; the other is SequenceSiblingRight's, on the same frames
	SequenceSiblingRight                    //
	SequenceLong                            // 130 frames, every 13th without boxes
	SequenceSingle                          // one frame, at a full second
	SequenceMidnight                        // starts on one UTC day and ends on the next
	SequenceBoxless                         // continuity rows alone: the fire was never seen
	SequenceContinuity                      // continuity rows between frames with boxes
	SequenceSharedFrames                    // on every second frame two rows of equal created_at with overlapping boxes
	SequenceNonTrustable                    // of CameraNonTrustable, labelled "other": dust, not smoke
	SequenceFrozen                          // the camera hangs: its last five frames are one image under five keys
	SequenceWildfire                        // labelled "wildfire_smoke", with a temporal score
	SequenceOtherSmoke                      // labelled "other_smoke", with crops, a score and terse numbers (".5")
	SequenceFaint                           // confidence 0 in all boxes
	SequenceCrowded                         // five boxes on every frame, four of them as others_bboxes only

	HandMade = iota // how many there are
)

// FirstGenerated is the id of the first generated sequence; the following ones have the ids after it.
const FirstGenerated int64 = 1001

// scene is what one camera saw for a while: frames, and the sequences that the platform made of them.
type scene struct {
	camera     int64
	pose       int
	start      time.Duration // after the first midnight of the world
	every      time.Duration
	frames     int
	frozenFrom int // frames after this one repeat its picture; 0: none does
	plumes     []plume
	missed     func(plume, frame int) bool // the model did not see the plume; nil: it saw all
	faint      bool                        // boxes of confidence 0
	terse      bool                        // see boxString
	tied       bool                        // rows of a frame have equal created_at
	sequences  []strand
}

// strand is one sequence of a scene.
type strand struct {
	id      int64
	own     []int  // plumes whose boxes became its rows; those of the others are mentioned in others_bboxes
	label   string // is_wildfire; empty: nobody has labelled it
	score   int    // temporal_model_score in millionths; 0: never scored
	cropped bool
}

func never(int, int) bool { return true }

// on is a time after the world's first midnight; days count from 0.
func on(day, hour, minute, second, microsecond int) time.Duration {
	return time.Duration(day)*24*time.Hour + time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute +
		time.Duration(second)*time.Second + time.Duration(microsecond)*time.Microsecond
}

// handMade are the scenes of the demo, spread over five days of which the fourth has none.
func handMade() []scene {
	return []scene{
		{
			camera: 7, pose: 0, start: on(0, 5, 38, 58, 37041), every: 32 * time.Second, frames: 3, faint: true,
			plumes:    []plume{{x: 610, ridge: 1, height: 60, growth: 4, lean: 40}},
			sequences: []strand{{id: SequenceFaint, own: []int{0}}},
		},
		{
			camera: 1, pose: 0, start: on(0, 9, 14, 5, 37732), every: 30 * time.Second, frames: 12,
			plumes: []plume{
				{x: 230, ridge: 2, height: 130, growth: 9, lean: 70},
				{x: 720, ridge: 1, height: 90, growth: 6, lean: 50},
			},
			sequences: []strand{{id: SequenceTwoObjects, own: []int{0, 1}, score: 553069}},
		},
		{
			camera: 2, pose: 0, start: on(0, 12, 4, 37, 37838), every: 32 * time.Second, frames: 8,
			plumes: []plume{
				{x: 300, ridge: 2, height: 120, growth: 10, lean: -60},
				{x: 760, ridge: 3, height: 150, growth: 8, lean: -80},
			},
			sequences: []strand{
				{id: SequenceSiblingLeft, own: []int{0}, score: 305550},
				{id: SequenceSiblingRight, own: []int{1}},
			},
		},
		{
			camera: 1, pose: 1, start: on(1, 5, 40, 0, 0), every: 30 * time.Second, frames: 1,
			plumes:    []plume{{x: 480, ridge: 2, height: 100, lean: 50}},
			sequences: []strand{{id: SequenceSingle, own: []int{0}}},
		},
		{
			camera: 4, pose: 0, start: on(1, 10, 2, 15, 37251), every: 30 * time.Second, frames: 130,
			plumes:    []plume{{x: 420, ridge: 1, height: 90, growth: 2, lean: 90}},
			missed:    func(_, frame int) bool { return frame%13 == 12 },
			sequences: []strand{{id: SequenceLong, own: []int{0}, score: 926825}},
		},
		{
			camera: 5, pose: 1, start: on(1, 23, 56, 10, 37404), every: 32 * time.Second, frames: 20,
			plumes:    []plume{{x: 560, ridge: 2, height: 130, growth: 8, lean: -70}},
			sequences: []strand{{id: SequenceMidnight, own: []int{0}, score: 732000}},
		},
		{
			camera: 6, pose: 0, start: on(2, 11, 51, 5, 37186), every: 30 * time.Second, frames: 4, missed: never,
			plumes:    []plume{{x: 640, ridge: 0, height: 40, growth: 2, lean: 30}},
			sequences: []strand{{id: SequenceBoxless, own: []int{0}}},
		},
		{
			camera: 2, pose: 1, start: on(2, 14, 1, 3, 37927), every: time.Minute, frames: 28, tied: true,
			plumes: []plume{
				{x: 180, ridge: 2, height: 110, growth: 5, lean: 80},
				{x: 215, ridge: 2, height: 90, growth: 5, lean: 70},
			},
			missed:    func(plume, frame int) bool { return plume == 1 && frame%2 == 1 },
			sequences: []strand{{id: SequenceSharedFrames, own: []int{0, 1}}},
		},
		{
			camera: 6, pose: 1, start: on(2, 14, 30, 41, 37463), every: 31 * time.Second, frames: 10,
			plumes:    []plume{{x: 350, ridge: 1, height: 100, growth: 8, lean: 60}},
			missed:    func(_, frame int) bool { return frame == 2 || frame == 3 || frame == 6 || frame == 8 },
			sequences: []strand{{id: SequenceContinuity, own: []int{0}, score: 123469}},
		},
		{
			camera: CameraNonTrustable, pose: 1, start: on(2, 16, 16, 20, 37274), every: 30 * time.Second, frames: 6,
			plumes:    []plume{{x: 700, ridge: 3, height: 90, growth: 6, lean: 140, brown: true}},
			sequences: []strand{{id: SequenceNonTrustable, own: []int{0}, label: "other", score: 329711}},
		},
		{
			camera: 4, pose: 1, start: on(4, 7, 30, 12, 37670), every: 30 * time.Second, frames: 10, frozenFrom: 5,
			plumes:    []plume{{x: 540, ridge: 2, height: 120, growth: 10, lean: 60}},
			sequences: []strand{{id: SequenceFrozen, own: []int{0}}},
		},
		{
			camera: 5, pose: 0, start: on(4, 13, 20, 44, 37059), every: 30 * time.Second, frames: 9, terse: true,
			plumes:    []plume{{x: 300, ridge: 3, height: 160, growth: 6, lean: 40}},
			sequences: []strand{{id: SequenceOtherSmoke, own: []int{0}, label: "other_smoke", score: 148088, cropped: true}},
		},
		{
			camera: 1, pose: 2, start: on(4, 15, 43, 20, 37097), every: 30 * time.Second, frames: 5,
			plumes: []plume{
				{x: 130, ridge: 2, height: 120, growth: 8, lean: 40},
				{x: 300, ridge: 1, height: 70, growth: 4, lean: 40},
				{x: 470, ridge: 2, height: 100, growth: 6, lean: 40},
				{x: 650, ridge: 1, height: 80, growth: 5, lean: 40},
				{x: 850, ridge: 3, height: 110, growth: 7, lean: 40},
			},
			sequences: []strand{{id: SequenceCrowded, own: []int{0}}},
		},
		{
			camera: 7, pose: 1, start: on(4, 18, 38, 6, 37341), every: 32 * time.Second, frames: 18,
			plumes:    []plume{{x: 440, ridge: 1, height: 140, growth: 14, lean: 90}},
			sequences: []strand{{id: SequenceWildfire, own: []int{0}, label: "wildfire_smoke", score: 874250}},
		},
	}
}

// scenes yields the hand-made scenes, then as many generated ones as the options ask for.
func (w *world) scenes() iter.Seq[scene] {
	return func(yield func(scene) bool) {
		for _, s := range handMade() {
			if !yield(s) {
				return
			}
		}
		for i := range w.options.Sequences {
			if !yield(w.generated(i)) {
				return
			}
		}
	}
}

// generated is the i-th generated scene: one plume, one sequence. Scenes follow one another evenly over the days.
func (w *world) generated(i int) scene {
	dice := w.options.Seed ^ 0x5ce7e5
	roll := func(what, sides int) int { return noise(dice, i, what) * sides >> 16 }
	span := time.Duration(w.options.Days) * 24 * time.Hour
	s := scene{
		camera: int64(1 + roll(0, len(stations()))),
		pose:   roll(1, posesPerCamera),
		start: (span / time.Duration(w.options.Sequences) * time.Duration(i)).Truncate(time.Second) +
			time.Duration(37000+roll(2, 1000))*time.Microsecond,
		every:  time.Duration(28+roll(3, 8)) * time.Second,
		frames: 1 + roll(4, 12),
		plumes: []plume{{
			x: 100 + roll(5, 800), ridge: roll(6, 4), height: 70 + roll(7, 90), growth: roll(8, 12), lean: roll(9, 180) - 90,
		}},
		missed: func(_, frame int) bool { return frame%8 == 7 },
	}
	if w.options.Frames > 0 {
		s.frames = w.options.Frames
	}
	one := strand{id: FirstGenerated + int64(i), own: []int{0}}
	if roll(10, 3) == 0 {
		one.score = 1 + roll(11, 1_000_000)
	}
	if roll(12, 20) == 0 {
		one.label = []string{"wildfire_smoke", "other_smoke", "other"}[roll(13, 3)]
	}
	s.sequences = []strand{one}
	return s
}
