package uplink

// An internal test: when the pump makes room is a matter of milliseconds that cannot be seen from outside.

import (
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

func TestMakeRoom(t *testing.T) {
	t.Parallel()
	const work = 3 * time.Millisecond
	at := time.Now()
	for _, test := range []struct {
		name  string
		came  uint64
		sent  int
		state queue.OutboxState
		flush bool
		work  time.Duration
		want  time.Duration // behind the beginning
	}{
		{name: "as many come as go", came: 500, sent: 500, work: work, want: 82 * work},
		{name: "slow work", came: 500, sent: 500, work: time.Minute, want: 2*time.Minute + time.Second},
		{name: "a backlog, and few come", came: 100, sent: 500, work: work},
		{name: "nothing comes", sent: 1, work: work},
		{name: "events that are old", came: 500, sent: 500, work: work, state: queue.OutboxState{OldestAge: 2 * time.Minute}},
		{name: "events that take much room", came: 500, sent: 500, work: work, state: queue.OutboxState{Pressing: true}},
		{name: "completes are refused", came: 500, sent: 500, work: work, state: queue.OutboxState{Full: true}},
		{name: "somebody waits", came: 500, sent: 500, work: work, flush: true},
		{name: "nothing was sent", came: 500, sent: 500, work: -work},
	} {
		u := &Uplink{}
		if test.flush {
			u.flushes = 1
		}
		p := &pump{u: u, came: test.came, rendered: at.Add(test.work)}
		p.makeRoom(&test.state, test.sent, at)
		want := time.Time{}
		if test.want > 0 {
			want = at.Add(test.want)
		}
		if got := p.waitFor(); !got.Equal(want) || p.came != 0 {
			t.Errorf("%s: waits until %s, want %s; %d are counted for the next", test.name, got, want, p.came)
		}
		u.flushes = 1
		if !p.waitFor().IsZero() {
			t.Errorf("%s: a flush waits", test.name)
		}
	}
	hold := at.Add(time.Hour)
	if p := (&pump{u: &Uplink{flushes: 1}, hold: hold, room: at}); !p.waitFor().Equal(hold) {
		t.Error("a flush overrules what the server asked for")
	}
}
