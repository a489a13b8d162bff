package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"time"
)

// manifestType is what tells a bundle's manifest from anybody else's.
const manifestType = "pyrobundle"

// maxManifest bounds the manifest, in bytes: 4 MiB list the shards of 10 TB.
const maxManifest = 4 << 20

// maxShards bounds what an index may claim: a shard takes more than 128 bytes of the manifest.
const maxShards = maxManifest / 128

// manifest is manifest.json (docs/bundle-format.md).
type manifest struct {
	Type       string           `json:"type"`
	Format     int              `json:"format"`
	MinReader  int              `json:"min_reader"`
	ID         string           `json:"id"`
	Source     Source           `json:"source"`
	CreatedAt  time.Time        `json:"created_at"`
	UpdatedAt  time.Time        `json:"updated_at"`
	Writing    bool             `json:"writing"`
	Generation uint64           `json:"generation"`
	Counts     map[string]int64 `json:"counts"`
	RootSum    rootSum          `json:"root_sum"`
	Shards     []manifestShard  `json:"shards"`
	OpenShard  manifestShard    `json:"open_shard"`
	Checksum   Hash             `json:"checksum"` // last: see encode
}

type manifestShard struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"` // bytes
	SHA256 Hash   `json:"sha256,omitzero"`
}

// manifestOf describes an index.
func manifestOf(m indexMeta, shards []sealed, writing bool) manifest {
	out := manifest{
		Type: manifestType, Format: m.Format, MinReader: m.MinReader, ID: m.ID, Source: m.Source,
		CreatedAt: m.CreatedAt, UpdatedAt: m.UpdatedAt, Writing: writing, Generation: m.Generation,
		Counts: maps.Clone(m.Counts), RootSum: m.RootSum, Shards: []manifestShard{},
		OpenShard: manifestShard{Name: shardName(m.OpenShard), Size: m.OpenSize},
	}
	for i, s := range shards {
		out.Shards = append(out.Shards, manifestShard{Name: shardName(uint32(i + 1)), Size: s.size, SHA256: s.hash})
	}
	return out
}

// The end of every manifest, around the 64 digits of its checksum.
const (
	checksumBefore = "\"checksum\": \""
	checksumAfter  = "\"\n}\n"
)

// encode writes the manifest with its checksum, which covers the file with the checksum's own digits as zeros.
func (m manifest) encode() ([]byte, error) {
	m.Checksum = Hash{}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	data = append(data, '\n')
	sum := Hash(sha256.Sum256(data))
	copy(data[len(data)-len(checksumAfter)-2*hashSize:], sum.String())
	return data, nil
}

// decodeManifest reads a manifest: ErrNotBundle for anybody else's JSON, ErrVersion for a format that this version cannot
// read, ErrCorrupt for a damaged one.
func decodeManifest(data []byte) (manifest, error) {
	var head struct {
		Type      string `json:"type"`
		Format    int    `json:"format"`
		MinReader int    `json:"min_reader"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return manifest{}, corruptf("%s: %w", manifestName, err)
	}
	digits := len(data) - len(checksumAfter) - 2*hashSize
	ours := digits >= 0 && bytes.HasSuffix(data, []byte(checksumAfter)) && bytes.HasSuffix(data[:digits], []byte(checksumBefore))
	if head.Type != manifestType && !ours {
		return manifest{}, fmt.Errorf("%w: %s does not say that it is one", ErrNotBundle, manifestName)
	}
	if err := checkVersion(head.Format, head.MinReader); err != nil {
		return manifest{}, err
	}
	if !ours {
		return manifest{}, corruptf("%s does not end with its checksum", manifestName)
	}
	zeroed := bytes.Clone(data)
	copy(zeroed[digits:], strings.Repeat("0", 2*hashSize))
	if Hash(sha256.Sum256(zeroed)).String() != string(data[digits:digits+2*hashSize]) {
		return manifest{}, corruptf("%s is not as it was written", manifestName)
	}
	if head.Type != manifestType {
		return manifest{}, fmt.Errorf("%w: %s does not say that it is one", ErrNotBundle, manifestName)
	}
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return manifest{}, corruptf("%s: %w", manifestName, err)
	}
	return m, nil
}

// readManifest reads the manifest of the bundle at root, which lies under name; the error matches fs.ErrNotExist where there is
// none.
func readManifest(root, name string) (m manifest, err error) {
	f, err := openRegular(filepath.Join(root, name))
	if err != nil {
		return manifest{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return manifest{}, err
	}
	if len(data) > maxManifest {
		return manifest{}, corruptf("%s is larger than %d bytes", manifestName, maxManifest)
	}
	return decodeManifest(data)
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// agrees compares a manifest with its index. An index newer than its manifest is an interrupted run, not damage.
func (m manifest) agrees(index indexMeta) error {
	switch {
	case m.ID != index.ID:
		return corruptf("%s and %s belong to different bundles", manifestName, indexName)
	case m.Generation > index.Generation:
		return corruptf("%s is older than %s: generation %d, expected %d", indexName, manifestName, index.Generation, m.Generation)
	case m.Generation < index.Generation:
		return nil
	case !maps.Equal(m.Counts, index.Counts), m.RootSum != index.RootSum,
		m.OpenShard.Name != shardName(index.OpenShard), m.OpenShard.Size != index.OpenSize:
		return corruptf("%s does not describe %s", manifestName, indexName)
	}
	return nil
}
