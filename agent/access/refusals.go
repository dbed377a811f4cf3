package access

import (
	"sync"
	"time"
)

// Refusal is a call that was refused, for the log.
type Refusal struct {
	UID       uint32
	PID       int32
	Operation Operation
	// Queue is the queue's name, cut short if it is long; "" is the agent as a whole.
	Queue string
	// Count is how many calls of the user were refused since the last one that was logged, this one included.
	Count int
	// Others says that Count is of many users, who are refused too much to log each.
	Others bool
}

const (
	// refusalEvery is how often the refusals of a user are logged.
	refusalEvery = time.Minute
	// maxRefusedUsers bounds the memory and the log; the rest are logged as one.
	maxRefusedUsers = 256
)

// refusals bounds how often refusals are logged. Its methods may be called from any goroutine.
type refusals struct {
	mu     sync.Mutex
	byUID  map[uint32]*refused
	others refused
	purged time.Time
}

type refused struct {
	count  int
	logged time.Time
}

// add counts a refusal. If it is to be logged, count is how many there were since the last one that was; others
// says that it counts several users.
func (r *refusals) add(uid uint32) (count int, others, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	row := r.byUID[uid]
	if row == nil {
		row = r.newRow(uid)
	}
	row.count++
	if !row.logged.IsZero() && time.Since(row.logged) < refusalEvery {
		return 0, false, false
	}
	count, row.count, row.logged = row.count, 0, time.Now()
	return count, row == &r.others, true
}

// newRow returns the row of a user that has none, which is that of the others when there are too many.
func (r *refusals) newRow(uid uint32) *refused {
	if len(r.byUID) >= maxRefusedUsers && time.Since(r.purged) >= time.Second {
		r.purged = time.Now()
		for other, row := range r.byUID {
			if time.Since(row.logged) >= refusalEvery {
				delete(r.byUID, other)
			}
		}
	}
	if len(r.byUID) >= maxRefusedUsers {
		return &r.others
	}
	if r.byUID == nil {
		r.byUID = make(map[uint32]*refused)
	}
	row := &refused{}
	r.byUID[uid] = row
	return row
}
