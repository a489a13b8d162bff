package httpapi

import (
	"context"
	"errors"
	"testing"
)

func TestTurn(t *testing.T) {
	slots := make(chan struct{}, 1)
	first, second := TurnOf(slots), TurnOf(slots)
	for range 2 { // beginning twice takes one slot
		if err := first.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if second.Try() || second.Mine() || !first.Try() {
		t.Error("two have the only slot, or its holder has it no more")
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := second.Begin(over); !errors.Is(err, context.Canceled) || second.Mine() {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	second.End() // of a turn that has not begun gives nothing back
	if second.Try() {
		t.Error("the slot is free")
	}
	first.End()
	first.End()
	if first.Mine() || !second.Try() || !second.Mine() {
		t.Error("the slot was not given back")
	}
	if err := (*Turn)(nil).Begin(over); err != nil || !(*Turn)(nil).Try() {
		t.Errorf("a turn that is not needed is waited for: %v", err)
	}
}
