package annotation

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"pyrobundle/internal/httpapi"
)

// listing is a Client of an API whose lists of sequences are what answer says.
func listing(t *testing.T, answer func(page string) string) *Client {
	t.Helper()
	return serving(t, func(number, _ int) string { return answer(strconv.Itoa(number)) })
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

// TestAPageTooLargeIsReadInParts: 100 sequences, with annotations of a thousand boxes each, exceed what one answer may have.
func TestAPageTooLargeIsReadInParts(t *testing.T) {
	const rows = 230
	long := strings.Repeat("x", 100<<10)
	asked := 0
	client := serving(t, func(number, size int) string {
		asked++
		var items []string
		for id := (number-1)*size + 1; id <= min(number*size, rows); id++ {
			name := ""
			if id > 100 && id <= 200 { // the second page alone is long
				name = long
			}
			items = append(items, fmt.Sprintf(`{"id":%d,"camera_name":"%s"}`, id, name))
		}
		return fmt.Sprintf(`{"items":[%s],"total":%d,"pages":%d}`, strings.Join(items, ","), rows, (rows+size-1)/size)
	})
	var next int64 = 1
	for s, err := range client.Sequences(t.Context(), SequenceFilter{Annotations: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if s.ID != next || (s.CameraName != "") != (s.ID > 100 && s.ID <= 200) {
			t.Fatalf("sequence %d, want %d", s.ID, next)
		}
		next++
	}
	if next != rows+1 || asked != 5 { // 100, 100 too large, then 50, 50, 30
		t.Errorf("%d sequences in %d requests, want %d in 5", next-1, asked, rows)
	}
}

// TestAPageTooLargeByItselfIsAnError: one sequence that is too long ends the list, at whatever place it is.
func TestAPageTooLargeByItselfIsAnError(t *testing.T) {
	long := strings.Repeat("x", 9<<20)
	client := serving(t, func(number, size int) string {
		var items []string
		for id := (number-1)*size + 1; id <= min(number*size, 150); id++ {
			name := ""
			if id == 127 {
				name = long
			}
			items = append(items, fmt.Sprintf(`{"id":%d,"camera_name":"%s"}`, id, name))
		}
		return fmt.Sprintf(`{"items":[%s],"total":150,"pages":%d}`, strings.Join(items, ","), (150+size-1)/size)
	})
	var next int64 = 1
	for s, err := range client.Sequences(t.Context(), SequenceFilter{}) {
		if err != nil {
			if !errors.Is(err, httpapi.ErrTooLarge) || next != 127 {
				t.Errorf("after %d sequences: %v", next-1, err)
			}
			return
		}
		if s.ID != next {
			t.Fatalf("sequence %d, want %d", s.ID, next)
		}
		next++
	}
	t.Error("the list was taken for whole")
}

// TestAListThatKeepsRowsBackIsReadAgain: rows of one time change places between two pages, and others appear on a page that
// was read already. A row that does not come must not be taken for one that is not there.
func TestAListThatKeepsRowsBackIsReadAgain(t *testing.T) {
	for name, c := range map[string]struct {
		list func(request int) []int // the rows as they are at a request, in its order
		want int
	}{
		"two change places": {func(request int) []int {
			rows := numbers(1, 150)
			if request == 2 {
				rows[99], rows[100] = rows[100], rows[99]
			}
			return rows
		}, 150},
		"one appears on the page before": {func(request int) []int {
			if request == 1 {
				return numbers(2, 150)
			}
			return numbers(1, 150)
		}, 150},
		"one of the page before goes": {func(request int) []int {
			if request == 1 {
				return numbers(1, 150)
			}
			return numbers(2, 150)
		}, 150},
		"one goes before it comes": {func(request int) []int { // of the next page: nobody has seen it
			if request == 1 {
				return numbers(1, 150)
			}
			return numbers(1, 149)
		}, 149},
		"one goes unseen, and moves another": {func(request int) []int {
			switch request {
			case 1:
				return numbers(1, 250)
			case 2:
				return append(numbers(1, 99), numbers(101, 250)...)
			default: // 101 has moved to the page that was read, and the next goes before it comes
				return append(numbers(1, 99), numbers(101, 249)...)
			}
		}, 249},
	} {
		t.Run(name, func(t *testing.T) {
			request := 0
			client := serving(t, func(number, size int) string {
				request++
				rows := c.list(request)
				var items []string
				for _, id := range rows[min((number-1)*size, len(rows)):min(number*size, len(rows))] {
					items = append(items, fmt.Sprintf(`{"id":%d}`, id))
				}
				return fmt.Sprintf(`{"items":[%s],"total":%d,"pages":%d}`, strings.Join(items, ","), len(rows), (len(rows)+size-1)/size)
			})
			ids := map[int64]bool{}
			for s, err := range client.Sequences(t.Context(), SequenceFilter{}) {
				if err != nil {
					t.Fatal(err)
				}
				if ids[s.ID] {
					t.Errorf("sequence %d twice", s.ID)
				}
				ids[s.ID] = true
			}
			if len(ids) != c.want {
				t.Errorf("%d sequences, want %d", len(ids), c.want)
			}
		})
	}
	t.Run("one never comes", func(t *testing.T) {
		client := serving(t, func(int, int) string { return `{"items":[{"id":1},{"id":2}],"total":3,"pages":1}` })
		var last error
		for _, err := range client.Detections(t.Context(), 1) {
			last = err
		}
		if last == nil || !strings.Contains(last.Error(), "the list has 3 rows, of which 2 came") {
			t.Errorf("error = %v", last)
		}
	})
}

func numbers(from, to int) []int {
	list := make([]int, 0, to-from+1)
	for n := from; n <= to; n++ {
		list = append(list, n)
	}
	return list
}

// TestAnAnnotationsAnswerWithoutListIsNone: taken for "none there", a person's annotation would not be seen.
func TestAnAnnotationsAnswerWithoutListIsNone(t *testing.T) {
	client := serving(t, func(int, int) string { return `{}` })
	if got, err := client.AnnotationOf(t.Context(), 1); err == nil {
		t.Errorf("annotation = %v, want an error", got)
	}
}

// serving is a Client of an API whose lists are what answer says for a page's number and size.
func serving(t *testing.T, answer func(number, size int) string) *Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		number, _ := strconv.Atoi(r.URL.Query().Get("page")) // 0 where there is none
		size, _ := strconv.Atoi(r.URL.Query().Get("size"))
		switch {
		case strings.HasSuffix(r.URL.Path, "/login"):
			_, _ = w.Write([]byte(`{"access_token":"t"}`))
		case number == 0 && size == 1:
			_, _ = w.Write([]byte(`{"items":[{"platform_alert_id":1}],"pages":1}`))
		default:
			_, _ = w.Write([]byte(answer(number, size)))
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
