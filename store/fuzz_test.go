package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

func FuzzManifest(f *testing.F) {
	m := manifestOf(indexMeta{
		Format: 1, MinReader: 1, ID: "00", Source: testSource(), Generation: 3, Counts: map[string]int64{"images": 2}, OpenShard: 2, OpenSize: 512,
	}, []sealed{{size: 2048, hash: Hash{1}}}, true)
	valid := must(m.encode())
	f.Add(valid)
	f.Add(valid[:len(valid)-1])
	f.Add([]byte(`{"type":"pyrobundle","format":9,"min_reader":9}`))
	f.Add([]byte(`{"name":"somebody else's"}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeManifest(data)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotBundle) && !errors.Is(err, ErrVersion) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		again, err := decodeManifest(must(m.encode()))
		if err != nil || fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", m) {
			t.Fatalf("written again it reads as %+v, %v; was %+v", again, err, m)
		}
	})
}

func FuzzSequenceFrame(f *testing.F) {
	c := newCodec()
	r := newSample(1, 3, 10).sequences[0]
	body := must(encodeRecord(&r))
	f.Add(must(c.compress(body)), true)
	f.Add(body, false)
	f.Add([]byte(`{"sequence":{"id":1,"started_at":"2026-01-01T00:00:00"},"detections":[1,{}],"frames":[{}]}`), false)
	f.Add([]byte(`{"sequence":{"id":1,"started_at":"2026-01-01T00:00:00"},"frames":{"key":1}}`), false)
	f.Add(must(c.compress(bytes.Repeat([]byte(" "), 1<<20))), true)
	f.Fuzz(func(t *testing.T, data []byte, compressed bool) {
		if !compressed { // past the compression, where a fuzzer does not get by itself
			data = must(c.compress(data))
		}
		r, err := c.openRecord(1, data)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if r.Sequence.ID != 1 {
			t.Fatalf("sequence %d under id 1", r.Sequence.ID)
		}
		arrange(&r)
		again, err := decodeRecord(must(encodeRecord(&r)))
		if err != nil || summarise(&again) != summarise(&r) {
			t.Fatalf("written again: %+v, %v; was %+v", summarise(&again), err, summarise(&r))
		}
	})
}

func FuzzIndexValues(f *testing.F) {
	at := location{shard: 1, offset: 512, size: 3, format: PNG}
	f.Add([]byte("0123456789abcdef"), at.encode())
	f.Add(memberKey(3, 1024), sealed{size: 1024, hash: Hash{7}}.encode())
	f.Add(idKey(7), []byte(`{"camera_id":1,"coverage":{"fetched_at":"2026-01-01T00:00:00Z"}}`))
	f.Add([]byte{}, must(json.Marshal(indexMeta{Format: 1, MinReader: 1, Generation: 1, OpenShard: 1, Counts: map[string]int64{}})))
	f.Fuzz(func(t *testing.T, key, body []byte) {
		if l, err := decodeLocation(body); err == nil && !bytes.Equal(l.encode(), body) {
			t.Errorf("location %+v is not %x", l, body)
		}
		if s, err := decodeSealed(body); err == nil && !bytes.Equal(s.encode(), body) {
			t.Errorf("sealed %+v is not %x", s, body)
		}
		if shard, offset, err := splitMemberKey(key); err == nil && !bytes.Equal(memberKey(shard, offset), key) {
			t.Errorf("member %d %d is not %x", shard, offset, key)
		}
		if s, err := decodeSummary(key, body); err == nil && !bytes.Equal(dayKey(s.StartedAt, s.ID), key) {
			t.Errorf("summary of %v %d is not %x", s.StartedAt, s.ID, key)
		}
		if m, err := decodeMeta(body); err == nil && (m.Generation == 0 || m.MinReader > formatVersion) {
			t.Errorf("meta %+v", m)
		}
		value := valueHash(bucketKeys, key, body)
		if _, got, err := openValue(bucketKeys, key, append(value[:], body...)); err != nil || !bytes.Equal(got, body) {
			t.Errorf("value: %v", err)
		}
		if _, _, err := openValue(bucketImages, key, append(value[:], body...)); err == nil {
			t.Error("a value of another bucket is believed")
		}
		if _, _, err := openValue(bucketKeys, key, body); err == nil {
			t.Error("a value without hash is believed")
		}
		for _, bucket := range dataBuckets() {
			_ = describeKey(bucket, key) // must not panic
		}
	})
}

// FuzzTail reads members from anything, as taking up an interrupted run does.
func FuzzTail(f *testing.F) {
	var shard bytes.Buffer
	for i := range 3 {
		data := imageBytes(uint64(i), 100+300*i)
		header := memberHeader(hashOf(data), JPEG, int64(len(data)))
		shard.Write(header[:])
		shard.Write(data)
		shard.Write(make([]byte, padded(int64(len(data)))-int64(len(data))))
	}
	f.Add(shard.Bytes())
	f.Add(shard.Bytes()[:1500])
	f.Add(append(shard.Bytes(), make([]byte, endSize)...))
	f.Add(make([]byte, 2000))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, position, buffer := bytes.NewReader(data), int64(0), make([]byte, 512)
		for {
			m, err := readHeader(r, 1, position)
			if err == nil {
				err = hashMember(r, m, nil, buffer)
			}
			if err != nil {
				if !isDamage(err) {
					t.Fatalf("an error of no kind: %v", err)
				}
				return
			}
			header := memberHeader(m.hash, m.at.format, m.at.size)
			image := data[m.at.offset : m.at.offset+m.at.size]
			if m.at.offset != position+blockSize || !bytes.Equal(data[position:m.at.offset], header[:]) || hashOf(image) != m.hash ||
				!isZero(data[m.at.offset+m.at.size:m.end()]) {
				t.Fatalf("member %+v at %d is none", m, position)
			}
			position = m.end()
		}
	})
}

// FuzzIndexPages changes bytes of a real index: what the check of its pages lets pass must neither crash bbolt nor deliver wrong
// data. Changes are pairs of an offset (3 bytes) and a value.
func FuzzIndexPages(f *testing.F) {
	s := newSample(80, 2, 100)
	path := s.build(f, WriteOptions{})
	original, err := os.ReadFile(filepath.Join(path, indexName))
	if err != nil {
		f.Fatal(err)
	}
	want := digestOf(f, path)
	change := func(at int, value byte) []byte { return []byte{byte(at >> 16), byte(at >> 8), byte(at), value} }
	meta, _, err := readMetaPages(bytes.NewReader(original))
	if err != nil {
		f.Fatal(err)
	}
	root := int(meta.root) * pageSize
	f.Add(change(root+8, branchPage))
	f.Add(change(root+10, 200))
	f.Add(change(root+16+4, 255))
	f.Add(append(change(int(meta.freelist)*pageSize+10, 255), change(int(meta.freelist)*pageSize+11, 255)...))
	f.Add(change(pageSize*int(meta.transaction%2)+pageHeaderSize+16, 3))
	f.Fuzz(func(t *testing.T, changes []byte) {
		data := slices.Clone(original)
		for ; len(changes) >= 4; changes = changes[4:] {
			at := int(changes[0])<<16 | int(changes[1])<<8 | int(changes[2])
			data[at%len(data)] = changes[3]
		}
		for n := range 2 { // a damaged meta page would be refused at once
			b := data[n*pageSize+pageHeaderSize:]
			sum := fnv.New64a()
			sum.Write(b[:boltMetaSize-8])
			binary.LittleEndian.PutUint64(b[boltMetaSize-8:], sum.Sum64())
		}
		dir := t.TempDir()
		for _, name := range []string{manifestName, shardName(1)} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), dirMode); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), must(os.ReadFile(filepath.Join(path, name))), fileMode); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, indexName), data, fileMode); err != nil {
			t.Fatal(err)
		}
		s.examine(t, dir, want)
		w, err := OpenWriter(t.Context(), dir, WriteOptions{})
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("open for writing: %v", err)
			}
			return
		}
		_ = s.putTo(t.Context(), w) // it may meet the damage; it must not crash
		_ = w.Close()
	})
}

func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"id":1,"camera_id":2,"bucket_key":"k","bbox":"[(.1,.1,.2,.2,.3)]","created_at":"2026-01-01T00:00:00","url":"http://x/?Signature=1"}`))
	f.Add([]byte(`{"id":1,"id":2,"new":"v 1.5","token":"x","deep":{"a":[1]},"n":1e400,"ID":3}`))
	f.Add([]byte(" {\"\\u0069d\" : 1.50 , \"poses\":[{\"id\":1,\"image_url\":\"x\"}, 3], \"\\ud800\":\"\\udfff \\\" \\u001f\" } "))
	f.Add([]byte(`{"a":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc"}`))
	kinds := []kind{organizationKind(), cameraKind(), sequenceKind(), detectionKind()}
	f.Fuzz(func(t *testing.T, doc []byte) {
		for _, k := range kinds {
			out, err := strip(k, doc, nil)
			if err != nil {
				continue
			}
			if !json.Valid(out) {
				t.Fatalf("%s is no JSON", out)
			}
			if again, err := strip(k, out, nil); err != nil || !bytes.Equal(again, out) {
				t.Fatalf("stripped again: %s, %v; was %s", again, err, out)
			}
			if err := forbidden(k, out); err != nil {
				t.Fatalf("%s: %v", out, err)
			}
			once := canonical(nil, out)
			if twice := canonical(nil, once); !bytes.Equal(once, twice) {
				t.Fatalf("canonical is %s, then %s", once, twice)
			}
			if a, b := generic(t, out), generic(t, once); a != b {
				t.Fatalf("canonical changes %s to %s", a, b)
			}
		}
	})
}

// generic is a document by encoding/json's reading, with the literals of numbers.
func generic(t *testing.T, doc []byte) string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%#v", v)
}

func FuzzRedact(f *testing.F) {
	seeds := []string{
		"GET https://user:hunter2hunter2@s.test/a/b.jpg?X-Amz-Signature=hunter2&x=1: 403",
		"Authorization: Bearer hunter2.hunter2.hunter2 refused",
		"s.test/x?AWSAccessKeyId=1&Signature=hunter2%3D&Expires=1",
		`Get "http://s.test/x?Expires=1#hunter2": EOF`,
		"token eyJhunter2aaa.eyJhunter2bbb.hunter2",
	}
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		out := redact(text)
		if isSigned(out) {
			t.Errorf("%q keeps a signature", out)
		}
		for _, seed := range seeds {
			if text == seed && strings.Contains(out, "hunter2") {
				t.Errorf("%q keeps its secret", out)
			}
		}
	})
}

// TestBombs: nothing that a frame, an index or a manifest claims makes us allocate or work without bound.
func TestBombs(t *testing.T) {
	c := newCodec()
	head := `{"sequence":{"id":1,"started_at":"2026-01-01T00:00:00"},`
	fill := func(before, unit, after string, size int) []byte {
		return []byte(before + strings.Repeat(unit, (size-len(before)-len(after))/len(unit)) + after)
	}
	size := maxFrame
	if !torture() {
		size /= 8
	}
	claim := slices.Clone(must(c.compress([]byte("x"))))
	bombs := map[string][]byte{
		"more than a frame":           must(c.compress(bytes.Repeat([]byte(" "), maxFrame+1))),
		"many detections":             must(c.compress(fill(head+`"detections":[1`, ",1", "]}", size))),
		"many small detections":       must(c.compress(fill(head+`"detections":[{}`, ",{}", "]}", size))),
		"many frames":                 must(c.compress(fill(head+`"frames":[{}`, ",{}", "]}", size))),
		"many fields":                 must(c.compress(fill(head+`"a":1`, `,"b":1`, "}", size))),
		"many fields in the sequence": must(c.compress(fill(`{"sequence":{"id":1,"started_at":"2026-01-01T00:00:00"`, `,"b":1`, "}}", size))),
		"deep":                        must(c.compress(fill(head+`"a":`, "[", "", size))),
		"a claim of 8 GiB":            binary.LittleEndian.AppendUint64([]byte{0x28, 0xB5, 0x2F, 0xFD, 0xE0}, 8<<30),
		"a frame without its content": claim[:len(claim)-3],
		"no frame":                    []byte("not zstd at all"),
		"skippable frame":             {0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0, 1, 2, 3, 4},
	}
	for name, frame := range bombs {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := c.openRecord(1, frame)
			runtime.ReadMemStats(&after)
			if name != "many fields" && !errors.Is(err, ErrCorrupt) {
				t.Errorf("error %v", err)
			}
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > uint64(size)+100<<20 {
				t.Errorf("%d MiB allocated", allocated>>20)
			}
		})
	}
}

func TestHugeValueIsNotRead(t *testing.T) {
	value := make([]byte, maxValue+1)
	if _, _, err := openValue(bucketKeys, []byte("k"), value); !errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v", err)
	}
}

// TestGuardKeepsThePanicsOfCallers: only our own are damage.
func TestGuardKeepsThePanicsOfCallers(t *testing.T) {
	b := openForTest(t, newSample(3, 1, 100).build(t, WriteOptions{}))
	defer func() {
		if r := recover(); r != "the caller's own" {
			t.Errorf("recovered %v", r)
		}
	}()
	for _, err := range b.Sequences(t.Context(), Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		panic("the caller's own")
	}
}

func TestFaultBecomesErrCorrupt(t *testing.T) {
	path := newSample(3, 1, 100).build(t, WriteOptions{})
	b := openForTest(t, path)
	if err := os.Truncate(filepath.Join(path, indexName), 2*pageSize); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Sequence(t.Context(), 1); !errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v", err)
	}
	err := b.view(func(*bbolt.Tx) error { panic("page 7 already freed") })
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "page 7") {
		t.Errorf("error %v", err)
	}
	if err := b.view(func(*bbolt.Tx) error { return io.ErrNoProgress }); !errors.Is(err, io.ErrNoProgress) || errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v", err)
	}
}
