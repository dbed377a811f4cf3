package crashtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// readyTimeout is far beyond what a start may take.
const readyTimeout = 30 * time.Second

// Rounds starts, loads and ends an agent again and again on one data directory.
type Rounds struct {
	Agent *Agent
	Book  *Book
	Rand  *rand.Rand
	// MayDrop: the outbox is too small for all events, which the log says.
	MayDrop bool
	// SlowestStart is the longest that a start took until the agent was ready.
	SlowestStart time.Duration
}

// Setup creates the fixed queues, in an agent that ends in order.
func (r *Rounds) Setup(ctx context.Context) error {
	p, err := r.start()
	if err != nil {
		return err
	}
	defer p.Kill()
	if err := p.Ready(readyTimeout); err != nil {
		return err
	}
	for _, info := range fixedQueues() {
		r.Book.creates(info)
		err := p.Client.CreateQueue(ctx, info)
		r.Book.created(info.Name, err)
		if err != nil {
			return err
		}
	}
	return nil
}

// Round starts the agent, checks what is there, and ends the agent at a random
// moment, usually under load.
func (r *Rounds) Round(ctx context.Context) error {
	p, err := r.start()
	if err != nil {
		return err
	}
	how := r.Rand.IntN(10)
	if how == 0 { // In the middle of its start.
		rest(ctx, time.Duration(r.Rand.IntN(80))*time.Millisecond)
		r.kill(p)
		return nil
	}
	defer p.Kill()
	if err := r.check(ctx, p); err != nil {
		return err
	}
	load := NewLoad(r.Book, p, r.Rand.Uint64())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		load.Run(ctx)
	}()
	r.end(ctx, p, load, how)
	load.Stop()
	<-ended
	return r.judgeLog(p)
}

// check waits until the agent is ready and compares it with the book.
func (r *Rounds) check(ctx context.Context, p *Process) error {
	begin := time.Now()
	if err := p.Ready(readyTimeout); err != nil {
		return err
	}
	r.SlowestStart = max(r.SlowestStart, time.Since(begin))
	return r.compare(ctx, p)
}

// compare compares an agent that is ready with the book.
func (r *Rounds) compare(ctx context.Context, p *Process) error {
	if err := r.Book.Repeat(ctx, p); err != nil {
		return err
	}
	if err := r.Book.Check(ctx, p); err != nil {
		return err
	}
	r.Book.NextRound()
	return r.checkDirs()
}

// end ends the agent in one of several ways.
func (r *Rounds) end(ctx context.Context, p *Process, load *Load, how int) {
	switch how {
	case 1, 2: // Right after a queue was created.
		select {
		case <-load.Created():
		case <-time.After(300 * time.Millisecond):
		}
		rest(ctx, time.Duration(r.Rand.IntN(3000))*time.Microsecond)
	case 3: // While it shuts down.
		rest(ctx, time.Duration(20+r.Rand.IntN(200))*time.Millisecond)
		load.Ending()
		_ = p.Signal(syscall.SIGTERM)
		if r.Rand.IntN(2) == 0 {
			if code, err := p.Wait(readyTimeout); err != nil || code != 0 {
				r.Book.Problem("after SIGTERM the agent ended with %d: %v\n%s", code, err, p.Stderr())
			}
			return
		}
		rest(ctx, time.Duration(r.Rand.IntN(50))*time.Millisecond)
	default:
		rest(ctx, time.Duration(20+r.Rand.IntN(400))*time.Millisecond)
		select {
		case <-p.done:
			r.Book.Problem("the agent ended by itself: %v\n%s", p.err, p.Stderr())
		default:
		}
	}
	r.kill(p)
}

func (r *Rounds) kill(p *Process) {
	p.Kill()
	r.Book.mu.Lock()
	r.Book.totals.Kills++
	r.Book.mu.Unlock()
}

// judgeLog looks for errors in the log, which there must be none of: an end of
// the process is no damage.
func (r *Rounds) judgeLog(p *Process) error {
	for line := range strings.Lines(p.Stderr()) {
		if r.MayDrop && strings.Contains(line, `"kind":"gap"`) {
			continue // CheckEvents sees whether the gap is right.
		}
		if isBadLine(line) {
			_, rest, _ := strings.Cut(p.Stderr(), line)
			return fmt.Errorf("the log has an error: %s%s", line, rest[:min(len(rest), maxTrace)])
		}
	}
	return nil
}

// maxTrace is how much of a log is shown behind what is wrong with it: a crash is
// explained by the goroutines that come first.
const maxTrace = 16 << 10

// isBadLine reports whether a line of the log is one of an error or of a crash.
func isBadLine(line string) bool {
	for _, bad := range []string{`"level":"error"`, "panic", "fatal error", "SIGBUS", "SIGSEGV", "DATA RACE"} {
		if strings.Contains(line, bad) {
			return true
		}
	}
	return false
}

// checkDirs checks that nothing was set aside, and that queues that are gone
// left no directory.
func (r *Rounds) checkDirs() error {
	root := filepath.Join(r.Agent.Dir, "partitions")
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		queue, _, isPartition := strings.Cut(e.Name(), "-0000")
		if !isPartition || r.Book.state(queue) == absent {
			r.Book.Problem("%s is there, which belongs to no queue", filepath.Join(root, e.Name()))
		}
		if left, _ := os.ReadDir(filepath.Join(root, e.Name(), "quarantine")); len(left) > 0 {
			r.Book.Problem("%d segments of %s were set aside", len(left), e.Name())
		}
	}
	return nil
}

// Drain completes everything and checks that nothing is left: every item that
// should be there can be leased.
func (r *Rounds) Drain(ctx context.Context) error {
	p, err := r.start()
	if err != nil {
		return err
	}
	defer p.Kill()
	if err := r.check(ctx, p); err != nil {
		return err
	}
	load := NewLoad(r.Book, p, r.Rand.Uint64())
	rnd := rand.New(rand.NewPCG(r.Rand.Uint64(), 0))
	w := &worker{Load: load, api: p.Client, r: rnd}
	late := time.Now().Add(readyTimeout)
	for left := 1; left > 0; left, _ = r.Book.Live() {
		if time.Now().After(late) {
			r.Book.Problem("%d items cannot be leased", left)
			break
		}
		if !w.drainStep(ctx) {
			break
		}
	}
	if err := r.Book.Check(ctx, p); err != nil {
		return err
	}
	return r.judgeLog(p)
}

// drainStep completes what can be leased now.
func (w *worker) drainStep(ctx context.Context) bool {
	for name, state := range w.book.states() {
		if state != present {
			continue
		}
		before, sent := w.book.leaseStart(name), time.Now()
		l, err := w.leaseAll(ctx, name, sent, before)
		if l == nil || len(l.ids) == 0 {
			if err != nil && !isEmpty(err) {
				return w.goesOn("lease from "+name, err)
			}
			continue
		}
		if !w.change(ctx, changeComplete, l) {
			return false
		}
	}
	return true
}
