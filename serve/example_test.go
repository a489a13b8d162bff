package serve_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"pyrobundle/serve"
	"pyrobundle/store"
)

// A test of another project gets a platform to talk to from a bundle in one line.
func ExampleNew() {
	bundle, err := store.Open("pyronear.bundle")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = bundle.Close() }()

	platform := httptest.NewServer(serve.New(bundle, serve.Options{}))
	defer platform.Close()

	answer, err := http.Get(platform.URL + "/status")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = answer.Body.Close() }()
	fmt.Println(answer.Status)
}
