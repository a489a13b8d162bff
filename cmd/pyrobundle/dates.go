package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"pyrobundle/store"
)

// dateFlags are --date-from and --date-end: UTC days, both included.
type dateFlags struct {
	from, end dayFlag
}

// addFlags adds the range of a command that must have one.
func (d *dateFlags) addFlags(flags *pflag.FlagSet, now func() time.Time) {
	d.add(flags, now, "", "default today")
}

// addFilter adds the range of a command that takes all days where none are given.
func (d *dateFlags) addFilter(flags *pflag.FlagSet, now func() time.Time) {
	d.add(flags, now, "; default: from the beginning", "default: to the end")
}

func (d *dateFlags) add(flags *pflag.FlagSet, now func() time.Time, openFrom, openEnd string) {
	d.from.now, d.end.now = now, now
	flags.Var(&d.from, "date-from", "first UTC day: YYYY-MM-DD, today, yesterday, or -7d for seven days ago"+openFrom)
	flags.Var(&d.end, "date-end", "last UTC day, included; "+openEnd)
}

// days returns the range of a command that must have one.
func (d *dateFlags) days(command string) (from, to store.Day, err error) {
	if d.from.day == "" {
		return "", "", usagef("%s needs --date-from YYYY-MM-DD (also today, yesterday, -7d)", command)
	}
	to = d.end.day
	if to == "" {
		to = store.DayOf(d.from.now())
	}
	return d.from.day, to, checkOrder(d.from.day, to)
}

// filter returns the range of a command that needs none; an open side is empty.
func (d *dateFlags) filter() (from, to store.Day, err error) {
	return d.from.day, d.end.day, checkOrder(d.from.day, d.end.day)
}

// checkOrder refuses a range that ends before it begins, in the words of the ingestion guide.
func checkOrder(from, to store.Day) error {
	if from != "" && to != "" && from > to {
		return usagef("Invalid combination of --date-from and --date-end parameters: %s is after %s; give the earlier day first", from, to)
	}
	return nil
}

// dayFlag is a day as people write one. The words count from the clock's UTC day, as the platform's days do.
type dayFlag struct {
	day store.Day
	now func() time.Time
}

// Set accepts YYYY-MM-DD, today, yesterday and -Nd.
func (f *dayFlag) Set(s string) error {
	today := f.now().UTC()
	switch s {
	case "today":
		f.day = store.DayOf(today)
		return nil
	case "yesterday":
		f.day = store.DayOf(today.AddDate(0, 0, -1))
		return nil
	}
	if digits, ok := strings.CutPrefix(s, "-"); ok {
		if digits, ok = strings.CutSuffix(digits, "d"); ok {
			if n, err := strconv.ParseUint(digits, 10, 16); err == nil {
				f.day = store.DayOf(today.AddDate(0, 0, -int(n)))
				return nil
			}
		}
	}
	day, err := store.ParseDay(s)
	if err != nil {
		return fmt.Errorf("want YYYY-MM-DD, such as 2024-01-31 (or today, yesterday, -7d)")
	}
	f.day = day
	return nil
}

func (f *dayFlag) String() string { return string(f.day) }

// Type is the placeholder in help.
func (f *dayFlag) Type() string { return "day" }
