package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/frame"
	"github.com/kapetan-io/querator-edge/agent/pb"
)

// fake is an agent with one queue of one partition, in memory, whose answers a test can replace.
type fake struct {
	mu           sync.Mutex
	leaseTimeout time.Duration
	next         int
	ready        []*fakeItem
	leased       map[string]*fakeItem
	completed    []string // payloads
	retries      []*pb.QueueRetryItem
	calls        map[string]int
	produced     chan struct{} // closed and replaced when something becomes ready
	audits       chan struct{} // gets a token for every audit
	// intercept, if not nil, may answer in place of the queue; it returns 0 to let the queue answer.
	intercept func(path string, call int) (code int, message string)
	fakeStreams
}

type fakeItem struct {
	payload  []byte
	attempts int
	deadline time.Time
	readyAt  time.Time
}

func newFake() *fake {
	return &fake{
		leaseTimeout: time.Minute, leased: make(map[string]*fakeItem), calls: make(map[string]int),
		produced: make(chan struct{}), audits: make(chan struct{}, 1),
	}
}

func (f *fake) add(payloads ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range payloads {
		f.ready = append(f.ready, &fakeItem{payload: []byte(p)})
	}
	f.wake()
}

// wake wakes the leases that wait.
func (f *fake) wake() {
	close(f.produced)
	f.produced = make(chan struct{})
}

func (f *fake) count(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[path]
}

// ServeHTTP answers protobuf requests.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.URL.Path == frame.Path {
		f.serveStream(w)
		return
	}
	code, m := f.reply(r.Context(), r.URL.Path, body)
	if code == -1 {
		panic(http.ErrAbortHandler) // Breaks the connection.
	}
	answer(w, code, m)
}

// reply answers a request; the code -1 breaks the connection.
func (f *fake) reply(ctx context.Context, path string, body []byte) (code int, m proto.Message) {
	f.mu.Lock()
	f.calls[path]++
	n, intercept := f.calls[path], f.intercept
	f.mu.Unlock()
	if intercept != nil {
		if code, message := intercept(path, n); code != 0 {
			return code, &pb.Reply{Code: int32(code), Message: message}
		}
	}
	m, err := f.serve(ctx, path, body)
	if err != nil {
		code := 400
		if errors.Is(err, errNothing) || errors.Is(err, context.Canceled) {
			code = 454
		}
		return code, &pb.Reply{Code: int32(code), Message: err.Error()}
	}
	return 200, m
}

var errNothing = errors.New("request timeout; no items are in the queue, try again")

func answer(w http.ResponseWriter, code int, m proto.Message) {
	body, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/protobuf")
	w.WriteHeader(code)
	w.Write(body)
}

func (f *fake) serve(ctx context.Context, path string, body []byte) (proto.Message, error) {
	ok := &pb.Reply{Code: 200}
	switch path {
	case "/v1/queue.produce":
		var req pb.QueueProduceRequest
		if err := proto.Unmarshal(body, &req); err != nil {
			return nil, err
		}
		for _, it := range req.Items {
			f.add(string(it.Bytes))
		}
		return ok, nil
	case "/v1/agent.audit": // It takes until nobody waits for it any more.
		f.audits <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	case "/v1/queue.lease":
		var req pb.QueueLeaseRequest
		if err := proto.Unmarshal(body, &req); err != nil {
			return nil, err
		}
		return f.lease(ctx, &req)
	case "/v1/queue.complete":
		var req pb.QueueCompleteRequest
		if err := proto.Unmarshal(body, &req); err != nil {
			return nil, err
		}
		return ok, f.take(req.Ids, func(_ string, it *fakeItem) { f.completed = append(f.completed, string(it.payload)) })
	case "/v1/queue.retry":
		var req pb.QueueRetryRequest
		if err := proto.Unmarshal(body, &req); err != nil {
			return nil, err
		}
		return ok, f.retry(&req)
	case "/v1/queue.extend":
		var req pb.QueueExtendRequest
		if err := proto.Unmarshal(body, &req); err != nil {
			return nil, err
		}
		return f.extend(&req)
	}
	return nil, fmt.Errorf("unexpected %s", path)
}

// lease waits as the agent does.
func (f *fake) lease(ctx context.Context, req *pb.QueueLeaseRequest) (proto.Message, error) {
	wait, err := time.ParseDuration(req.RequestTimeout)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		f.mu.Lock()
		resp, produced, soonest := f.takeReady(int(req.BatchSize)), f.produced, f.soonest()
		f.mu.Unlock()
		if len(resp.Items) > 0 {
			return resp, nil
		}
		again := time.NewTimer(soonest)
		select {
		case <-produced:
		case <-again.C:
		case <-timer.C:
			return nil, errNothing
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		again.Stop()
	}
}

// takeReady leases what is ready. Leases that ended are ready again.
func (f *fake) takeReady(limit int) *pb.QueueLeaseResponse {
	now := time.Now()
	for id, it := range f.leased {
		if now.After(it.deadline) {
			delete(f.leased, id)
			f.ready = append(f.ready, it)
		}
	}
	resp := &pb.QueueLeaseResponse{}
	var rest []*fakeItem
	for _, it := range f.ready {
		if len(resp.Items) == limit || it.readyAt.After(now) {
			rest = append(rest, it)
			continue
		}
		f.next++
		id := fmt.Sprintf("id-%d", f.next)
		it.attempts++
		it.deadline = now.Add(f.leaseTimeout)
		f.leased[id] = it
		resp.Items = append(resp.Items, &pb.QueueLeaseItem{
			Id: id, Attempts: int32(it.attempts), Bytes: it.payload, LeaseDeadline: timestamppb.New(it.deadline),
		})
	}
	f.ready = rest
	return resp
}

// soonest returns how long it is until an item that waits for its time is ready.
func (f *fake) soonest() time.Duration {
	d := time.Hour
	for _, it := range f.ready {
		d = min(d, time.Until(it.readyAt))
	}
	for _, it := range f.leased {
		d = min(d, time.Until(it.deadline)+time.Nanosecond)
	}
	return d
}

// take ends the leases of all the ids, or of none.
func (f *fake) take(ids []string, then func(id string, it *fakeItem)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		if it, ok := f.leased[id]; !ok || time.Now().After(it.deadline) {
			return fmt.Errorf("invalid storage id; '%s' does not exist", id)
		}
	}
	for _, id := range ids {
		it := f.leased[id]
		delete(f.leased, id)
		then(id, it)
	}
	return nil
}

func (f *fake) retry(req *pb.QueueRetryRequest) error {
	var ids []string
	at := make(map[string]*pb.QueueRetryItem)
	for _, it := range req.Items {
		ids = append(ids, it.Id)
		at[it.Id] = it
	}
	return f.take(ids, func(id string, it *fakeItem) {
		f.retries = append(f.retries, at[id])
		if at[id].Dead {
			return
		}
		it.readyAt = time.Time{}
		if at[id].RetryAt != nil {
			it.readyAt = at[id].RetryAt.AsTime()
		}
		f.ready = append(f.ready, it)
		f.wake()
	})
}

func (f *fake) extend(req *pb.QueueExtendRequest) (proto.Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range req.Ids {
		if it, ok := f.leased[id]; !ok || time.Now().After(it.deadline) {
			return nil, fmt.Errorf("invalid storage id; '%s' does not exist", id)
		}
	}
	deadline := time.Now().Add(f.leaseTimeout)
	for _, id := range req.Ids {
		f.leased[id].deadline = deadline
	}
	return &pb.QueueExtendResponse{LeaseDeadline: timestamppb.New(deadline)}, nil
}

// pipeListener is a listener without a network, so that a test in a bubble of synctest sees its time pass.
type pipeListener struct {
	pipe  func() (near, far net.Conn)
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{pipe: net.Pipe, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// dial connects as a client, or is refused after Close.
func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	near, far := l.pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.done:
		return nil, &net.OpError{Op: "dial", Net: "unix", Err: errors.New("connection refused")}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// servePipe serves h without a network until the test ends, and returns a client of it.
func servePipe(t *testing.T, h http.Handler) *client.Client {
	return serveOn(t, h, newPipeListener())
}

func serveOn(t *testing.T, h http.Handler, l *pipeListener) *client.Client {
	server := &http.Server{Handler: h}
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.Serve(l)
	}()
	c := &client.Client{Dial: l.dial}
	t.Cleanup(func() {
		c.Close()
		server.Close()
		<-served
	})
	return c
}
