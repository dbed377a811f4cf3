package uplink_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink"
	"github.com/kapetan-io/querator-edge/uplink/downlink"
)

// TestDownlink: messages that were there and messages that come are items, once and in order, also after a
// restart of everything; the doorbell is all that it waits for.
func TestDownlink(t *testing.T) {
	t.Parallel()
	b := newDownBench(t, nil)
	b.send(600)
	b.start()
	b.exact(1)
	b.until("all is taken", func(s downlink.Status) bool { return s.State == downlink.StateWaiting && s.Doorbell })
	b.send(3)
	b.exact(1)
	b.shut()
	b.open()
	b.send(5)
	b.start()
	b.exact(1)
	b.send(1)
	b.exact(1)
	if s := b.status(); s.Taken != 609 || s.Skipped != 0 || s.Missed != 0 || s.Class != "" {
		t.Errorf("status %+v", s)
	}
}

// TestDownlinkFields: headers become fields.
func TestDownlinkFields(t *testing.T) {
	t.Parallel()
	b := newDownBench(t, nil)
	b.start()
	b.send(1, "Querator-Reference", "r-1", "querator-kind", "k", "QUERATOR-ENCODING", "json", "Querator-Source-Id", "s-1", "Other", "x")
	b.send(1, "Querator-Source-Id", "s-1") // The queue has it.
	b.send(1, "Querator-Enqueue-At", "2200-01-02T03:04:05Z")
	b.until("three are taken", func(s downlink.Status) bool { return s.Taken == 3 })
	held := b.held()
	if len(held) != 1 {
		t.Fatalf("%d items, want 1", len(held))
	}
	it := held[0]
	if it.Reference != "r-1" || it.Kind != "k" || it.Encoding != "json" || it.SourceID != "s-1" || string(it.Payload) != "order 1" {
		t.Errorf("the item is %+v", it)
	}
	later, err := b.queue().ListScheduled(context.Background(), &queue.ListRequest{})
	if err != nil || len(later) != 1 || !later[0].EnqueueAt.Equal(time.Date(2200, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("scheduled: %+v, %v", later, err)
	}
}

// TestDownlinkSkips: what cannot become an item is skipped, counted and told of, and holds nothing up.
func TestDownlinkSkips(t *testing.T) {
	t.Parallel()
	b := newDownBench(t, nil)
	b.config = func(c *uplink.Config) { c.MaxItem = 300_000 }
	b.send(1)
	for _, size := range []int{300_000, 300_001, 5 << 20} { // The first fits; the last is not even read.
		b.publish(&nats.Msg{Subject: downSubject, Data: make([]byte, size)})
	}
	b.publish(&nats.Msg{Subject: downSubject, Header: nats.Header{"Querator-Enqueue-At": {"tomorrow"}}})
	b.publish(&nats.Msg{Subject: downSubject, Header: nats.Header{"Querator-Kind": {"\xff\xfe"}}})
	b.publish(&nats.Msg{Subject: downSubject, Header: nats.Header{"Querator-Reference": {strings.Repeat("x", 5000)}}})
	b.send(1)
	b.start()
	b.until("all is taken", func(s downlink.Status) bool { return s.Taken+s.Skipped == 8 && s.State == downlink.StateWaiting })
	var sizes []int
	for _, it := range b.held() {
		sizes = append(sizes, len(it.Payload))
	}
	if fmt.Sprint(sizes) != "[7 300000 7]" {
		t.Errorf("payloads of %v bytes, want 7, 300000 and 7", sizes)
	}
	s := b.status()
	if s.Skipped != 5 || s.Class != "" || !strings.Contains(s.LastSkipped, "Querator-Reference") {
		t.Errorf("status %+v", s)
	}
	if n := b.device.reports(downlink.AlarmSkipped); n != 1 {
		t.Errorf("%d lines about it in an hour, want 1", n)
	}
}

// TestDownlinkPlaceholders: what a server puts in the place of messages that have aged out does not become items.
func TestDownlinkPlaceholders(t *testing.T) {
	t.Parallel()
	b := newDownBench(t, map[string]any{
		"max_age": (300 * time.Millisecond).Nanoseconds(), "duplicate_window": (100 * time.Millisecond).Nanoseconds(),
		"allow_rollup_hdrs": true, "allow_msg_ttl": true, "subject_delete_marker_ttl": time.Minute.Nanoseconds(),
	})
	b.start()
	b.send(3)
	b.exact(1)
	eventually(t, "the server has put something in their place", func() bool {
		return api(t, b.boss, "STREAM.INFO.QUERATOR-DOWN", nil)["state"].(map[string]any)["messages"].(float64) == 2
	})
	b.device.Flush(t.Context())
	b.until("it was seen", func(s downlink.Status) bool { return s.Seq > 6 })
	b.send(2)
	b.exact(1)
	if s := b.status(); s.Taken != 5 || s.Skipped != 0 || s.Missed != 0 {
		t.Errorf("status %+v", s)
	}
}

// TestDownlinkFull: a queue without room takes what fits, and the rest when there is room again.
func TestDownlinkFull(t *testing.T) {
	t.Parallel()
	b := newDownBench(t, nil, func(i *queue.Info) { i.MaxItems, i.MaxBytes = 37, 100_000 })
	b.send(20)
	b.publish(&nats.Msg{Subject: downSubject, Data: make([]byte, 100_001)}) // It never fits.
	b.send(80)
	b.start()
	next := 1
	for next <= 100 {
		want := min(37, 100-next+1)
		eventually(t, "the queue is full", func() bool { return len(b.held()) == want })
		if want == 37 {
			b.until("it says so", func(s downlink.Status) bool { return s.State == downlink.StateFull })
		}
		r, err := b.queue().Lease(context.Background(), &queue.LeaseRequest{ClientID: "c", BatchSize: 30, RequestTimeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		done := &queue.CompleteRequest{RequestTimeout: time.Minute}
		for i := range r.Items {
			if got := string(r.Items[i].Payload); got != fmt.Sprint("order ", next) {
				t.Fatalf("got %q, want order %d", got, next)
			}
			done.IDs = append(done.IDs, r.Items[i].ID.String())
			next++
		}
		if err := b.queue().Complete(context.Background(), done); err != nil {
			t.Fatal(err)
		}
	}
	if s := b.status(); s.Taken != 100 || s.Skipped != 1 || s.Missed != 0 {
		t.Errorf("status %+v", s)
	}
}

// TestDownlinkPausedQueue: a paused queue gets nothing, and a queue that is not there does not either; both get
// everything when they are there again.
func TestDownlinkPausedQueue(t *testing.T) {
	t.Parallel()
	b := newDownBench(t, nil)
	ctx := context.Background()
	if err := b.queue().Pause(ctx); err != nil {
		t.Fatal(err)
	}
	b.start()
	b.send(5)
	b.until("the queue is paused", func(s downlink.Status) bool { return s.State == downlink.StatePaused })
	if n := len(b.held()); n != 0 {
		t.Errorf("a paused queue got %d items", n)
	}
	if err := b.queue().Resume(ctx); err != nil {
		t.Fatal(err)
	}
	b.exact(1)
	info := b.queue().Info()
	if err := b.svc.Delete(ctx, "orders"); err != nil {
		t.Fatal(err)
	}
	b.send(2)
	b.device.Flush(ctx)
	b.until("the queue is missed", func(s downlink.Status) bool { return s.Class == downlink.ClassNoQueue })
	if err := b.svc.Create(ctx, info); err != nil {
		t.Fatal(err)
	}
	b.exact(1) // A new queue has taken nothing yet.
}

// TestDownlinkStartNew: only what comes after the first look, also over a restart before anything has come.
func TestDownlinkStartNew(t *testing.T) {
	t.Parallel()
	b := newDownBench(t, nil)
	b.config = func(c *uplink.Config) { c.Downlinks[0].Start = downlink.StartNew }
	b.send(10)
	b.start()
	b.until("it has looked", func(s downlink.Status) bool { return s.State == downlink.StateWaiting })
	b.stopDevice()
	b.send(4)
	b.start()
	b.exact(11)
}

// TestDownlinkPolls: without a doorbell it looks by itself.
func TestDownlinkPolls(t *testing.T) {
	t.Parallel()
	b := newDownBench(t, nil)
	b.config = func(c *uplink.Config) { c.Downlinks[0].Doorbell, c.Downlinks[0].Poll = "", time.Second }
	b.start()
	b.until("it has looked", func(s downlink.Status) bool { return s.State == downlink.StateWaiting })
	b.send(3)
	b.exact(1)
	if b.status().Doorbell {
		t.Error("a doorbell that is not there is heard")
	}
}

// TestDownlinkBadQueue: commits that fail, come through unanswered, or come late, while the uplink is stopped
// and started at any moment; every message is an item once, as marks alone tell.
func TestDownlinkBadQueue(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	sent, harm := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 4)) // Each for one goroutine.
	b := newDownBench(t, nil)
	bad := &badSink{next: func() int { return harm.IntN(6) }}
	b.sink = func(s downlink.Sink) downlink.Sink {
		bad.Sink = s
		return bad
	}
	for range 8 {
		n := len(b.held())
		b.start()
		b.send(20 + sent.IntN(40))
		eventually(t, "something is taken", func() bool { return len(b.held()) > n })
		b.stopDevice()
		bad.wg.Wait() // They belong to the service, which is closed only then.
	}
	b.start()
	b.exact(1)
}
