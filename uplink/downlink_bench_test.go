package uplink_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/memstore"
	"github.com/kapetan-io/querator-edge/uplink"
	"github.com/kapetan-io/querator-edge/uplink/downlink"
)

// downStream is the stream that the documentation asks for.
func downStream() map[string]any {
	return map[string]any{
		"name": "QUERATOR-DOWN", "subjects": []string{"querator-down.>"}, "retention": "limits", "storage": "file",
		"num_replicas": 1, "discard": "new", "duplicate_window": (2 * time.Minute).Nanoseconds(),
		"republish": map[string]any{"src": "querator-down.>", "dest": "querator-bell.>", "headers_only": true},
	}
}

const downSubject = "querator-down.dev.orders"

// downBench is a server with a stream of items, a proxy, and queues that survive the end of their service.
type downBench struct {
	*stand
	proxy   *proxy
	boss    *nats.Conn
	storage *memstore.Storage
	meta    *memstore.Meta
	svc     *queue.Service
	device  *running
	config  func(c *uplink.Config) // changes settings; nil for none
	sink    func(s downlink.Sink) downlink.Sink
	sent    int
}

func newDownBench(t testing.TB, stream map[string]any, options ...func(i *queue.Info)) *downBench {
	s := newStand(t, func(o *server.Options) { o.MaxPayload = 8 << 20 })
	b := &downBench{stand: s, boss: s.admin()}
	b.createDown(stream)
	b.begin(options...)
	return b
}

// newDownBenchOn is newDownBench on a server that has its stream.
func newDownBenchOn(t testing.TB, s *stand, boss *nats.Conn) *downBench {
	s.t = t
	b := &downBench{stand: s, boss: boss}
	b.begin()
	return b
}

// begin makes the queue.
func (b *downBench) begin(options ...func(i *queue.Info)) {
	b.t.Helper()
	b.proxy = newProxy(b.t, b.addr())
	b.meta, b.storage = memstore.NewMeta(), memstore.New(memstore.Options{MaxBytes: 256 << 20, Boot: "b"})
	b.open()
	b.t.Cleanup(b.shut)
	info := queue.Info{Name: "orders", LeaseTimeout: time.Hour, ExpireTimeout: 24 * time.Hour, RequestedPartitions: 1}
	for _, o := range options {
		o(&info)
	}
	if err := b.svc.Create(context.Background(), info); err != nil {
		b.t.Fatal(err)
	}
}

func (b *downBench) createDown(changes map[string]any) {
	b.t.Helper()
	c := downStream()
	for k, v := range changes {
		c[k] = v
	}
	eventually(b.t, "the stream is created", func() bool {
		return b.ask("STREAM.CREATE.QUERATOR-DOWN", c) == nil
	})
}

// ask asks JetStream, and returns its error.
func (b *downBench) ask(subject string, body any) error {
	var text []byte
	if body != nil {
		text, _ = json.Marshal(body)
	}
	m, err := b.boss.Request("$JS.API."+subject, text, 20*time.Second)
	if err == nil && strings.Contains(string(m.Data), `"error"`) {
		err = errors.New(string(m.Data))
	}
	return err
}

func (b *downBench) open() {
	b.t.Helper()
	svc, err := queue.Open(context.Background(), queue.Config{
		Meta: b.meta, Storages: []queue.NamedStorage{{Name: "mem", Storage: b.storage, Affinity: 1}},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.svc = svc
}

// shut ends device and service.
func (b *downBench) shut() {
	b.stopDevice()
	if err := b.svc.Shutdown(context.Background()); err != nil {
		b.t.Error(err)
	}
}

func (b *downBench) stopDevice() {
	if b.device != nil {
		b.device.stop()
		b.device = nil
	}
}

// start runs an uplink with the downlink of the queue orders and nothing to send.
func (b *downBench) start() {
	b.t.Helper()
	cfg := configFor(b.proxy.url())
	cfg.Downlinks = []downlink.Config{{
		Queue: "orders", Stream: "QUERATOR-DOWN", Subject: "querator-down.{device}.{queue}",
		Doorbell: "querator-bell.{device}.{queue}", Poll: time.Hour, Start: downlink.StartAll,
	}}
	cfg.Sink = plainSink{downlink.Into(b.svc)}
	if b.sink != nil {
		cfg.Sink = b.sink(cfg.Sink)
	}
	if b.config != nil {
		b.config(&cfg)
	}
	b.device = run(b.t, cfg, newSource(newTruth()), nil)
}

// status is that of the downlink.
func (b *downBench) status() downlink.Status {
	return b.device.Status(context.Background()).Downlinks[0]
}

// send publishes n messages for the device, with a message for another device behind each.
func (b *downBench) send(n int, headers ...string) {
	b.t.Helper()
	for range n {
		b.sent++
		m := &nats.Msg{Subject: downSubject, Data: fmt.Appendf(nil, "order %d", b.sent), Header: nats.Header{}}
		for i := 0; i < len(headers); i += 2 {
			m.Header.Set(headers[i], headers[i+1])
		}
		b.publish(m)
		b.publish(&nats.Msg{Subject: "querator-down.other.orders", Data: []byte("not for dev")})
	}
}

func (b *downBench) publish(m *nats.Msg) {
	b.t.Helper()
	eventually(b.t, "a message is stored", func() bool {
		answer, err := b.boss.RequestMsg(m, 20*time.Second)
		return err == nil && strings.Contains(string(answer.Data), `"seq"`)
	})
}

func (b *downBench) queue() *queue.Queue {
	b.t.Helper()
	q, err := b.svc.Queue("orders")
	if err != nil {
		b.t.Fatal(err)
	}
	return q
}

// held returns the items of the queue, in order.
func (b *downBench) held() []queue.Item {
	b.t.Helper()
	var all []queue.Item
	pivot := ""
	for {
		items, err := b.queue().List(context.Background(), &queue.ListRequest{Pivot: pivot, Limit: 1000})
		if err != nil {
			b.t.Fatal(err)
		}
		if pivot != "" && len(items) > 0 {
			items = items[1:]
		}
		if all = append(all, items...); len(items) < 999 {
			return all
		}
		pivot = items[len(items)-1].ID.String()
	}
}

// orders returns the numbers of the orders that are held.
func (b *downBench) orders() []int {
	b.t.Helper()
	var all []int
	for _, it := range b.held() {
		n, err := strconv.Atoi(strings.TrimPrefix(string(it.Payload), "order "))
		if err != nil {
			b.t.Fatalf("an item that nobody sent: %.40q", it.Payload)
		}
		all = append(all, n)
	}
	return all
}

// exact waits until the orders from first on are all there, and sees that each is there once and in order.
func (b *downBench) exact(first int) {
	b.t.Helper()
	b.taken(b.sent - first + 1)
	for i, n := range b.orders() {
		if n != first+i {
			b.t.Fatalf("order %d is in place %d, which is that of order %d", n, i, first+i)
		}
	}
}

// taken waits until the queue has so many items.
func (b *downBench) taken(n int) {
	b.t.Helper()
	defer func() {
		if b.t.Failed() && b.device != nil {
			b.t.Logf("%d of %d, status %+v", len(b.held()), n, b.status())
		}
	}()
	eventually(b.t, fmt.Sprint(n, " items"), func() bool { return len(b.held()) >= n })
	if got := len(b.held()); got != n {
		b.t.Fatalf("%d items, want %d", got, n)
	}
}

// until waits for a state of the downlink.
func (b *downBench) until(what string, ok func(s downlink.Status) bool) {
	b.t.Helper()
	defer func() {
		if b.t.Failed() {
			b.t.Logf("status %+v", b.status())
		}
	}()
	eventually(b.t, what, func() bool { return ok(b.status()) })
}

// plainSink leaves the source ids out that a downlink gives, so that the mark alone has to tell what was taken.
type plainSink struct{ downlink.Sink }

func (s plainSink) Take(ctx context.Context, name string, from, to queue.FeedMark, items []queue.Item) error {
	for i := range items {
		if strings.HasPrefix(items[i].SourceID, "QUERATOR-DOWN/") {
			items[i].SourceID = ""
		}
	}
	return s.Sink.Take(ctx, name, from, to, items)
}

// badSink is a queue on a device in trouble: commits fail, come through without an answer, or come late.
type badSink struct {
	downlink.Sink
	wg sync.WaitGroup

	mu   sync.Mutex
	next func() int // what happens to the next commit: 0 nothing, 1 refused, 2 unanswered, 3 late
}

func (s *badSink) Take(ctx context.Context, name string, from, to queue.FeedMark, items []queue.Item) error {
	s.mu.Lock()
	how := s.next()
	s.mu.Unlock()
	unknown := &queue.Error{Kind: queue.ErrUnavailable, Msg: "nobody knows"}
	switch how {
	case 1:
		return unknown
	case 2:
		return errors.Join(s.Sink.Take(ctx, name, from, to, items), unknown)
	case 3:
		sink := s.Sink // Of the service that runs now.
		s.wg.Go(func() { _ = sink.Take(context.WithoutCancel(ctx), name, from, to, items) })
		return unknown
	}
	return s.Sink.Take(ctx, name, from, to, items)
}

// all returns what was reported.
func (r *running) all() []uplink.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]uplink.Report(nil), r.seen...)
}
