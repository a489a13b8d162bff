package faultproxy

import (
	"net/http"
	"strings"
)

// Fault is something that goes wrong with one request.
type Fault string

// The faults. "Before" means that the target never sees the request, "after" that it has acted on it.
const (
	None Fault = ""

	// Of the connection.
	Refuse     Fault = "refuse"      // answered, then the listener is closed for Plan.Outage: new connections are refused. Needs a Server
	CloseIdle  Fault = "close idle"  // answered, then the connection is closed without a word, as a server does with an idle one
	Reset      Fault = "reset"       // before: the connection is reset
	DropAnswer Fault = "drop answer" // after: the connection is reset instead of an answer; what was asked is done
	Stall      Fault = "stall"       // before: no answer for Plan.Stall, then a reset
	StallBody  Fault = "stall body"  // after: half of the answer, then nothing for Plan.Stall, then a reset
	Truncate   Fault = "truncate"    // after: half of the answer, then the connection ends
	Delay      Fault = "delay"       // answered, Plan.Delay later

	// Of the answer. Those with a number are before, but for GatewayTimeoutAfter.
	TooManyRequests        Fault = "429"
	TooManyRequestsWait    Fault = "429 with Retry-After"
	InternalServerError    Fault = "500" // with a traceback of 10 kB
	InternalErrorWait      Fault = "500 with Retry-After"
	BadGateway             Fault = "502"                  // with a page of HTML
	BadGatewayWait         Fault = "502 with Retry-After" // likewise, of a gateway that counts on its server
	ServiceUnavailable     Fault = "503"
	ServiceUnavailableWait Fault = "503 with Retry-After"
	GatewayTimeout         Fault = "504"
	GatewayTimeoutWait     Fault = "504 with Retry-After"
	GatewayTimeoutAfter    Fault = "504 after"    // after: a gateway gave up waiting; what was asked is done
	HTML                   Fault = "HTML"         // before: 200 with a page of HTML, as a captive portal
	CutJSON                Fault = "cut JSON"     // after: half of the document, but whole as far as HTTP can tell; only JSON
	FlipBytes              Fault = "flip bytes"   // after: some bytes of the image are others; only images
	ExpireToken            Fault = "expire token" // before: 401, as every later request with this token
	ExpireURL              Fault = "expire URL"   // before: 403 in XML, until the target gives this URL again; only images
)

// All are the faults there are. Refuse is among them: without a Server it fits no request.
func All() []Fault {
	return []Fault{
		Refuse, CloseIdle, Reset, DropAnswer, Stall, StallBody, Truncate, Delay,
		TooManyRequests, TooManyRequestsWait, InternalServerError, InternalErrorWait, BadGateway, BadGatewayWait,
		ServiceUnavailable, ServiceUnavailableWait, GatewayTimeout, GatewayTimeoutWait, GatewayTimeoutAfter, HTML, CutJSON, FlipBytes, ExpireToken, ExpireURL,
	}
}

// fits tells whether a fault can be done to a request, called with mu held.
func (p *Proxy) fits(f Fault, r *http.Request) bool {
	switch f {
	case None:
		return false
	case Refuse:
		return p.server != nil
	case FlipBytes, ExpireURL:
		return r.Method == http.MethodGet && p.plan.IsImage(r)
	case CutJSON:
		return !p.plan.IsImage(r)
	case ExpireToken:
		token := r.Header.Get("Authorization")
		return token != "" && p.tokens[token] >= p.plan.TokenUses
	default:
		return true
	}
}

// isSigned recognises a presigned URL by the names of its query.
func isSigned(r *http.Request) bool {
	for name := range r.URL.Query() {
		if isSignature(name) {
			return true
		}
	}
	return false
}

// isSignature tells the parts of a query that differ from one presigned URL of an object to the next.
func isSignature(name string) bool {
	name = strings.ToLower(name)
	return name == "signature" || name == "expires" || name == "awsaccesskeyid" || strings.HasPrefix(name, "x-amz-")
}
