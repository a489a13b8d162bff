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
		{"admin", DefaultPassword, ScopeAdmin, 0},
		{"org-5", DefaultPassword, ScopeUser, 5},
		{"org-7", DefaultPassword, ScopeUser, 7},
	}
	if diff := cmp.Diff(want, accounts); diff != "" {
		t.Error(diff)
	}
}

func TestMultipartLogin(t *testing.T) {
	platform := serveBundle(t, recordedBundle(t), Options{})
	body := "--x\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nadmin\r\n" +
		"--x\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\n" + DefaultPassword + "\r\n--x--\r\n"
	if got := platform.do(http.MethodPost, "/api/v1/login/creds", "multipart/form-data; boundary=x", body); got.status != http.StatusOK {
		t.Errorf("multipart form: %s", got)
	}
	if got := platform.do(http.MethodPost, "/api/v1/login/creds", "multipart/form-data", body); got.status != http.StatusBadRequest {
		t.Errorf("multipart form without boundary: %s", got)
	}
}
