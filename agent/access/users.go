package access

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// Shares are bounds of the whole agent, and what one user may have of them; 0 for a user is the fair share (see
// the package comment).
type Shares struct {
	Connections, UserConnections     int
	WaitingLeases, UserWaitingLeases int
	// InFlightBytes are counted by who holds the budget of them (package api).
	UserInFlightBytes int64
	Holders           int
	// UserRequests is how many requests a second a user may make, 0: no limit. Root and the agent's own user are
	// not bounded by it.
	UserRequests int
}

// fairFactor is how many times what nobody has one user may have.
const fairFactor = 7

// mayTake reports whether a user that has some may take n more when so much is free. most is the most that a user
// may have by the configuration; 0 is the fair share.
func mayTake(has, n, free, most int64) bool {
	if n > free {
		return false
	}
	if most > 0 {
		return has+n <= most
	}
	return has+n <= fairFactor*free
}

// users counts what each user has. Its methods may be called from any goroutine.
type users struct {
	shares Shares
	own    uint32
	start  time.Time

	waiting atomic.Int64 // leases of all users

	mu      sync.Mutex
	conns   int
	holders int
	// byUID has the users with connections or watched processes, and some that had them a moment ago.
	byUID map[uint32]*User
}

// maxIdleUsers bounds how many users without a connection are remembered, for the rate of their requests.
const maxIdleUsers = 256

// User is what one user has. The processes of a user share it.
type User struct {
	uid uint32

	// Guarded by users.mu.
	conns   int
	holders int       // processes that are watched
	gone    time.Time // of the last connection

	waiting atomic.Int64
	// bytes are in flight, of large requests and of replies; smallBytes are of small requests.
	bytes, smallBytes atomic.Int64
	// next is when the user has made all requests that it may have made by then, in nanoseconds since the start.
	next atomic.Int64
}

func newUsers(shares Shares, own uint32) *users {
	return &users{shares: shares, own: own, start: time.Now(), byUID: make(map[uint32]*User)}
}

func busy(format string, args ...any) error {
	return &queue.Error{Kind: queue.ErrOverloaded, Op: "admit", Msg: fmt.Sprintf(format, args...)}
}

// connect counts a connection of a user.
func (u *users) connect(uid uint32) (*User, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	one := u.user(uid)
	if err := u.connectLocked(one, 1); err != nil {
		u.tidy(one)
		return nil, err
	}
	return one, nil
}

// widen makes a connection of a user count as n more.
func (u *users) widen(one *User, n int) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.connectLocked(one, n)
}

// narrow ends widen.
func (u *users) narrow(one *User, n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	one.conns -= n
	u.conns -= n
}

func (u *users) connectLocked(one *User, n int) error {
	s := &u.shares
	if free := s.Connections - u.conns; s.Connections > 0 &&
		!mayTake(int64(one.conns), int64(n), int64(free), int64(s.UserConnections)) {
		return busy("user %d has %d connections, and must leave some of %d to others; close some, then try again",
			one.uid, one.conns, s.Connections)
	}
	one.conns += n
	u.conns += n
	return nil
}

// user returns the entry of a user, made when there is none.
func (u *users) user(uid uint32) *User {
	one := u.byUID[uid]
	if one == nil {
		one = &User{uid: uid}
		u.byUID[uid] = one
	}
	return one
}

// disconnect ends a connection.
func (u *users) disconnect(one *User) {
	u.mu.Lock()
	defer u.mu.Unlock()
	one.conns--
	u.conns--
	one.gone = time.Now()
	u.tidy(one)
}

// tidy forgets a user that has nothing, unless the rate of its requests has to be remembered for a moment.
func (u *users) tidy(one *User) {
	if one.conns > 0 || one.holders > 0 {
		return
	}
	if u.shares.UserRequests == 0 {
		delete(u.byUID, one.uid)
		return
	}
	if len(u.byUID) <= maxIdleUsers {
		return
	}
	for uid, o := range u.byUID {
		if o.conns == 0 && o.holders == 0 && time.Since(o.gone) > rateWindow {
			delete(u.byUID, uid)
		}
	}
	if len(u.byUID) > 2*maxIdleUsers {
		delete(u.byUID, one.uid)
	}
}

// hold counts a process that is watched.
func (u *users) hold(uid uint32) (*User, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	one := u.user(uid)
	if !mayTake(int64(one.holders), 1, int64(u.shares.Holders-u.holders), 0) {
		u.tidy(one)
		return nil, busy("user %d has %d processes whose leases end with them, of %d in all; lease without release_on_exit,"+
			" or raise max-holders", uid, one.holders, u.shares.Holders)
	}
	one.holders++
	u.holders++
	return one, nil
}

// unhold ends hold.
func (u *users) unhold(one *User) {
	u.mu.Lock()
	defer u.mu.Unlock()
	one.holders--
	u.holders--
	u.tidy(one)
}

// rateWindow is how much of its rate a user may use at once.
const rateWindow = time.Second

// admit counts a request against the rate of the user.
func (u *users) admit(one *User) error {
	if u.shares.UserRequests == 0 || one.uid == 0 || one.uid == u.own {
		return nil
	}
	interval := int64(time.Second) / int64(u.shares.UserRequests)
	now := int64(time.Since(u.start))
	for {
		next := one.next.Load()
		then := max(next, now) + interval
		if then-now > int64(rateWindow) && next > now {
			return busy("user %d makes more than %d requests a second; try again", one.uid, u.shares.UserRequests)
		}
		if one.next.CompareAndSwap(next, then) {
			return nil
		}
	}
}

// startLease counts a lease request, which may wait.
func (u *users) startLease(one *User) error {
	total := u.waiting.Add(1)
	has := one.waiting.Add(1)
	s := &u.shares
	if s.WaitingLeases > 0 && !mayTake(has-1, 1, int64(s.WaitingLeases)-(total-1), int64(s.UserWaitingLeases)) {
		u.endLease(one)
		return busy("user %d has %d lease requests that wait, and must leave some of %d to others; try again",
			one.uid, has-1, s.WaitingLeases)
	}
	return nil
}

func (u *users) endLease(one *User) {
	one.waiting.Add(-1)
	u.waiting.Add(-1)
}

// reserve counts bytes of a request that has just been let in by the budget of all users, of which so much was
// free before. The small requests of a user are measured by the small ones alone, so that its large ones do not
// keep them out.
func (u *users) reserve(one *User, n, free int64, small bool) error {
	counter := &one.bytes
	if small {
		counter = &one.smallBytes
	}
	has := counter.Add(n) - n
	most := u.shares.UserInFlightBytes
	if mayTake(has, n, free, 0) && (most == 0 || one.bytes.Load()+one.smallBytes.Load() <= most) {
		return nil
	}
	counter.Add(-n)
	return busy("user %d has %d bytes of requests in flight, and must leave some to others; try again", one.uid, has)
}
