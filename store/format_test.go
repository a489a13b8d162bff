package store_test

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"go.etcd.io/bbolt"
)

// TestGoldenBundleByTheDocument reads the golden bundle as docs/bundle-format.md describes it, with bbolt, zstd, tar and JSON and
// nothing of package store: what the document says must be enough for a reader in another language.
func TestGoldenBundleByTheDocument(t *testing.T) {
	root := filepath.Join(t.TempDir(), "format-1")
	if err := os.CopyFS(root, os.DirFS("../testdata/bundles/format-1")); err != nil {
		t.Fatal(err)
	}
	const digest = "567ff24ebc1a7590f4626b369519695bf23cc5b9c5a4856ebc5012cf6b1ef395"
	m := readManifest(t, root)
	buckets := readIndex(t, root, m)
	places := readShards(t, root, m, buckets)
	for hash, place := range places {
		if !bytes.Equal(buckets["images"][hash], place.entry) || string(buckets["members"][place.key]) != hash {
			t.Errorf("image %x lies elsewhere than the index says", hash)
		}
	}
	if len(places) != len(buckets["images"]) || len(places) != len(buckets["members"]) || len(places) == 0 {
		t.Errorf("%d images in the shards, %d and %d in the index", len(places), len(buckets["images"]), len(buckets["members"]))
	}
	if got := digestOf(t, m, buckets); got != digest {
		t.Errorf("digest %s, want %s", got, digest)
	}
}

// manifest has what is compared here of manifest.json.
type manifest struct {
	Type       string            `json:"type"`
	MinReader  int               `json:"min_reader"`
	ID         string            `json:"id"`
	Source     map[string]string `json:"source"`
	Generation uint64            `json:"generation"`
	Counts     map[string]int    `json:"counts"`
	RootSum    string            `json:"root_sum"`
	Shards     []shard           `json:"shards"`
	OpenShard  shard             `json:"open_shard"`
}

type shard struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

func readManifest(t *testing.T, root string) (m manifest) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &m); err != nil || m.Type != "pyrobundle" || m.MinReader != 1 {
		t.Fatalf("%v, %+v", err, m)
	}
	end := regexp.MustCompile(`"checksum": "([0-9a-f]{64})"\n}\n$`).FindSubmatchIndex(text)
	if end == nil {
		t.Fatalf("the manifest ends otherwise: %q", text[max(0, len(text)-100):])
	}
	want := string(text[end[2]:end[3]])
	copy(text[end[2]:], strings.Repeat("0", 64))
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != want {
		t.Errorf("checksum %x, want %s", sum, want)
	}
	return m
}

// readIndex returns the bodies of every bucket by key.
func readIndex(t *testing.T, root string, m manifest) map[string]map[string][]byte {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(root, "index.db"), 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // it was only read
	buckets := map[string]map[string][]byte{}
	sum := new(big.Int)
	if err := db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			buckets[string(name)] = map[string][]byte{}
			return b.ForEach(func(key, value []byte) error {
				hash, body := value[:32], value[32:]
				h := sha256.New()
				h.Write(append(slices.Clone(name), 0))
				h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(key)))) //nolint:gosec // it is short
				h.Write(key)
				h.Write(body)
				if !bytes.Equal(h.Sum(nil), hash) {
					return fmt.Errorf("%s %x is not what was stored", name, key)
				}
				if string(name) != "meta" {
					sum.Add(sum, new(big.Int).SetBytes(hash))
				}
				buckets[string(name)][string(key)] = bytes.Clone(body)
				return nil
			})
		})
	}); err != nil {
		t.Fatal(err)
	}
	sum.Mod(sum, new(big.Int).Lsh(big.NewInt(1), 256))
	var meta struct {
		ID         string         `json:"id"`
		Generation uint64         `json:"generation"`
		Counts     map[string]int `json:"counts"`
		RootSum    string         `json:"root_sum"`
		OpenShard  int            `json:"open_shard"`
		OpenSize   int64          `json:"open_size"`
	}
	if err := json.Unmarshal(buckets["meta"]["bundle"], &meta); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%064x", sum); got != meta.RootSum || got != m.RootSum {
		t.Errorf("root sum %s, want %s and %s", got, meta.RootSum, m.RootSum)
	}
	if !maps.Equal(meta.Counts, m.Counts) || meta.ID != m.ID || meta.Generation != m.Generation ||
		m.OpenShard.Name != fmt.Sprintf("images/%06d.tar", meta.OpenShard) || m.OpenShard.Size != meta.OpenSize || meta.OpenShard != len(m.Shards)+1 {
		t.Errorf("the manifest %+v does not describe the index %+v", m, meta)
	}
	for name, entries := range buckets {
		if name != "meta" && len(entries) != meta.Counts[name] {
			t.Errorf("%d entries in %s, want %d", len(entries), name, meta.Counts[name])
		}
	}
	return buckets
}

// place is where an image lies, as its entries in images and members say it.
type place struct {
	key   string
	entry []byte
}

// readShards lists the shards with archive/tar.
func readShards(t *testing.T, root string, m manifest, buckets map[string]map[string][]byte) map[string]place {
	t.Helper()
	places := map[string]place{}
	for i, s := range append(slices.Clone(m.Shards), m.OpenShard) {
		data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(s.Name)))
		if err != nil {
			t.Fatal(err)
		}
		number := binary.BigEndian.AppendUint32(nil, uint32(i+1)) //nolint:gosec // there are few
		if i < len(m.Shards) {
			sum := sha256.Sum256(data)
			sealed := append(binary.BigEndian.AppendUint64(nil, uint64(len(data))), sum[:]...)
			if !bytes.Equal(buckets["shards"][string(number)], sealed) || s.SHA256 != hex.EncodeToString(sum[:]) || s.Size != int64(len(data)) {
				t.Errorf("%s is not the file that was sealed", s.Name)
			}
		}
		file := bytes.NewReader(data)
		for r := tar.NewReader(file); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			offset := uint64(len(data) - file.Len()) //nolint:gosec // not negative: the reader has just read the header
			image, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(image)
			digits, suffix, _ := strings.Cut(h.Name, ".")
			if digits != hex.EncodeToString(sum[:]) {
				t.Errorf("%s holds other bytes", h.Name)
			}
			entry := binary.BigEndian.AppendUint64(slices.Clone(number), offset)
			key := string(entry)
			entry = binary.BigEndian.AppendUint32(entry, uint32(len(image))) //nolint:gosec // below 32 MiB
			places[string(sum[:])] = place{key, append(entry, map[string]byte{"jpg": 1, "png": 2}[suffix])}
		}
	}
	return places
}

// digestOf is the digest by the document, on the way through everything that sequences refer to.
func digestOf(t *testing.T, m manifest, buckets map[string]map[string][]byte) string {
	t.Helper()
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	h := sha256.New()
	line := func(kind string, doc any) { fmt.Fprintf(h, "%s %s\n", kind, canonical(t, doc)) }
	fmt.Fprintln(h, "pyrobundle digest 1")
	if api := m.Source["source_api"]; api != "" {
		line("source", api)
	}
	for _, kind := range []string{"organization", "camera"} {
		for _, key := range slices.Sorted(maps.Keys(buckets[kind+"s"])) {
			line(kind, parse(t, buckets[kind+"s"][key]))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(buckets["sequences"])) {
		text, err := d.DecodeAll(buckets["sequences"][key], nil)
		if err != nil {
			t.Fatal(err)
		}
		var record struct {
			Sequence json.RawMessage `json:"sequence"`
			Camera   *struct {
				OrganizationID int64 `json:"organization_id"`
			} `json:"camera"`
			Detections []json.RawMessage             `json:"detections"`
			Frames     []struct{ Key, Image string } `json:"frames"`
		}
		if err := json.Unmarshal(text, &record); err != nil {
			t.Fatal(err)
		}
		line("sequence", parse(t, record.Sequence))
		for _, doc := range record.Detections {
			line("detection", parse(t, doc))
		}
		slices.SortFunc(record.Frames, func(a, b struct{ Key, Image string }) int { return cmp.Compare(a.Key, b.Key) })
		for _, f := range record.Frames {
			if f.Image == "" {
				continue
			}
			line("image", map[string]any{"image": f.Image, "key": f.Key})
			hash, err := hex.DecodeString(f.Image)
			if err != nil || buckets["images"][string(hash)] == nil {
				t.Errorf("image %s of key %s is not in the index: %v", f.Image, f.Key, err)
			}
			var organization uint64
			if record.Camera != nil {
				organization = uint64(record.Camera.OrganizationID) //nolint:gosec // it is positive
			}
			if under := string(binary.BigEndian.AppendUint64(nil, organization)) + f.Key; !bytes.Equal(buckets["keys"][under], hash) {
				t.Errorf("key %s of organization %d does not lead to its image", f.Key, organization)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// parse reads JSON with the literals of its numbers.
func parse(t *testing.T, doc []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// canonical is encoding/json's own sorted form, without the escapes that canonical JSON does not have.
func canonical(t *testing.T, v any) string {
	t.Helper()
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(out.String(), "\n")
}
