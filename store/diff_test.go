package store

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// variation is a change to a sample. Whether it changes what the digest covers is said beside it.
type variation struct {
	name    string
	content bool
	apply   func(s *sample)
}

// edits change one thing each; n chooses which object.
func edits(n int) []variation {
	sequence := func(s *sample) *SequenceRecord { return &s.sequences[n%len(s.sequences)] }
	replace := func(doc *json.RawMessage, from, to string) {
		if !strings.Contains(string(*doc), from) {
			panic(fmt.Sprintf("%s does not hold %s", *doc, from))
		}
		*doc = json.RawMessage(strings.Replace(string(*doc), from, to, 1))
	}
	return []variation{
		{"a sequence's document", true, func(s *sample) {
			replace(&sequence(s).Sequence.Document, `"is_wildfire":null`, `"is_wildfire":"wildfire_smoke"`)
		}},
		{"a detection's document", true, func(s *sample) { replace(&sequence(s).Detections[0].Document, `"pose_id":1`, `"pose_id":2`) }},
		{"a detection less", true, func(s *sample) {
			r := sequence(s)
			r.Detections = r.Detections[1:]
		}},
		{"an image less", true, func(s *sample) { sequence(s).Frames[1] = Frame{Key: sequence(s).Frames[1].Key, Problem: "503"} }},
		{"another image", true, func(s *sample) {
			data := imageBytes(1e9+uint64(n), 300)
			sequence(s).Frames[0].Image = hashOf(data)
			s.images[sequence(s).Frames[0].Key] = data
		}},
		{"a sequence less", true, func(s *sample) { s.sequences = slices.Delete(s.sequences, n%len(s.sequences), n%len(s.sequences)+1) }},
		{"a camera's document", true, func(s *sample) { replace(&s.cameras[n%3].Document, `"lat":44.1`, `"lat":44.10`) }},
		{"an organization less", true, func(s *sample) { s.organizations = s.organizations[:1] }},
		{"coverage", false, func(s *sample) { sequence(s).Coverage.Limit, sequence(s).Coverage.Live = 3, true }},
		{"order of members", false, func(s *sample) { replace(&sequence(s).Sequence.Document, `{`, `{"is_wildfire":null,`) }},
		{"order of writing", false, func(s *sample) { slices.Reverse(s.sequences) }},
	}
}

// edited is a sample with copies of what edits change.
func edited(n, frames int, change ...func(*sample)) *sample {
	s := newSample(n, frames, 300)
	for _, c := range change {
		c(s)
	}
	return s
}

// differences are those that are not Same, as the lines of a report.
func differences(t testing.TB, a, b string, o DiffOptions) []string {
	t.Helper()
	left, right := openForTest(t, a), openForTest(t, b)
	var lines []string
	for d, err := range Diff(t.Context(), left, right, o) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Sign == Same {
			continue
		}
		line := fmt.Sprintf("%s %s %s", d.Sign, d.Kind, d.ID)
		if d.SequenceID != 0 {
			line += fmt.Sprintf(" of %d", d.SequenceID)
		}
		for _, part := range append(d.What, d.Fields...) {
			line += " " + part
		}
		if d.Detections != nil && d.Sign == Differs {
			line += fmt.Sprintf(" %v %v", *d.Detections, *d.Images)
		}
		lines = append(lines, strings.TrimSpace(line+" "+d.Reason))
	}
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	if err := right.Close(); err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestDiffNamesWhatDiffers(t *testing.T) {
	original := newSample(3, 3, 300)
	a := original.build(t, WriteOptions{})
	key := func(f int) string { return original.sequences[1].Frames[f].Key } // of sequence 2, which is edited
	all := edits(1)
	want := map[string][]string{
		"a sequence's document":  {"* sequence 2 document is_wildfire {3 0 0 0} {3 0 0 0}"},
		"a detection's document": {"* sequence 2 detections {2 0 0 1} {3 0 0 0}"},
		"a detection less":       {"* sequence 2 detections {2 1 0 0} {3 0 0 0}"},
		"an image less":          {"* sequence 2 images {3 0 0 0} {2 1 0 0}", "- image " + key(1) + " of 2"},
		"another image":          {"* sequence 2 images {3 0 0 0} {2 0 0 1}", "* image " + key(0) + " of 2 content"},
		"a sequence less":        {"- sequence 2", "- image " + key(0) + " of 2", "- image " + key(1) + " of 2", "- image " + key(2) + " of 2"},
		"a camera's document":    {"* camera 2 document lat"},
		"an organization less":   {"- organization 2"},
	}
	for _, e := range all {
		t.Run(e.name, func(t *testing.T) {
			b := edited(3, 3, e.apply).build(t, WriteOptions{})
			if diff := cmp.Diff(want[e.name], differences(t, a, b, DiffOptions{ReadData: true})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			swapped := strings.NewReplacer("- ", "+ ", "+ ", "- ")
			for _, line := range differences(t, b, a, DiffOptions{}) {
				if e.name == "a sequence less" && !strings.HasPrefix(swapped.Replace(line), "- ") {
					t.Errorf("the other way round: %s", line)
				}
			}
		})
	}
	t.Run("the platform's name", func(t *testing.T) {
		b := original.build(t, WriteOptions{Source: Source{URL: "https://alertapi.example", API: "api_cenia"}})
		if diff := cmp.Diff([]string{"* source  document source_api"}, differences(t, a, b, DiffOptions{})); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestDiffCountsEveryObjectOnce(t *testing.T) {
	path := newSample(4, 3, 300).build(t, WriteOptions{})
	a, b := openForTest(t, path), openForTest(t, path)
	kinds := map[string]int{}
	var last, whole int64
	for d, err := range Diff(t.Context(), a, b, DiffOptions{Progress: func(done, total int64) { last, whole = done, total }}) {
		if err != nil || d.Sign != Same {
			t.Fatalf("%+v, %v", d, err)
		}
		kinds[d.Kind]++
	}
	want := map[string]int{"source": 1, "organization": 2, "camera": 3, "sequence": 4, "image": 12}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if last != 8 || whole != 8 {
		t.Errorf("progress ended at %d of %d, want 8 of 8", last, whole)
	}
	for _, err := range Diff(t.Context(), a, b, DiffOptions{}) {
		if err != nil {
			t.Error(err)
		}
		break // a caller may have enough
	}
}

func TestEqualDigestsMeanNoDifference(t *testing.T) {
	most := 1
	if torture() {
		most = 4
	}
	built := map[string]string{} // by what was edited: writing takes longer than comparing
	rapid.Check(t, func(r *rapid.T) {
		var paths [2]string
		for i := range paths {
			s, name := newSample(3, 3, 50), ""
			for range rapid.IntRange(0, most).Draw(r, "edits") {
				object := rapid.IntRange(0, 1).Draw(r, "object")
				all := edits(object)
				n := rapid.IntRange(0, len(all)-1).Draw(r, "edit")
				if safely(func() { all[n].apply(s) }) == nil { // an edit before may have taken away what this one changes
					name += fmt.Sprintf("%d %s, ", object, all[n].name)
				}
			}
			if built[name] == "" {
				built[name] = s.build(t, WriteOptions{})
			}
			paths[i] = built[name]
		}
		found := differences(t, paths[0], paths[1], DiffOptions{})
		if equal := digestOf(t, paths[0]) == digestOf(t, paths[1]); equal != (len(found) == 0) {
			r.Fatalf("digests equal: %v, differences: %q", equal, found)
		}
	})
}

func safely(f func()) (panicked any) {
	defer func() { panicked = recover() }()
	f()
	return nil
}

func TestDiffMarksWhatCannotBeRead(t *testing.T) {
	s := newSample(4, 2, 300)
	sound := s.build(t, WriteOptions{})
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, path string)
		read   bool
		want   []string
	}{
		{"an image's bytes", func(t *testing.T, path string) {
			patch(t, filepath.Join(path, "images", "000001.tar"), 600, 'X')
		}, true, []string{"! image " + s.sequences[0].Frames[0].Key + " of 1 in A: its bytes in shard 000001"}},
		{"an image's bytes, unread", func(t *testing.T, path string) {
			patch(t, filepath.Join(path, "images", "000001.tar"), 600, 'X')
		}, false, nil},
		{"the end of a shard", func(t *testing.T, path string) {
			if err := os.Truncate(filepath.Join(path, "images", "000001.tar"), 8*1024-600); err != nil {
				t.Fatal(err)
			}
		}, false, []string{"! image " + s.sequences[3].Frames[1].Key + " of 4 in A: shard 000001 is shorter than it was"}},
		{
			"a sequence", func(t *testing.T, path string) { spoil(t, path, bucketSequences, idKey(2)) }, false,
			[]string{"! sequence 2 in A: index: sequence 2 is not what was stored"},
		},
		{
			"a camera", func(t *testing.T, path string) { spoil(t, path, bucketCameras, idKey(1)) }, false,
			[]string{"! camera 1 in A: index: camera 1 is not what was stored"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := s.build(t, WriteOptions{})
			test.damage(t, path)
			got := differences(t, path, sound, DiffOptions{ReadData: test.read})
			if len(got) != len(test.want) {
				t.Fatalf("got %q, want %q", got, test.want)
			}
			for i, line := range got {
				if !strings.HasPrefix(line, test.want[i]) {
					t.Errorf("got %q, want %q", line, test.want[i])
				}
			}
		})
	}
}

// spoil flips a bit of a stored value.
func spoil(t *testing.T, path, bucket string, key []byte) {
	t.Helper()
	alterIndex(t, path, func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		value := slices.Clone(b.Get(key))
		value[len(value)-1] ^= 1
		return b.Put(key, value)
	})
}
