package serve

import (
	"net/http"
	"net/url"
	"strings"
)

// call is one request on its way to an answer.
type call struct {
	w      http.ResponseWriter
	r      *http.Request
	caller claims  // zero on routes that need no token
	id     int64   // the first of the path, from 1; 0 on paths without one
	issues []issue // what is wrong with the path's ids; only a handler that reads more is called with any
}

// query reads the request's query. What is wrong with the path comes first among its problems.
func (c *call) query() input {
	return input{place: "query", values: parsePairs(c.r.URL.RawQuery), issues: c.issues}
}

// route is one operation of the platform. The variable segments of its pattern, {name}, are ids from 1. What follows a
// question mark says what else the handler reads: what is wrong there is answered together with what is wrong with the ids.
type route struct {
	method  string
	pattern string
	scopes  []string // of which the caller needs one, in the order the platform names them; nil: open to all
	handle  func(*server, *call) error
}

// routes are the operations that a bundle answers, in the order of contract part A. Writing ones are there to be refused
// as read-only; what is missing altogether (users, webhooks) is answered 404 and logged. Of two patterns that a path matches
// the first counts.
func routes() []route {
	var (
		anyone   = []string{ScopeUser, scopeCamera, ScopeAgent, ScopeAdmin}
		readers  = []string{ScopeAdmin, ScopeAgent, ScopeUser}
		labelers = []string{ScopeAdmin, ScopeAgent}
		admins   = []string{ScopeAdmin}
		cameras  = []string{scopeCamera}
		posers   = []string{ScopeAdmin, ScopeAgent, scopeCamera}
		maskers  = []string{ScopeAdmin, ScopeAgent, ScopeUser, scopeCamera}
	)
	const v1 = "/api/v1"
	return []route{
		{http.MethodGet, "/status", nil, (*server).status},
		{http.MethodPost, v1 + "/login/creds", nil, (*server).login},
		{http.MethodGet, v1 + "/login/validate", anyone, (*server).validateLogin},

		{http.MethodGet, v1 + "/cameras/", readers, (*server).listCameras},
		{http.MethodPost, v1 + "/cameras/", labelers, (*server).readOnly},
		{http.MethodPatch, v1 + "/cameras/heartbeat", cameras, (*server).readOnly},
		{http.MethodPatch, v1 + "/cameras/image", cameras, (*server).readOnly},
		{http.MethodGet, v1 + "/cameras/{camera_id}", readers, (*server).camera},
		{http.MethodDelete, v1 + "/cameras/{camera_id}", admins, (*server).readOnly},
		{http.MethodPost, v1 + "/cameras/{camera_id}/token", admins, (*server).readOnly},
		{http.MethodPatch, v1 + "/cameras/{camera_id}/location", admins, (*server).readOnly},
		{http.MethodPatch, v1 + "/cameras/{camera_id}/name", admins, (*server).readOnly},
		{http.MethodPatch, v1 + "/cameras/{camera_id}/trustable", admins, (*server).readOnly},
		{http.MethodPatch, v1 + "/cameras/{camera_id}/device_config", admins, (*server).readOnly},

		{http.MethodGet, v1 + "/poses/", cameras, (*server).readOnly},
		{http.MethodPost, v1 + "/poses/", posers, (*server).readOnly},
		{http.MethodGet, v1 + "/poses/{pose_id}", readers, (*server).pose},
		{http.MethodPatch, v1 + "/poses/{pose_id}", []string{ScopeAgent, ScopeAdmin, scopeCamera}, (*server).readOnly},
		{http.MethodDelete, v1 + "/poses/{pose_id}", admins, (*server).readOnly},
		{http.MethodPatch, v1 + "/poses/{pose_id}/image", posers, (*server).readOnly},
		{http.MethodGet, v1 + "/poses/{pose_id}/occlusion_masks", maskers, (*server).poseMasks},

		{http.MethodPost, v1 + "/occlusion_masks/", labelers, (*server).readOnly},
		{http.MethodGet, v1 + "/occlusion_masks/{mask_id}", labelers, (*server).mask},
		{http.MethodPatch, v1 + "/occlusion_masks/{mask_id}", labelers, (*server).readOnly},
		{http.MethodDelete, v1 + "/occlusion_masks/{mask_id}", labelers, (*server).readOnly},

		{http.MethodGet, v1 + "/detections/", readers, (*server).listDetections},
		{http.MethodPost, v1 + "/detections/", cameras, (*server).readOnly},
		{http.MethodGet, v1 + "/detections/{detection_id}", readers, (*server).detection},
		{http.MethodDelete, v1 + "/detections/{detection_id}", admins, (*server).readOnly},
		{http.MethodGet, v1 + "/detections/{detection_id}/url", readers, (*server).detectionURL},

		{http.MethodGet, v1 + "/sequences/unlabeled/latest", readers, (*server).latestUnlabeled},
		{http.MethodGet, v1 + "/sequences/all/fromdate", readers, (*server).sequencesOfDay},
		{http.MethodGet, v1 + "/sequences/{sequence_id}", readers, (*server).sequence},
		{http.MethodDelete, v1 + "/sequences/{sequence_id}", admins, (*server).readOnly},
		{http.MethodGet, v1 + "/sequences/{sequence_id}/detections?query", readers, (*server).sequenceDetections},
		{http.MethodPatch, v1 + "/sequences/{sequence_id}/label?body", labelers, (*server).label},

		{http.MethodGet, v1 + "/alerts/unlabeled/latest", readers, (*server).latestAlerts},
		{http.MethodGet, v1 + "/alerts/unlabeled/latest/count", readers, (*server).countLatestAlerts},
		{http.MethodGet, v1 + "/alerts/all/fromdate", readers, (*server).alertsOfDay},
		{http.MethodGet, v1 + "/alerts/all/fromdate/count", readers, (*server).countAlertsOfDay},
		{http.MethodGet, v1 + "/alerts/export", readers, (*server).exportAlerts},
		{http.MethodGet, v1 + "/alerts/{alert_id}", readers, (*server).alert},
		{http.MethodDelete, v1 + "/alerts/{alert_id}", admins, (*server).readOnly},
		{http.MethodGet, v1 + "/alerts/{alert_id}/sequences?query", readers, (*server).alertSequences},
		{http.MethodPost, v1 + "/alerts/{alert_id}/sequences/{sequence_id}/unmatch", labelers, (*server).readOnly},

		{http.MethodGet, v1 + "/organizations/", admins, (*server).listOrganizations},
		{http.MethodPost, v1 + "/organizations/", admins, (*server).readOnly},
		{http.MethodGet, v1 + "/organizations/{organization_id}", admins, (*server).organization},
		{http.MethodPatch, v1 + "/organizations/{organization_id}", admins, (*server).readOnly},
		{http.MethodDelete, v1 + "/organizations/{organization_id}", admins, (*server).readOnly},
	}
}

// variable is a variable segment of a pattern, and what a path has there.
type variable struct{ name, value string }

// match compares path with the route's pattern, and returns its variable segments in their order.
func (rt route) match(path string) (variables []variable, ok bool) {
	pattern, _, _ := strings.Cut(rt.pattern, "?")
	for {
		before, rest, found := strings.Cut(pattern, "{")
		if !found {
			return variables, path == pattern
		}
		if path, ok = strings.CutPrefix(path, before); !ok {
			return nil, false
		}
		name, tail, _ := strings.Cut(rest, "}")
		value, _, _ := strings.Cut(path, "/")
		if value == "" {
			return nil, false
		}
		variables = append(variables, variable{name, value})
		pattern, path = tail, path[len(value):]
	}
}

// readIDs reads the path's ids, and refuses them at once where nothing else is read.
func (c *call) readIDs(rt route, variables []variable) error {
	in := input{place: "path", values: url.Values{}}
	for i, v := range variables {
		in.values.Set(v.name, v.value)
		if id := in.integer(v.name, 0, above(0)); i == 0 {
			c.id = id
		}
	}
	if strings.Contains(rt.pattern, "?") {
		c.issues = in.issues
		return nil
	}
	return in.problems()
}

// answer finds the operation and does it. In the platform's order: unknown path, method, token, scope, parameters, object,
// organization.
func (s *server) answer(w *recorder, r *http.Request) error {
	if err := s.refuseStrangers(r); err != nil {
		return err
	}
	path := r.URL.Path
	if strings.HasPrefix(path, storagePrefix) {
		return s.image(w, r)
	}
	var other *route // matches but for its method
	for i, rt := range s.routes {
		variables, ok := rt.match(path)
		if !ok {
			continue
		}
		if rt.method != r.Method {
			if other == nil {
				other = &s.routes[i]
			}
			continue
		}
		c := &call{w: w, r: r}
		if rt.scopes != nil {
			var err error
			if c.caller, err = s.authorize(r, rt.scopes); err != nil {
				return err
			}
		}
		if err := c.readIDs(rt, variables); err != nil {
			return err
		}
		return rt.handle(s, c)
	}
	if other != nil {
		refused := refuse(http.StatusMethodNotAllowed, "Method Not Allowed")
		refused.header.Set("Allow", other.method)
		return refused
	}
	if to, ok := s.otherSlash(r); ok {
		redirect := refuse(http.StatusTemporaryRedirect, nil)
		redirect.header.Set("Location", to)
		return redirect
	}
	s.log.Warn("no such route in a served bundle", "method", r.Method, "path", path)
	return refuse(http.StatusNotFound, "Not Found")
}

// otherSlash returns the absolute URL with a trailing slash added or taken away, where that is a route (contract A.0).
func (s *server) otherSlash(r *http.Request) (string, bool) {
	path := r.URL.Path + "/"
	if strings.HasSuffix(r.URL.Path, "/") {
		path = strings.TrimRight(r.URL.Path, "/")
	}
	for _, rt := range s.routes {
		if _, ok := rt.match(path); ok {
			to := url.URL{Scheme: scheme(r), Host: r.Host, Path: path, RawQuery: r.URL.RawQuery}
			return to.String(), true
		}
	}
	return "", false
}

// scheme is that of the URL by which the client reached us.
func scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

func (s *server) status(c *call) error { return c.json(map[string]string{"status": "ok"}) }

// readOnly refuses an operation that would write, or that only a camera may do: a bundle has neither.
func (s *server) readOnly(c *call) error {
	s.log.Warn("a served bundle cannot be written to", "method", c.r.Method, "path", c.r.URL.Path)
	return refuse(http.StatusForbidden, "A bundle is served read-only.")
}
