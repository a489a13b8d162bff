package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pyrobundle/serve"
)

// serveOptions are the flags of the serve command.
type serveOptions struct {
	bundle      bundleFlag
	listen      string
	login       string
	passwordEnv string
	oldPlatform bool
	output      outputFlags
}

func (o *serveOptions) addFlags(flags *pflag.FlagSet) {
	o.bundle.addFlags(flags)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:0", "`address` to listen on; port 0 takes a free one")
	flags.StringVar(&o.login, "login", "", "`name` of the one account, an administrator; default the accounts of the documentation")
	flags.StringVar(&o.passwordEnv, "password-env", "", "environment `variable` with that account's password")
	flags.BoolVar(&o.oldPlatform, "old-platform", false, "serve as a platform from before offset paging")
	o.output.addFlags(flags)
}

const serveIntro = `serve answers a bundle as the platform API: login, listings, detections, and images behind signed URLs that expire. It prints
its URL and serves until it is interrupted. Any client of the platform can use it, fetch among them.`

const serveExample = `  # An offline platform on a fixed port
  PASSWORD=secret pyrobundle serve --listen 127.0.0.1:8080 --login me --password-env PASSWORD`

func newServeCommand(a *app) *cobra.Command {
	var opts serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Answer a bundle as the platform API",
		Long: help(serveIntro, []variable{{"the variable that --password-env names", "password of --login"}}, exitDone, exitError, exitUsage, exitLocked, exitDamaged) +
			"\n\nBeing interrupted is how serving ends: it exits 0.",
		Example: serveExample,
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runServe(cmd.Context(), a, opts) },
	}
	opts.addFlags(cmd.Flags())
	return cmd
}

func runServe(ctx context.Context, a *app, opts serveOptions) error {
	accounts, err := a.serveAccounts(opts)
	if err != nil {
		return err
	}
	bundle, err := openBundle(opts.bundle.path)
	if err != nil {
		return err
	}
	defer func() { _ = bundle.Close() }() // opened for reading: nothing can be lost

	log := a.logger(opts.output)
	platform, err := listen(ctx, opts.listen, log, serve.New(bundle, serve.Options{
		Accounts:     accounts,
		OldPlatform:  opts.oldPlatform,
		LoopbackOnly: accounts == nil, // everybody knows the default ones
		Now:          a.now,
		Log:          log,
	}))
	if err != nil {
		return err
	}
	if err := a.printServed(platform.url, opts.output.json); err != nil {
		return errors.Join(err, platform.close())
	}
	<-ctx.Done()
	return platform.close()
}

// serveReport is the JSON of serve, printed when it can be asked.
type serveReport struct {
	Command string `json:"command"`
	URL     string `json:"url"`
}

func (a *app) printServed(url string, asJSON bool) error {
	if asJSON {
		return a.printJSON(serveReport{Command: "serve", URL: url})
	}
	return a.print("%s\n", url)
}

// serveAccounts returns the account of --login, or none for the default ones, which never leave this machine.
func (a *app) serveAccounts(opts serveOptions) ([]serve.Account, error) {
	if (opts.login == "") != (opts.passwordEnv == "") {
		return nil, usagef("--login and --password-env belong together: a name, and the variable with its password")
	}
	if opts.login == "" {
		host, _, err := net.SplitHostPort(opts.listen)
		if err != nil {
			return nil, usagef("--listen %q: want host:port, such as 127.0.0.1:8080", opts.listen)
		}
		if !isLoopback(host) {
			return nil, usagef("--listen %s is reachable from other machines: set an account with --login and --password-env", opts.listen)
		}
		return nil, nil
	}
	password, _ := a.lookupEnv(opts.passwordEnv)
	if password == "" {
		return nil, fmt.Errorf("the environment variable %s, which --password-env names, is not set", opts.passwordEnv)
	}
	return []serve.Account{{Login: opts.login, Password: password, Scope: "admin"}}, nil
}

// listener is a handler that is being served.
type listener struct {
	url    string
	server *http.Server
	failed chan error
}

// listen serves handler on address in the background. What goes wrong with a connection, or in the handler, is in the log:
// the standard logger says nothing.
func listen(ctx context.Context, address string, log *slog.Logger, handler http.Handler) (*listener, error) {
	var config net.ListenConfig
	socket, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; choose another address with --listen", address, err)
	}
	l := &listener{
		url: "http://" + reachable(socket.Addr()),
		server: &http.Server{
			Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		},
		failed: make(chan error, 1),
	}
	go func() { l.failed <- l.server.Serve(socket) }()
	return l, nil
}

// reachable is the address at which a client of this machine finds a socket: one that listens on every address has none of its own.
func reachable(socket net.Addr) string {
	if tcp, ok := socket.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return net.JoinHostPort("localhost", strconv.Itoa(tcp.Port))
	}
	return socket.String()
}

// close ends the server, gives answers under way half a second, and returns what went wrong while serving.
func (l *listener) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if err := l.server.Shutdown(ctx); err != nil {
		_ = l.server.Close() // clients that hold on are cut off
	}
	if err := <-l.failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", l.url, err)
	}
	return nil
}
