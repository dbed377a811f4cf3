package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// started runs a worker until stop is called, which returns what Run returned.
func started(t *testing.T, w *client.Worker) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return func() error {
		cancel()
		return <-done
	}
}

func TestWorkerCompletesEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		var want []string
		for i := range 1000 {
			want = append(want, fmt.Sprintf("%04d", i))
		}
		f.add(want...)
		var running, most atomic.Int64
		w := &client.Worker{
			Client: servePipe(t, f), Queue: "q", Concurrency: 8, BatchSize: 50, StopWhenEmpty: true,
			Handler: func(ctx context.Context, item *client.Item) error {
				most.Store(max(most.Load(), running.Add(1)))
				defer running.Add(-1)
				time.Sleep(time.Millisecond)
				return nil
			},
			OnError: func(item *client.Item, err error) { t.Errorf("%v: %v", item, err) },
		}
		if err := w.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		slices.Sort(f.completed)
		if !slices.Equal(f.completed, want) {
			t.Errorf("completed %d items, want each of %d once", len(f.completed), len(want))
		}
		if most.Load() != 8 {
			t.Errorf("%d handlers at once, want 8", most.Load())
		}
		if n := f.count("/v1/queue.complete"); n >= 1000 {
			t.Errorf("%d calls of complete for 1000 items; want batches", n)
		}
	})
}

func TestWorkerExtendsWhileTheHandlerRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.add("slow", "waits behind it")
		w := &client.Worker{
			Client: servePipe(t, f), Queue: "q", BatchSize: 2, StopWhenEmpty: true,
			Handler: func(ctx context.Context, item *client.Item) error {
				select {
				case <-time.After(10 * time.Minute): // Ten lease timeouts.
				case <-ctx.Done():
				}
				return context.Cause(ctx)
			},
			OnError: func(item *client.Item, err error) { t.Errorf("%v: %v", item, err) },
		}
		if err := w.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := []string{"slow", "waits behind it"}; !slices.Equal(f.completed, want) {
			t.Errorf("completed %q, want %q", f.completed, want)
		}
		// Twenty minutes with an extension every 20 s, and both items in one call at first.
		if n := f.count("/v1/queue.extend"); n < 55 || n > 75 {
			t.Errorf("%d calls of extend, want about 60", n)
		}
	})
}

func TestWorkerRetriesWithBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.add("fails four times")
		var at []time.Time
		done := make(chan struct{})
		w := &client.Worker{
			Client: servePipe(t, f), Queue: "q", RetryMin: time.Second, RetryMax: 3 * time.Second,
			Handler: func(ctx context.Context, item *client.Item) error {
				at = append(at, time.Now())
				if item.Attempts < 5 {
					return errors.New("no")
				}
				close(done)
				return nil
			},
		}
		stop := started(t, w)
		<-done
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if len(f.completed) != 1 {
			t.Errorf("completed %q", f.completed)
		}
		for i, seconds := range []int{1, 2, 3, 3} {
			want := time.Duration(seconds) * time.Second
			if got := at[i+1].Sub(at[i]); got < want*79/100 || got > want*121/100 {
				t.Errorf("attempt %d came after %s, want %s give or take a fifth", i+2, got, want)
			}
		}
	})
}

func TestHandlerDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.add("later", "dead")
		var failed []error
		begin := time.Now()
		w := &client.Worker{
			Client: servePipe(t, f), Queue: "q", BatchSize: 2, StopWhenEmpty: true,
			Handler: func(ctx context.Context, item *client.Item) error {
				if string(item.Payload) == "dead" {
					return client.Dead(errors.New("not JSON"))
				}
				return fmt.Errorf("camera: %w", client.RetryAfter(errors.New("busy"), time.Hour))
			},
			OnError: func(_ *client.Item, err error) { failed = append(failed, err) },
		}
		if err := w.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(f.retries) != 2 {
			t.Fatalf("got %v", f.retries)
		}
		for _, it := range f.retries {
			if later := it.RetryAt.AsTime().Sub(begin); !it.Dead && later.Round(time.Second) != time.Hour {
				t.Errorf("retried after %s, want 1h", later)
			}
		}
		if f.retries[0].Dead == f.retries[1].Dead {
			t.Errorf("want one dead, got %v", f.retries)
		}
		if len(failed) != 2 || failed[0].Error() != "camera: busy" || failed[1].Error() != "not JSON" {
			t.Errorf("OnError got %v", failed)
		}
	})
}

func TestLostLeaseEndsTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.add("a", "b")
		c := servePipe(t, f)
		var mu sync.Mutex
		causes := make(map[string]error)
		var failed []error
		w := &client.Worker{
			Client: c, Queue: "q", Concurrency: 2, StopWhenEmpty: true,
			Handler: func(ctx context.Context, item *client.Item) error {
				if string(item.Payload) == "a" && item.Attempts == 1 {
					f.mu.Lock()
					delete(f.leased, item.ID) // Somebody removed it.
					f.mu.Unlock()
				}
				select {
				case <-ctx.Done():
				case <-time.After(5 * time.Minute):
				}
				mu.Lock()
				defer mu.Unlock()
				causes[string(item.Payload)] = context.Cause(ctx)
				return nil
			},
			OnError: func(_ *client.Item, err error) { failed = append(failed, err) },
		}
		if err := w.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(causes["a"], client.ErrLeaseLost) || causes["b"] != nil {
			t.Errorf("the handlers' contexts ended with %v; want ErrLeaseLost for a alone", causes)
		}
		if !slices.Equal(f.completed, []string{"b"}) {
			t.Errorf("completed %q", f.completed)
		}
		if len(failed) != 1 || !errors.Is(failed[0], client.ErrLeaseLost) {
			t.Errorf("OnError got %v, want one ErrLeaseLost", failed)
		}
	})
}

func TestWorkerSurvivesTheAgent(t *testing.T) {
	for _, test := range []struct {
		name string
		code int // -1 breaks the connection
		text string
	}{
		{"connection breaks", -1, ""},
		{"shutting down", 453, "service is shutting down"},
		{"busy", 454, "queue is overloaded; try again later"},
		{"fails", 500, "Internal Error"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.leaseTimeout = 10 * time.Minute
				f.add("a", "b", "c")
				// Every call fails for two minutes, in the middle of the work.
				from, to := time.Now().Add(time.Minute), time.Now().Add(3*time.Minute)
				f.intercept = func(string, int) (int, string) {
					if now := time.Now(); now.After(from) && now.Before(to) {
						return test.code, test.text
					}
					return 0, ""
				}
				var told atomic.Int64
				done := make(chan struct{})
				w := &client.Worker{
					Client: servePipe(t, f), Queue: "q",
					Handler: func(ctx context.Context, item *client.Item) error {
						select {
						case <-time.After(70 * time.Second):
						case <-ctx.Done():
						}
						if string(item.Payload) == "c" {
							close(done)
						}
						return context.Cause(ctx)
					},
					OnError: func(item *client.Item, err error) {
						if item != nil {
							t.Errorf("%s: %v", item.Payload, err)
						}
						told.Add(1)
					},
				}
				stop := started(t, w)
				<-done
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				if want := []string{"a", "b", "c"}; !slices.Equal(f.completed, want) {
					t.Errorf("completed %q, want %q", f.completed, want)
				}
				if n := told.Load(); n == 0 || n > 200 {
					t.Errorf("told of %d failures in two minutes", n)
				}
			})
		})
	}
}

func TestLostAnswerOfComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.add("a")
		f.intercept = func(path string, call int) (int, string) {
			if path != "/v1/queue.complete" || call != 1 {
				return 0, ""
			}
			// It takes effect, and the answer is lost.
			f.mu.Lock()
			clear(f.leased)
			f.mu.Unlock()
			return -1, ""
		}
		w := &client.Worker{
			Client: servePipe(t, f), Queue: "q", StopWhenEmpty: true,
			Handler: func(context.Context, *client.Item) error { return nil },
			OnError: func(item *client.Item, err error) {
				if item != nil {
					t.Errorf("told of a failure of the item: %v", err)
				}
			},
		}
		if err := w.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWorkerStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.add("finishes", "stuck", "not begun", "not begun")
		begun := make(chan struct{}, 4)
		w := &client.Worker{
			Client: servePipe(t, f), Queue: "q", Concurrency: 2, BatchSize: 4, DrainTimeout: 10 * time.Second,
			Handler: func(ctx context.Context, item *client.Item) error {
				begun <- struct{}{}
				if string(item.Payload) == "finishes" {
					time.Sleep(5 * time.Second)
					return context.Cause(ctx)
				}
				<-ctx.Done()
				return context.Cause(ctx)
			},
		}
		stop := started(t, w)
		<-begun
		<-begun
		synctest.Wait()
		begin := time.Now()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("stopped in %s, want the drain timeout of 10s", took)
		}
		if !slices.Equal(f.completed, []string{"finishes"}) {
			t.Errorf("completed %q", f.completed)
		}
		if len(f.leased) != 0 || len(f.ready) != 3 {
			t.Errorf("%d items are still leased and %d ready, want 0 and 3", len(f.leased), len(f.ready))
		}
		for _, it := range f.ready {
			if !it.readyAt.IsZero() {
				t.Errorf("%s is held back until %s although it did not fail", it.payload, it.readyAt)
			}
		}
	})
}

func TestWorkerEndsWhenThereIsNoQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.intercept = func(string, int) (int, string) {
			return 400, "queue does not exist; no such queue named 'q'"
		}
		w := &client.Worker{
			Client: servePipe(t, f), Queue: "q",
			Handler: func(context.Context, *client.Item) error { return nil },
		}
		if err := w.Run(t.Context()); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
		if err := new(client.Worker).Run(t.Context()); !errors.Is(err, client.ErrInvalid) {
			t.Errorf("without queue and handler: got %v, want ErrInvalid", err)
		}
	})
}
