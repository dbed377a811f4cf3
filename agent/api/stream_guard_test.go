package api_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/frame"
	"github.com/kapetan-io/querator-edge/agent/listen"
	"github.com/kapetan-io/querator-edge/queue"
)

// The rules are asked for each call, and are those of the moment.
func TestStreamAccess(t *testing.T) {
	w, guard := guarded(t, "")
	w.create("mine")
	w.create("other")
	c := w.stream(jsonType)
	guard.Reload(rulesOf(t, allow(`"mine"`, "produce")))
	c.send(1, frame.Produce, produceJSON("mine", "x"))
	c.want(1, 200, "")
	c.send(1, frame.Produce, produceJSON("other", "x"))
	c.want(1, 403, "may not produce to queue 'other'")
	c.send(1, frame.Produce, produceJSON("none", "x")) // Nobody learns which queues there are.
	c.want(1, 403, "may not produce to queue 'none'")
	c.send(1, frame.Lease, leaseJSON("mine", "a", "1s"))
	c.want(1, 403, "may not consume from queue 'mine'")
	c.send(1, frame.Complete, `{"queue_name":"mine","request_timeout":"1s","ids":["x"]}`)
	c.want(1, 403, "may not consume from queue 'mine'")
	c.send(1, frame.Retry, `{"queue_name":"mine","items":[{"id":"x"}]}`)
	c.want(1, 403, "may not consume from queue 'mine'")
	guard.Reload(rulesOf(t, allow(`"other"`, "consume", "produce")))
	c.send(1, frame.Produce, produceJSON("mine", "x"))
	c.want(1, 403, "may not produce to queue 'mine'")
	guard.Reload(rulesOf(t, ""))
}

// sharing starts an API with bounds, where everybody who calls is the stranger.
func sharing(t *testing.T, shares access.Shares) *world {
	guard := access.New(access.Options{Shares: shares, Identify: func(net.Conn) (listen.Cred, error) {
		return listen.Cred{UID: stranger, GID: stranger}, nil
	}})
	return newWorld(t, func(o *apiOptions, _ *limits) { o.Guard = guard })
}

// A stream takes the memory of several connections, and counts as that until it ends.
func TestStreamCountsAsConnections(t *testing.T) {
	w := sharing(t, access.Shares{Connections: 100, UserConnections: 9})
	w.create("q") // Its connection stays open.
	upgrade := "Connection: Upgrade\r\nUpgrade: querator-stream\r\n"
	first := w.stream(jsonType)
	w.stream(jsonType)
	refused := func() int {
		c := w.dial()
		defer c.conn.Close()
		resp := c.upgrade(upgrade)
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	if code := refused(); code != 454 {
		t.Fatalf("the third stream is answered %d, want 454", code)
	}
	_ = first.conn.Close()
	w.waitFor("there is room for another", func() bool { return refused() == 101 })
}

// Bounds of a user hold on streams.
func TestStreamUserShares(t *testing.T) {
	w := sharing(t, access.Shares{WaitingLeases: 100, UserWaitingLeases: 2})
	w.create("q")
	c := w.stream(jsonType)
	for i := range uint32(2) {
		c.send(i+1, frame.Lease, leaseJSON("q", fmt.Sprint(i), "10m"))
	}
	c.send(3, frame.Lease, leaseJSON("q", "x", "10m"))
	c.want(3, 454, "has 2 lease requests that wait")
	c.send(1, frame.Cancel, "")
	c.want(1, 454, "cancelled")
	c.send(3, frame.Lease, leaseJSON("q", "x", "20ms"))
	c.want(3, 454, "no items")
}

// gated is a storage whose commits to one queue wait.
type gated struct {
	queue.Storage
	queue string
	held  chan struct{} // one token for each commit that waits
	open  chan struct{}
}

type gatedPartition struct {
	queue.PartitionStore
	g *gated
}

func (g *gated) OpenPartition(key queue.PartitionKey) (queue.PartitionStore, error) {
	ps, err := g.Storage.OpenPartition(key)
	if err != nil || key.Queue != g.queue {
		return ps, err
	}
	return &gatedPartition{ps, g}, nil
}

func (p *gatedPartition) Commit(c *queue.Commit) error {
	if len(c.Items) > 0 {
		p.g.held <- struct{}{}
		<-p.g.open
	}
	return p.PartitionStore.Commit(c)
}

// A device that takes long with one queue does not hold up the calls on others.
func TestStreamWithASlowDevice(t *testing.T) {
	g := &gated{queue: "slow", held: make(chan struct{}, 1000), open: make(chan struct{})}
	w := newWorldOn(t, func(s queue.Storage) queue.Storage { g.Storage = s; return g })
	w.create("slow")
	w.create("quick")
	c := w.stream(jsonType)
	c.send(1, frame.Produce, produceJSON("slow", "x"))
	<-g.held
	for i := range uint32(20) {
		c.send(i+2, frame.Produce, produceJSON("quick", "x"))
		c.want(i+2, 200, "")
		c.send(i+2, frame.Lease, leaseJSON("quick", "a", "1s"))
		c.want(i+2, 200, "")
	}
	c.send(2, frame.Produce, strings.Replace(produceJSON("slow", "late"), "10s", "50ms", 1))
	c.want(2, 454, "partition not available") // Its time is over before its turn.
	close(g.open)
	c.want(1, 200, "")
	if s := w.stats("slow"); s.Total != 1 {
		t.Errorf("there are %d items in the slow queue, want 1", s.Total)
	}
}

// Calls on streams are in the metrics like others, and a stream itself is for its beginning.
func TestStreamMetrics(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	c := w.stream(jsonType)
	c.send(1, frame.Produce, produceJSON("q", "x"))
	c.want(1, 200, "")
	c.send(1, frame.Produce, produceJSON("none", "x"))
	c.want(1, 400, "")
	for _, want := range []string{
		`http_requests_total{path="/v1/queue.produce",code="200"} 1`,
		`http_requests_total{path="/v1/queue.produce",code="400"} 1`,
		`http_requests_total{path="/v1/agent.stream",code="200"} 1`,
	} {
		w.waitFor("the metrics have "+want, func() bool { // A call is counted when its reply is written.
			return strings.Contains(string(w.do("GET", "/metrics", nil).body), want)
		})
	}
}

// FuzzStream sends a stream whatever comes; nothing may be held at the end (world.stop).
func FuzzStream(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x05\x00\x00\x00\x01\x01"))
	f.Add(append(request(1, frame.Produce, produceJSON("q", "x")), request(2, frame.Lease, leaseJSON("q", "a", "20ms"))...))
	f.Add(append(request(1, frame.Lease, leaseJSON("none", "a", "20ms")), request(1, frame.Cancel, "")...))
	f.Add(request(9, frame.Retry, `{"queue_name":"q","items":[{"id":"`+unknownID+`"}]}`))
	f.Add(request(0, 200, ""))
	w := newWorld(f)
	w.create("q")
	f.Fuzz(func(t *testing.T, b []byte) {
		w := &world{t: t, h: w.h, client: w.client, socket: w.socket}
		c := w.stream(jsonType)
		defer c.conn.Close()
		c.write(b)
		if err := c.conn.(*net.UnixConn).CloseWrite(); err != nil {
			return // The agent was quicker.
		}
		for {
			if _, err := c.r.Discard(1); err != nil {
				break
			}
		}
		w.waitFor("the stream holds nothing", w.isIdle)
	})
}
