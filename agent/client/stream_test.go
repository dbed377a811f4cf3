package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

func TestManyCallersShareAStream(t *testing.T) {
	f := newFake()
	c := &client.Client{Socket: serveUnix(t, f)}
	defer c.Close()
	const callers, rounds = 16, 40
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for round := range rounds {
				if err := workOnce(t.Context(), c, fmt.Sprintf("%d-%d", caller, round)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	var want []string
	for caller := range callers {
		for round := range rounds {
			want = append(want, fmt.Sprintf("%d-%d", caller, round))
		}
	}
	slices.Sort(want)
	completed, _ := f.payloads()
	slices.Sort(completed)
	if !slices.Equal(completed, want) {
		t.Errorf("completed %d items, want each of %d once", len(completed), len(want))
	}
	if f.askedFor() != 1 {
		t.Errorf("%d streams, want one", f.askedFor())
	}
	if n, all := f.onStreams(""), 5*callers*rounds; n < all/2 {
		t.Errorf("%d of %d calls came on the stream, want most", n, all)
	}
	for _, path := range paths {
		if f.onStreams(path) == 0 {
			t.Errorf("%s never came on a stream", path)
		}
	}
}

// workOnce makes each of the calls that streams have, and checks that the answers are for this caller.
func workOnce(ctx context.Context, c *client.Client, name string) error {
	if err := c.Produce(ctx, "q", client.ProduceItem{Payload: []byte(name)}); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	// Whose item this gets is open, but nobody else may get it.
	items, err := c.Lease(ctx, "q", client.LeaseOptions{})
	if err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	if err := c.Complete(ctx, "q", 0, items[0].ID); err != nil {
		return fmt.Errorf("complete: %w", err)
	}
	// The refusal names what was asked for.
	want := fmt.Sprintf("invalid storage id; 'no %s' does not exist", name)
	if err := c.Complete(ctx, "q", 0, "no "+name); !errors.Is(err, client.ErrLeaseLost) || err.Error() != want {
		return fmt.Errorf("got the answer %w, want %q", err, want)
	}
	if err := c.Retry(ctx, "q", 0, client.RetryItem{ID: "no " + name}); err == nil || err.Error() != want {
		return fmt.Errorf("got the answer %w, want %q", err, want)
	}
	return nil
}

func TestLoneCallerOpensNoStream(t *testing.T) {
	f := newFake()
	c := &client.Client{Socket: serveUnix(t, f)}
	defer c.Close()
	for round := range 50 {
		if err := workOnce(t.Context(), c, fmt.Sprint(round)); err != nil {
			t.Fatal(err)
		}
	}
	if f.askedFor() != 0 {
		t.Errorf("asked for a stream %d times", f.askedFor())
	}
}

func TestWhatStreamsAreNotFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := servePipe(t, f)
		crowd(t, f, c)
		before := f.onStreams("")
		large := make([]byte, 9<<10)
		if err := c.Produce(t.Context(), "q", client.ProduceItem{Payload: large}); err != nil {
			t.Fatal(err)
		}
		items, err := c.Lease(t.Context(), "q", client.LeaseOptions{BatchSize: 17})
		if err != nil || len(items) != 1 || len(items[0].Payload) != len(large) {
			t.Fatalf("lease: %d items, %v", len(items), err)
		}
		if _, err := c.Extend(t.Context(), "q", 0, 0, items[0].ID); err != nil {
			t.Error(err)
		}
		if n := f.onStreams(""); n != before {
			t.Errorf("%d calls came on the stream, want none", n-before)
		}
		// An answer may be large.
		if err := c.Retry(t.Context(), "q", 0, client.RetryItem{ID: items[0].ID}); err != nil {
			t.Fatal(err)
		}
		items, err = c.Lease(t.Context(), "q", client.LeaseOptions{BatchSize: 16})
		if err != nil || len(items) != 1 || len(items[0].Payload) != len(large) {
			t.Fatalf("lease: %d items, %v", len(items), err)
		}
		if n := f.onStreams(""); n != before+2 {
			t.Errorf("%d calls came on the stream, want 2", n-before)
		}
	})
}

// What a stream does not take goes another way.
func TestStreamIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const leases, bound = 600, 512
		f := newFake()
		c := servePipe(t, f)
		crowd(t, f, c)
		var wg sync.WaitGroup
		for range leases {
			wg.Go(func() {
				if _, err := c.Lease(t.Context(), "q", client.LeaseOptions{Wait: time.Hour}); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if got := f.opened()[0].most; got != bound || f.askedFor() != 1 {
			t.Errorf("%d calls were under way on the first of %d streams, want %d on one", got, f.askedFor(), bound)
		}
		for range leases {
			f.add("payload")
		}
		wg.Wait()
	})
}

func TestAgentWithoutStreams(t *testing.T) {
	for _, test := range []struct {
		code  int
		again time.Duration
	}{
		{501, time.Minute},
		{404, time.Minute},
		{454, time.Second},
	} {
		t.Run(fmt.Sprint(test.code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.refuse = test.code
				c := servePipe(t, f)
				crowd(t, f, c)
				for round := range 20 {
					if err := workOnce(t.Context(), c, fmt.Sprint(round)); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(test.again - time.Millisecond)
				beside(t, c)
				if f.askedFor() != 1 {
					t.Errorf("asked %d times before %s, want once", f.askedFor(), test.again)
				}
				f.mu.Lock()
				f.refuse = 0
				f.mu.Unlock()
				time.Sleep(time.Millisecond)
				beside(t, c)
				beside(t, c)
				if f.askedFor() != 2 || f.onStreams("") != 2 {
					t.Errorf("asked %d times after %s, and %d calls came on streams; want 2 and 2",
						f.askedFor(), test.again, f.onStreams(""))
				}
			})
		})
	}
}

func TestCallIsGivenUp(t *testing.T) {
	for _, test := range []struct {
		name string
		wait time.Duration // 0 cancels at once
		want error
	}{
		{"cancelled", 0, context.Canceled},
		{"deadline", 7 * time.Second, context.DeadlineExceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				c := servePipe(t, f)
				crowd(t, f, c)
				ctx, cancel := context.WithCancel(t.Context())
				if test.wait != 0 {
					ctx, cancel = context.WithTimeout(t.Context(), test.wait)
				}
				defer cancel()
				begin := time.Now()
				givenUp := leaseLater(ctx, c)
				synctest.Wait() // Both are with the agent, in this order.
				stays := leaseLater(t.Context(), c)
				synctest.Wait()
				if test.wait == 0 {
					cancel()
				}
				if got := <-givenUp; !errors.Is(got.err, test.want) || time.Since(begin) != test.wait {
					t.Errorf("got %v after %s, want %v after %s", got.err, time.Since(begin), test.want, test.wait)
				}
				synctest.Wait()
				s := f.opened()[0]
				if len(s.cancelled) != 1 || len(s.under) != 1 {
					t.Errorf("cancelled %v, and %d calls are under way; want one each", s.cancelled, len(s.under))
				}
				// The item is for the one who still waits.
				if err := c.Produce(t.Context(), "q", client.ProduceItem{Payload: []byte("x")}); err != nil {
					t.Error(err)
				}
				if got := <-stays; got.err != nil || got.payload != "x" {
					t.Errorf("the other lease got %v", got)
				}
				if f.askedFor() != 1 {
					t.Errorf("%d streams, want the same one", f.askedFor())
				}
			})
		})
	}
}

// leased is what came of a lease.
type leased struct {
	payload string
	err     error
}

func (l leased) String() string { return fmt.Sprintf("%q, %v", l.payload, l.err) }

// leaseLater leases one item, for which it waits up to an hour.
func leaseLater(ctx context.Context, c *client.Client) <-chan leased {
	done := make(chan leased, 1)
	go func() {
		items, err := c.Lease(ctx, "q", client.LeaseOptions{Wait: time.Hour})
		if err != nil {
			done <- leased{err: err}
			return
		}
		done <- leased{payload: string(items[0].Payload)}
	}()
	return done
}

func TestCloseEndsTheStream(t *testing.T) {
	f := newFake()
	c := &client.Client{Socket: serveUnix(t, f)}
	before := streamGoroutines()
	crowd(t, f, c)
	if n := streamGoroutines(); n <= before {
		t.Fatalf("%d goroutines of streams, want more than %d; this test looks for the wrong ones", n, before)
	}
	c.Close()
	if n := streamGoroutines(); n > before {
		t.Errorf("%d goroutines of streams after Close, before it was opened %d", n, before)
	}
	<-f.opened()[0].over
	beside(t, c) // It can be used again.
	if f.askedFor() != 2 {
		t.Errorf("%d streams, want a second one", f.askedFor())
	}
	c.Close()
}

// streamGoroutines counts the goroutines of streams.
func streamGoroutines() int {
	b := make([]byte, 1<<20)
	b = b[:runtime.Stack(b, true)]
	n := 0
	for one := range strings.SplitSeq(string(b), "\n\n") {
		if strings.Contains(one, "client.(*stream).read(") || strings.Contains(one, "client.(*stream).write(") {
			n++
		}
	}
	return n
}

// pipes are the kinds of connections that a Dial of the user may return.
var pipes = []struct {
	name string
	pipe func() (near, far net.Conn)
}{
	{"no half close", net.Pipe},
	{"half close", halfPipe},
}

// eachPipe runs a test with each kind of connection, in a bubble.
func eachPipe(t *testing.T, test func(t *testing.T, f *fake, c *client.Client)) {
	for _, p := range pipes {
		t.Run(p.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, l := newFake(), newPipeListener()
				l.pipe = p.pipe
				test(t, f, serveOn(t, f, l))
			})
		})
	}
}

// Close is for what is not in use.
func TestCloseLeavesWhatIsUnderWay(t *testing.T) {
	eachPipe(t, func(t *testing.T, f *fake, c *client.Client) {
		crowd(t, f, c)
		ctx, cancel := context.WithCancel(t.Context())
		lease, givenUp := leaseLater(t.Context(), c), leaseLater(ctx, c)
		synctest.Wait()
		c.Close()
		synctest.Wait()
		cancel()
		if got := <-givenUp; !errors.Is(got.err, context.Canceled) {
			t.Errorf("the lease that was given up got %v", got)
		}
		synctest.Wait()
		if s := f.opened()[0]; len(s.cancelled) != 1 || len(s.under) != 1 {
			t.Errorf("cancelled %v, and %d calls are under way; want one each", s.cancelled, len(s.under))
		}
		f.add("x")
		if got := <-lease; got.err != nil || got.payload != "x" {
			t.Errorf("the lease that was under way got %v", got)
		}
		synctest.Wait()
		if !f.opened()[0].isOver() {
			t.Error("the stream is open after its last call")
		}
	})
}

// An agent that is being stopped says so, and answers what is under way.
func TestAgentSaysBye(t *testing.T) {
	eachPipe(t, func(t *testing.T, f *fake, c *client.Client) {
		crowd(t, f, c)
		lease := leaseLater(t.Context(), c)
		synctest.Wait()
		f.opened()[0].bye()
		synctest.Wait()
		beside(t, c)
		if f.askedFor() != 2 || f.onStreams("/v1/queue.complete") != 2 {
			t.Errorf("asked %d times; want a new call to go on a second stream", f.askedFor())
		}
		f.mu.Lock()
		f.refuse = 454
		f.mu.Unlock()
		f.opened()[1].bye()
		synctest.Wait()
		if !f.opened()[1].isOver() {
			t.Error("the client does not close a stream on which nothing is under way")
		}
		beside(t, c) // Without a stream.
		if f.askedFor() != 3 || f.onStreams("/v1/queue.complete") != 2 {
			t.Errorf("asked %d times; want a new call to go without a stream", f.askedFor())
		}
		f.add("x")
		if got := <-lease; got.err != nil || got.payload != "x" {
			t.Errorf("the lease that was under way got %v", got)
		}
		synctest.Wait()
		if !f.opened()[0].isOver() {
			t.Error("the stream is open after its last call")
		}
	})
}

func TestIdleStreamEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := servePipe(t, f)
		crowd(t, f, c)
		for range 10 {
			time.Sleep(40 * time.Second)
			beside(t, c)
		}
		s := f.opened()[0]
		if f.askedFor() != 1 || s.isOver() {
			t.Fatalf("%d streams, want one that is open while it is used now and then", f.askedFor())
		}
		got := leaseLater(t.Context(), c)
		time.Sleep(10 * time.Minute)
		if s.isOver() {
			t.Error("the stream ended while a lease waited on it")
		}
		f.add("x")
		if l := <-got; l.err != nil {
			t.Error(l.err)
		}
		time.Sleep(time.Minute - time.Millisecond)
		if s.isOver() {
			t.Error("the stream ended before it was idle for a minute")
		}
		time.Sleep(time.Minute + 2*time.Millisecond)
		if !s.isOver() {
			t.Error("the stream is open after two minutes without a call")
		}
		beside(t, c)
		if f.askedFor() != 2 {
			t.Errorf("%d streams, want a second one", f.askedFor())
		}
	})
}
