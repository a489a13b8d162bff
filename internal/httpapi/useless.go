package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// A host may answer everything and be of no use all the same: a captive portal sends its page, or elsewhere, for whatever it is
// asked; a server without its database answers 500; a certificate expires. That ends a run as a dead host does, with one message
// instead of one for each of thousands of requests. What must not end it is a row of requests that fail because of what they
// ask for, the sequences of one broken camera, say: the next run would meet them first, and never get beyond. Both look the
// same, and so before a circuit opens the host is asked again for what it has answered before.

const (
	// uselessToOpen: so many requests in a row that failed for reasons of the host, with no useful answer to anybody in between.
	// Sixteen workers may each have one that is doomed; more than that is no chance.
	uselessToOpen = 20
	// hopelessToOpen: so many of those before which no request gets, such as certificates that are not valid. Of several
	// servers behind one name one may be set up badly. A host that has never been of use opens its circuit at the first.
	hopelessToOpen = 3
	// The second look is of so many attempts, with a pause between: together, a moment's disturbance is over.
	looks     = 3
	lookPause = 2 * time.Second
)

// worth is what an attempt says about the host that it was made to.
type worth int

const (
	nothing worth = iota // it failed before, or by us
	silent               // no answer, or a gateway's in its place
	useless              // what it answers, or shows instead of answering, could be said to anybody
	useful               // the host's own answer to this request, an error too
)

// worth judges an outcome. Who stores images, at an absolute URL, may answer 403 and 404 with pages of HTML; an API does not.
func (o outcome) worth(absolute bool) worth {
	switch {
	case o.hopeless:
		return useless
	case !o.answered && o.final:
		return nothing
	case !o.answered, o.byGateway():
		return silent
	case o.unusable && !o.final:
		return useless
	case o.asked && o.status >= 400: // who asks us to come back is alive
		return useful
	case o.status/100 == 3, o.status >= 500, retryableStatus(o.status):
		return useless
	case o.page && !absolute && o.status != http.StatusRequestEntityTooLarge: // which is said by gateways, of this request
		return useless
	default:
		return useful
	}
}

// question is a request as it can be asked again; the zero value is none.
type question struct {
	request Request
	target  target
	accept  string
}

// answered returns the question if asking again changes nothing, and if its answer was one that a useless host does not give.
func (q question) answered(out outcome) question {
	switch {
	case q.request.Method != http.MethodGet, out.unusable, out.status/100 != 2, len(out.body) == 0:
		return question{}
	case q.target.absolute && !q.target.foreign: // an image beside the API: its link expires
		return question{}
	}
	return q
}

// streak is what a circuit knows of answers of no use; its mutex is the circuit's.
type streak struct {
	ever     bool     // there was a useful one
	known    question // that had one
	requests int      // in a row, that ended without
	hopeless int      // of these
	cause    error    // of the last
	looking  chan struct{}
	opened   bool // the circuit, rather than silence
}

func (s *streak) end(to question) {
	s.ever, s.requests, s.hopeless, s.cause, s.opened = true, 0, 0, nil, false
	if to.target.url != nil {
		s.known = to
	}
}

func (s *streak) enough() bool {
	return s.requests >= uselessToOpen || s.hopeless >= hopelessToOpen || s.hopeless > 0 && !s.ever
}

func (s *streak) failure(sentinel error, who string) error {
	e := &uselessError{sentinel: sentinel, who: who, requests: s.requests, cause: s.cause}
	if s.hopeless == s.requests {
		e.requests = 0
	}
	return e
}

// inVain counts a request that ended without a useful answer. Where that makes the host look useless, the caller is to look again
// and to tell by looked, unless somebody does so already: then it waits for the channel.
func (c *circuit) inVain(cause error, hopeless bool) (look bool, known question, wait <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.vain
	if c.open {
		return false, question{}, nil
	}
	s.requests, s.cause = s.requests+1, cause
	if hopeless {
		s.hopeless++
	}
	switch {
	case s.looking != nil:
		return false, question{}, s.looking
	case !s.enough():
		return false, question{}, nil
	case s.hopeless > 0 && !s.ever: // nobody has been answered, and nobody can be
		s.opened = true
		c.trip()
		return false, question{}, nil
	}
	s.looking = make(chan struct{})
	return true, s.known, nil
}

// looked ends the second look; proven: the host was of no use again.
func (c *circuit) looked(proven bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.vain
	if proven && !c.open && s.enough() { // nobody else was answered meanwhile
		s.opened = true
		c.trip()
	}
	close(s.looking)
	s.looking = nil
}

// verdict is what requests end with while the circuit is open, else nil.
func (c *circuit) verdict() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return nil
	}
	return c.failure()
}

// gaveUp returns what a request ends with that is not repeated any more, having used up its attempts or because that would make no
// sense: its own outcome, or what is wrong with the host, if this request or others have shown that.
func (c *Client) gaveUp(ctx context.Context, host *circuit, q question, out outcome, usedUp bool) outcome {
	var err error
	switch worth := out.worth(q.target.absolute); {
	case worth == silent && usedUp:
		if err = host.gaveUp(); err == nil {
			err = c.inVain(ctx, host, q, out)
		}
	case worth == useless:
		err = c.inVain(ctx, host, q, out)
	}
	if err == nil {
		return out
	}
	return outcome{err: err, unsent: !ambiguous(out, q.request.idempotent())} // err says all that the answer said
}

// inVain counts q for its host and returns an error if that is of no use to anybody.
func (c *Client) inVain(ctx context.Context, host *circuit, q question, out outcome) error {
	look, known, wait := host.inVain(c.reason(out), out.hopeless)
	switch {
	case look:
		if known.target.url == nil {
			known = q
		}
		useful := c.looksUseful(ctx, host, known)
		host.looked(!useful && ctx.Err() == nil)
	case wait != nil:
		select {
		case <-wait:
		case <-ctx.Done():
			return nil
		}
	}
	return host.verdict()
}

// looksUseful asks q again, some times. One that may not be asked again is not answered, either.
func (c *Client) looksUseful(ctx context.Context, host *circuit, q question) bool {
	if !q.request.idempotent() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, c.retry.For)
	defer cancel()
	for number := range looks {
		if number > 0 && sleep(ctx, lookPause, nil) != nil {
			return false
		}
		token := ""
		if q.target.auth {
			token = c.lastToken() // should it have expired, to be told so is a useful answer
		}
		out := c.ask(ctx, q, token, number+1, func(out outcome) error {
			if q.accept == acceptDocument {
				var whole json.RawMessage
				return decode(out, &whole)
			}
			return notHTML(out)
		})
		c.Recycle(out.body)
		if out.worth(q.target.absolute) == useful {
			c.heard(ctx, host, question{})
			return true
		}
	}
	return false
}

// reason says why an outcome is no useful answer.
func (c *Client) reason(out outcome) error {
	switch {
	case out.byGateway():
		return &answerError{"a gateway answers ", out.status, out.detail}
	case out.err != nil:
		return c.clean(out.err)
	default:
		return &answerError{"", out.status, out.detail}
	}
}
