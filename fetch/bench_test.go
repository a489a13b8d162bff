package fetch_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"pyrobundle/fetch"
	"pyrobundle/fetch/platform"
	"pyrobundle/internal/httpapi"
	"pyrobundle/serve"
	"pyrobundle/store"
)

// The benchmarks run server, fetch and baseline as processes of their own, so that each one's memory is its own. The test
// binary plays these roles by this variable.
const roleVariable = "PYROBUNDLE_BENCH_ROLE"

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	args := strings.Split(os.Getenv(roleVariable+"_ARGS"), "\n")
	roles := map[string]func(context.Context, []string) error{"serve": playServer, "fetch": playFetch, "download": playDownload, "keep": playKeep}
	if err := roles[role](context.Background(), args); err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		os.Exit(1)
	}
}

const benchWorkers = 16 // the default of --max-workers

// outcome is what a role prints.
type outcome struct {
	Seconds  float64
	Bytes    int64
	Requests int64
	Anon     int64 // bytes, at most, of anonymous resident memory
}

// playServer serves the bundle args[0] until its stdin ends, with args[1] of delay before every answer.
func playServer(_ context.Context, args []string) error {
	bundle, err := store.Open(args[0])
	if err != nil {
		return err
	}
	delay, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	handler := serve.New(bundle, serve.Options{Accounts: []serve.Account{{Login: "demo", Password: "demo", Scope: "admin"}}})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + listener.Addr().String())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(delay)
		handler.ServeHTTP(w, r)
	}))
}

func benchClient(ctx context.Context, url string) (*platform.Client, error) {
	account := platform.Account{Login: "demo", Password: "demo"}
	return platform.Dial(ctx, platform.Config{BaseURL: url, Account: account, Admin: account, Transport: httpapi.NewTransport()})
}

// playFetch fetches the days args[2] to args[3] from args[0] into a new bundle args[1].
func playFetch(ctx context.Context, args []string) error {
	stop := sampleMemory()
	began := time.Now()
	client, err := benchClient(ctx, args[0])
	if err != nil {
		return err
	}
	dst, err := store.OpenWriter(ctx, args[1], store.WriteOptions{Source: client.Source()})
	if err != nil {
		return err
	}
	result, err := fetch.Run(ctx, client, dst, fetch.Config{
		From: store.Day(args[2]), To: store.Day(args[3]), Order: store.Ascending, RiskScore: "extreme", Workers: benchWorkers, Organizations: true,
	})
	if err != nil {
		return err
	}
	if err := dst.Close(); err != nil {
		return err
	}
	took := time.Since(began)
	if len(result.Problems) > 0 {
		return fmt.Errorf("%d problems, the first: %v", len(result.Problems), result.Problems[0])
	}
	return json.NewEncoder(os.Stdout).Encode(outcome{took.Seconds(), result.Images.Bytes, client.Requests(), stop()})
}

// playDownload is the baseline: the URLs of the same images, downloaded with the same concurrency and thrown away.
func playDownload(ctx context.Context, args []string) error {
	return playPlain(ctx, args, func(body io.Reader) (int64, error) { return io.Copy(io.Discard, body) })
}

// playKeep is the least that a mirror can do: each image read into memory, hashed and appended to the file args[3], which
// is synced every 64 images. What a fetch does beside is listing, checking, indexing and committing.
func playKeep(ctx context.Context, args []string) error {
	file, err := os.Create(args[3])
	if err != nil {
		return err
	}
	memory := sync.Pool{New: func() any { return new([benchImage]byte) }}
	var images, end atomic.Int64
	err = playPlain(ctx, args, func(body io.Reader) (int64, error) {
		data := memory.Get().(*[benchImage]byte)
		defer memory.Put(data)
		n, err := io.ReadFull(body, data[:])
		if err != nil {
			return int64(n), err
		}
		_ = sha256.Sum256(data[:])
		if _, err := file.WriteAt(data[:], end.Add(benchImage)-benchImage); err != nil {
			return 0, err
		}
		if images.Add(1)%64 == 0 {
			return benchImage, file.Sync()
		}
		return benchImage, nil
	})
	return errors.Join(err, file.Sync(), file.Close())
}

// playPlain downloads the images of the days args[1] to args[2] from args[0] with 16 workers, and has each body taken.
// Listing them is not timed.
func playPlain(ctx context.Context, args []string, take func(body io.Reader) (int64, error)) error {
	client, err := benchClient(ctx, args[0])
	if err != nil {
		return err
	}
	var urls []string
	for day := range store.Days(store.Day(args[1]), store.Day(args[2])) {
		sequences, err := client.Sequences(ctx, platform.SequencesQuery{Day: day, Limit: platform.MaxSequencesPage})
		if err != nil {
			return err
		}
		for _, s := range sequences.Rows {
			rows, err := client.Detections(ctx, platform.DetectionsQuery{SequenceID: s.ID, Limit: platform.MaxDetectionsPage})
			if err != nil {
				return err
			}
			for _, row := range rows.Rows {
				urls = append(urls, row.URL)
			}
		}
	}
	plain := &http.Client{Transport: httpapi.NewTransport()}
	var mu sync.Mutex
	var total int64
	var group errgroup.Group
	group.SetLimit(benchWorkers)
	began := time.Now()
	for _, url := range urls {
		group.Go(func() error {
			answer, err := plain.Get(url)
			if err != nil {
				return err
			}
			defer func() { _ = answer.Body.Close() }()
			n, err := take(answer.Body)
			mu.Lock()
			total += n
			mu.Unlock()
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(outcome{time.Since(began).Seconds(), total, int64(len(urls)), 0})
}

// sampleMemory watches the process's anonymous resident memory; stop returns its maximum in bytes.
func sampleMemory() (stop func() int64) {
	done, most := make(chan struct{}), make(chan int64)
	go func() {
		var highest int64
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			highest = max(highest, anonymousMemory())
			select {
			case <-tick.C:
			case <-done:
				most <- highest
				return
			}
		}
	}()
	return func() int64 {
		close(done)
		return <-most
	}
}

// anonymousMemory is RssAnon of this process in bytes; 0 where the kernel does not tell.
func anonymousMemory() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kb << 10
		}
	}
	return 0
}

// play runs a role and reads what it prints.
func play(b *testing.B, role string, args ...string) outcome {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role, roleVariable+"_ARGS="+strings.Join(args, "\n"))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("%s: %v", role, err)
	}
	var result outcome
	if err := json.Unmarshal(out, &result); err != nil {
		b.Fatalf("%s printed %q: %v", role, out, err)
	}
	return result
}

// startServer serves a bundle from a process of its own and returns its address.
func startServer(b *testing.B, path string, delay time.Duration) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=serve", roleVariable+"_ARGS="+path+"\n"+delay.String())
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	var url string
	if _, err := fmt.Fscanln(stdout, &url); err != nil {
		b.Fatal(err)
	}
	return url
}

const (
	benchFrames   = 25 // of a sequence
	benchDay      = "2026-08-01"
	benchSequence = 40      // sequences of a day
	benchImage    = 250_000 // bytes
)

// writeBench writes a bundle of images of size bytes: a small JPEG and noise behind it. It returns its last day.
func writeBench(b *testing.B, path string, images, size int) store.Day {
	b.Helper()
	ctx := b.Context()
	dst, err := store.OpenWriter(ctx, path, store.WriteOptions{Source: store.Source{URL: "https://bench.example"}})
	if err != nil {
		b.Fatal(err)
	}
	noise := rand.NewChaCha8([32]byte{1})
	head := picture(1)
	camera, err := store.ParseCamera([]byte(`{"id":1,"organization_id":2,"name":"tower","lat":44.1,"lon":4.0,"angle_of_view":54.2,"is_trustable":true}`))
	if err != nil {
		b.Fatal(err)
	}
	organization, err := store.ParseOrganization([]byte(`{"id":2,"name":"org"}`))
	if err != nil {
		b.Fatal(err)
	}
	if err := dst.PutCameras(ctx, []store.Camera{camera}); err != nil {
		b.Fatal(err)
	}
	if err := dst.PutOrganizations(ctx, []store.Organization{organization}); err != nil {
		b.Fatal(err)
	}
	data := make([]byte, max(size, len(head)))
	var last store.Day
	for n := range images / benchFrames {
		day := store.Day(benchDay).Start().AddDate(0, 0, n/benchSequence)
		last = store.DayOf(day)
		at := day.Add(time.Duration(n%benchSequence) * 20 * time.Minute)
		id := int64(n + 1)
		record := store.SequenceRecord{Camera: &camera, Organization: &organization, Coverage: store.Coverage{Complete: true, Exhausted: true, Order: store.Ascending}}
		doc := fmt.Sprintf(`{"id":%d,"camera_id":1,"pose_id":1,"camera_azimuth":120.4,"is_wildfire":null,"started_at":%q,"last_seen_at":%q,"max_conf":0.8,"detections_count":%d}`,
			id, wire(at), wire(at.Add(benchFrames*30*time.Second)), benchFrames)
		if record.Sequence, err = store.ParseSequence([]byte(doc)); err != nil {
			b.Fatal(err)
		}
		for i := range benchFrames {
			copy(data, head)
			_, _ = noise.Read(data[len(head):])
			data = append(data[:len(data)-8], fmt.Sprintf("%08d", n*benchFrames+i)...)
			hash := sha256.Sum256(data)
			at := at.Add(time.Duration(i) * 30 * time.Second)
			key := fmt.Sprintf("1-%s-%s.jpg", at.Format("20060102150405"), hex.EncodeToString(hash[:4]))
			image, err := dst.PutImage(ctx, 2, key, store.JPEG, data)
			if err != nil {
				b.Fatal(err)
			}
			doc := fmt.Sprintf(`{"id":%d,"camera_id":1,"pose_id":1,"sequence_id":%d,"bucket_key":%q,"bbox":"[(0.1,0.2,0.3,0.4,0.5)]","others_bboxes":null,"created_at":%q}`,
				id*1000+int64(i), id, key, wire(at))
			row, err := store.ParseDetection([]byte(doc))
			if err != nil {
				b.Fatal(err)
			}
			record.Detections = append(record.Detections, row)
			record.Frames = append(record.Frames, store.Frame{Key: key, Image: image})
		}
		if err := dst.PutSequence(ctx, record); err != nil {
			b.Fatal(err)
		}
	}
	if err := dst.Close(); err != nil {
		b.Fatal(err)
	}
	return last
}

// BenchmarkFetch compares a fetch from serve (listing, hash, checks, fsync and commit included) with merely downloading the
// same URLs, and with the least that a mirror of them can do, in turns: once around to warm up, then the best of each.
func BenchmarkFetch(b *testing.B) {
	const images, size = 2000, benchImage
	path := filepath.Join(b.TempDir(), "source.bundle")
	last := string(writeBench(b, path, images, size))
	url := startServer(b, path, 0)
	for n := 0; b.Loop(); n++ {
		var mirrored, plain, kept []float64
		rate := func(o outcome) float64 { return float64(o.Bytes) / o.Seconds / 1e6 }
		var anon int64
		for turn := range 4 {
			target := filepath.Join(b.TempDir(), fmt.Sprintf("copy-%d-%d.bundle", n, turn))
			f, d := play(b, "fetch", url, target, benchDay, last), play(b, "download", url, benchDay, last)
			if err := os.RemoveAll(target); err != nil {
				b.Fatal(err)
			}
			k := play(b, "keep", url, benchDay, last, target+".kept")
			if err := os.Remove(target + ".kept"); err != nil {
				b.Fatal(err)
			}
			if f.Bytes != d.Bytes || f.Bytes != k.Bytes || f.Bytes != images*size {
				b.Fatalf("fetched %d bytes, downloaded %d, kept %d", f.Bytes, d.Bytes, k.Bytes)
			}
			anon = max(anon, f.Anon)
			if turn > 0 {
				mirrored, plain, kept = append(mirrored, rate(f)), append(plain, rate(d)), append(kept, rate(k))
			}
		}
		b.ReportMetric(slices.Max(mirrored), "fetch-MB/s")
		b.ReportMetric(slices.Max(plain), "download-MB/s")
		b.ReportMetric(slices.Max(mirrored)/slices.Max(plain), "ratio")
		b.ReportMetric(slices.Max(kept)/slices.Max(plain), "least-mirror-ratio")
		b.ReportMetric(float64(anon)/(1<<20), "anon-MiB")
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkFetchMemory measures the memory of a fetch of PYROBUNDLE_BENCH_IMAGES images (2,000; 20,000 take 10 GB of disk).
func BenchmarkFetchMemory(b *testing.B) {
	images := 2000
	if n, err := strconv.Atoi(os.Getenv("PYROBUNDLE_BENCH_IMAGES")); err == nil {
		images = n
	}
	path := filepath.Join(b.TempDir(), "source.bundle")
	last := string(writeBench(b, path, images, benchImage))
	url := startServer(b, path, 0)
	for n := 0; b.Loop(); n++ {
		f := play(b, "fetch", url, filepath.Join(b.TempDir(), fmt.Sprintf("copy-%d.bundle", n)), benchDay, last)
		b.ReportMetric(float64(f.Bytes)/f.Seconds/1e6, "fetch-MB/s")
		b.ReportMetric(float64(f.Anon)/(1<<20), "anon-MiB")
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkFetchWithLatency has 50 ms added to every answer: what 16 requests at once allow is requests/16 times 50 ms. What
// this machine allows at the moment is the pace of the bare download under the same latency.
func BenchmarkFetchWithLatency(b *testing.B) {
	const images, delay = 2000, 50 * time.Millisecond
	path := filepath.Join(b.TempDir(), "source.bundle")
	last := string(writeBench(b, path, images, 50_000))
	url := startServer(b, path, delay)
	for n := 0; b.Loop(); n++ {
		f := play(b, "fetch", url, filepath.Join(b.TempDir(), fmt.Sprintf("copy-%d.bundle", n)), benchDay, last)
		d := play(b, "download", url, benchDay, last)
		allowed := float64(f.Requests) / benchWorkers * delay.Seconds()
		b.ReportMetric(f.Seconds, "s")
		b.ReportMetric(allowed, "allowed-s")
		b.ReportMetric(f.Seconds/allowed, "ratio")
		b.ReportMetric(f.Seconds/float64(f.Requests)/(d.Seconds/float64(d.Requests)), "of-bare")
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkRerun fetches again what has not changed.
func BenchmarkRerun(b *testing.B) {
	const images = 10_000
	path := filepath.Join(b.TempDir(), "source.bundle")
	last := string(writeBench(b, path, images, 1000))
	url := startServer(b, path, 0)
	target := filepath.Join(b.TempDir(), "copy.bundle")
	play(b, "fetch", url, target, benchDay, last)
	for b.Loop() {
		f := play(b, "fetch", url, target, benchDay, last)
		if f.Bytes != 0 {
			b.Fatalf("%d bytes of images downloaded again", f.Bytes)
		}
		b.ReportMetric(f.Seconds/(images/benchFrames)*1e6, "µs/sequence")
		b.ReportMetric(float64(f.Requests), "requests")
		b.ReportMetric(float64(f.Anon)/(1<<20), "anon-MiB")
		b.ReportMetric(0, "ns/op")
	}
}
