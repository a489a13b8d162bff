package serve

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pyrobundle/store"
)

func TestTokensExpire(t *testing.T) {
	now := &clock{at: time.Date(2026, 8, 8, 0, 0, 0, 0, time.UTC)}
	c := serveBundle(t, recordedBundle(t), Options{Now: now.now, TokenLifetime: time.Hour}).as("org-2")
	now.advance(time.Hour - time.Second)
	if got := c.get("/api/v1/login/validate"); got.status != http.StatusOK {
		t.Fatalf("within its lifetime: %s", got)
	}
	now.advance(time.Second)
	if got := c.get("/api/v1/login/validate"); got.status != http.StatusUnauthorized || !strings.Contains(string(got.body), "Token has expired.") {
		t.Errorf("after its lifetime: %s", got)
	}
}

func TestOwnAccountsReplaceTheDefaultOnes(t *testing.T) {
	platform := serveBundle(t, recordedBundle(t), Options{Accounts: []Account{
		{Login: "everything", Password: DefaultPassword},
		{Login: "alpha", Password: DefaultPassword, OrganizationID: 2},
		{Login: "agent", Password: DefaultPassword, Scope: ScopeAgent, OrganizationID: 2},
	}})
	for login, want := range map[string]string{
		"everything": `{"sub":1,"scopes":["admin"],"organization_id":0}`,
		"alpha":      `{"sub":2,"scopes":["user"],"organization_id":2}`,
		"agent":      `{"sub":3,"scopes":["agent"],"organization_id":2}`,
	} {
		if got := string(platform.as(login).get("/api/v1/login/validate").body); got != want {
			t.Errorf("%s: %s, want %s", login, got, want)
		}
	}
	refused := platform.do(http.MethodPost, "/api/v1/login/creds", "application/x-www-form-urlencoded",
		url.Values{"username": {"admin"}, "password": {DefaultPassword}}.Encode())
	if refused.status != http.StatusUnauthorized {
		t.Errorf("the default account answers beside own ones: %s", refused)
	}
}

func TestDefaultAccountsCoverOrganizationsKnownByCamerasAlone(t *testing.T) {
	w := worldOf(store.Source{})
	must(t, w.organization(json.RawMessage(`{"id":7,"name":"seven"}`)))
	must(t, w.camera(json.RawMessage(`{"id":1,"organization_id":5,"name":"c"}`)))
	accounts, err := DefaultAccounts(t.Context(), w.open(t))
	if err != nil {
		t.Fatal(err)
	}
	want := []Account{
		{"admin", DefaultPassword, ScopeAdmin, 5},
		{"org-5", DefaultPassword, ScopeUser, 5},
		{"org-7", DefaultPassword, ScopeUser, 7},
	}
	if diff := cmp.Diff(want, accounts); diff != "" {
		t.Error(diff)
	}
}

func TestDefaultAdministratorBelongsToAnOrganization(t *testing.T) {
	accounts, err := DefaultAccounts(t.Context(), worldOf(store.Source{}).open(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Account{{"admin", DefaultPassword, ScopeAdmin, 1}}, accounts); diff != "" {
		t.Errorf("of an empty bundle: %s", diff)
	}
	c := serveBundle(t, recordedBundle(t), Options{OldPlatform: true}).as("admin")
	if got := c.list(fromDate + "2026-08-04&limit=1000"); len(got) != 0 {
		t.Errorf("an old platform lists organization 1 alone, which has no cameras: %v", ids(got))
	}
	if got := c.get("/api/v1/sequences/1"); got.status != http.StatusOK {
		t.Errorf("single objects of others: %s", got)
	}
}

func TestLoginFormIsReadLeniently(t *testing.T) {
	for _, tc := range []struct{ body, password string }{
		{"username=me&password=100%", "100%"},
		{"username=me&password=a;b", "a;b"},
		{"username=me&password=%zz", "%zz"},
		{"username=me&password=%4", "%4"},
		{"username=me&password=%%41", "%A"},
		{"username=me&password=a+b%2B", "a b+"},
		{"username=me&password=a=b", "a=b"},
		{"&user%6eame=x&username=me&&password=first&password=%C3%A4&", "ä"},
	} {
		platform := serveBundle(t, recordedBundle(t), Options{Accounts: []Account{{Login: "me", Password: tc.password}}})
		for _, contentType := range []string{"application/x-www-form-urlencoded", "Application/X-WWW-Form-URLencoded;;;x"} {
			if got := platform.do(http.MethodPost, "/api/v1/login/creds", contentType, tc.body); got.status != http.StatusOK {
				t.Errorf("%s as %s: %s", tc.body, contentType, got)
			}
		}
	}
}

// Tests wrap the handler, and look at forms in passing.
func TestLoginAfterAnotherHandlerHasParsedTheForm(t *testing.T) {
	handler := New(recordedBundle(t), Options{})
	platform := serveHandler(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.FormValue("from_date")
		handler.ServeHTTP(w, r)
	}))
	body := "--x\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nadmin\r\n" +
		"--x\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\n" + DefaultPassword + "\r\n--x--\r\n"
	if got := platform.do(http.MethodPost, "/api/v1/login/creds", "multipart/form-data; boundary=x", body); got.status != http.StatusOK {
		t.Errorf("multipart form: %s", got)
	}
	if got := platform.as("org-2").get("/api/v1/login/validate"); got.status != http.StatusOK {
		t.Errorf("URL-encoded form: %s", got)
	}
}

func TestMultipartLogin(t *testing.T) {
	platform := serveBundle(t, recordedBundle(t), Options{})
	body := "--x\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nadmin\r\n" +
		"--x\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\n" + DefaultPassword + "\r\n--x--\r\n"
	if got := platform.do(http.MethodPost, "/api/v1/login/creds", "multipart/form-data; boundary=x", body); got.status != http.StatusOK {
		t.Errorf("multipart form: %s", got)
	}
	if got := platform.do(http.MethodPost, "/api/v1/login/creds?x=%zz", "multipart/form-data; boundary=x", body); got.status != http.StatusOK {
		t.Errorf("beside a query that is none: %s", got)
	}
	if got := platform.do(http.MethodPost, "/api/v1/login/creds", "multipart/form-data", body); got.status != http.StatusBadRequest {
		t.Errorf("multipart form without boundary: %s", got)
	}
}
