package access

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// known returns a user with a connection.
func known(t *testing.T, u *users, uid uint32) *User {
	t.Helper()
	one, err := u.connect(uid)
	if err != nil {
		t.Fatal(err)
	}
	return one
}

// most counts how often take succeeds, at most limit times.
func most(t *testing.T, limit int, take func() error) int {
	t.Helper()
	for n := range limit {
		if err := take(); err != nil {
			if !errors.Is(err, queue.ErrOverloaded) {
				t.Fatal(err)
			}
			return n
		}
	}
	return limit
}

// Of 800, one user gets 700, and those who come later divide what is left; what is given back is there for all.
func TestSharesOfWaitingLeases(t *testing.T) {
	u := newUsers(Shares{WaitingLeases: 800}, 0)
	greedy, second, root := known(t, u, 1), known(t, u, 2), known(t, u, 0)
	lease := func(one *User) func() error { return func() error { return u.startLease(one) } }
	if got := most(t, 800, lease(greedy)); got != 700 {
		t.Errorf("one user has %d", got)
	}
	if got := most(t, 800, lease(second)); got != 88 {
		t.Errorf("the second has %d", got)
	}
	if got := most(t, 800, lease(root)); got != 11 {
		t.Errorf("root has %d, and is no exception", got)
	}
	// What is given back is for who has least.
	for range 400 {
		u.endLease(greedy)
	}
	if got := most(t, 800, lease(second)); got != 340 {
		t.Errorf("the second gets %d more", got)
	}
	if got := most(t, 800, lease(greedy)); got > 20 {
		t.Errorf("the greedy one, who has 300, gets %d of the rest", got)
	}
}

func TestConfiguredShares(t *testing.T) {
	u := newUsers(Shares{WaitingLeases: 800, UserWaitingLeases: 10, UserInFlightBytes: 1000, Connections: 10, UserConnections: 2}, 0)
	one := known(t, u, 1)
	if got := most(t, 800, func() error { return u.startLease(one) }); got != 10 {
		t.Errorf("%d leases wait", got)
	}
	if got := most(t, 100, func() error { return u.reserve(one, 100, 1<<20, false) }); got != 10 {
		t.Errorf("%d times 100 bytes", got)
	}
	if got := most(t, 10, func() error { _, err := u.connect(1); return err }); got != 1 {
		t.Errorf("%d more connections", got)
	}
}

// The large requests of a user do not keep its small ones out, nor those of others.
func TestSharesOfBytes(t *testing.T) {
	u := newUsers(Shares{}, 0)
	one, two := known(t, u, 1), known(t, u, 2)
	const limit = 16 << 20
	used := int64(0)
	reserve := func(who *User, n int64, small bool) func() error {
		return func() error {
			free := limit - used
			if !small {
				free -= limit / 8
			}
			if n > free {
				return busy("full")
			}
			err := u.reserve(who, n, free, small)
			if err == nil {
				used += n
			}
			return err
		}
	}
	large := most(t, 1000, reserve(one, 1<<20, false))
	if large < 12 || large > 14 {
		t.Errorf("one user has %d MiB in large requests", large)
	}
	if got := most(t, 1000, reserve(one, 1<<10, true)); got < 1000 {
		t.Errorf("and only %d KiB in small ones", got)
	}
	if got := most(t, 100, reserve(two, 1<<10, true)); got < 100 {
		t.Errorf("another one has %d KiB", got)
	}
}

func TestRateOfRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUsers(Shares{UserRequests: 50}, 9)
		one, root, own := known(t, u, 1), known(t, u, 0), known(t, u, 9)
		time.Sleep(time.Minute)
		admit := func(who *User) func() error { return func() error { return u.admit(who) } }
		if got := most(t, 1000, admit(one)); got != 50 {
			t.Errorf("%d requests at once", got)
		}
		time.Sleep(time.Second / 2)
		if got := most(t, 1000, admit(one)); got != 25 {
			t.Errorf("%d more after half a second", got)
		}
		for _, free := range []*User{root, own} {
			if got := most(t, 1000, admit(free)); got != 1000 {
				t.Errorf("user %d: %d requests", free.uid, got)
			}
		}
		// A new connection brings no new requests.
		u.disconnect(one)
		if got := most(t, 1000, admit(known(t, u, 1))); got != 0 {
			t.Errorf("%d requests after connecting again", got)
		}
	})
}

// Users come and go, with a rate to be remembered, and without.
func TestUsersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, s := range []Shares{{}, {UserRequests: 1}} {
			u := newUsers(s, 0)
			for uid := range uint32(3000) {
				u.disconnect(known(t, u, uid))
				if len(u.byUID) > 2*maxIdleUsers {
					t.Fatalf("%d users are remembered", len(u.byUID))
				}
			}
			time.Sleep(2 * rateWindow)
			for uid := range uint32(2 * maxIdleUsers) {
				u.disconnect(known(t, u, uid))
			}
			if u.conns != 0 {
				t.Errorf("%d connections", u.conns)
			}
		}
	})
}

// What many take and give back at once is nothing in the end.
func TestSharesAddUp(t *testing.T) {
	u := newUsers(Shares{Connections: 1000, WaitingLeases: 50, Holders: 20}, 0)
	var all sync.WaitGroup
	for uid := range uint32(8) {
		all.Go(func() {
			for range 2000 {
				one, err := u.connect(uid % 3)
				if err != nil {
					continue
				}
				if u.startLease(one) == nil {
					u.endLease(one)
				}
				if u.reserve(one, 10, 100, uid%2 == 0) == nil {
					if uid%2 == 0 {
						one.smallBytes.Add(-10)
					} else {
						one.bytes.Add(-10)
					}
				}
				if h, err := u.hold(uid % 3); err == nil {
					u.unhold(h)
				}
				u.disconnect(one)
			}
		})
	}
	all.Wait()
	if u.conns != 0 || u.holders != 0 || u.waiting.Load() != 0 || len(u.byUID) != 0 {
		t.Errorf("left: %d connections, %d holders, %d leases, %d users", u.conns, u.holders, u.waiting.Load(), len(u.byUID))
	}
}

func TestRefusalsAreLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r refusals
		logged, counted := 0, 0
		add := func(uid uint32) bool {
			n, _, due := r.add(uid)
			if due {
				logged++
				counted += n
			}
			return due
		}
		for range 100 {
			add(1)
		}
		if logged != 1 || counted != 1 || !add(2) {
			t.Errorf("logged %d times, %d refusals", logged, counted)
		}
		time.Sleep(refusalEvery)
		if !add(1) || counted != 102 { // 1 and 1 before, and 99 with this one.
			t.Errorf("after a minute %d refusals are logged", counted)
		}
		// However many users there are, memory and log are bounded.
		logged = 0
		for uid := range uint32(3000) {
			add(uid)
		}
		if logged > maxRefusedUsers+1 || len(r.byUID) > maxRefusedUsers {
			t.Errorf("logged %d times; %d users are remembered", logged, len(r.byUID))
		}
		time.Sleep(refusalEvery)
		if !add(2999) {
			t.Error("a minute later a user is not logged")
		}
	})
}
