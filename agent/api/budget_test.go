package api_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/api"
	"github.com/kapetan-io/querator-edge/queue"
)

func TestBudgetRefusesWhatDoesNotFit(t *testing.T) {
	b := api.NewBudget(100)
	if err := b.Reserve(60, 1); err != nil {
		t.Fatal(err)
	}
	err := b.Reserve(41, 1)
	if !errors.Is(err, queue.ErrOverloaded) {
		t.Fatalf("reserved 101 of 100 bytes: %v", err)
	}
	if want := "the agent is busy: 60 bytes of requests are in flight, limit 100; try again"; err.Error() != want {
		t.Errorf("the text is %q, want %q", err, want)
	}
	if err := b.Reserve(40, 1); err != nil {
		t.Errorf("the last 40 bytes: %v", err)
	}
	b.Release(60)
	if got := b.InFlight(); got != 40 {
		t.Errorf("%d bytes in flight, want 40", got)
	}
	if err := b.Reserve(60, 1); err != nil {
		t.Errorf("after a release: %v", err)
	}
}

func TestBudgetNamesARequestThatNeverFits(t *testing.T) {
	b := api.NewBudget(100)
	err := b.Reserve(101, 101)
	if !errors.Is(err, queue.ErrOverloaded) {
		t.Fatalf("got %v", err)
	}
	want := "the request is too large for this agent: 101 bytes, and at most 100 may be in flight;" +
		" raise memory-limit or send smaller parts"
	if err.Error() != want {
		t.Errorf("the text is %q, want %q", err, want)
	}
}

func TestBudgetTakeKeepsOthersOut(t *testing.T) {
	b := api.NewBudget(100)
	b.Take(150)
	if err := b.Reserve(1, 1); err == nil {
		t.Error("a byte was reserved of a budget that is overdrawn")
	}
	b.Release(150)
	if err := b.Reserve(100, 1); err != nil {
		t.Error(err)
	}
}

func TestBudgetIsNeverOverdrawnByReserve(t *testing.T) {
	b := api.NewBudget(1000)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				if b.Reserve(300, 1) != nil {
					continue
				}
				if n := b.InFlight(); n > 1000 {
					t.Errorf("%d bytes in flight, limit 1000", n)
				}
				b.Release(300)
			}
		})
	}
	wg.Wait()
	if n := b.InFlight(); n != 0 {
		t.Errorf("%d bytes left over", n)
	}
}

func TestBudgetKeepsAShareForSmallBodies(t *testing.T) {
	b := api.NewBudget(8 << 20)
	for b.Reserve(1<<20, 5<<20) == nil {
	}
	if got := b.InFlight(); got != 7<<20 {
		t.Errorf("large bodies took %d bytes, want 7 of 8 MiB", got)
	}
	if err := b.Reserve(64<<10, 64<<10); err != nil {
		t.Errorf("a small body found no room: %v", err)
	}
}
