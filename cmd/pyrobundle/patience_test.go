package main

import (
	"log/slog"
	"testing"
	"time"
)

// TestALostAnswerIsWaitedForUpToAQuarterOfRetryFor, and two seconds at most.
func TestALostAnswerIsWaitedForUpToAQuarterOfRetryFor(t *testing.T) {
	for retryFor, want := range map[time.Duration]time.Duration{
		defaultRetryFor: 2 * time.Second, 10 * time.Minute: 2 * time.Second, 8 * time.Second: 2 * time.Second,
		4 * time.Second: time.Second, 200 * time.Millisecond: 50 * time.Millisecond,
	} {
		run := runFlags{connect: connectFlags{retryFor: span{duration: retryFor}}}
		if got := loadConfig(annotationFlags{}, run, slog.New(slog.DiscardHandler)).Patience; got != want {
			t.Errorf("--retry-for %s: it waits %s, want %s", retryFor, got, want)
		}
	}
}
