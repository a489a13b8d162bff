package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"

	"golang.org/x/time/rate"

	"pyrobundle/fetch"
	"pyrobundle/fetch/platform"
	"pyrobundle/internal/httpapi"
	"pyrobundle/store"
)

// mirror is a fetch made ready: one bundle, one platform, one account or several.
type mirror struct {
	bundle   string
	accounts []platform.Account
	client   platform.Config // but for the account
	config   fetch.Config
	repair   bool          // the bundle may be damaged
	writer   *store.Writer // while it is open
}

// newMirror checks everything that can be checked before a request is sent.
func (a *app) newMirror(bundle bundleFlag, flags fetchFlags, source sourceAPIFlag, run runFlags, env environment, log *slog.Logger) (*mirror, error) {
	address, err := apiAddress("url-api-platform", flags.platformURL)
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
		bundle:   bundle.path,
		accounts: credentials.accounts,
		client: platform.Config{
			BaseURL:   address,
			Accounts:  flags.accounts,
			Admin:     credentials.admin,
			SourceAPI: source.name,
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
			BytesPerSecond:  flags.rate.bytesPerSecond,
			Now:             a.now,
			Log:             log,
		},
	}
	if n := flags.rate.bytesPerSecond; n > 0 {
		m.client.Rate = rate.NewLimiter(rate.Limit(n), int(max(n, 64<<10))) // a burst of at least one read's buffer
	}
	return m, nil
}

// mirrored is what all accounts together brought.
type mirrored struct {
	fetch.Result
	requests, bytes int64
}

// open opens the bundle that the accounts are mirrored into; for a dry run the one there is, for reading.
func (m *mirror) open(ctx context.Context, accounts logins) (err error) {
	if m.config.DryRun {
		m.config.Have, err = openIfThere(m.bundle)
		return err
	}
	m.writer, err = store.OpenWriter(ctx, m.bundle, store.WriteOptions{
		Source: accounts.clients[0].Source(), Log: m.config.Log, Mend: m.repair,
	})
	switch {
	case errors.Is(err, store.ErrSource): // a served bundle's address has another port each time, unless --listen fixes it
		return fmt.Errorf("%w; use another --bundle, or the address it was fetched from", err)
	case m.repair:
		return beyondRepair(ctx, m.bundle, err)
	}
	return err
}

// close ends what open began. Of a bundle that was written, its error is one of the run.
func (m *mirror) close() error {
	switch {
	case m.writer != nil:
		return m.writer.Close()
	case m.config.Have != nil:
		return m.config.Have.Close()
	}
	return nil
}

// run fetches with each account into the opened bundle, and closes it. With several accounts, one that fails is a problem of the
// report and the others go on; with one, its error is the run's.
func (m *mirror) run(ctx context.Context, accounts logins) (sum mirrored, err error) {
	defer func() { err = cmp.Or(err, m.close()) }()
	defer accounts.count(&sum)
	sum.Problems = accounts.refused
	err = m.each(ctx, accounts, &sum, func(client *platform.Client) (fetch.Result, error) {
		return fetch.Run(ctx, client, m.writer, m.config)
	})
	if err == nil && m.repair && m.writer != nil {
		err = m.writer.Reseal(ctx, shardsOf(m.config.Repair))
	}
	return sum, err
}

// shardsOf are the shards that findings are about, some more than once.
func shardsOf(findings []store.Finding) (shards []uint32) {
	for _, f := range findings {
		if f.Shard > 0 {
			shards = append(shards, f.Shard)
		}
	}
	return shards
}

// each runs one account after the other: the bundle has one writer, and the platform's limits are the host's, not the
// account's. What was asked for is asked of all of them together: MaxSequences is shared, and a sequence is missing only
// where no account shows it.
func (m *mirror) each(ctx context.Context, accounts logins, sum *mirrored, run func(*platform.Client) (fetch.Result, error)) error {
	unshown, ended := map[int64]int{}, 0
	for i, client := range accounts.clients {
		m.config.Taken = sum.Taken
		result, err := run(client)
		sum.join(result)
		switch {
		case err == nil:
			ended++
			for _, id := range result.Unshown {
				unshown[id]++
			}
		case len(m.accounts) == 1, ctx.Err() != nil, !accountsOwn(err):
			return err
		default:
			sum.Problems = append(sum.Problems, accountProblem(accounts.names[i], err))
		}
	}
	var missing []store.Problem
	for _, id := range slices.Sorted(maps.Keys(unshown)) {
		if unshown[id] == ended {
			missing = append(missing, unlisted(id))
		}
	}
	sum.Problems = joinProblems(missing, sum.Problems) // what is on record of one says more
	return nil
}

// unlisted is a sequence that was asked for and that no account showed. It is not put on record: other accounts, or other
// days, may have it.
func unlisted(id int64) store.Problem {
	return store.Problem{
		Class: store.Incomplete, Kind: "sequence", ID: strconv.FormatInt(id, 10), SequenceID: id,
		Reason: "not in the listings of the days asked for",
	}
}

// accountsOwn reports whether an error is one that another account may be spared.
func accountsOwn(err error) bool {
	var answer *httpapi.Error
	return errors.Is(err, httpapi.ErrUnauthorized) || (errors.As(err, &answer) && !errors.Is(err, httpapi.ErrUnreachable))
}

// logins are the accounts of a run, logged in.
type logins struct {
	clients []*platform.Client
	names   []string        // of the clients' accounts
	refused []store.Problem // accounts that could not be used
}

// close lets go of the connections.
func (l logins) close() {
	for _, client := range l.clients {
		client.Close()
	}
}

// beside are the organizations of all clients but one.
func (l logins) beside(client *platform.Client) map[int64]bool {
	others := map[int64]bool{}
	for _, other := range l.clients {
		if other != client {
			others[other.OrganizationID()] = true
		}
	}
	return others
}

func (l logins) count(sum *mirrored) {
	for _, client := range l.clients {
		sum.requests += client.Requests()
		sum.bytes += client.BytesRead()
	}
}

// dial logs every account in and keeps one for each view of the platform: an administrator who sees every organization makes
// the others superfluous, and two users of one organization see the same.
func (m *mirror) dial(ctx context.Context) (logins, error) {
	var all logins
	var lastErr error
	views := map[int64]string{}
	for _, account := range m.accounts {
		cfg := m.client
		cfg.Account = account
		client, err := platform.Dial(ctx, cfg)
		switch {
		case err != nil && ctx.Err() != nil:
			return logins{}, err
		case err != nil && !errors.Is(err, httpapi.ErrUnauthorized): // the platform's affair, not the account's
			return logins{}, notReached("platform", cfg.BaseURL, "url-api-platform", err)
		case err != nil && len(m.accounts) == 1:
			return logins{}, err
		case err != nil:
			lastErr = err
			all.refused = append(all.refused, accountProblem(account.Login, err))
		case len(m.accounts) > 1 && client.Scope() == platform.ScopeAdmin && m.seesEverything(ctx, client):
			m.config.Log.Info("administrator sees every organization; the other accounts are not needed", "login", account.Login)
			return logins{clients: []*platform.Client{client}, names: []string{account.Login}}, nil
		case views[client.OrganizationID()] != "":
			m.config.Log.Info("account sees the same organization as another; it is not needed", "login", account.Login,
				"other", views[client.OrganizationID()])
		default:
			views[client.OrganizationID()] = account.Login
			all.clients, all.names = append(all.clients, client), append(all.names, account.Login)
		}
	}
	if len(all.clients) == 0 {
		return logins{}, fmt.Errorf("none of %d accounts can be used, the last: %w", len(m.accounts), lastErr)
	}
	return all, nil
}

// seesEverything reports whether an administrator's listings show every organization: servers before 2026-07-23 list the
// administrator's own (contract A.2). The proof is a listed sequence of another organization's camera; without one the
// other accounts are used too, which costs requests and loses nothing.
func (m *mirror) seesEverything(ctx context.Context, client *platform.Client) bool {
	cameras, err := client.Cameras(ctx)
	if err != nil {
		return false // the fetch itself will tell
	}
	organizations := map[int64]int64{}
	for _, camera := range cameras.Rows {
		organizations[camera.ID] = camera.OrganizationID
	}
	for day := range store.Days(m.config.From, m.config.To) {
		page, err := client.Sequences(ctx, platform.SequencesQuery{Day: day, RiskScore: m.config.RiskScore, Limit: platform.MaxSequencesPage})
		if err != nil {
			return false
		}
		for _, sequence := range page.Rows {
			if id := organizations[sequence.CameraID]; id != 0 && id != client.OrganizationID() {
				return true
			}
		}
	}
	return false
}

func accountProblem(login string, err error) store.Problem {
	return store.Problem{Class: store.Failed, Kind: "account", ID: login, Reason: oneLine(err.Error())}
}

// openIfThere opens a bundle for reading; nil where there is none yet.
func openIfThere(path string) (*store.Bundle, error) {
	bundle, err := store.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, statErr := os.Stat(path); errors.Is(statErr, fs.ErrNotExist) {
			return nil, nil
		}
	}
	return bundle, err
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
	s.Images.Gone += r.Images.Gone
	s.Images.Bytes += r.Images.Bytes
	s.Taken += r.Taken
	s.LeftOut += r.LeftOut
	s.Gone += r.Gone
	s.Unloadable = fetch.JoinUnloadable(s.Unloadable, r.Unloadable...)
	s.Problems = joinProblems(s.Problems, r.Problems)
	if r.Estimate != nil {
		if s.Estimate == nil {
			s.Estimate = &fetch.Estimate{}
		}
		s.Estimate.Images += r.Estimate.Images
		s.Estimate.Bytes += r.Estimate.Bytes
		s.Estimate.Duration += r.Estimate.Duration
	}
}

// joinProblems takes the later of two accounts' word for the same problem: each reports what the bundle has on record.
func joinProblems(before, after []store.Problem) []store.Problem {
	type identity struct{ kind, id string }
	later := map[identity]bool{}
	for _, p := range after {
		later[identity{p.Kind, p.ID}] = true
	}
	var joined []store.Problem
	for _, p := range before {
		if !later[identity{p.Kind, p.ID}] {
			joined = append(joined, p)
		}
	}
	return append(joined, after...)
}

// closing closes c after a use that ended with err; an error of Close counts where there was none.
func closing(c interface{ Close() error }, err error) error {
	if closeErr := c.Close(); err == nil {
		return closeErr
	}
	return err
}
