package fetch

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"

	"pyrobundle/store"
)

// ledger holds the problems on record in the bundle and those of this run. It is safe for concurrent use.
type ledger struct {
	mu         sync.Mutex
	problems   map[identityOf]store.Problem
	bySequence map[int64]map[identityOf]bool
}

// identityOf identifies a problem: recording it again replaces it.
type identityOf struct{ kind, id string }

func (l *ledger) add(p store.Problem) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.problems == nil {
		l.problems = map[identityOf]store.Problem{}
		l.bySequence = map[int64]map[identityOf]bool{}
	}
	key := identityOf{p.Kind, p.ID}
	before, known := l.problems[key]
	if known && before.Class == p.Class && before.Reason == p.Reason {
		return false
	}
	l.problems[key] = p
	if p.SequenceID != 0 {
		if l.bySequence[p.SequenceID] == nil {
			l.bySequence[p.SequenceID] = map[identityOf]bool{}
		}
		l.bySequence[p.SequenceID][key] = true
	}
	return true
}

func (l *ledger) remove(kind, id string) (known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := identityOf{kind, id}
	p, known := l.problems[key]
	delete(l.problems, key)
	delete(l.bySequence[p.SequenceID], key)
	return known
}

// of are the problems that concern a sequence.
func (l *ledger) of(sequenceID int64) []store.Problem {
	l.mu.Lock()
	defer l.mu.Unlock()
	var problems []store.Problem
	for key := range l.bySequence[sequenceID] {
		problems = append(problems, l.problems[key])
	}
	return problems
}

func (l *ledger) all() []store.Problem {
	l.mu.Lock()
	defer l.mu.Unlock()
	problems := make([]store.Problem, 0, len(l.problems))
	for _, p := range l.problems {
		problems = append(problems, p)
	}
	slices.SortFunc(problems, byIdentity)
	return problems
}

// byIdentity sorts problems for a report: by kind, sequence and id.
func byIdentity(a, b store.Problem) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.SequenceID, b.SequenceID), cmp.Compare(a.ID, b.ID))
}

func (r *run) problem(class store.Class, kind, id string, sequenceID int64, reason string) store.Problem {
	return store.Problem{
		Class: class, Kind: kind, ID: store.ProblemID(kind, id), SequenceID: sequenceID,
		Reason: strings.Join(strings.Fields(reason), " "), At: r.cfg.Now().UTC(),
	}
}

func (r *run) sequenceProblem(class store.Class, id int64, reason string) store.Problem {
	return r.problem(class, "sequence", strconv.FormatInt(id, 10), id, reason)
}

// imageProblem names the frame by its sequence too: two sequences that share an image can fail at it independently.
func (r *run) imageProblem(class store.Class, sequenceID int64, key, reason string) store.Problem {
	return r.problem(class, "image", strconv.FormatInt(sequenceID, 10)+"/"+key, sequenceID, reason)
}

// dayProblem names a day by whose listing of it failed: another organization's account lists another day.
func (r *run) dayProblem(day store.Day, reason string) store.Problem {
	return r.problem(store.Failed, "day", dayID(day, r.listedOrganization()), 0, reason)
}

func dayID(day store.Day, organization int64) string {
	return string(day) + "/" + strconv.FormatInt(organization, 10)
}

// failedDay reads the id of a dayProblem.
func failedDay(p store.Problem) (day store.Day, organization int64, ok bool) {
	name, listed, _ := strings.Cut(p.ID, "/")
	day, dayErr := store.ParseDay(name)
	organization, err := strconv.ParseInt(listed, 10, 64)
	return day, organization, p.Kind == "day" && dayErr == nil && err == nil
}

// listedOrganization is whose sequences the account's listings show; 0: everybody's.
func (r *run) listedOrganization() int64 {
	if r.administrator() {
		return 0
	}
	return r.src.OrganizationID()
}

// report puts a problem on record. The user reads of it in the Result.
func (r *run) report(ctx context.Context, p store.Problem) error {
	r.cfg.Log.Debug("problem", "class", p.Class, "kind", p.Kind, "id", p.ID, "reason", p.Reason)
	if !r.ledger.add(p) || r.dst == nil {
		return nil
	}
	return r.dst.PutProblem(ctx, p)
}

// solved strikes a problem off the record, where there is one.
func (r *run) solved(ctx context.Context, kind, id string) error {
	if !r.ledger.remove(kind, id) || r.dst == nil {
		return nil
	}
	return r.dst.ClearProblem(ctx, kind, id)
}

// settle makes current the problems of a sequence; those that were on record besides are solved.
func (r *run) settle(ctx context.Context, sequenceID int64, current []store.Problem) error {
	if err := r.reportAll(ctx, current); err != nil {
		return err
	}
	return r.solvedBut(ctx, sequenceID, current)
}

func (r *run) reportAll(ctx context.Context, problems []store.Problem) error {
	for _, p := range problems {
		if err := r.report(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// solvedBut strikes what is on record of a sequence, but for what remains.
func (r *run) solvedBut(ctx context.Context, sequenceID int64, remaining []store.Problem) error {
	for _, p := range r.ledger.of(sequenceID) {
		if slices.ContainsFunc(remaining, func(q store.Problem) bool { return q.Kind == p.Kind && q.ID == p.ID }) {
			continue
		}
		if err := r.solved(ctx, p.Kind, p.ID); err != nil {
			return err
		}
	}
	return nil
}
