package uplink_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink"
	"github.com/kapetan-io/querator-edge/uplink/downlink"
)

// TestDownlinkRecreated: a stream that is deleted and made anew is taken from its first message, whether the
// device sees it happen or not, and whether the new one is shorter or longer than the old.
func TestDownlinkRecreated(t *testing.T) {
	t.Parallel()
	for _, after := range []int{3, 30} {
		for _, seen := range []bool{true, false} {
			t.Run(fmt.Sprint(after, seen), func(t *testing.T) {
				t.Parallel()
				b := newDownBench(t, nil)
				b.start()
				b.send(10)
				b.exact(1)
				if !seen {
					b.stopDevice()
				}
				if err := b.ask("STREAM.DELETE.QUERATOR-DOWN", nil); err != nil {
					t.Fatal(err)
				}
				if seen {
					b.device.Flush(t.Context())
					b.until("the stream is missed", func(s downlink.Status) bool { return s.Class == "no_stream" })
				}
				b.createDown(nil)
				b.send(after)
				if !seen {
					b.start()
				}
				b.exact(1)
				if n := b.device.reports(downlink.AlarmRecreated); n != 1 {
					t.Errorf("%d alarms, want 1", n)
				}
				b.stopDevice()
				b.start()
				b.send(1)
				b.exact(1)
				if n := b.device.reports(downlink.AlarmRecreated); n != 0 {
					t.Errorf("%d alarms after a restart, want none", n)
				}
			})
		}
	}
}

// TestDownlinkPurged: messages that are gone before they are taken are told of, and the others come.
func TestDownlinkPurged(t *testing.T) {
	t.Parallel()
	b := newDownBench(t, nil)
	b.start()
	b.send(4)
	b.exact(1)
	b.stopDevice()
	b.send(5)
	if err := b.ask("STREAM.PURGE.QUERATOR-DOWN", nil); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.until("the gap is noticed", func(s downlink.Status) bool { return s.Missed == 11 && s.State == downlink.StateWaiting })
	b.send(2)
	b.taken(6)
	if got, want := fmt.Sprint(b.orders()), "[1 2 3 4 10 11]"; got != want {
		t.Errorf("orders %s, want %s", got, want)
	}
	if n := b.device.reports(downlink.AlarmGap); n != 1 {
		t.Errorf("%d alarms, want 1", n)
	}
}

// TestDownlinkOthersPurged: what the stream forgets of messages for others is no gap once the device has looked.
func TestDownlinkOthersPurged(t *testing.T) {
	t.Parallel()
	b := newDownBench(t, nil)
	b.send(1)
	for range 10 {
		b.publish(&nats.Msg{Subject: "querator-down.other.orders"})
	}
	b.start()
	b.exact(1)
	b.device.Flush(t.Context())
	b.until("it has looked again", func(s downlink.Status) bool { return s.Seq == 12 })
	b.stopDevice()
	if err := b.ask("STREAM.PURGE.QUERATOR-DOWN", nil); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.send(2)
	b.exact(1)
	if s := b.status(); s.Missed != 0 {
		t.Errorf("status %+v", s)
	}
}

// loseFive has 15 messages taken, of which the server then loses the last five, while the device is stopped.
func (b *downBench) loseFive() {
	b.start()
	b.send(10)
	b.exact(1)
	image := b.image()
	b.boss = b.admin()
	b.send(5)
	b.exact(1)
	b.stopDevice()
	b.setBack(image)
	b.boss = b.admin()
}

// TestDownlinkRegressed: a server that has lost messages which were taken, and gives their numbers to others, has
// all others taken and none twice.
func TestDownlinkRegressed(t *testing.T) {
	t.Parallel()
	for _, after := range []int{0, 2, 5, 20} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			t.Parallel()
			b := newDownBench(t, nil)
			b.loseFive()
			b.send(after)
			b.start()
			b.until("all is taken", func(s downlink.Status) bool { return s.State == downlink.StateWaiting })
			b.send(3)
			b.exact(1)
			if n := b.device.reports(downlink.AlarmRegressed); n != 1 {
				t.Errorf("%d alarms, want 1", n)
			}
		})
	}
}

// TestDownlinkRegressedAmongOthers: the same where the numbers are those of messages for others, before the device looks,
// so that nothing is where its mark is.
func TestDownlinkRegressedAmongOthers(t *testing.T) {
	t.Parallel()
	for _, after := range []int{1, 3} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			t.Parallel()
			b := newDownBench(t, nil)
			others := func(n int) {
				for range n {
					b.publish(&nats.Msg{Subject: "querator-down.other.orders", Data: []byte("not for dev")})
				}
			}
			b.loseFive()
			b.send(1)
			others(30)
			b.send(after - 1)
			b.start()
			b.exact(1)
			b.send(3)
			b.exact(1)
			if n := b.device.reports(downlink.AlarmRegressed); n != 1 {
				t.Errorf("%d alarms, want 1", n)
			}
			b.stopDevice()
			b.start()
			b.send(1)
			b.exact(1)
			if n := len(b.device.all()); n != 1 {
				t.Errorf("%d reports after a restart, want that it is connected", n)
			}
		})
	}
}

// TestDownlinkAlone: without a connection ever there is no effect but on the status, and no more than one line.
func TestDownlinkAlone(t *testing.T) {
	t.Parallel()
	b := newDownBench(t, nil)
	b.proxy.set(func() { b.proxy.refuse = true })
	b.start()
	eventually(t, "many tries", func() bool { return b.proxy.connects() > 20 })
	if s := b.status(); s.State != downlink.StateOffline || s.Taken != 0 {
		t.Errorf("status %+v", s)
	}
	if n := len(b.device.all()); n > 1 {
		t.Errorf("%d lines about being offline, want 1", n)
	}
	b.proxy.set(func() { b.proxy.refuse = false })
	b.send(2)
	b.exact(1)
}

// TestDownlinkTwins: two devices of one name take everything each, in spite of each other.
func TestDownlinkTwins(t *testing.T) {
	t.Parallel()
	b := newDownBench(t, nil)
	twin := newDownBench(t, nil)
	twin.proxy.target.Store(new(b.addr()))
	b.start()
	twin.start()
	for range 5 {
		b.send(20)
		twin.sent = b.sent
		b.exact(1)
		twin.exact(1)
	}
}

// TestDownlinkChaos has all faults at random for some seconds, or QUERATOR_CHAOS, while items are leased and
// completed, so that nothing but the mark knows what was taken. In the end each message was an item once, in order.
// QUERATOR_CHAOS_SEED replays the faults of a run.
func TestDownlinkChaos(t *testing.T) {
	t.Parallel()
	length := 6 * time.Second
	if testing.Short() {
		length = 2 * time.Second
	}
	if text := os.Getenv("QUERATOR_CHAOS"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		length = d
	}
	seed := rand.Uint64()
	if text := os.Getenv("QUERATOR_CHAOS_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	t.Logf("QUERATOR_CHAOS_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	b := newDownBench(t, nil, func(i *queue.Info) { i.MaxItems = 100 })
	bad := &badSink{next: func() int { return max(0, rng.IntN(12)-8) }}
	b.sink = func(s downlink.Sink) downlink.Sink {
		bad.Sink = s
		return bad
	}
	b.config = func(c *uplink.Config) {
		c.Timing.Reply, c.Timing.Lookup, c.Timing.Drain = 400*time.Millisecond, 400*time.Millisecond, 20*time.Millisecond
		c.Hub.PingInterval, c.Hub.WriteTimeout, c.Hub.DialTimeout = 200*time.Millisecond, time.Second, time.Second
		c.Downlinks[0].Poll = time.Second
	}
	worker := b.work()
	wild := rand.New(rand.NewPCG(seed, 3))
	b.start()
	for end := time.Now().Add(length); time.Now().Before(end); {
		b.send(1 + wild.IntN(40))
		b.fault(wild)
		<-time.After(time.Duration(5+wild.IntN(60)) * time.Millisecond)
		b.heal()
	}
	b.heal()
	b.send(3)
	worker.wait(b.sent)
	t.Logf("%d orders", b.sent)
}

// fault makes a fault of the network, the server or the device.
func (b *downBench) fault(rng *rand.Rand) {
	p := b.proxy
	switch rng.IntN(8) {
	case 0:
		p.cut()
	case 1:
		at := 500 + rng.IntN(20_000)
		p.set(func() { p.down.after = func(total int) bool { return total > at } })
	case 2:
		p.set(func() { p.down.swallow = true })
	case 3:
		p.set(func() { p.up.swallow, p.down.swallow = true, true })
	case 4:
		p.set(func() { p.up.hold, p.down.hold = true, true })
	case 5:
		p.set(func() { p.up.rate, p.down.rate = 30_000, 30_000 })
	case 6:
		b.stop()
		b.stand.start()
	case 7:
		b.stopDevice()
		b.start()
	}
}

// heal ends all faults of the network.
func (b *downBench) heal() {
	b.proxy.set(func() {
		p := b.proxy
		held := p.up.hold || p.down.hold || p.up.swallow || p.down.swallow
		p.up, p.down, p.refuse = faults{}, faults{}, false
		if held {
			go p.cut()
		}
	})
}

// downWorker leases and completes orders, and sees that each comes once and in order.
type downWorker struct {
	t    testing.TB
	mu   sync.Mutex
	next int
	done sync.WaitGroup
}

func (b *downBench) work() *downWorker {
	w := &downWorker{t: b.t, next: 1}
	q := b.queue()
	ctx, cancel := context.WithCancel(context.Background())
	w.done.Go(func() {
		for ctx.Err() == nil {
			r, err := q.Lease(ctx, &queue.LeaseRequest{ClientID: "worker", BatchSize: 50, RequestTimeout: time.Minute})
			if err != nil {
				continue
			}
			done := &queue.CompleteRequest{RequestTimeout: time.Minute}
			for i := range r.Items {
				w.got(string(r.Items[i].Payload))
				done.IDs = append(done.IDs, r.Items[i].ID.String())
			}
			if err := q.Complete(context.WithoutCancel(ctx), done); err != nil {
				b.t.Error(err)
			}
		}
	})
	b.t.Cleanup(func() { cancel(); w.done.Wait() })
	return w
}

func (w *downWorker) got(order string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if want := fmt.Sprint("order ", w.next); order != want {
		w.t.Errorf("got %q, want %q", order, want)
	}
	w.next++
}

// wait waits until all orders up to n have come.
func (w *downWorker) wait(n int) {
	eventually(w.t, fmt.Sprint("order ", n), func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.next > n
	})
	if w.mu.Lock(); w.next != n+1 {
		w.t.Errorf("%d orders came, want %d", w.next-1, n)
	}
	w.mu.Unlock()
}
