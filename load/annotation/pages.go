package annotation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"pyrobundle/internal/httpapi"
)

// page is the API's envelope of a list (contract B.0).
type page[T any] struct {
	Items items[T] `json:"items"`
	Pages int      `json:"pages"`
	Total int      `json:"total"`
}

// maxPages bounds a list, so that one without end ends: 200,000 rows are more than all cameras send in three days, and more
// than a sequence can have.
const maxPages = 2000

// items are the rows of a page. More than were asked for are refused before they take memory.
type items[T any] []T

// UnmarshalJSON implements json.Unmarshaler.
func (rows *items[T]) UnmarshalJSON(data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if start, err := decoder.Token(); err != nil || start != json.Delim('[') {
		return errors.New("items that are no list")
	}
	*rows = make(items[T], 0, PageSize)
	for decoder.More() {
		if len(*rows) == PageSize {
			return fmt.Errorf("a page of more than the %d rows asked for", PageSize)
		}
		var row T
		if err := decoder.Decode(&row); err != nil {
			return err
		}
		*rows = append(*rows, row)
	}
	return nil
}

// leastObject is a bit less than the shortest objects of a row take as text, in bytes: a box of a track has 45, a contributor
// 23.
const leastObject = 20

// hollow refuses a row that is made of objects with next to nothing in them. Of "{}" and "null" an answer of a size that is
// allowed holds millions, which take twenty times as much once they are decoded, and more to be compared.
func hollow(row []byte) error {
	const others = 16 // the row itself, and what it has no value for
	if n := bytes.Count(row, []byte("{")) + bytes.Count(row, []byte("null")); n > len(row)/leastObject+others {
		return fmt.Errorf("a row of %d objects in %d bytes", n, len(row))
	}
	return nil
}

// maxReadings bounds how often a list is read that keeps rows back. Of rows of one time, which the API may give in another
// order for each page, a reading misses a third at worst.
const maxReadings = 10

// pages yields a list item by item, each id once: rows that are added while a list is read move others to the next page.
//
// The API orders rows by a time alone. So rows of one time may change places between two pages, one that is committed late
// may appear on a page that was read, and one that is deleted moves others there. Where fewer rows have come than the list
// has, it is read again from the start, until all have come that it ever had, or one reading brings all that it has by then:
// those that somebody deletes unseen never come. A list that is not whole after that is an error, because a row that did not
// come must not be taken for one that is not there.
func pages[T any](ctx context.Context, c *Client, path string, query url.Values, smallest int, id func(T) int64) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		last := make(map[int64]int) // id → the reading in which it came last
		most := 0                   // rows that it ever had
		for number := range maxReadings {
			came, total := 0, 0
			for got, err := range reading(ctx, c, path, query, smallest, id) {
				if err != nil {
					var none T
					yield(none, err)
					return
				}
				total = max(total, got.Total)
				for _, item := range got.Items {
					before, seen := last[id(item)]
					if seen && before == number {
						continue
					}
					last[id(item)] = number
					came++
					if !seen && !yield(item, nil) {
						return
					}
				}
			}
			if most = max(most, total); came >= total || len(last) >= most {
				return
			}
		}
		var none T
		yield(none, fmt.Errorf("GET %s: the list has %s rows, of which %d came; try again when nobody writes to it",
			path, c.Redact(strconv.Itoa(most)), len(last)))
	}
}

// reading yields the pages of a list once, in order. It asks for no page beyond the last, and ends when a page brings
// nothing new. Where a page is too large to be taken, because the annotations of its sequences are long, it asks for
// smaller ones from there on, down to the smallest that make sense for such rows.
func reading[T any](ctx context.Context, c *Client, path string, query url.Values, smallest int, id func(T) int64) iter.Seq2[page[T], error] {
	return func(yield func(page[T], error) bool) {
		read := make(map[int64]bool)
		for number, size := 1, PageSize; ; number++ {
			query.Set("page", strconv.Itoa(number))
			query.Set("size", strconv.Itoa(size))
			var got page[T]
			err := c.api.JSON(ctx, httpapi.Request{Method: http.MethodGet, Path: path, Query: query}, &got)
			switch {
			case errors.Is(err, httpapi.ErrTooLarge) && size > smallest:
				// What was read is number-1 pages of this size. Halves of an odd size would not begin where those end.
				before := (number - 1) * size
				for size /= 2; before%size != 0; size-- {
				}
				number = before / size // the loop goes on to the next
				continue
			case err == nil && got.Items == nil:
				err = withoutItems(path)
			}
			if !yield(got, err) || err != nil {
				return
			}
			news := false
			for _, item := range got.Items {
				news = news || !read[id(item)]
				read[id(item)] = true
			}
			switch {
			case number >= got.Pages || !news:
				return
			case number == maxPages:
				yield(got, fmt.Errorf("GET %s: the list does not end: %d pages of %d rows were read", path, maxPages, size))
				return
			}
		}
	}
}

// withoutItems is what an answer ends with that is no list. Taken for an empty one, a run would have nothing to do.
func withoutItems(path string) error { return fmt.Errorf("GET %s: an answer without items", path) }
