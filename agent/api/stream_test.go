package api_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kapetan-io/querator-edge/agent/frame"
	"github.com/kapetan-io/querator-edge/agent/pb"
)

// wire is a client's end of a stream.
type wire struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

const jsonType, protobufType = "application/json", "application/protobuf"

// dial opens a connection on which nothing takes longer than ten seconds.
func (w *world) dial() *wire {
	w.t.Helper()
	conn, err := net.Dial("unix", w.socket)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		w.t.Fatal(err)
	}
	return &wire{t: w.t, conn: conn, r: bufio.NewReader(conn)}
}

// upgrade asks for a stream; headers are further lines.
func (c *wire) upgrade(headers string) *http.Response {
	c.t.Helper()
	c.write([]byte("GET " + frame.Path + " HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n"))
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}

// stream opens a stream in a format.
func (w *world) stream(format string) *wire {
	w.t.Helper()
	c := w.dial()
	headers := "Connection: Upgrade\r\nUpgrade: querator-stream\r\nContent-Type: " + format + "\r\nAccept: " + format + "\r\n"
	resp := c.upgrade(headers) //nolint:bodyclose // What follows the head is the stream.
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != frame.Protocol {
		w.t.Fatalf("the upgrade is answered %d, %v", resp.StatusCode, resp.Header)
	}
	return c
}

func (c *wire) write(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// request returns a frame.
func request(id uint32, call frame.Call, body string) []byte {
	return append(frame.AppendRequest(nil, frame.Request{ID: id, Call: call, Body: uint32(len(body))}), body...)
}

func (c *wire) send(id uint32, call frame.Call, body string) {
	c.t.Helper()
	c.write(request(id, call, body))
}

// reply reads a frame.
func (c *wire) reply() (id uint32, code int, body string) {
	c.t.Helper()
	var head [frame.ReplyHead]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		c.t.Fatalf("waiting for a reply: %v", err)
	}
	r, err := frame.ParseReply(head[:])
	if err != nil {
		c.t.Fatal(err)
	}
	text := make([]byte, r.Body)
	if _, err := io.ReadFull(c.r, text); err != nil {
		c.t.Fatal(err)
	}
	return r.ID, int(r.Code), string(text)
}

// want reads the reply to a call.
func (c *wire) want(id uint32, code int, part string) string {
	c.t.Helper()
	gotID, gotCode, body := c.reply()
	if gotID != id || gotCode != code || !strings.Contains(body, part) {
		c.t.Fatalf("got the reply %d %d %q, want %d %d with %q", gotID, gotCode, body, id, code, part)
	}
	return body
}

// wantDone reads the replies to so many calls, each of which was done.
func (c *wire) wantDone(n int) {
	c.t.Helper()
	for range n {
		if id, code, body := c.reply(); code != 200 {
			c.t.Errorf("%d is answered %d %.100s", id, code, body)
		}
	}
}

// ended asserts that the agent closes the connection.
func (c *wire) ended() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
		c.t.Fatalf("the connection goes on with %q, %v", b, err)
	}
}

func produceJSON(queue, text string) string {
	return fmt.Sprintf(`{"queue_name":%q,"request_timeout":"10s","items":[{"utf8":%q}]}`, queue, text)
}

func leaseJSON(queue, client, timeout string) string {
	return fmt.Sprintf(`{"queue_name":%q,"client_id":%q,"batch_size":1,"request_timeout":%q}`, queue, client, timeout)
}

type sampleCall struct {
	call frame.Call
	body string
}

// sampleWorld returns a world with the queues of sampleCalls.
func sampleWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.create("q")
	w.create("two", `"requested_partitions":2`)
	w.create("paused")
	w.must("/v1/queue.pause", &pb.QueuePauseRequest{QueueName: "paused"}, nil)
	return w
}

// sampleCalls returns calls on the queues q, two with two partitions, and paused.
func sampleCalls() []sampleCall {
	big := strings.Repeat("x", 60_000)
	return []sampleCall{
		{frame.Produce, `{"queue_name":"q","request_timeout":"10s","items":[{"utf8":"a"},{"bytes":"YWI=","kind":"k"},{"utf8":"` + big + `"}]}`},
		{frame.Produce, `{"queue_name":"two","request_timeout":"10s","items":[{"utf8":"a"}]}`},
		{frame.Produce, `{"queue_name":"none","request_timeout":"10s","items":[{"utf8":"a"}]}`},
		{frame.Produce, `{"queue_name":"q","request_timeout":"10s","items":[]}`},
		{frame.Produce, `{"queue_name":"q","items":[{}]}`},
		{frame.Produce, `{"queue_name":"q","request_timeout":"soon","items":[{}]}`},
		{frame.Produce, `{"queue_name":"q","request_timeout":"5ms","items":[{}]}`},
		{frame.Produce, `{"nothing":1}`},
		{frame.Produce, `{`},
		{frame.Produce, ``},
		{frame.Lease, leaseJSON("none", "c", "1s")},
		{frame.Lease, leaseJSON("q", "", "1s")},
		{frame.Lease, leaseJSON("q", "c", "1ms")},
		{frame.Lease, leaseJSON("paused", "c", "20ms")},
		{frame.Lease, `{"queue_name":"q","client_id":"c","batch_size":-1,"request_timeout":"1s"}`},
		{frame.Lease, `{"queue_name":"q","client_id":"c","batch_size":1,"request_timeout":"1s","lease_timeout":"x"}`},
		{frame.Lease, `{"queue_name":"q","client_id":"` + strings.Repeat("c", 600) + `","batch_size":1,"request_timeout":"1s"}`},
		{frame.Complete, `{"queue_name":"q","request_timeout":"1s","ids":["` + unknownID + `"]}`},
		{frame.Complete, `{"queue_name":"q","request_timeout":"1s","partition":7,"ids":["` + unknownID + `"]}`},
		{frame.Complete, `{"queue_name":"q","request_timeout":"1s","ids":["x"]}`},
		{frame.Complete, `{"queue_name":"q","request_timeout":"1s","ids":[]}`},
		{frame.Retry, `{"queue_name":"q","items":[{"id":"` + unknownID + `"}]}`},
		{frame.Retry, `{"queue_name":"q","items":[]}`},
		{frame.Retry, `{"queue_name":"q","partition":9,"items":[{"id":"` + unknownID + `"}]}`},
	}
}

// A call means on a stream what it means over HTTP, right or wrong.
func TestStreamAnswersAsHTTP(t *testing.T) {
	over, on := sampleWorld(t), sampleWorld(t)
	stream := on.stream(jsonType)
	for i, c := range sampleCalls() {
		want := over.post(c.call.Path(), c.body)
		stream.send(uint32(i+1), c.call, c.body)
		if id, code, body := stream.reply(); id != uint32(i+1) || code != want.code || body != string(want.body) {
			t.Errorf("%s %.100s: on a stream %d %d %s, over HTTP %d %s", c.call.Path(), c.body, id, code, body, want.code, want.body)
		}
	}
	if got, want := on.stats("q"), over.stats("q"); got.Total != want.Total || got.Total != 3 {
		t.Errorf("on a stream %v, over HTTP %v", got, want)
	}
}

// The whole life of an item, in protobuf.
func TestStreamProduceLeaseCompleteRetry(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	c := w.stream(protobufType)
	marshal := func(m proto.Message) string {
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	const done = "\x08\xc8\x01"
	large := strings.Repeat("y", 300_000) // More than is copied into the reply.
	w.produce("q", large)
	c.send(1, frame.Produce, marshal(&pb.QueueProduceRequest{QueueName: "q", RequestTimeout: "1s", Items: []*pb.QueueProduceItem{{Utf8: "x"}}}))
	c.want(1, 200, done)
	lease := marshal(&pb.QueueLeaseRequest{QueueName: "q", ClientId: "c", BatchSize: 10, RequestTimeout: "1s"})
	c.send(2, frame.Lease, lease)
	var got pb.QueueLeaseResponse
	if err := proto.Unmarshal([]byte(c.want(2, 200, "x")), &got); err != nil || len(got.Items) != 2 {
		t.Fatalf("%v, %d items", err, len(got.Items))
	}
	if string(got.Items[0].Bytes) != large || string(got.Items[1].Bytes) != "x" {
		t.Errorf("the payloads have %d and %d bytes", len(got.Items[0].Bytes), len(got.Items[1].Bytes))
	}
	c.send(3, frame.Complete, marshal(&pb.QueueCompleteRequest{QueueName: "q", RequestTimeout: "1s", Ids: []string{got.Items[0].Id}}))
	c.want(3, 200, done)
	c.send(4, frame.Retry, marshal(&pb.QueueRetryRequest{QueueName: "q", Items: []*pb.QueueRetryItem{{Id: got.Items[1].Id}}}))
	c.want(4, 200, done)
	c.send(5, frame.Lease, lease)
	c.want(5, 200, "x")
	if s := w.stats("q"); s.Total != 1 || s.TotalLeased != 1 {
		t.Errorf("at the end %v", s)
	}
}

// What is written at once is answered, each call once, whatever the pieces that it comes in.
func TestStreamManyAtOnce(t *testing.T) {
	w := newWorld(t)
	w.create("a")
	w.create("b")
	c := w.stream(jsonType)
	const n = 200
	var all []byte
	for i := range uint32(n) {
		all = append(all, request(i+1, frame.Produce, produceJSON([]string{"a", "b"}[i%2], fmt.Sprint(i)))...)
	}
	go func() {
		for begin := 0; begin < len(all); begin += 10_007 {
			if _, err := c.conn.Write(all[begin:min(begin+10_007, len(all))]); err != nil {
				t.Error(err)
			}
		}
	}()
	seen := map[uint32]bool{}
	for range n {
		id, code, body := c.reply()
		if code != 200 || seen[id] || id > n {
			t.Fatalf("%d is answered %d %s, seen before: %v", id, code, body, seen[id])
		}
		seen[id] = true
	}
	if a, b := w.stats("a"), w.stats("b"); a.Total != n/2 || b.Total != n/2 {
		t.Errorf("there are %d and %d items, want %d of each", a.Total, b.Total, n/2)
	}
}

// Whoever waits holds up nobody.
func TestStreamWaitingLeases(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	c := w.stream(jsonType)
	c.send(1, frame.Lease, leaseJSON("q", "a", "1m"))
	c.send(2, frame.Lease, leaseJSON("q", "b", "30ms"))
	c.send(3, frame.Lease, leaseJSON("q", "a", "1m"))
	c.want(3, 400, "duplicate client id")
	c.want(2, 454, "no items")
	w.produce("q", "by HTTP")
	c.want(1, 200, "YnkgSFRUUA==")
	c.send(4, frame.Lease, leaseJSON("q", "a", "1m")) // The client id is free again.
	c.send(5, frame.Produce, produceJSON("q", "here"))
	c.wantDone(2)
}

func TestStreamCancel(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	c := w.stream(jsonType)
	c.send(7, frame.Lease, leaseJSON("q", "a", "1m"))
	w.waitFor("the lease waits", func() bool { return w.logical("q").LeaseWaiting == 1 })
	c.send(8, frame.Cancel, "") // Nobody's.
	c.send(7, frame.Cancel, "")
	c.want(7, 454, "cancelled")
	c.send(7, frame.Cancel, "") // It is answered already.
	c.send(7, frame.Produce, produceJSON("q", "x"))
	c.want(7, 200, "")
	if s := w.stats("q"); s.Total != 1 || s.TotalLeased != 0 {
		t.Errorf("after the cancelled lease: %v", s)
	}
}

// A client that closes its side gets the answers to all but leases that wait; then the connection ends.
func TestStreamEndsWithItsClient(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	c := w.stream(jsonType)
	c.send(1, frame.Lease, leaseJSON("q", "a", "15m"))
	w.waitFor("the lease waits", func() bool { return w.logical("q").LeaseWaiting == 1 })
	c.write(append(request(2, frame.Complete, `{"queue_name":"q","request_timeout":"1s","ids":["x"]}`), 0, 0, 0))
	if err := c.conn.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if id, code, body := c.reply(); !(id == 1 && code == 454) && !(id == 2 && code == 400) {
			t.Errorf("%d is answered %d %s", id, code, body)
		}
	}
	c.ended()
	w.waitFor("nobody waits", func() bool { return w.logical("q").LeaseWaiting == 0 })

	gone := w.stream(jsonType)
	gone.send(1, frame.Lease, leaseJSON("q", "a", "15m"))
	w.waitFor("the lease waits", func() bool { return w.logical("q").LeaseWaiting == 1 })
	_ = gone.conn.Close()
	w.waitFor("nobody waits", func() bool { return w.logical("q").LeaseWaiting == 0 })
	w.produce("q", "x")
	if s := w.stats("q"); s.TotalLeased != 0 {
		t.Errorf("the item is leased to a client that has gone: %v", s)
	}
}

func TestStreamHasToBeAskedFor(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		headers string
		code    int
		text    string
	}{
		{"", 400, "Upgrade: querator-stream"},
		{"Connection: Upgrade\r\nUpgrade: websocket\r\n", 400, "Upgrade: querator-stream"},
		{"Connection: Upgrade\r\nUpgrade: querator-stream\r\nContent-Type: text/xml\r\n", 455, "text/xml"},
		{"Connection: Upgrade\r\nUpgrade: querator-stream\r\nAccept: text/xml\r\n", 455, "text/xml"},
	} {
		resp := w.dial().upgrade(test.headers)
		var body bytes.Buffer
		if _, err := body.ReadFrom(resp.Body); err != nil {
			t.Error(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != test.code || !strings.Contains(body.String(), test.text) {
			t.Errorf("%q: %d %s, want %d with %q", test.headers, resp.StatusCode, body.String(), test.code, test.text)
		}
	}
	w.post(frame.Path, "").refused(t, 501, "no such method; "+frame.Path)
}

// A client that breaks the rules is told which, and what it asked before is answered.
func TestStreamRules(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	waits := request(1, frame.Lease, leaseJSON("q", "a", "1m"))
	for name, test := range map[string]struct {
		frames []byte
		text   string
	}{
		"short":       {[]byte{0, 0, 0, 4, 0, 0, 0, 2, 1, 0, 0}, "shorter than its head"},
		"large":       {frame.AppendRequest(nil, frame.Request{ID: 2, Call: frame.Produce, Body: frame.MaxBody + 1}), "65537 bytes"},
		"greatest":    {frame.AppendRequest(nil, frame.Request{ID: 2, Call: 99, Body: 1<<32 - 6}), "4294967290 bytes"},
		"no id":       {request(0, frame.Produce, "{}"), "the id 0"},
		"its id":      {request(1, frame.Produce, "{}"), "the id 1"},
		"cancel more": {request(1, frame.Cancel, "x"), "cancels a call has a body"},
	} {
		c := w.stream(jsonType)
		t.Log(name)
		c.write(append(bytes.Clone(waits), test.frames...))
		c.want(1, 454, "cancelled")
		c.want(0, 400, test.text)
		c.ended()
	}
}

// What a stream does not have, or has no room for, is answered, and it goes on.
func TestStreamRefusals(t *testing.T) {
	w := newWorld(t, func(o *apiOptions, _ *limits) { o.MaxInFlight = 80_000 })
	w.create("q")
	c := w.stream(jsonType)
	c.send(1, 77, strings.Repeat("x", 50_000))
	c.want(1, 501, "no such call in a stream; 77")
	c.send(2, frame.Lease, strings.Repeat("x", 513))
	c.want(2, 400, "request body exceeds 512B limit")
	w.h.Budget().Take(60_000)
	c.send(3, frame.Produce, produceJSON("q", strings.Repeat("x", 30_000)))
	c.want(3, 454, "the agent is busy")
	w.h.Budget().Release(60_000)
	c.send(3, frame.Produce, produceJSON("q", strings.Repeat("x", 30_000)))
	c.want(3, 200, "")
}

// More than so many calls are not under way on a stream.
func TestStreamCallsAreBounded(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	c := w.stream(jsonType)
	const most = 512
	for i := range uint32(most + 1) {
		c.send(i+1, frame.Lease, leaseJSON("q", fmt.Sprint(i), "10m"))
	}
	c.want(most+1, 454, "the stream has 512 calls under way")
	c.send(1, frame.Cancel, "")
	c.want(1, 454, "cancelled")
	c.send(most+1, frame.Produce, produceJSON("q", "x"))
	c.wantDone(2)
}

// A client that stops reading is cut off, and what it was leased is ready again.
func TestStreamClientThatStopsReading(t *testing.T) {
	w := newWorld(t, func(o *apiOptions, _ *limits) { o.BodyTimeout = shortTimeout })
	w.create("q")
	const items = 30
	for range items { // More than the buffers of a socket take.
		w.produce("q", strings.Repeat("x", 250_000))
	}
	c := w.stream(jsonType)
	for i := range uint32(items) {
		c.send(i+1, frame.Lease, leaseJSON("q", fmt.Sprint(i), "10m"))
	}
	w.waitFor("the items are given back", func() bool {
		s := w.stats("q")
		return s.TotalLeased < items && w.isIdle() && w.logical("q").LeaseWaiting == 0
	})
	w.produce("q", "x") // All goes on.
}

// Half a frame does not wait for ever.
func TestStreamClientThatStopsSending(t *testing.T) {
	w := newWorld(t, func(o *apiOptions, _ *limits) { o.BodyTimeout = shortTimeout })
	w.create("q")
	for _, n := range []int{3, frame.RequestHead, frame.RequestHead + 5} {
		c := w.stream(jsonType)
		c.write(append(request(1, frame.Produce, produceJSON("q", "x")), request(2, frame.Produce, produceJSON("q", "y"))[:n]...))
		c.want(1, 200, "")
		c.ended()
	}
	if s := w.stats("q"); s.Total != 3 {
		t.Errorf("there are %d items, want 3", s.Total)
	}
}

func TestStreamThatIsNotUsedEnds(t *testing.T) {
	w := newWorld(t, func(o *apiOptions, _ *limits) { o.IdleTimeout = shortTimeout })
	w.create("q")
	c := w.stream(jsonType)
	c.send(1, frame.Lease, leaseJSON("q", "a", "400ms")) // As long as a call is under way it is in use.
	c.want(1, 454, "no items")
	w.waitFor("it is over", w.isIdle)
	c.send(2, frame.Produce, produceJSON("q", "x")) // It is, until a while after that.
	c.want(2, 200, "")
	c.ended()
}

// The server waits for what is under way on streams when it drains, and ends them.
func TestStreamDrain(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	polite, deaf := w.stream(jsonType), w.stream(jsonType)
	polite.send(1, frame.Lease, leaseJSON("q", "a", "15m"))
	w.waitFor("the lease waits", func() bool { return w.logical("q").LeaseWaiting == 1 })
	drained := make(chan error)
	go func() { drained <- w.server.Drain(context.Background()) }()
	for _, c := range []*wire{polite, deaf} {
		if id, code, body := c.reply(); id != 0 || code != frame.Bye || body != "" {
			t.Fatalf("the stream is told %d %d %q, want the end", id, code, body)
		}
	}
	polite.send(2, frame.Produce, produceJSON("q", "x")) // It was on its way.
	polite.wantDone(2)
	if err := polite.conn.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	polite.ended()
	deaf.ended()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}
