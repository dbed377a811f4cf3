package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

var _ queue.LargeRoom = (*Budget)(nil)

const (
	claimBudget = 8 << 20 // of a memory-limit of 32 MiB
	claimLarge  = 5_000_000
)

// newCall returns a call without anything in it.
func newCall(h *Handler) *call {
	return &call{h: h, r: httptest.NewRequest(http.MethodPost, "/", http.NoBody)}
}

// A large item that is leased and a large body are not in memory at the same time
// where there is no room for both, whichever comes first.
func TestLargeItemAndLargeBodyShareRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{MaxInFlight: claimBudget})
		body := newCall(h)
		if err := body.await(claimLarge); err != nil {
			t.Fatal(err)
		}
		if h.budget.TakeLarge(claimLarge) {
			t.Fatal("there was room for an item beside a body")
		}
		body.release()
		if !h.budget.TakeLarge(claimLarge) {
			t.Fatal("there was no room for an item")
		}
		if err := newCall(h).await(claimLarge); !errors.Is(err, queue.ErrOverloaded) {
			t.Fatalf("a body beside an item: %v", err)
		}
		h.budget.GiveLarge(claimLarge)
		if n := h.budget.InFlight(); n != 0 {
			t.Errorf("%d bytes are in flight", n)
		}
	})
}

// However many bodies stand in line, an item finds room after the one that is being
// read; and then it is the turn of a body again.
func TestLargeItemsAndBodiesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{MaxInFlight: claimBudget})
		const each = 2 * time.Second
		var wg sync.WaitGroup
		var mu sync.Mutex
		var order string
		begun := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			order += what
		}
		for range 4 {
			wg.Go(func() {
				c := newCall(h)
				for c.await(claimLarge) != nil { // Refused after 10 s, it tries again.
				}
				begun("b")
				time.Sleep(each)
				c.release()
			})
		}
		synctest.Wait()
		wg.Go(func() {
			for range 3 {
				for !h.budget.TakeLarge(claimLarge) {
					time.Sleep(20 * time.Millisecond)
				}
				begun("i")
				time.Sleep(each)
				h.budget.GiveLarge(claimLarge)
			}
		})
		wg.Wait()
		if order != "bibibib" {
			t.Errorf("bodies and items had their turns in the order %q, want bibibib", order)
		}
	})
}

// A call that holds a part of the budget gets more although an item waits, which may
// be waiting for that part; and a claim that nobody renews ends.
func TestClaimKeepsOutWhoHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{MaxInFlight: claimBudget})
		holds := newCall(h)
		if err := holds.await(4 << 20); err != nil {
			t.Fatal(err)
		}
		if h.budget.TakeLarge(claimLarge) {
			t.Fatal("there was room for an item")
		}
		if err := holds.reserve(1<<20, 1<<20); err != nil {
			t.Errorf("a call that goes on: %v", err)
		}
		if err := newCall(h).reserve(1<<20, 1<<20); err == nil {
			t.Error("a body took the room that an item waits for")
		}
		if err := newCall(h).reserve(1<<10, 1<<10); err != nil {
			t.Errorf("a small body: %v", err)
		}
		start := time.Now()
		if err := newCall(h).await(1 << 20); err != nil || time.Since(start) > 2*claimFor {
			t.Errorf("when the claim had ended a body waited for %v: %v", time.Since(start), err)
		}
	})
}

// An item that is larger than all that large bodies may have takes all of it.
func TestItemLargerThanTheBudget(t *testing.T) {
	b := NewBudget(claimBudget)
	if !b.TakeLarge(100 << 20) {
		t.Fatal("an item of 100 MiB would never be leased")
	}
	if n := b.InFlight(); n != b.limitOf(smallBody+1) {
		t.Errorf("it takes %d bytes", n)
	}
	b.GiveLarge(100 << 20)
	if n := b.InFlight(); n != 0 {
		t.Errorf("%d bytes were not given back", n)
	}
}

// A large item in a list takes the room of a large body, too, one list at a time, and
// gives it back with the next page.
func TestListOfLargeItemsTakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{MaxInFlight: claimBudget})
		body := newCall(h)
		if err := body.await(claimLarge); err != nil {
			t.Fatal(err)
		}
		small := []queue.Item{{Payload: []byte("x")}}
		var read atomic.Int32
		var lists sync.WaitGroup
		for range 2 {
			lists.Go(func() {
				l := &list{c: newCall(h)}
				var r queue.ListRequest
				_, err := l.readPage(&r, func() ([]queue.Item, error) {
					if r.MaxItem < claimLarge {
						return nil, &queue.LargeItem{Bytes: claimLarge}
					}
					if l.c.reserved < claimLarge {
						t.Errorf("a large item is read while %d bytes are reserved for it", l.c.reserved)
					}
					return small, nil
				})
				if err != nil {
					t.Error(err)
				}
				read.Add(1)
				time.Sleep(time.Second)
				if _, err := l.readPage(&r, func() ([]queue.Item, error) { return small, nil }); err != nil {
					t.Error(err)
				}
				if l.c.reserved != 0 {
					t.Errorf("%d bytes are held for a page of small items", l.c.reserved)
				}
			})
		}
		time.Sleep(time.Minute)
		if read.Load() != 0 {
			t.Fatal("a list has read a large item beside a large body")
		}
		body.release()
		time.Sleep(time.Second / 2)
		if n := read.Load(); n != 1 {
			t.Fatalf("%d lists have a large item, want one", n)
		}
		lists.Wait()
		if n := h.budget.InFlight(); n != 0 {
			t.Errorf("%d bytes are in flight", n)
		}
	})
}

// However many lists wait for their turn with what each holds, all of them get there,
// and so do a large body and a large item that is leased.
func TestManyListsOfLargeItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{MaxInFlight: claimBudget})
		var all sync.WaitGroup
		begin := time.Now()
		for range 20 {
			all.Go(func() {
				c := newCall(h)
				c.w, c.rc = httptest.NewRecorder(), http.NewResponseController(httptest.NewRecorder())
				for c.await(listReserve) != nil { // Refused after 10 s, it tries again.
				}
				l := &list{c: c, reserved: listReserve, buf: []byte("what has gathered")}
				for range 3 {
					if err := l.makeRoom(claimLarge); err != nil {
						t.Error(err)
					}
					if l.reserved != listReserve || l.large != claimLarge || c.reserved != listReserve+claimLarge {
						t.Errorf("%d bytes are reserved, %d of them for the page and %d for the item", c.reserved, l.reserved, l.large)
					}
					time.Sleep(time.Second)
				}
				l.giveTurn()
				c.release()
			})
		}
		all.Go(func() {
			c := newCall(h)
			for c.await(claimLarge) != nil {
			}
			c.release()
		})
		all.Go(func() {
			for !h.budget.TakeLarge(claimLarge) {
				time.Sleep(20 * time.Millisecond)
			}
			h.budget.GiveLarge(claimLarge)
		})
		all.Wait()
		if took := time.Since(begin); took > 3*time.Minute {
			t.Errorf("it took %s", took)
		}
		if n := h.budget.InFlight(); n != 0 {
			t.Errorf("%d bytes are in flight", n)
		}
	})
}

// A list whose client is gone does not wait for room.
func TestGoneListDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{MaxInFlight: claimBudget})
		body := newCall(h)
		if err := body.await(claimLarge); err != nil {
			t.Fatal(err)
		}
		ctx, gone := context.WithCancel(t.Context())
		c := newCall(h)
		c.r = c.r.WithContext(ctx)
		time.AfterFunc(time.Second, gone)
		l := &list{c: c}
		defer l.giveTurn()
		if err := l.makeRoom(claimLarge); !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
		body.release()
	})
}
