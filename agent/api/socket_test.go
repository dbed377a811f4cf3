package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/kapetan-io/querator-edge/agent/api"
	"github.com/kapetan-io/querator-edge/agent/poll"
	"github.com/kapetan-io/querator-edge/agent/serve"
	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/memstore"
	"github.com/kapetan-io/querator-edge/queue/queuetest"
)

// world is an API over a service in memory, on a Unix socket.
type world struct {
	t      testing.TB
	svc    *queue.Service
	h      *api.Handler
	clock  *queuetest.Clock
	client *http.Client
	socket string
	server *serve.Server
	begun  atomic.Int64 // requests that were begun without a goroutine

	mu     sync.Mutex
	logged []string // what went to LogError
}

// newWorld starts an API. A test that expects causes in the log takes them out.
func newWorld(t testing.TB, change ...func(*api.Options, *queue.Limits)) *world {
	t.Helper()
	return newWorldOn(t, func(s queue.Storage) queue.Storage { return s }, change...)
}

// newWorldOn is newWorld with something before the storage.
func newWorldOn(t testing.TB, before func(queue.Storage) queue.Storage, change ...func(*api.Options, *queue.Limits)) *world {
	t.Helper()
	w := &world{t: t, clock: queuetest.NewClock(time.Now())}
	o := api.Options{Version: "1.2.3", LogError: func(path string, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.logged = append(w.logged, path+": "+err.Error())
	}}
	var limits queue.Limits
	for _, f := range change {
		f(&o, &limits)
	}
	svc, err := queue.Open(context.Background(), queue.Config{
		Meta: memstore.NewMeta(), Clock: w.clock, Limits: limits,
		Storages: []queue.NamedStorage{{
			Name: "mem", Affinity: 1,
			Storage: before(memstore.New(memstore.Options{MaxBytes: 512 << 20, Boot: w.clock.Boot()})),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	o.Service, w.svc = svc, svc
	w.h = api.New(o)
	w.listen()
	t.Cleanup(w.stop)
	return w
}

// polled is a listener whose connections are as those of the agent.
type polled struct{ net.Listener }

func (l polled) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return poll.New(nc), nil
}

// counted counts the requests that are begun.
type counted struct {
	serve.Beginner
	n *atomic.Int64
}

type countedBatch struct {
	serve.Batch
	n *atomic.Int64
}

func (c counted) NewBatch(early func()) serve.Batch {
	return countedBatch{c.Beginner.NewBatch(early), c.n}
}

func (b countedBatch) Begin(x *serve.Exchange, body []byte) serve.Pending {
	p := b.Batch.Begin(x, body)
	if p != nil {
		b.n.Add(1)
	}
	return p
}

func (w *world) listen() {
	w.socket = filepath.Join(w.t.TempDir(), "s")
	ln, err := net.Listen("unix", w.socket)
	if err != nil {
		w.t.Fatal(err)
	}
	server := &serve.Server{Handler: w.h, HeaderTimeout: 10 * time.Second, Greet: w.h.Greet, Leave: w.h.Leave, Begin: counted{w.h, &w.begun}}
	w.server = server
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(polled{ln}) // ErrServerClosed, when the test ends.
	}()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", w.socket)
	}
	w.client = &http.Client{Transport: &http.Transport{DialContext: dial, DisableCompression: true}}
	w.t.Cleanup(func() {
		w.client.CloseIdleConnections()
		_ = server.Close()
		<-done
	})
}

func (w *world) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := w.svc.Shutdown(ctx); err != nil {
		w.t.Error(err)
	}
	// A reply can be here before its handler has returned.
	if err := w.server.Shutdown(ctx); err != nil {
		w.t.Error(err)
	}
	for _, line := range w.takeLog() {
		w.t.Errorf("internal error logged: %s", line)
	}
	if n := w.h.Budget().InFlight(); n != 0 {
		w.t.Errorf("%d bytes are still in flight at the end", n)
	}
}

func (w *world) takeLog() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := w.logged
	w.logged = nil
	return lines
}

// statuses are all that a client understands on the paths of calls.
var statuses = []int{200, 400, 401, 403, 404, 409, 429, 452, 453, 454, 455, 500, 501, 512}

// answer is a reply as it came.
type answer struct {
	code   int
	header http.Header
	body   []byte
}

// do sends a request and checks what holds for every reply: headers come in
// pairs of name and value.
func (w *world) do(method, path string, body io.Reader, headers ...string) *answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, "http://unix"+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header[headers[i]] = []string{headers[i+1]}
	}
	resp, err := w.client.Do(req)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	if got := resp.Header.Get("X-Content-Type-Options"); got != "nosniff" {
		w.t.Errorf("%s %s: X-Content-Type-Options is %q", method, path, got)
	}
	if strings.HasPrefix(path, "/v1/") && !slices.Contains(statuses, resp.StatusCode) {
		w.t.Errorf("%s %s: no client knows status %d", method, path, resp.StatusCode)
	}
	return &answer{code: resp.StatusCode, header: resp.Header, body: data}
}

// post makes a call in JSON.
func (w *world) post(path, body string, headers ...string) *answer {
	w.t.Helper()
	return w.do(http.MethodPost, path, strings.NewReader(body), headers...)
}

// call makes a call with a message in protobuf and without Accept, as the Go
// client of Querator does, and decodes the JSON as strictly as that.
func (w *world) call(path string, req, reply proto.Message) *answer {
	w.t.Helper()
	data, err := proto.Marshal(req)
	if err != nil {
		w.t.Fatal(err)
	}
	a := w.do(http.MethodPost, path, bytes.NewReader(data), "Content-Type", "application/protobuf")
	if got := a.header.Get("Content-Type"); got != "application/json" {
		w.t.Errorf("%s: Content-Type is %q without Accept", path, got)
	}
	if a.code == http.StatusOK && reply != nil {
		if err := protojson.Unmarshal(a.body, reply); err != nil {
			w.t.Errorf("%s: %v in %s", path, err, a.body)
		}
	}
	return a
}

// must makes a call that has to succeed.
func (w *world) must(path string, req, reply proto.Message) {
	w.t.Helper()
	if a := w.call(path, req, reply); a.code != http.StatusOK {
		w.t.Fatalf("%s: %d %s", path, a.code, a.body)
	}
}

// create makes a queue; options are further JSON fields.
func (w *world) create(name string, options ...string) {
	w.t.Helper()
	body := fmt.Sprintf(`{"queue_name":%q,"lease_timeout":"1m","expire_timeout":"24h"`, name)
	for _, o := range options {
		body += "," + o
	}
	if !strings.Contains(body, "requested_partitions") {
		body += `,"requested_partitions":1`
	}
	if a := w.post("/v1/queues.create", body+"}"); a.code != http.StatusOK {
		w.t.Fatalf("create %s: %d %s", name, a.code, a.body)
	}
}

var texts = map[int]string{
	400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 453: "Request Failed", 454: "Retry Request", 455: "Client Content Error",
	500: "Internal Service Error", 501: "Not Implemented",
}

// message checks that the answer is an error of that code and returns its text.
func (a *answer) message(t testing.TB, code int) string {
	t.Helper()
	var r struct {
		Code     int    `json:"code"`
		CodeText string `json:"code_text"`
		Message  string `json:"message"`
	}
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Errorf("%v in %q", err, a.body)
	}
	if a.code != code || r.Code != code || r.CodeText != texts[code] {
		t.Errorf("status %d, body %s; want code %d %q", a.code, a.body, code, texts[code])
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type is %q", got)
	}
	return r.Message
}

// refused checks for an error with exactly this text.
func (a *answer) refused(t testing.TB, code int, want string) {
	t.Helper()
	if got := a.message(t, code); got != want {
		t.Errorf("the message is\n %q, want\n %q", got, want)
	}
}

// done checks for the reply of calls without data.
func (a *answer) done(t testing.TB) {
	t.Helper()
	if a.code != http.StatusOK || string(a.body) != `{"code":200}` {
		t.Errorf("status %d, body %s; want 200 and {\"code\":200}", a.code, a.body)
	}
}
