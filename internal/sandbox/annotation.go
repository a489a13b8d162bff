package sandbox

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// AnnotationOptions shape the in-memory annotation API.
type AnnotationOptions struct {
	// Generation is "newest" (the default) or "seed", the era before alerts were split into objects (contract B).
	Generation string
	// Login and Password of the first user; default admin / admin12345.
	Login, Password string
	// TokenLifetime in whole seconds; default 24 h. ExpireTokens ends all tokens at once.
	TokenLifetime time.Duration
	// Now is the server's clock; default time.Now.
	Now func() time.Time
	// DiscardImages keeps SHA-256 and size of uploads but not their bytes, for runs of constant memory.
	DiscardImages bool
	// HideTracebacks answers internal errors as a production server does: JSON instead of a 10 kB plain-text traceback.
	HideTracebacks bool
	// ChallengeMissingToken answers requests without a Bearer token with 401 and a challenge, as FastAPI does from 0.122
	// on; the recorded servers answer 403.
	ChallengeMissingToken bool
	// ShuffleTies lists rows of equal times in another order at every request, as a database may without a tie-breaker;
	// equal histories give equal orders. By default ties are in order of id.
	ShuffleTies bool
	// PlatformObject returns an object of the platform's bucket of an organization, for the route that copies images
	// server-side. Nil: the platform has no objects.
	PlatformObject func(bucket, key string) ([]byte, bool)
}

// AnnotationAPI is an annotation API in memory: an http.Handler as strict as the real service of its generation, with
// methods for tests to look inside and to leave there what other tools or people would have left.
//
// Status codes, error texts, their order, and the ids that refused inserts consume follow contract B and the recorded
// exchanges. Routes of the real service that loading never meets (users, groups, queues, export) are listed in
// openapi.json but answer 404. All methods may be called concurrently.
type AnnotationAPI struct {
	options AnnotationOptions
	newest  bool
	routes  []annotationRoute
	secret  []byte // signs tokens and storage addresses; replaced by ExpireTokens

	mu          sync.Mutex
	users       []user
	sequences   map[int64]*SequenceRow
	detections  map[int64]*DetectionRow
	annotations map[int64]*AnnotationRow
	bySequence  map[int64]*sequenceIndex
	byAlert     map[alertKey]int64 // (source, alert_api_id) to sequence id
	skips       map[alertKey]skip  // (source, platform_alert_id)
	objects     map[string]object  // the storage, by bucket key
	lastID      struct{ sequence, detection, annotation int64 }
	requests    map[string]int
	writes      int
	lists       int64 // answered so far, for ShuffleTies
}

// sequenceIndex is what hangs on a sequence.
type sequenceIndex struct {
	detections []int64
	alertIDs   map[int64]struct{} // alert_api_id of its detections, unique in the newest generation
	annotation int64              // 0: none
}

type alertKey struct {
	source string
	id     int64
}

type skip struct {
	at   time.Time
	by   string
	note *string
}

// SequenceRow is a sequence as the API's database holds it.
type SequenceRow struct {
	ID                     int64
	SourceAPI              string
	AlertAPIID             int64 // the platform's sequence id
	CreatedAt              time.Time
	RecordedAt, LastSeenAt time.Time
	CameraName             string
	CameraID               int64
	Lat, Lon               float64
	Azimuth                *int64
	IsWildfire             *string
	OrganisationName       string
	OrganisationID         int64
	PlatformAlertID        int64 // newest generation only, like all below
	TemporalScore          *float64
	TemporalModelVersion   *string
	TemporalAPIVersion     *string
	IsManual               bool
}

// DetectionRow is a detection as the API's database holds it, with size and sum of its image.
type DetectionRow struct {
	ID, SequenceID, AlertAPIID int64
	RecordedAt, CreatedAt      time.Time
	BucketKey                  string
	Predictions                []Prediction
	Others, Auto               []Prediction // nil: null
	SHA256                     string       // of the image, hexadecimal
	Size                       int64        // of the image, bytes
	Stage                      string       // of its detection annotation; empty: it has none
	Boxes                      int          // in its detection annotation
}

// Prediction is one box of a model: corners x1, y1, x2, y2 and confidence between 0 and 1.
type Prediction struct {
	Box        [4]float64
	Confidence float64
	Class      string
}

// AnnotationRow is a sequence annotation as the API's database holds it.
type AnnotationRow struct {
	ID, SequenceID int64
	Tracks         []Track
	MissedSmoke    bool
	Unsure         bool
	Stage          string
	CreatedAt      time.Time
	UpdatedAt      time.Time // zero: null
	Contributors   []string  // user names, one per contribution
}

// Track is one entry of sequences_bbox.
type Track struct {
	IsSmoke       bool
	SmokeType     string // empty: null
	FalsePositive []string
	Boxes         []TrackBox
}

// TrackBox is the box of a track on one detection.
type TrackBox struct {
	DetectionID int64
	Box         [4]float64
}

// NewAnnotationAPI returns an empty API with its first user.
func NewAnnotationAPI(o AnnotationOptions) *AnnotationAPI {
	if o.Login == "" {
		o.Login = "admin"
	}
	if o.Password == "" {
		o.Password = "admin12345"
	}
	if o.TokenLifetime == 0 {
		o.TokenLifetime = 24 * time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &AnnotationAPI{
		options:     o,
		newest:      o.Generation != "seed",
		secret:      newSecret(),
		sequences:   map[int64]*SequenceRow{},
		detections:  map[int64]*DetectionRow{},
		annotations: map[int64]*AnnotationRow{},
		bySequence:  map[int64]*sequenceIndex{},
		byAlert:     map[alertKey]int64{},
		skips:       map[alertKey]skip{},
		objects:     map[string]object{},
		requests:    map[string]int{},
	}
	a.routes = a.table()
	a.AddUser(o.Login, o.Password)
	return a
}

// table lists the routes in the order in which the service tries them.
func (a *AnnotationAPI) table() []annotationRoute {
	const v1 = "/api/v1"
	routes := []annotationRoute{
		{method: "GET", pattern: "/status", open: true, handle: a.status},
		{method: "GET", pattern: v1 + "/openapi.json", open: true, handle: a.openapi},
		{method: "POST", pattern: v1 + "/auth/login", open: true, body: jsonBody, handle: a.login},
		{method: "POST", pattern: v1 + "/detections/", body: formBody, handle: a.createDetection},
		{method: "POST", pattern: v1 + "/detections/from-url", body: jsonBody, handle: a.createDetectionFromURL},
		{method: "POST", pattern: v1 + "/detections/from-bucket-key", body: jsonBody, handle: a.createDetectionFromBucket},
		{method: "GET", pattern: v1 + "/detections/{detection_id}", handle: a.getDetection},
		{method: "GET", pattern: v1 + "/detections/{detection_id}/url", handle: a.getDetectionURL},
		{method: "GET", pattern: v1 + "/detections/", handle: a.listDetections},
		{method: "DELETE", pattern: v1 + "/detections/{detection_id}", handle: a.deleteDetection},
		{method: "POST", pattern: v1 + "/sequences/", body: formBody, handle: a.createSequence},
	}
	if a.newest {
		routes = append(routes,
			annotationRoute{method: "PATCH", pattern: v1 + "/sequences/temporal-score", body: jsonBody, handle: a.setTemporalScore},
			annotationRoute{method: "GET", pattern: v1 + "/sequences/alert", handle: a.getAlert},
			annotationRoute{method: "POST", pattern: v1 + "/sequences/alert/skip", body: jsonBody, handle: a.skipAlert},
			annotationRoute{method: "DELETE", pattern: v1 + "/sequences/alert/skip", handle: a.unskipAlert},
		)
	}
	return append(routes, []annotationRoute{
		{method: "GET", pattern: v1 + "/sequences/", handle: a.listSequences},
		{method: "GET", pattern: v1 + "/sequences/{sequence_id}", handle: a.getSequence},
		{method: "DELETE", pattern: v1 + "/sequences/{sequence_id}", handle: a.deleteSequence},
		{method: "POST", pattern: v1 + "/annotations/sequences/", body: jsonBody, handle: a.createAnnotation},
		{method: "GET", pattern: v1 + "/annotations/sequences/", handle: a.listAnnotations},
		{method: "GET", pattern: v1 + "/annotations/sequences/{annotation_id}", handle: a.getAnnotation},
		{method: "PATCH", pattern: v1 + "/annotations/sequences/{annotation_id}", body: jsonBody, handle: a.updateAnnotation},
		{method: "DELETE", pattern: v1 + "/annotations/sequences/{annotation_id}", handle: a.deleteAnnotation},
		{method: "GET", pattern: v1 + "/cameras/", handle: a.listCameras},
		{method: "GET", pattern: v1 + "/organizations/", handle: a.listOrganizations},
		{method: "GET", pattern: v1 + "/source-apis/", open: true, handle: a.listSources},
	}...)
}

// annotationRoute is one operation of the API.
type annotationRoute struct {
	method, pattern string
	open            bool // needs no token
	body            bodyKind
	handle          func(*call) reply
}

// match compares a path with the pattern; {name} stands for one segment, returned in value.
func (r annotationRoute) match(path string) (value string, ok bool) {
	before, rest, found := strings.Cut(r.pattern, "{")
	if !found {
		return "", path == r.pattern
	}
	_, after, _ := strings.Cut(rest, "}")
	value, ok = strings.CutPrefix(path, before)
	if ok {
		value, ok = strings.CutSuffix(value, after)
	}
	return value, ok && value != "" && !strings.Contains(value, "/")
}

// call is one request on its way through the API.
type call struct {
	r       *http.Request
	user    string // of the token
	segment string // the path's variable part
	query   url.Values
	form    pyDict
	body    any // the JSON document, nil when none was sent
	v       validator
}

// reply is an answer before it is written.
type reply struct {
	status    int
	body      any // a Python value; nil: no body
	spaced    bool
	text      string // a traceback instead of a body
	challenge string // WWW-Authenticate
}

func answer(status int, body any) reply { return reply{status: status, body: body} }

// refuse is an application error.
func refuse(status int, detail string) reply {
	return reply{status: status, body: pyDict{{"detail", detail}}}
}

// invalid is the answer to a request that failed validation.
func (c *call) invalid() reply {
	return reply{status: http.StatusUnprocessableEntity, body: pyDict{{"detail", c.v.detail(false)}}}
}

// crash is an exception that nobody caught.
func crash(exception string) reply {
	return reply{status: http.StatusInternalServerError, text: traceback(exception)}
}

// traceback has the size of a real one, for clients that must not print it whole.
func traceback(exception string) string {
	var b strings.Builder
	b.WriteString("Traceback (most recent call last):\n")
	for i := range 90 {
		b.WriteString("  File \"/app/.venv/lib/python3.11/site-packages/starlette/middleware/layer.py\", line " +
			strconv.Itoa(100+i) + ", in __call__\n    await self.app(scope, receive, send)\n")
	}
	b.WriteString(exception + "\n")
	return b.String()
}

func noContent() reply { return reply{status: http.StatusNoContent} }

// ServeHTTP answers the API under /api/v1 and /status, and stored images under /storage/.
func (a *AnnotationAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if key, ok := strings.CutPrefix(r.URL.Path, "/storage/"); ok {
		a.count(r.Method+" /storage/", 0)
		a.serveStorage(w, r, key)
		return
	}
	start := time.Now()
	route, segment, allowed := a.find(r.Method, r.URL.Path)
	switch {
	case route != nil:
		out, body := a.run(route, segment, r).encoded()
		a.count(route.method+" "+route.pattern, out.status)
		a.write(w, r, out, body, start)
	case allowed != "":
		w.Header().Set("Allow", allowed)
		a.count(r.Method+" "+r.URL.Path, http.StatusMethodNotAllowed)
		out, body := refuse(http.StatusMethodNotAllowed, "Method Not Allowed").encoded()
		a.write(w, r, out, body, start)
	default:
		a.count(r.Method+" "+r.URL.Path, http.StatusNotFound)
		if location, ok := a.otherSlash(r); ok {
			w.Header().Set("Location", location)
			w.Header().Set("X-Process-Time", processTime(start))
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
		out, body := refuse(http.StatusNotFound, "Not Found").encoded()
		a.write(w, r, out, body, start)
	}
}

// find returns the first route of path and method, or else the method of the first route of the path.
func (a *AnnotationAPI) find(method, path string) (route *annotationRoute, segment, allowed string) {
	for i := range a.routes {
		value, ok := a.routes[i].match(path)
		switch {
		case !ok:
		case a.routes[i].method == method:
			return &a.routes[i], value, ""
		case allowed == "":
			allowed = a.routes[i].method
		}
	}
	return nil, "", allowed
}

// otherSlash is the absolute address of the same path with or without its last slash, if a route has it.
func (a *AnnotationAPI) otherSlash(r *http.Request) (string, bool) {
	path := r.URL.Path + "/"
	if strings.HasSuffix(r.URL.Path, "/") {
		path = strings.TrimRight(r.URL.Path, "/")
	}
	known := slices.ContainsFunc(a.routes, func(route annotationRoute) bool {
		_, ok := route.match(path)
		return ok
	})
	location := url.URL{Scheme: scheme(r), Host: r.Host, Path: path, RawQuery: r.URL.RawQuery}
	return location.String(), known
}

func scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// run takes a request through the API's order: parse the body, authenticate, then validate and act.
func (a *AnnotationAPI) run(route *annotationRoute, segment string, r *http.Request) reply {
	c := &call{r: r, segment: segment, query: r.URL.Query()}
	if problem := c.readBody(route.body); problem != nil {
		return *problem
	}
	if !route.open {
		user, problem := a.authenticate(r.Header.Get("Authorization"))
		if problem != nil {
			return *problem
		}
		c.user = user
	}
	return route.handle(c)
}

func (a *AnnotationAPI) count(route string, status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests[route]++
	if status/100 == 2 && !strings.HasPrefix(route, "GET ") && !strings.HasSuffix(route, "/auth/login") {
		a.writes++
	}
}

// encoded returns the answer's JSON. What cannot be written crashes, whatever has been done before.
func (out reply) encoded() (reply, []byte) {
	if out.text != "" || out.body == nil {
		return out, nil
	}
	style := compactStyle()
	if out.spaced {
		style = spacedStyle()
	}
	body, ok := style.encode(make([]byte, 0, 512), out.body)
	if !ok {
		return crash("ValueError: the answer is not JSON compliant: NaN, infinity, or surrogates not allowed"), nil
	}
	return out, body
}

func (a *AnnotationAPI) write(w http.ResponseWriter, r *http.Request, out reply, body []byte, start time.Time) {
	kind := "application/json"
	switch {
	case out.text == "":
		w.Header().Set("X-Process-Time", processTime(start)) // errors that nobody caught pass this header by
	case a.options.HideTracebacks:
		body = []byte(`{"detail":"An internal server error occurred"}`)
	case strings.Contains(r.Header.Get("Accept"), "text/html"):
		kind, body = "text/html; charset=utf-8", []byte("<html><body><pre>"+out.text+"</pre></body></html>")
	default:
		kind, body = "text/plain; charset=utf-8", []byte(out.text)
	}
	w.Header().Set("Content-Type", kind)
	if out.challenge != "" {
		w.Header().Set("WWW-Authenticate", out.challenge)
	}
	if out.status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(out.status)
	_, _ = w.Write(body) // a client that has gone is its own problem
}

func processTime(start time.Time) string {
	return strconv.FormatFloat(time.Since(start).Seconds(), 'g', -1, 64)
}

// now is the server's clock in the database's precision.
func (a *AnnotationAPI) now() time.Time {
	return a.options.Now().UTC().Truncate(time.Microsecond)
}
