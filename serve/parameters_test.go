package serve

import (
	"fmt"
	"testing"
)

// The platform reports what is wrong with the path, the query and the body in one answer.
func TestMistakesOfPathAndParametersAreAnsweredTogether(t *testing.T) {
	const (
		noID   = `{"type":"greater_than","loc":["path","sequence_id"],"msg":"Input should be greater than 0","input":"0","ctx":{"gt":0}}`
		words  = `{"type":"int_parsing","loc":["path","sequence_id"],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"x"}`
		limit  = `{"type":"less_than_equal","loc":["query","limit"],"msg":"Input should be less than or equal to 100","input":"500","ctx":{"le":100}}`
		body   = `{"type":"missing","loc":["body"],"msg":"Field required","input":null}`
		field  = `{"type":"enum","loc":["body","is_wildfire"],"msg":"Input should be 'wildfire_smoke', 'other_smoke' or 'other'","input":%s,"ctx":{"expected":"'wildfire_smoke', 'other_smoke' or 'other'"}}`
		broken = `{"type":"json_invalid","loc":["body",%d],"msg":"JSON decode error","input":{},"ctx":{"error":"%s"}}`
		object = `{"type":"model_attributes_type","loc":["body"],"msg":"Input should be a valid dictionary or object to extract fields from","input":%s}`
		asJSON = "application/json"
		label  = "/api/v1/sequences/1/label"
	)
	detail := func(issues string) string { return `{"detail":[` + issues + `]}` }
	alert := `{"type":"greater_than","loc":["path","alert_id"],"msg":"Input should be greater than 0","input":"-1","ctx":{"gt":0}}`
	askProbes(t, serveBundle(t, recordedBundle(t), Options{}), []probe{
		{name: "id and query", as: "org-2", path: "/api/v1/sequences/0/detections?limit=500", status: 422, want: detail(noID + "," + limit)},
		{name: "word and query", as: "org-2", path: "/api/v1/sequences/x/detections?limit=500", status: 422, want: detail(words + "," + limit)},
		{name: "query alone", as: "org-2", path: "/api/v1/sequences/1/detections?limit=500", status: 422, want: detail(limit)},
		{name: "id alone", as: "org-2", path: "/api/v1/sequences/0?limit=500", status: 422, want: detail(noID)},
		{name: "id of a read-only route", as: "admin", method: "DELETE", path: "/api/v1/sequences/0", status: 422, want: detail(noID)},
		{name: "id and query of an alert", as: "org-2", path: "/api/v1/alerts/-1/sequences?limit=500", status: 422, want: detail(alert + "," + limit)},
		{name: "two ids", as: "admin", method: "POST", path: "/api/v1/alerts/-1/sequences/x/unmatch", status: 422, want: detail(alert + "," + words)},

		{name: "id and no body", as: "admin", method: "PATCH", path: "/api/v1/sequences/0/label", status: 422, want: detail(noID + "," + body)},
		{
			name: "id and body", as: "admin", method: "PATCH", path: "/api/v1/sequences/0/label", contentType: asJSON, body: `{"is_wildfire":"maybe"}`,
			status: 422, want: detail(noID + "," + fmt.Sprintf(field, `"maybe"`)),
		},
		{name: "labelling without a body", as: "admin", method: "PATCH", path: label, contentType: asJSON, status: 422, want: detail(body)},
		{name: "labelling with null", as: "admin", method: "PATCH", path: label, contentType: asJSON, body: "null", status: 422, want: detail(body)},
		{
			name: "labelling without the field", as: "admin", method: "PATCH", path: label, contentType: asJSON, body: `{"x":1.50}`, status: 422,
			want: detail(`{"type":"missing","loc":["body","is_wildfire"],"msg":"Field required","input":{"x":1.50}}`),
		},
		{
			name: "labelling with a number", as: "admin", method: "PATCH", path: label, contentType: asJSON, body: `{"is_wildfire":5}`, status: 422,
			want: detail(fmt.Sprintf(field, "5")),
		},
		{
			name: "labelling with a list", as: "admin", method: "PATCH", path: label, contentType: asJSON, body: `[]`, status: 422,
			want: detail(fmt.Sprintf(object, "[]")),
		},
		{
			name: "labelling with a form", as: "admin", method: "PATCH", path: label, contentType: "application/x-www-form-urlencoded",
			body: `is_wildfire=other`, status: 422, want: detail(fmt.Sprintf(object, `"is_wildfire=other"`)),
		},
		{
			name: "broken JSON hides what else is wrong", as: "admin", method: "PATCH", path: "/api/v1/sequences/0/label", contentType: asJSON,
			body: `x`, status: 422, want: detail(fmt.Sprintf(broken, 0, "invalid character 'x' looking for beginning of value")),
		},
		{
			name: "labelling as a vendor's JSON", as: "admin", method: "PATCH", path: label, contentType: "application/vnd.me+json; charset=utf-8",
			body: `{"is_wildfire":"other"}`, status: 403, want: `{"detail":"A bundle is served read-only."}`,
		},
	})
}

// A pair that Go's own parser drops would make a request with a mistake one for the default.
func TestQueriesAreReadLeniently(t *testing.T) {
	integer := func(input string) string {
		return `{"detail":[{"type":"int_parsing","loc":["query","limit"],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"` + input + `"}]}`
	}
	const day = "/api/v1/sequences/all/fromdate?from_date=2026-08-01"
	askProbes(t, serveBundle(t, recordedBundle(t), Options{}), []probe{
		{name: "percent", as: "org-2", path: day + "&limit=5%", status: 422, want: integer("5%")},
		{name: "no digits", as: "org-2", path: day + "&limit=%zz", status: 422, want: integer("%zz")},
		{name: "semicolon", as: "org-2", path: "/api/v1/sequences/1/detections?limit=500;x", status: 422, want: integer("500;x")},
		{name: "name alone", as: "org-2", path: day + "&limit", status: 422, want: integer("")},
		{name: "blank as plus", as: "org-2", path: day + "&limit=+0", status: 200, want: "[]"},
		{name: "name with escapes", as: "org-2", path: day + "&%6cimit=0", status: 200, want: "[]"},
		{
			name: "cameras", as: "org-2", path: "/api/v1/cameras/?include_non_trustable=true;", status: 422,
			want: `{"detail":[{"type":"bool_parsing","loc":["query","include_non_trustable"],"msg":"Input should be a valid boolean, unable to interpret input","input":"true;"}]}`,
		},
		{
			name: "unlabeled", as: "org-2", path: "/api/v1/sequences/unlabeled/latest?risk_score=low;", status: 422,
			want: `{"detail":[{"type":"literal_error","loc":["query","risk_score"],"msg":"Input should be 'very_low', 'low', 'moderate', 'high', 'very_high' or 'extreme'",` +
				`"input":"low;","ctx":{"expected":"'very_low', 'low', 'moderate', 'high', 'very_high' or 'extreme'"}}]}`,
		},
	})
}

// What else the platform can be asked to change is checked, and refused as a bundle's.
func TestMasksAndCamerasAreReadOnly(t *testing.T) {
	const refused = `{"detail":"A bundle is served read-only."}`
	var probes []probe
	for _, route := range []struct{ method, path, scopes string }{
		{"POST", "/api/v1/occlusion_masks/", "admin agent"},
		{"PATCH", "/api/v1/occlusion_masks/7", "admin agent"},
		{"DELETE", "/api/v1/occlusion_masks/7", "admin agent"},
		{"PATCH", "/api/v1/cameras/1/trustable", "admin"},
		{"PATCH", "/api/v1/cameras/1/device_config", "admin"},
		{"DELETE", "/api/v1/alerts/1", "admin"},
		{"POST", "/api/v1/alerts/1/sequences/2/unmatch", "admin agent"},
	} {
		name := route.method + " " + route.path
		probes = append(
			probes,
			probe{name: name + " as administrator", as: "admin", method: route.method, path: route.path, status: 403, want: refused},
			probe{
				name: name + " as user", as: "org-2", method: route.method, path: route.path, status: 403,
				want: `{"detail":"Incompatible token scope."}`, header: map[string]string{"WWW-Authenticate": `Bearer scope="` + route.scopes + `"`},
			},
			probe{name: name + " without token", method: route.method, path: route.path, status: 401, want: `{"detail":"Not authenticated"}`},
		)
	}
	probes = append(
		probes,
		probe{name: "mask 0", as: "admin", method: "DELETE", path: "/api/v1/occlusion_masks/0", status: 422},
		probe{name: "camera x", as: "admin", method: "PATCH", path: "/api/v1/cameras/x/trustable", status: 422},
	)
	askProbes(t, serveBundle(t, recordedBundle(t), Options{}), probes)
}
