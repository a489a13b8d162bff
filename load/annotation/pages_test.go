package annotation

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// listing is a Client of an API whose lists of sequences are what answer says.
func listing(t *testing.T, answer func(page string) string) *Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/login"):
			_, _ = w.Write([]byte(`{"access_token":"t"}`))
		case r.URL.Query().Get("size") == "1":
			_, _ = w.Write([]byte(`{"items":[{"platform_alert_id":1}],"pages":1}`))
		default:
			_, _ = w.Write([]byte(answer(r.URL.Query().Get("page"))))
		}
	}))
	t.Cleanup(server.Close)
	client, err := Dial(t.Context(), Config{BaseURL: server.URL, Login: "a", Password: "b"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// TestWhatIsNoListIsNoEmptyList: taken for one, a run would have nothing to do and say that all is well.
func TestWhatIsNoListIsNoEmptyList(t *testing.T) {
	for _, text := range []string{`{}`, `{"items":null,"pages":0}`, `{"items":{},"pages":1}`, `{"detail":"x"}`, `{"items":[` + strings.Repeat("{},", PageSize) + `{}],"pages":1}`} {
		client := listing(t, func(string) string { return text })
		failed := false
		for _, err := range client.Sequences(t.Context(), SequenceFilter{}) {
			failed = failed || err != nil
		}
		if !failed {
			t.Errorf("%.40s was taken for a list", text)
		}
	}
}

// TestAListWithoutEndEnds, with an error that says so.
func TestAListWithoutEndEnds(t *testing.T) {
	client := listing(t, func(page string) string { return fmt.Sprintf(`{"items":[{"id":%s}],"pages":2000000000}`, page) })
	rows, last := 0, error(nil)
	for _, err := range client.Sequences(t.Context(), SequenceFilter{}) {
		if err != nil {
			last = err
			break
		}
		rows++
	}
	if rows != maxPages || last == nil || !strings.Contains(last.Error(), "does not end") {
		t.Errorf("%d rows, then %v", rows, last)
	}
}
