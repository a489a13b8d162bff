package main

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"pyrobundle/internal/httpapi"
)

// choice is a flag that takes one of a few words; an empty initial word is none of them.
type choice[T ~string] struct {
	value   *T
	allowed []T
}

func newChoice[T ~string](value *T, initial T, others ...T) *choice[T] {
	*value = initial
	if initial == "" {
		return &choice[T]{value: value, allowed: others}
	}
	return &choice[T]{value: value, allowed: append([]T{initial}, others...)}
}

// Set accepts a word of the list.
func (c *choice[T]) Set(s string) error {
	for _, word := range c.allowed {
		if s == string(word) {
			*c.value = word
			return nil
		}
	}
	return fmt.Errorf("want %s", strings.ReplaceAll(c.words(), "|", ", "))
}

func (c *choice[T]) String() string {
	if c.value == nil {
		return ""
	}
	return string(*c.value)
}

// Type is the placeholder in help: the words themselves where they are few.
func (c *choice[T]) Type() string {
	if words := c.words(); len(words) <= 30 {
		return words
	}
	return "name"
}

func (c *choice[T]) words() string { return strings.Join(c.list(), "|") }

func (c *choice[T]) list() []string {
	words := make([]string, len(c.allowed))
	for i, word := range c.allowed {
		words[i] = string(word)
	}
	return words
}

const defaultBundle = "pyronear.bundle"

// bundleFlag is --bundle. An empty name, as of a script's unset variable, is none: it would mean the directory at hand.
type bundleFlag struct{ path string }

func (b *bundleFlag) addFlags(flags *pflag.FlagSet) {
	b.path = defaultBundle
	flags.Var(b, "bundle", "the bundle's `directory`")
}

// Set accepts any name but an empty one.
func (b *bundleFlag) Set(s string) error {
	if s == "" {
		return fmt.Errorf("want the bundle's directory")
	}
	b.path = s
	return nil
}

func (b *bundleFlag) String() string { return b.path }

// Type is the placeholder in help.
func (b *bundleFlag) Type() string { return "directory" }

// outputFlags are --loglevel, --json and --no-progress.
type outputFlags struct {
	loglevel   string
	json       bool
	noProgress bool
}

func (o *outputFlags) addFlags(flags *pflag.FlagSet) {
	flags.Var(newChoice(&o.loglevel, "info", "debug", "warning", "error"), "loglevel", "least level of the log lines on stderr")
	flags.BoolVar(&o.json, "json", false, "print one JSON object instead of text (docs/json-output.md)")
	flags.BoolVar(&o.noProgress, "no-progress", false, "plain progress lines instead of bars")
}

func (o *outputFlags) level() slog.Level {
	switch o.loglevel {
	case "debug":
		return slog.LevelDebug
	case "warning":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}

// connectFlags are what every conversation with an API has.
type connectFlags struct {
	retryFor span
	envFile  envFileFlag
}

const defaultRetryFor = 2 * time.Minute // covers a server's restart; the next run takes up the rest

func (c *connectFlags) addFlags(flags *pflag.FlagSet) {
	c.retryFor.duration = defaultRetryFor
	flags.Var(&c.retryFor, "retry-for", "longest time to repeat one request, such as 30s or 10m")
	c.envFile.addFlags(flags)
}

func (c *connectFlags) retry() httpapi.Retry { return httpapi.Retry{For: c.retryFor.duration} }

// runFlags are what fetching and loading have in common.
type runFlags struct {
	connect connectFlags
	workers int
	dryRun  bool
	strict  bool
}

func (r *runFlags) addFlags(flags *pflag.FlagSet) {
	flags.Var(newBounded(&r.workers, 16, 1), "max-workers", "requests in flight at once, at least 1")
	r.connect.addFlags(flags)
	flags.BoolVar(&r.dryRun, "dry-run", false, "say what would be done; write nothing")
	flags.BoolVar(&r.strict, "strict", false, "exit 3 also for what is incomplete for good")
}

// bounded is a whole number with a lower bound.
type bounded struct {
	value *int
	least int
}

func newBounded(value *int, initial, least int) *bounded {
	*value = initial
	return &bounded{value: value, least: least}
}

// Set accepts whole numbers from the bound on.
func (b *bounded) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < b.least {
		return fmt.Errorf("want a whole number, at least %d", b.least)
	}
	*b.value = n
	return nil
}

func (b *bounded) String() string {
	if b.value == nil {
		return "0"
	}
	return strconv.Itoa(*b.value)
}

// Type is the placeholder in help.
func (b *bounded) Type() string { return "number" }

// span is a length of time above zero.
type span struct{ duration time.Duration }

// Set accepts Go durations, such as 90s or 1h30m.
func (s *span) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return fmt.Errorf("want a time, such as 30s or 10m")
	}
	s.duration = d
	return nil
}

func (s *span) String() string { return s.duration.String() }

// Type is the placeholder in help.
func (s *span) Type() string { return "time" }

// fraction is a number from 0 to 1.
type fraction struct{ value *float64 }

func newFraction(value *float64, initial float64) *fraction {
	*value = initial
	return &fraction{value: value}
}

// Set accepts numbers from 0 to 1.
func (f *fraction) Set(s string) error {
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || !(x >= 0 && x <= 1) { // written so that NaN is refused
		return fmt.Errorf("want a number from 0 to 1")
	}
	*f.value = x
	return nil
}

func (f *fraction) String() string {
	if f.value == nil {
		return "0"
	}
	return strconv.FormatFloat(*f.value, 'f', -1, 64)
}

// Type is the placeholder in help.
func (f *fraction) Type() string { return "fraction" }

// byteRate is a transfer rate in bytes per second, written 500kB, 2MB, 2MB/s or 1MiB; 0 is unlimited.
type byteRate struct{ bytesPerSecond int64 }

// Set accepts a number with an optional unit: k, M, G (powers of 1000) or Ki, Mi, Gi (of 1024), with or without B and /s.
func (r *byteRate) Set(s string) error {
	text := strings.TrimSuffix(strings.TrimSpace(s), "/s")
	text = strings.TrimSuffix(strings.ToLower(text), "b")
	scale := 1.0
	for _, unit := range []struct {
		suffix string
		scale  float64
	}{{"ki", 1 << 10}, {"mi", 1 << 20}, {"gi", 1 << 30}, {"k", 1e3}, {"m", 1e6}, {"g", 1e9}} {
		if rest, ok := strings.CutSuffix(text, unit.suffix); ok {
			text, scale = rest, unit.scale
			break
		}
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || !(n >= 0) || n*scale > math.MaxInt32*1e3 {
		return fmt.Errorf("want bytes per second, such as 500kB or 2MB")
	}
	if n > 0 && n*scale < 1 {
		return fmt.Errorf("want at least one byte per second, or 0 for no limit")
	}
	r.bytesPerSecond = int64(n * scale)
	return nil
}

func (r *byteRate) String() string {
	if r.bytesPerSecond == 0 {
		return "0"
	}
	return strconv.FormatInt(r.bytesPerSecond, 10) + "B"
}

// Type is the placeholder in help.
func (r *byteRate) Type() string { return "rate" }

// sequenceList is a list of sequence ids, separated by commas or blanks, or the name of a file that holds one.
type sequenceList struct{ ids []int64 }

// Set reads the list; where a file of that name exists it is the file that is meant (contract C.2).
func (l *sequenceList) Set(s string) error {
	text, from := s, ""
	if data, err := os.ReadFile(s); err == nil {
		text, from = string(data), " in "+s
	}
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n;", r) })
	if len(words) == 0 {
		return fmt.Errorf("want sequence ids, or a file of them; found none%s", from)
	}
	ids := make([]int64, 0, len(words))
	seen := make(map[int64]bool, len(words))
	for _, word := range words {
		id, err := strconv.ParseInt(word, 10, 64)
		if err != nil || id < 1 {
			return fmt.Errorf("want sequence ids, or a file of them; %q%s is none", word, from)
		}
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	l.ids = ids
	return nil
}

func (l *sequenceList) String() string {
	words := make([]string, len(l.ids))
	for i, id := range l.ids {
		words[i] = strconv.FormatInt(id, 10)
	}
	return strings.Join(words, ",")
}

// Type is the placeholder in help.
func (l *sequenceList) Type() string { return "ids|file" }

// idFlag is the id of a camera or an organization; 0 is any.
type idFlag struct {
	value *int64
	kind  string
}

func newID(value *int64, kind string) *idFlag { return &idFlag{value: value, kind: kind} }

// Set accepts ids, and 0.
func (f *idFlag) Set(s string) error {
	id, err := strconv.ParseInt(s, 10, 64)
	if err != nil || id < 0 {
		return fmt.Errorf("want %s id, a number; inspect lists them", f.kind)
	}
	*f.value = id
	return nil
}

func (f *idFlag) String() string {
	if f.value == nil {
		return "0"
	}
	return strconv.FormatInt(*f.value, 10)
}

// Type is the placeholder in help.
func (f *idFlag) Type() string { return "id" }
