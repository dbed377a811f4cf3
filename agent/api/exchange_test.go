package api_test

import (
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

// plainReply is all that a client sees of a reply, but the time.
type plainReply struct {
	code   int
	header http.Header
	body   string
	ends   bool
}

// ask writes a request and reads the reply.
func (c *wire) ask(path, headers, body string) plainReply {
	c.t.Helper()
	c.write(fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", path, headers, len(body), body))
	return c.read()
}

func (c *wire) read() plainReply {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if resp.Header.Get("Date") == "" {
		c.t.Error("the reply has no date")
	}
	resp.Header.Del("Date")
	return plainReply{resp.StatusCode, resp.Header, string(text), resp.Close}
}

// member opens a connection of which requests may be begun: one has been answered.
func (w *world) member() *wire {
	w.t.Helper()
	c := w.dial()
	if r := c.ask("/v1/queues.list", "", "{}"); r.code != 200 {
		w.t.Fatalf("answered %d %s", r.code, r.body)
	}
	return c
}

// A request that is begun is answered as the handler would, to the last header.
func TestBegunAnswersAsTheHandler(t *testing.T) {
	handler, begun := sampleWorld(t), sampleWorld(t)
	before := begun.begun.Load()
	try := func(path, headers, body string) {
		t.Helper()
		want := handler.dial().ask(path, headers, body)
		got := begun.member().ask(path, headers, body)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s %q %.100s: begun %v, by the handler %v", path, headers, body, got, want)
		}
	}
	calls := sampleCalls()
	for _, c := range calls {
		try(c.call.Path(), "", c.body)
	}
	// One is too long for its call, which the handler says.
	if n := begun.begun.Load() - before; n != int64(len(calls))-1 {
		t.Errorf("%d of %d calls were begun", n, len(calls))
	}
	produce := produceJSON("q", "x")
	for _, headers := range []string{
		"Accept: application/protobuf\r\n",
		"Content-Type: application/json; charset=utf-8\r\nAccept: */*\r\n",
		"Content-Type: application/protobuf\r\n",
		"Content-Type: text/plain\r\n",
		"Accept: text/html\r\n",
		"Authorization: Bearer x\r\n",
		"Authorization: Basic x\r\n",
		"X-Anything: y\r\n",
	} {
		try("/v1/queue.produce", headers, produce)
	}
	try("/v1/queue.stats", "", `{"queue_name":"none"}`)
	try("/v1/queue.none", "", "{}")
	if got, want := begun.stats("q"), handler.stats("q"); got.Total != want.Total || got.Total < 5 {
		t.Errorf("begun %v, by the handler %v", got, want)
	}
}

// The whole life of an item, in protobuf, with a payload that is written apart.
func TestBegunProduceLeaseCompleteRetry(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	large := strings.Repeat("y", 300_000)
	w.produce("q", large)
	c := w.member()
	const headers = "Content-Type: application/protobuf\r\nAccept: application/protobuf\r\n"
	call := func(path string, m proto.Message) string {
		t.Helper()
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		r := c.ask(path, headers, string(data))
		if r.code != 200 {
			t.Fatalf("%s: %d %s", path, r.code, r.body)
		}
		return r.body
	}
	call("/v1/queue.produce", &pb.QueueProduceRequest{QueueName: "q", RequestTimeout: "1s", Items: []*pb.QueueProduceItem{{Utf8: "x"}}})
	lease := &pb.QueueLeaseRequest{QueueName: "q", ClientId: "c", BatchSize: 10, RequestTimeout: "1s"}
	var got pb.QueueLeaseResponse
	if err := proto.Unmarshal([]byte(call("/v1/queue.lease", lease)), &got); err != nil || len(got.Items) != 2 {
		t.Fatalf("%v, %d items", err, len(got.Items))
	}
	if string(got.Items[0].Bytes) != large || string(got.Items[1].Bytes) != "x" {
		t.Errorf("the payloads have %d and %d bytes", len(got.Items[0].Bytes), len(got.Items[1].Bytes))
	}
	call("/v1/queue.complete", &pb.QueueCompleteRequest{QueueName: "q", RequestTimeout: "1s", Ids: []string{got.Items[0].Id}})
	call("/v1/queue.retry", &pb.QueueRetryRequest{QueueName: "q", Items: []*pb.QueueRetryItem{{Id: got.Items[1].Id}}})
	call("/v1/queue.lease", lease)
	if n := w.begun.Load(); n != 5 {
		t.Errorf("%d calls were begun, want 5", n)
	}
	if s := w.stats("q"); s.Total != 1 || s.TotalLeased != 1 {
		t.Errorf("at the end %v", s)
	}
}

// A lease waits as long as it was asked to, and ends with the client: what comes later is
// for others.
func TestBegunLeaseThatWaits(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	c := w.member()
	began := time.Now()
	if r := c.ask("/v1/queue.lease", "", leaseJSON("q", "c", "100ms")); r.code != 454 || time.Since(began) < 100*time.Millisecond {
		t.Errorf("answered %d %s after %s", r.code, r.body, time.Since(began))
	}
	gone := w.member()
	lease := leaseJSON("q", "gone", "1m")
	gone.write(fmt.Appendf(nil, "POST /v1/queue.lease HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(lease), lease))
	w.waitFor("the lease waits", func() bool { return w.logical("q").LeaseWaiting == 1 })
	if err := gone.conn.Close(); err != nil {
		t.Fatal(err)
	}
	w.waitFor("the lease is dropped", func() bool { return w.logical("q").LeaseWaiting == 0 })
	w.produce("q", "x")
	if r := c.ask("/v1/queue.lease", "", leaseJSON("q", "c", "10s")); r.code != 200 || !strings.Contains(r.body, `"items":[`) {
		t.Errorf("answered %d %s", r.code, r.body)
	}
}

// A device that takes long with one queue holds up nobody who uses others.
func TestBegunWithASlowDevice(t *testing.T) {
	g := &gated{queue: "slow", held: make(chan struct{}, 1000), open: make(chan struct{})}
	w := newWorldOn(t, func(s queue.Storage) queue.Storage { g.Storage = s; return g })
	w.create("slow")
	w.create("quick")
	slow, quick, late := w.member(), w.member(), w.member()
	body := produceJSON("slow", "x")
	slow.write(fmt.Appendf(nil, "POST /v1/queue.produce HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	<-g.held
	for range 20 {
		if r := quick.ask("/v1/queue.produce", "", produceJSON("quick", "x")); r.code != 200 {
			t.Fatalf("answered %d %s", r.code, r.body)
		}
		if r := quick.ask("/v1/queue.lease", "", leaseJSON("quick", "a", "1s")); r.code != 200 {
			t.Fatalf("answered %d %s", r.code, r.body)
		}
	}
	r := late.ask("/v1/queue.produce", "", strings.Replace(body, "10s", "50ms", 1))
	if r.code != 454 || !strings.Contains(r.body, "partition not available") {
		t.Errorf("answered %d %s", r.code, r.body)
	}
	close(g.open)
	if r := slow.read(); r.code != 200 {
		t.Errorf("answered %d %s", r.code, r.body)
	}
	if s := w.stats("slow"); s.Total != 1 {
		t.Errorf("there are %d items in the slow queue, want 1", s.Total)
	}
}
