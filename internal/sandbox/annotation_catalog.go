package sandbox

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
)

// status is GET /status.
func (a *AnnotationAPI) status(*call) reply {
	return answer(http.StatusOK, pyDict{{"status", "ok"}})
}

// named is an entry of the lists that the API derives from its sequences.
type named struct {
	id   int64
	name string
}

// distinctNames lists what pick finds in the sequences, by name.
func (a *AnnotationAPI) distinctNames(pick func(*SequenceRow) named) reply {
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := map[named]bool{}
	list := []named{}
	for _, row := range a.sequences {
		if n := pick(row); !seen[n] {
			seen[n] = true
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(x, y named) int { return cmp.Or(cmp.Compare(x.name, y.name), cmp.Compare(x.id, y.id)) })
	items := make([]any, len(list))
	for i, n := range list {
		items[i] = pyDict{{"id", n.id}, {"name", n.name}}
	}
	return answer(http.StatusOK, items)
}

// listCameras is GET /cameras/.
func (a *AnnotationAPI) listCameras(*call) reply {
	return a.distinctNames(func(row *SequenceRow) named { return named{row.CameraID, row.CameraName} })
}

// listOrganizations is GET /organizations/.
func (a *AnnotationAPI) listOrganizations(*call) reply {
	return a.distinctNames(func(row *SequenceRow) named { return named{row.OrganisationID, row.OrganisationName} })
}

// listSources is GET /source-apis/, open to everybody.
func (a *AnnotationAPI) listSources(*call) reply {
	names := map[string]string{
		"alert_wildfire": "Alert Wildfire", "api_cenia": "API Cenia", "pyronear_french": "Pyronear French",
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	present := map[string]bool{}
	for _, row := range a.sequences {
		present[row.SourceAPI] = true
	}
	items := []any{}
	for _, source := range []string{"alert_wildfire", "api_cenia", "pyronear_french"} {
		if present[source] {
			items = append(items, pyDict{{"id", source}, {"name", names[source]}})
		}
	}
	return answer(http.StatusOK, items)
}

// commonPaths are the operations that both generations document; newestPaths and seedPaths those of one alone.
const (
	commonPaths = `
/api/v1/auth/login post
/api/v1/users/me get
/api/v1/users/ get post
/api/v1/users/{user_id} get patch delete
/api/v1/users/{user_id}/password patch
/api/v1/detections/ get post
/api/v1/detections/from-url post
/api/v1/detections/from-bucket-key post
/api/v1/detections/{detection_id} get delete
/api/v1/detections/{detection_id}/url get
/api/v1/annotations/detections/ get post
/api/v1/annotations/detections/{annotation_id} get patch delete
/api/v1/sequences/ get post
/api/v1/sequences/{sequence_id} get delete
/api/v1/annotations/sequences/ get post
/api/v1/annotations/sequences/{annotation_id} get patch delete
/api/v1/cameras/ get
/api/v1/organizations/ get
/api/v1/source-apis/ get`
	newestPaths = `
/api/v1/users/annotators get
/api/v1/annotations/detections/bulk post
/api/v1/sequences/temporal-score patch
/api/v1/sequences/alert get
/api/v1/sequences/alert/add-object post
/api/v1/sequences/{sequence_id}/frames post
/api/v1/sequences/{sequence_id}/frames/{detection_id} delete
/api/v1/sequences/alert/skip post delete
/api/v1/sequences/localization-queue get
/api/v1/sequences/classify-queue get
/api/v1/sequences/localize-done-queue get
/api/v1/sequences/classify-done get
/api/v1/annotations/sequences/classify-submit post
/api/v1/annotations/sequences/localize-submit post
/api/v1/annotations/sequences/localize-revert post
/api/v1/annotations/sequences/bulk post
/api/v1/sequence_groups/ get
/api/v1/sequence_groups/stats get
/api/v1/sequence_groups/{group_id} get patch
/api/v1/sequence_groups/{group_id}/members/{sequence_id} delete
/api/v1/sequence_groups/members/{sequence_id}/re-include post
/api/v1/export/alerts get
/api/v1/auto-annotate/sequences/{sequence_id} post`
	seedPaths = `
/api/v1/export/detections get`
)

// openapi is GET /openapi.json: the paths and methods of the generation, without their schemas.
func (a *AnnotationAPI) openapi(*call) reply {
	text := commonPaths + seedPaths
	if a.newest {
		text = commonPaths + newestPaths
	}
	paths := pyDict{}
	for line := range strings.Lines(strings.TrimSpace(text)) {
		words := strings.Fields(line)
		methods := pyDict{}
		for _, method := range words[1:] {
			methods = append(methods, pyMember{method, pyDict{{"responses", pyDict{}}}})
		}
		paths = append(paths, pyMember{words[0], methods})
	}
	return answer(http.StatusOK, pyDict{
		{"openapi", "3.1.0"},
		{"info", pyDict{{"title", "Annotation API"}, {"version", "sandbox"}}},
		{"paths", paths},
	})
}
