package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"pyrobundle/store"
)

// selection is what a query finds in a bundle, and what of that which was asked for by its id it does not.
type selection struct {
	sequences int64
	lacking   []problem
	damaged   bool // something could not be read, so that lacking is not known
}

// selectFrom looks a query up in a bundle. Damage is for those to name who read the sequences themselves.
func selectFrom(ctx context.Context, bundle *store.Bundle, q store.Query) (selection, error) {
	var found selection
	selected := map[int64]bool{}
	for s, err := range bundle.Summaries(ctx, q) {
		if err != nil {
			found.damaged = true
			continue
		}
		found.sequences++
		if len(q.IDs) > 0 {
			selected[s.ID] = true
		}
	}
	if found.damaged {
		return found, ctx.Err()
	}
	if err := found.lackingGroups(ctx, bundle, q); err != nil {
		return found, err
	}
	return found, found.lackingSequences(ctx, bundle, q, selected)
}

// lackingGroups adds the camera and the organization asked for, where the bundle knows nothing of them.
func (f *selection) lackingGroups(ctx context.Context, bundle *store.Bundle, q store.Query) error {
	if f.sequences > 0 || q.CameraID == 0 && q.OrganizationID == 0 {
		return nil
	}
	camera, organization := q.CameraID == 0, q.OrganizationID == 0 // found
	for c, err := range bundle.Cameras(ctx) {
		if err != nil {
			return err
		}
		camera = camera || c.ID == q.CameraID
		organization = organization || c.OrganizationID == q.OrganizationID
	}
	for o, err := range bundle.Organizations(ctx) {
		if err != nil {
			return err
		}
		organization = organization || o.ID == q.OrganizationID
	}
	if !camera {
		f.lack("camera", q.CameraID, store.ErrNotFound.Error())
	}
	if !organization {
		f.lack("organization", q.OrganizationID, store.ErrNotFound.Error())
	}
	return nil
}

// lackingSequences adds the ids asked for that were not selected, and says whether the bundle has them at all.
func (f *selection) lackingSequences(ctx context.Context, bundle *store.Bundle, q store.Query, selected map[int64]bool) error {
	missing := slices.DeleteFunc(slices.Clone(q.IDs), func(id int64) bool { return selected[id] })
	if len(missing) == 0 {
		return nil
	}
	why := map[int64]string{}
	for s, err := range bundle.Summaries(ctx, store.Query{IDs: missing}) {
		if err != nil {
			f.damaged = true
			return ctx.Err()
		}
		switch day := store.DayOf(s.StartedAt); {
		case q.From != "" && day < q.From, q.To != "" && day > q.To:
			why[s.ID] = "not in the days asked for, but of " + string(day)
		case q.CameraID != 0 && s.CameraID != q.CameraID:
			why[s.ID] = fmt.Sprintf("not of the camera asked for, but of %d", s.CameraID)
		default:
			why[s.ID] = fmt.Sprintf("not of the organization asked for, but of %d", s.OrganizationID)
		}
	}
	for _, id := range missing {
		reason, there := why[id]
		if !there {
			reason = store.ErrNotFound.Error()
		}
		f.lack("sequence", id, reason)
	}
	return nil
}

// lack adds a problem that trying again cannot mend.
func (f *selection) lack(kind string, id int64, reason string) {
	p := problem{Class: store.Incomplete, Kind: kind, ID: strconv.FormatInt(id, 10), Reason: reason}
	if kind == "sequence" {
		p.SequenceID = id
	}
	f.lacking = append(f.lacking, p)
}

// nothing is the error of a command that shows what was selected, where that is nothing.
func (f *selection) nothing(bundle string) error {
	reason, list := "no sequence fits all of what was asked for", "inspect sequences"
	if n := len(f.lacking); n > 0 {
		reason = f.lacking[0].text()
		if f.lacking[0].Kind != "sequence" {
			list = "inspect"
		}
		if n > 1 {
			reason += fmt.Sprintf(" (and %d more)", n-1)
		}
	}
	return usagef("nothing of bundle %s is selected: %s; %s lists what it has", bundle, reason, list)
}

// sayAll names problems on stderr.
func (a *app) sayAll(problems []problem) {
	for _, p := range problems {
		a.say(p.line(string(p.Class)))
	}
}
