package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"golang.org/x/time/rate"

	"pyrobundle/fetch"
	"pyrobundle/fetch/platform"
	"pyrobundle/internal/httpapi"
	"pyrobundle/store"
)

// mirror is a fetch made ready: one bundle, one platform, one account or several.
type mirror struct {
	bundle    string
	url       string
	sourceAPI string // empty: by the platform's host
	client    platform.Config
	accounts  []platform.Account
	config    fetch.Config
	log       *slog.Logger
}

// newMirror checks everything that can be checked before a request is sent.
func (a *app) newMirror(bundle bundleFlag, flags fetchFlags, source sourceAPIFlag, run runFlags, log *slog.Logger) (*mirror, error) {
	address, err := apiAddress("url-api-platform", flags.platformURL)
	if err != nil {
		return nil, err
	}
	env, err := a.environment(run.connect.envFile, log)
	if err != nil {
		return nil, err
	}
	credentials, err := platformCredentials(env, flags.accounts, !flags.noOrganizations, log)
	if err != nil {
		return nil, err
	}
	if flags.riskScore == "none" {
		flags.riskScore = ""
	}
	m := &mirror{
		bundle:    bundle.path,
		url:       address,
		sourceAPI: source.name,
		accounts:  credentials.accounts,
		client: platform.Config{
			BaseURL:   address,
			Admin:     credentials.admin,
			Transport: httpapi.NewTransport(),
			Retry:     run.connect.retry(),
			Log:       log,
			UserAgent: userAgent(),
		},
		config: fetch.Config{
			Order:           flags.order,
			RiskScore:       flags.riskScore,
			Sequences:       flags.sequences.ids,
			MaxSequences:    flags.maxSequences,
			Workers:         run.workers,
			DryRun:          run.dryRun,
			RetryIncomplete: flags.retryIncomplete,
			Organizations:   !flags.noOrganizations,
			Now:             a.now,
			Log:             log,
		},
		log: log,
	}
	if n := flags.rate.bytesPerSecond; n > 0 {
		m.client.Rate = rate.NewLimiter(rate.Limit(n), int(max(n, 64<<10))) // a burst of at least one read's buffer
	}
	return m, nil
}

// mirrored is what all accounts together brought.
type mirrored struct {
	fetch.Result
	began           bool // at least one account logged in, so there is something to report
	requests, bytes int64
}

// run fetches account by account into the bundle. With several, one that fails is a problem of the report and the others go
// on; with one, its error is the run's.
func (m *mirror) run(ctx context.Context) (sum mirrored, err error) {
	clients, refused, err := m.dial(ctx)
	if err != nil {
		return mirrored{}, err
	}
	sum.Problems = refused
	sum.began = true
	defer func() {
		for _, client := range clients {
			sum.requests += client.Requests()
			sum.bytes += client.BytesRead()
		}
	}()

	var writer *store.Writer
	if !m.config.DryRun {
		writer, err = store.OpenWriter(ctx, m.bundle, store.WriteOptions{Source: m.source(clients[0]), Log: m.log})
		if err != nil {
			return mirrored{}, fmt.Errorf("open bundle %s: %w", m.bundle, err)
		}
		defer func() { err = closing(writer, err) }()
	}
	for i, client := range clients {
		result, err := fetch.Run(ctx, client, writer, m.config)
		sum.join(result)
		if err == nil {
			continue
		}
		if len(m.accounts) == 1 || ctx.Err() != nil || fatal(err) {
			return sum, err
		}
		sum.Problems = append(sum.Problems, accountProblem(m.accounts[i].Login, err))
	}
	return sum, nil
}

// fatal errors are the bundle's, not an account's: no other account can do better.
func fatal(err error) bool {
	return errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrLocked)
}

// dial logs every account in and keeps one per view of the platform: an administrator who sees every organization makes
// the others superfluous, and two users of one organization see the same.
func (m *mirror) dial(ctx context.Context) (clients []*platform.Client, refused []store.Problem, err error) {
	views := map[int64]string{}
	for _, account := range m.accounts {
		cfg := m.client
		cfg.Account = account
		client, dialErr := platform.Dial(ctx, cfg)
		switch {
		case dialErr != nil && (len(m.accounts) == 1 || ctx.Err() != nil):
			return nil, nil, explainLogin(dialErr, m.url, account.Login)
		case dialErr != nil:
			err = explainLogin(dialErr, m.url, account.Login)
			refused = append(refused, accountProblem(account.Login, err))
		case views[client.OrganizationID()] != "" && client.Scope() != "admin":
			m.log.Info("account sees the same organization as another; it is not needed", "login", account.Login,
				"other", views[client.OrganizationID()])
		default:
			views[client.OrganizationID()] = account.Login
			clients = append(clients, client)
		}
	}
	if len(clients) == 0 {
		return nil, nil, err
	}
	return clients, refused, nil
}

func accountProblem(login string, err error) store.Problem {
	return store.Problem{Class: store.Failed, Kind: "account", ID: login, Reason: err.Error()}
}

// explainLogin adds to a refusal what to do next.
func explainLogin(err error, address, login string) error {
	if errors.Is(err, httpapi.ErrUnauthorized) {
		return fmt.Errorf("log in to %s as %q: %w (check PLATFORM_LOGIN and PLATFORM_PASSWORD)", address, login, err)
	}
	return err
}

func (m *mirror) source(client *platform.Client) store.Source {
	source := client.Source()
	if m.sourceAPI != "" {
		source.API = m.sourceAPI
	}
	if source.API == "" {
		source.API = sourceAPIOf(source.URL)
	}
	return source
}

// join adds another account's result.
func (s *mirrored) join(r fetch.Result) {
	s.Days = max(s.Days, r.Days)
	s.Sequences.Total += r.Sequences.Total
	s.Sequences.Successful += r.Sequences.Successful
	s.Sequences.Failed += r.Sequences.Failed
	s.Sequences.New += r.Sequences.New
	s.Sequences.Updated += r.Sequences.Updated
	s.Sequences.Unchanged += r.Sequences.Unchanged
	s.Detections += r.Detections
	s.Images.Total += r.Images.Total
	s.Images.Downloaded += r.Images.Downloaded
	s.Images.Reused += r.Images.Reused
	s.Images.Failed += r.Images.Failed
	s.Images.Bytes += r.Images.Bytes
	s.LeftOut += r.LeftOut
	s.Unloadable = append(s.Unloadable, r.Unloadable...)
	s.Problems = append(s.Problems, r.Problems...)
	s.Completed = append(s.Completed, r.Completed...)
	if r.Estimate != nil {
		if s.Estimate == nil {
			s.Estimate = &fetch.Estimate{}
		}
		s.Estimate.Images += r.Estimate.Images
		s.Estimate.Bytes += r.Estimate.Bytes
		s.Estimate.Duration += r.Estimate.Duration
	}
}

// closing closes c after a use that ended with err; an error of Close counts where there was none.
func closing(c interface{ Close() error }, err error) error {
	if closeErr := c.Close(); err == nil {
		return closeErr
	}
	return err
}

// oneLine keeps a message on its line.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
