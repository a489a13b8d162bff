package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pyrobundle/annotate"
	"pyrobundle/fetch"
	"pyrobundle/fetch/platform"
	"pyrobundle/internal/httpapi"
	htmlreport "pyrobundle/internal/report"
	"pyrobundle/internal/sandbox"
	"pyrobundle/load"
	"pyrobundle/load/annotation"
	"pyrobundle/serve"
	"pyrobundle/store"
)

// demoOptions are the flags of the demo command.
type demoOptions struct {
	dir        string
	generation string
	output     outputFlags
}

func (o *demoOptions) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.dir, "dir", "", "`directory` to work in; default a temporary one, which stays")
	flags.Var(newChoice(&o.generation, "newest", "seed"), "generation", "of the annotation API")
	o.output.addFlags(flags)
}

const demoIntro = `demo shows the whole way with nothing else installed: it writes synthetic sequences, serves them as the platform API, fetches them
over HTTP into a bundle, loads that into an annotation API of its own, writes a report of the bundle to look at, and says where
both lie.`

const demoExample = `  pyrobundle demo
  pyrobundle inspect --bundle demo/pyronear.bundle`

func newDemoCommand(a *app) *cobra.Command {
	var opts demoOptions
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Show the whole way on synthetic data",
		Long:    help(demoIntro, nil, exitDone, exitError, exitUsage, exitFailures, exitInterrupted),
		Example: demoExample,
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runDemo(cmd.Context(), a, opts) },
	}
	opts.addFlags(cmd.Flags())
	return cmd
}

func runDemo(ctx context.Context, a *app, opts demoOptions) error {
	dir, err := demoDir(opts.dir)
	if err != nil {
		return err
	}
	demo := demo{
		app: a, opts: opts, log: a.logger(opts.output),
		world: filepath.Join(dir, "world.bundle"), bundle: filepath.Join(dir, "pyronear.bundle"), page: filepath.Join(dir, "report.html"),
	}
	report := a.newReport("demo", demo.bundle, false)

	a.say("1. write a synthetic world into " + demo.world)
	if err := sandbox.WriteBundle(ctx, demo.world, sandbox.WorldOptions{}); err != nil {
		return fmt.Errorf("write the synthetic world: %w", err)
	}
	err = demo.run(ctx, report)
	if err != nil && report.Images == nil { // it has fetched nothing yet
		return err
	}
	if err := a.publish(report, opts.output.json, false, err); err != nil || opts.output.json {
		return err
	}
	return a.print("\nThe bundle lies in %s; look into it:\n  pyrobundle inspect --bundle %s\nor open its report in a browser:\n  %s\n",
		demo.bundle, demo.bundle, demo.page)
}

// demoDir returns an empty place to work in.
func demoDir(dir string) (string, error) {
	if dir == "" {
		dir, err := os.MkdirTemp("", "pyrobundle-demo-")
		if err != nil {
			return "", fmt.Errorf("make a directory for the demo: %w; name one with --dir", err)
		}
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make a directory for the demo: %w", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.bundle")); err == nil && len(left) > 0 {
		return "", usagef("--dir %s already holds %s: name an empty directory", dir, filepath.Base(left[0]))
	}
	return dir, nil
}

// demo is one demonstration under way.
type demo struct {
	app                 *app
	opts                demoOptions
	log                 *slog.Logger
	world, bundle, page string // paths
}

// run goes the way from the world to the page.
func (d *demo) run(ctx context.Context, report *report) error {
	if err := d.fetch(ctx, report); err != nil {
		return err
	}
	if err := d.load(ctx, report); err != nil {
		return err
	}
	return d.look(ctx)
}

// fetch serves the world and mirrors it over HTTP.
func (d *demo) fetch(ctx context.Context, report *report) (err error) {
	world, err := store.Open(d.world)
	if err != nil {
		return err
	}
	defer func() { _ = world.Close() }() // opened for reading: nothing can be lost
	stats, err := world.Stats(ctx)
	if err != nil {
		return err
	}
	account := serve.Account{Login: "demo", Password: "demo", Scope: "admin"}
	server, err := listen(ctx, "127.0.0.1:0", d.log, serve.New(world, serve.Options{Accounts: []serve.Account{account}, Log: d.log}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	d.app.say("2. fetch it over HTTP from " + server.url)

	login := platform.Account{Login: account.Login, Password: account.Password}
	client, err := platform.Dial(ctx, platform.Config{
		BaseURL: server.url, Account: login, Admin: login, Transport: httpapi.NewTransport(), Log: d.log, UserAgent: userAgent(),
	})
	if err != nil {
		return err
	}
	defer client.Close()
	writer, err := store.OpenWriter(ctx, d.bundle, store.WriteOptions{Source: client.Source(), Log: d.log})
	if err != nil {
		return err
	}
	progress := d.app.progress(d.opts.output, d.log, "fetch", "sequences")
	result, err := fetch.Run(ctx, client, writer, fetch.Config{
		From: stats.First, To: stats.Last, Order: store.Ascending, RiskScore: "extreme", Workers: demoWorkers, Organizations: true,
		Now: d.app.now, Log: d.log, Progress: progress.add,
	})
	progress.finish()
	report.Source = server.url
	report.addFetch(mirrored{Result: result, requests: client.Requests(), bytes: client.BytesRead()})
	return closing(writer, err)
}

const demoWorkers = 16 // the default of --max-workers

// load replays the bundle into an annotation API in memory.
func (d *demo) load(ctx context.Context, report *report) (err error) {
	server, err := listen(ctx, "127.0.0.1:0", d.log, sandbox.NewAnnotationAPI(sandbox.AnnotationOptions{Generation: d.opts.generation}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	d.app.say("3. load it into an annotation API (" + d.opts.generation + ") at " + server.url)

	target, err := annotation.Dial(ctx, annotation.Config{
		BaseURL: server.url, Login: "admin", Password: "admin12345", Transport: httpapi.NewTransport(), Log: d.log, UserAgent: userAgent(),
	})
	if err != nil {
		return err
	}
	defer target.Close()
	bundle, err := store.Open(d.bundle)
	if err != nil {
		return err
	}
	defer func() { _ = bundle.Close() }() // opened for reading: nothing can be lost
	progress := d.app.progress(d.opts.output, d.log, "load", "sequences")
	result, err := load.Run(ctx, bundle, target, load.Config{
		SourceAPI: "pyronear_french", Thresholds: demoThresholds(), Order: store.Ascending,
		Workers: demoWorkers, Log: d.log, Progress: countedSequences(progress, selectedBy(ctx, bundle, store.Query{})),
	})
	progress.finish()
	report.Target = server.url
	report.Requests += target.Requests()
	report.Bytes += target.BytesSent()
	report.addLoad(result)
	return err
}

// look writes the page that shows the bundle.
func (d *demo) look(ctx context.Context) error {
	d.app.say("4. write a report of it into " + d.page)
	bundle, err := store.Open(d.bundle)
	if err != nil {
		return err
	}
	defer func() { _ = bundle.Close() }() // opened for reading: nothing can be lost
	progress := d.app.progress(d.opts.output, d.log, "report", "sequences")
	_, err = htmlreport.Save(ctx, d.page, bundle, htmlreport.Options{Thresholds: demoThresholds(), Made: d.app.now(), Progress: progress.add})
	progress.finish()
	return err
}

// demoThresholds are the defaults of load.
func demoThresholds() annotate.Thresholds { return annotate.Thresholds{IoU: 0.3, MinClusterSize: 1} }
