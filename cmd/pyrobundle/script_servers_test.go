package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"

	"pyrobundle/internal/sandbox"
	"pyrobundle/serve"
	"pyrobundle/store"
)

// sandboxAnnotation is the program of that name: the sandbox's annotation API as a process of its own, with what target asks
// for below /sandbox/.
func sandboxAnnotation() {
	generation := flag.String("generation", "newest", "")
	login := flag.String("login", "", "")
	password := flag.String("password", "", "")
	flag.Parse()
	serveUntilInterrupted(annotationMux(sandbox.AnnotationOptions{Generation: *generation, Login: *login, Password: *password}))
}

func annotationMux(o sandbox.AnnotationOptions) http.Handler {
	api := sandbox.NewAnnotationAPI(o)
	mux := http.NewServeMux()
	mux.Handle("/", api)
	mux.HandleFunc("GET /sandbox/state", func(w http.ResponseWriter, _ *http.Request) { writeState(w, api) })
	mux.HandleFunc("GET /sandbox/writes", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "writes", api.Writes()) })
	mux.HandleFunc("POST /sandbox/reset", func(http.ResponseWriter, *http.Request) { api.ResetCounters() })
	mux.HandleFunc("POST /sandbox/occupy", func(_ http.ResponseWriter, r *http.Request) { occupy(api, r.FormValue("id")) })
	mux.HandleFunc("POST /sandbox/review", func(w http.ResponseWriter, r *http.Request) { review(w, api, r.FormValue("id")) })
	return mux
}

// serveUntilInterrupted prints the handler's URL.
func serveUntilInterrupted(handler http.Handler) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server, err := listen(ctx, "127.0.0.1:0", slog.New(slog.NewTextHandler(os.Stderr, nil)), handler)
	if err != nil {
		fatalf("%v", err)
	}
	fmt.Println(server.url)
	<-ctx.Done()
	if err := server.close(); err != nil {
		fatalf("%v", err)
	}
}

func fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

// sandboxInternet is the program of that name: an HTTP proxy behind which the world outside is a sandbox. The French platform
// answers from a bundle, over TLS with a certificate whose authority is written to a file; every other host is an annotation
// API, and so is the proxy itself. So commands run against the addresses that people use, word by word.
func sandboxInternet() {
	authority := flag.String("authority", "", "")
	world := flag.String("bundle", "", "")
	generation := flag.String("generation", "newest", "")
	flag.Parse()
	certificate, authorityPEM, err := certificateFor(platformHost)
	if err != nil {
		fatalf("%v", err)
	}
	if err := os.WriteFile(*authority, authorityPEM, 0o600); err != nil {
		fatalf("%v", err)
	}
	bundle, err := store.Open(*world)
	if err != nil {
		fatalf("%v", err)
	}
	platform := &http.Server{Handler: serve.New(bundle, serve.Options{}), ReadHeaderTimeout: 10 * time.Second}
	connections := &connectionQueue{queue: make(chan net.Conn)}
	go func() {
		_ = platform.Serve(tls.NewListener(connections, &tls.Config{Certificates: []tls.Certificate{certificate}}))
	}()
	annotation := annotationMux(sandbox.AnnotationOptions{Generation: *generation})
	serveUntilInterrupted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			annotation.ServeHTTP(w, r)
			return
		}
		if r.URL.Host != platformHost+":443" {
			http.Error(w, "no such host: "+r.URL.Host, http.StatusBadGateway)
			return
		}
		client, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if _, err := io.WriteString(client, "HTTP/1.1 200 Connected\r\n\r\n"); err == nil {
			connections.queue <- client
		}
	}))
}

const platformHost = "alertapi.pyronear.org"

// connectionQueue is a listener whose connections come through the proxy.
type connectionQueue struct{ queue chan net.Conn }

func (q *connectionQueue) Accept() (net.Conn, error) { return <-q.queue, nil }
func (q *connectionQueue) Close() error              { return nil }
func (q *connectionQueue) Addr() net.Addr            { return &net.TCPAddr{} }

// certificateFor makes an authority and a certificate of it for the host.
func certificateFor(host string) (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sandbox"}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// writeState prints a line for each sequence, by platform id, with all that must be equal wherever it was loaded from.
func writeState(w io.Writer, api *sandbox.AnnotationAPI) {
	annotations := map[int64]sandbox.AnnotationRow{}
	for _, row := range api.Annotations() {
		annotations[row.SequenceID] = row
	}
	sequences := api.Sequences()
	slices.SortFunc(sequences, func(a, b sandbox.SequenceRow) int { return int(a.AlertAPIID - b.AlertAPIID) })
	for _, s := range sequences {
		images, platformID := sha256.New(), map[int64]int64{}
		detections := api.Detections(s.ID)
		slices.SortFunc(detections, func(a, b sandbox.DetectionRow) int { return int(a.AlertAPIID - b.AlertAPIID) })
		for _, d := range detections {
			platformID[d.ID] = d.AlertAPIID
			fmt.Fprintln(images, d.AlertAPIID, d.RecordedAt.UnixMicro(), d.SHA256, d.Predictions, d.Others)
		}
		tracks, stage := sha256.New(), "none"
		annotation, found := annotations[s.ID]
		if found {
			stage = annotation.Stage
		}
		for _, track := range annotation.Tracks {
			for _, box := range track.Boxes {
				fmt.Fprintln(tracks, platformID[box.DetectionID], box.Box)
			}
			fmt.Fprintln(tracks)
		}
		fmt.Fprintf(w, "sequence %d source=%s camera=%q organization=%q detections=%d images=%x annotation=%s tracks=%d boxes=%x\n",
			s.AlertAPIID, s.SourceAPI, s.CameraName, s.OrganisationName, len(detections), images.Sum(nil)[:6], stage, len(annotation.Tracks), tracks.Sum(nil)[:6])
	}
}

// occupy makes a sequence another one that happens to have the same id: of another camera, of another organization.
func occupy(api *sandbox.AnnotationAPI, platformID string) {
	for _, s := range api.Sequences() {
		if strconv.FormatInt(s.AlertAPIID, 10) == platformID {
			api.EditSequence(s.ID, func(row *sandbox.SequenceRow) {
				row.CameraID, row.CameraName, row.OrganisationID = 9999, "elsewhere", 9999
			})
		}
	}
}

// review leaves an annotation as a person at work does.
func review(w http.ResponseWriter, api *sandbox.AnnotationAPI, platformID string) {
	for _, s := range api.Sequences() {
		if strconv.FormatInt(s.AlertAPIID, 10) != platformID {
			continue
		}
		for _, row := range api.Annotations() {
			if row.SequenceID == s.ID {
				api.EditAnnotation(row.ID, func(a *sandbox.AnnotationRow) {
					a.Stage, a.Contributors = "seq_annotation_done", []string{"jane"}
				})
				return
			}
		}
	}
	http.Error(w, "no annotation of sequence "+platformID, http.StatusNotFound)
}
