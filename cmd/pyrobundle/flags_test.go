package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestByteRate(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "2MB": 2_000_000, "2MB/s": 2_000_000, "500kB": 500_000, "500k": 500_000, "1.5M": 1_500_000, "1MiB": 1 << 20, "64KiB": 64 << 10,
		"1GB": 1e9, "1234": 1234, "1234B": 1234, " 2 mb ": 2_000_000,
	} {
		var rate byteRate
		if err := rate.Set(text); err != nil || rate.bytesPerSecond != want {
			t.Errorf("Set(%q) = %d, %v; want %d", text, rate.bytesPerSecond, err, want)
		}
	}
	for _, text := range []string{"", "fast", "-1", "MB", "nan", "inf", "1e300", "2 Mbit", "0.5"} {
		var rate byteRate
		if err := rate.Set(text); err == nil {
			t.Errorf("Set(%q) = %d, want an error", text, rate.bytesPerSecond)
		}
	}
}

func TestSequenceList(t *testing.T) {
	file := writeFile(t, "12\n34,\t56\r\n12\n", 0o600)
	for text, want := range map[string][]int64{"1": {1}, "3,1, 2": {3, 1, 2}, "5 5": {5}, file: {12, 34, 56}} {
		var list sequenceList
		if err := list.Set(text); err != nil || !cmp.Equal(list.ids, want) {
			t.Errorf("Set(%q) = %v, %v; want %v", text, list.ids, err, want)
		}
	}
	for _, text := range []string{"", ",", "0", "-1", "1.5", "99999999999999999999", "no-such-file", writeFile(t, "1 two", 0o600)} {
		var list sequenceList
		if err := list.Set(text); err == nil {
			t.Errorf("Set(%q) = %v, want an error", text, list.ids)
		}
	}
}

func TestHumanBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.00 kB", 1234: "1.23 kB", 9996: "10.0 kB", 250_000: "250 kB", 999_999: "1.00 MB", 259_000_000: "259 MB"} {
		if got := humanBytes(n); got != want {
			t.Errorf("humanBytes(%d) = %q, want %q", n, got, want)
		}
	}
}
