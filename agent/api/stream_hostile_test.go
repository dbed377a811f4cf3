package api_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/frame"
	"github.com/kapetan-io/querator-edge/agent/pb"
)

// What follows is written while the client does not read it, since it is more than the buffers of a socket take.
var muchJSON = `{"utf8":"` + strings.Repeat("x", 1_000_000) + `"}`

// A client id is free with the answer, whatever else there is to be written.
func TestStreamClientIDIsFreeWithTheAnswer(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	c := w.stream(jsonType)
	c.write(append(request(1, frame.Lease, leaseJSON("q", "a", "10s")), request(2, frame.Lease, leaseJSON("q", "b", "10s"))...))
	w.waitFor("both wait", func() bool { return w.logical("q").LeaseWaiting == 2 })
	w.post("/v1/queue.produce", `{"queue_name":"q","request_timeout":"10s","items":[{"utf8":"little"},`+muchJSON+`]}`).done(t)
	c.want(1, 200, "bGl0dGxl")
	c.send(3, frame.Lease, leaseJSON("q", "a", "50ms"))
	w.waitFor("it waits again", func() bool { return w.logical("q").LeaseWaiting == 1 })
	for range 2 {
		if id, code, body := c.reply(); !(id == 2 && code == 200) && !(id == 3 && code == 454) {
			t.Errorf("%d is answered %d %.100s", id, code, body)
		}
	}
}

// What a client has got it keeps, although it did not read what came after that.
func TestStreamLeasesThatWereDelivered(t *testing.T) {
	w := newWorld(t, func(o *apiOptions, _ *limits) { o.BodyTimeout = shortTimeout })
	w.create("q")
	c := w.stream(jsonType)
	c.write(append(request(1, frame.Lease, leaseJSON("q", "a", "10s")), request(2, frame.Lease, leaseJSON("q", "b", "10s"))...))
	w.waitFor("both wait", func() bool { return w.logical("q").LeaseWaiting == 2 })
	w.post("/v1/queue.produce", `{"queue_name":"q","request_timeout":"10s","items":[{"utf8":"little"},`+muchJSON+`]}`).done(t)
	c.want(1, 200, "bGl0dGxl")
	w.waitFor("the other is given back", func() bool { return w.stats("q").TotalLeased < 2 })
	var got pb.QueueLeaseResponse
	w.must("/v1/queue.lease", &pb.QueueLeaseRequest{QueueName: "q", ClientId: "c", BatchSize: 10, RequestTimeout: "1s"}, &got)
	if len(got.Items) != 1 || len(got.Items[0].Bytes) != 1_000_000 {
		t.Errorf("%d items were given back, want the one that was not delivered", len(got.Items))
	}
}

// A client that does not read is not read from for long, whatever it sends.
func TestStreamFlood(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	for name, one := range map[string]struct {
		call frame.Call
		body string
	}{
		"unknown": {99, ""},
		"large":   {frame.Lease, strings.Repeat("x", 2000)},
		"wrong":   {frame.Produce, `{"queue_name":"` + strings.Repeat("none", 100) + `","request_timeout":"1s","items":[{}]}`},
	} {
		c := w.stream(jsonType)
		sent, id := 0, uint32(0)
		for sent < 16<<20 {
			var b []byte
			for range 1000 {
				id++
				b = append(b, request(id, one.call, one.body)...)
			}
			if err := c.conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			n, err := c.conn.Write(b)
			sent += n
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if sent >= 16<<20 {
			t.Errorf("%s: %d bytes were taken of a client that reads nothing", name, sent)
		}
		if n := w.h.Budget().InFlight(); n > 1<<20 {
			t.Errorf("%s: %d bytes are in flight", name, n)
		}
		_ = c.conn.Close()
		w.waitFor("nothing is held", w.isIdle)
	}
}

// A reply that repeats what was sent is counted as long as it is not read.
func TestStreamLongReplies(t *testing.T) {
	w := newWorld(t)
	c := w.stream(jsonType)
	name := strings.Repeat("\\u0001", 9000) // 9000 bytes, six times as many in JSON.
	var all []byte
	for i := range uint32(40) { // More than the buffers of a socket take.
		all = append(all, request(i+1, frame.Produce, `{"queue_name":"`+name+`","request_timeout":"1s","items":[{}]}`)...)
	}
	sent := make(chan error, 1)
	go func() { _, err := c.conn.Write(all); sent <- err }()
	w.waitFor("the reply that is written is counted", func() bool {
		w.do("GET", "/health", nil)
		return w.h.Budget().InFlight() > 54_000
	})
	for range 40 {
		if _, code, body := c.reply(); code != 400 || len(body) < 54_000 {
			t.Fatalf("%d, %d bytes", code, len(body))
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	w.waitFor("it is read", w.isIdle)
}

// What was begun is served although the rest of another frame is missing, however much of it is there.
func TestStreamServesBeforeAFrameIsWhole(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	c := w.stream(jsonType)
	var all []byte
	for i := range uint32(3) {
		all = append(all, request(i+1, frame.Produce, produceJSON("q", "x"))...)
	}
	rest := request(4, frame.Produce, produceJSON("q", strings.Repeat("y", 60_000)))
	c.write(append(all, rest[:40_000]...))
	c.wantDone(3)
	c.write(rest[40_000:])
	c.want(4, 200, "")
}

// A client that makes calls for ever does not keep the server from ending.
func TestStreamClientThatDoesNotMindTheEnd(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	c := w.stream(jsonType)
	c.send(1, frame.Lease, leaseJSON("q", "waits", "15m"))
	w.waitFor("it waits", func() bool { return w.logical("q").LeaseWaiting == 1 })
	drained := make(chan error)
	go func() { drained <- w.server.Drain(context.Background()) }()
	c.want(0, frame.Bye, "")
	for i, begin := uint32(2), time.Now(); ; i++ {
		if time.Since(begin) > 8*time.Second {
			t.Fatal("the stream goes on for ever")
		}
		// Nothing is read when its time is over: the buffers of the socket fill up.
		if err := c.conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.conn.Write(request(i, frame.Complete, strings.Repeat("x", 10_000))); err != nil {
			break
		}
		if err := c.conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		var head [frame.ReplyHead]byte
		if _, err := io.ReadFull(c.r, head[:]); err != nil {
			break
		}
		r, err := frame.ParseReply(head[:])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.r.Discard(int(r.Body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.svc.Shutdown(t.Context()); err != nil { // What waits is answered by this.
		t.Fatal(err)
	}
	if err := c.conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c.want(1, 453, "shutting down")
	_ = c.conn.(*net.UnixConn).Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}
