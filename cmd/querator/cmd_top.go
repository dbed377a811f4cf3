package main

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func (e *env) topCommand() *cobra.Command {
	v := &topView{sort: 1}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch the queues live",
		Long: `Watch the queues live on a terminal. Keys: q quits; p or the space bar pauses; + and - look more or less often;
the arrows, page up and page down scroll; n r l c i d a w sort by name, ready, leased, scheduled, items in, done, age and
waiting leases (x f b: dead, full, disk, on a wide terminal), R turns the order round. A queue marked ! fails, P is
paused. Without a terminal use: querator status.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if v.interval < leastInterval || v.interval > mostInterval {
				return usagef("--interval %s is invalid; use %s to %s", v.interval, leastInterval, mostInterval)
			}
			if term := e.getenv("TERM"); term == "" || term == "dumb" {
				return usagef("top needs a terminal that can move its cursor, TERM is '%s'; use: querator status", term)
			}
			t, err := newTerminal(e.stdin, e.stdout)
			if err != nil {
				return usagef("%v; use: querator status", err)
			}
			return e.top(cmd.Context(), t, v)
		},
	}
	cmd.Flags().DurationVar(&v.interval, "interval", 2*time.Second, "time between two looks, 500ms to 1m")
	return cmd
}

// topLook is what came of looking at the agent.
type topLook struct {
	s   *sample
	err error
}

// top shows the view until the person or a signal ends it. The terminal is as it was when top returns, also by a
// panic.
func (e *env) top(ctx context.Context, t *terminal, v *topView) error {
	signals, stop := t.signals()
	defer stop()
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	keys, looks := make(chan string), make(chan topLook, 1)
	reading := make(chan struct{})
	go func() { defer close(reading); t.keys(keys, done) }()
	defer func() { close(done); <-reading }()

	looking := false
	look := func() {
		if looking {
			return
		}
		looking = true
		go func() {
			s, err := e.look(ctx)
			looks <- topLook{s, err} // There is room: one looks at a time.
		}()
	}
	defer func() {
		cancel()
		if looking {
			<-looks
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if err := t.show(v); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case s := <-signals:
			if goOn, err := t.signalled(s); !goOn {
				return err
			}
		case k, ok := <-keys:
			goOn, now := v.typed(k)
			if !ok || !goOn {
				return nil
			}
			if now {
				look()
			}
		case <-timer.C:
			if timer.Reset(v.interval); !v.paused {
				look()
			}
		case l := <-looks:
			looking = false
			v.take(l)
		}
	}
}

// take puts what was seen on the screen, unless it is paused.
func (v *topView) take(l topLook) {
	if v.paused && v.now != nil {
		return
	}
	if v.err = l.err; l.err == nil {
		v.before, v.now = v.now, l.s
	}
}

// signalled does what a signal asks for, and reports whether to go on.
func (t *terminal) signalled(s os.Signal) (goOn bool, err error) {
	switch s {
	case unix.SIGWINCH:
		return true, nil
	case unix.SIGTSTP:
		err := t.suspend()
		return err == nil, err
	}
	return false, nil
}

// show draws the view.
func (t *terminal) show(v *topView) error {
	width, height := t.size()
	var b strings.Builder
	b.WriteString(ansiHome)
	for i, line := range v.draw(width, height) {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(ansiEOL) // First: at the end of a full line it would take the last column.
		b.WriteString(line)
	}
	b.WriteString(ansiBelow)
	_, err := t.out.WriteString(b.String())
	return err
}
