package serve_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"pyrobundle/internal/sandbox"
	"pyrobundle/serve"
	"pyrobundle/store"
)

// A test of another project gets a platform to talk to from a bundle in one line.
func ExampleNew() {
	bundle, remove := exampleBundle()
	defer remove()

	platform := httptest.NewServer(serve.New(bundle, serve.Options{}))
	defer platform.Close()

	token := struct {
		AccessToken string `json:"access_token"`
	}{}
	answer, err := http.PostForm(platform.URL+"/api/v1/login/creds", url.Values{"username": {"org-2"}, "password": {serve.DefaultPassword}})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if err := json.NewDecoder(answer.Body).Decode(&token); err != nil {
		log.Fatal(err)
	}
	fmt.Println("logged in:", answer.Status, strings.Count(token.AccessToken, ".") == 2)

	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, platform.URL+"/api/v1/cameras/", http.NoBody)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token.AccessToken)
	answer, err = http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var cameras []struct {
		ID   int64  `json:"id"`
		Name string `json:"name"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&cameras); err != nil {
		log.Fatal(err)
	}
	fmt.Println("organization 2 has", cameras)
	// Output:
	// logged in: 200 OK true
	// organization 2 has [{1 mont-lozère-01} {2 serre-de-barre-02}]
}

// The accounts of a bundle, where none are given: an administrator, and one of each organization.
func ExampleDefaultAccounts() {
	bundle, remove := exampleBundle()
	defer remove()

	accounts, err := serve.DefaultAccounts(context.Background(), bundle)
	if err != nil {
		log.Fatal(err)
	}
	for _, account := range accounts {
		fmt.Println(account.Login)
	}
	// Output:
	// admin
	// org-1
	// org-2
	// org-3
	// org-4
}

// exampleBundle is a bundle to serve, in place of a fetched one.
func exampleBundle() (bundle *store.Bundle, remove func()) {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	path := filepath.Join(dir, "pyronear.bundle")
	if err := sandbox.WriteBundle(context.Background(), path, sandbox.WorldOptions{ImageBytes: 1000}); err != nil {
		log.Fatal(err)
	}
	if bundle, err = store.Open(path); err != nil {
		log.Fatal(err)
	}
	return bundle, func() {
		_ = bundle.Close()
		_ = os.RemoveAll(dir)
	}
}
