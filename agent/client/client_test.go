package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/backup"
)

// serveUnix serves h on a Unix socket until the test ends and returns the socket's path.
func serveUnix(t *testing.T, h http.Handler) string {
	dir, err := os.MkdirTemp("", "q") // Short: a socket's path is.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.Serve(l)
	}()
	t.Cleanup(func() { server.Close(); <-served })
	return path
}

func TestZeroClientFindsTheAgent(t *testing.T) {
	f := newFake()
	t.Setenv("QUERATOR_SOCKET", serveUnix(t, f))
	f.add("payload")
	var c client.Client
	defer c.Close()
	items, err := c.Lease(t.Context(), "q", client.LeaseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(items) != 1 || string(items[0].Payload) != "payload" || items[0].Attempts != 1 || items[0].Queue != "q" {
		t.Errorf("got %+v", items)
	}
	if err := c.Complete(t.Context(), "q", items[0].Partition, items[0].ID); err != nil {
		t.Error(err)
	}
}

func TestEndpoints(t *testing.T) {
	f := newFake()
	path := serveUnix(t, f)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: f}
	go server.Serve(tcp)
	defer server.Close()
	for _, c := range []*client.Client{
		{Socket: path},
		{Endpoint: "unix://" + path},
		{Endpoint: "http://" + tcp.Addr().String()},
		{Endpoint: "http://" + tcp.Addr().String() + "/", Socket: "/nowhere"},
		{Dial: func(context.Context) (net.Conn, error) { return net.Dial("unix", path) }},
	} {
		if _, err := c.Lease(t.Context(), "q", client.LeaseOptions{Wait: 20 * time.Millisecond}); !errors.Is(err, client.ErrEmpty) {
			t.Errorf("%+v: got %v, want ErrEmpty", c, err)
		}
		c.Close()
	}
	for _, endpoint := range []string{"localhost:2319", "ftp://localhost", "http://", "://"} {
		c := &client.Client{Endpoint: endpoint}
		if _, err := c.Status(t.Context()); !errors.Is(err, client.ErrInvalid) || !strings.Contains(err.Error(), endpoint) {
			t.Errorf("%s: got %v, want ErrInvalid", endpoint, err)
		}
	}
}

func TestNoAgent(t *testing.T) {
	dir := t.TempDir()
	c := &client.Client{Socket: filepath.Join(dir, "none")}
	_, err := c.Status(t.Context())
	if want := "the agent cannot be reached at unix://" + dir + "/none: connect: no such file or directory"; !errors.Is(err, client.ErrUnavailable) || err.Error() != want {
		t.Errorf("got %v, want ErrUnavailable with %q", err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Status(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, client.ErrUnavailable) {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestErrorKinds(t *testing.T) {
	kinds := []error{client.ErrInvalid, client.ErrNotFound, client.ErrLeaseLost, client.ErrDuplicate, client.ErrEmpty,
		client.ErrFull, client.ErrTryAgain, client.ErrShutdown, client.ErrUnavailable, client.ErrDenied,
		client.ErrUnsupported, client.ErrInternal}
	for _, test := range []struct {
		code int
		text string
		want error
	}{
		{400, "queue does not exist; no such queue named 'q'", client.ErrNotFound},
		{400, "dead_queue does not exist; 'd' was not found, create it first", client.ErrNotFound},
		{400, "invalid storage id; 'x' does not exist", client.ErrLeaseLost},
		{400, "item(s) cannot be completed; 'x' is not marked as leased", client.ErrLeaseLost},
		{400, "item(s) cannot be retried; 'x' is not marked as leased", client.ErrLeaseLost},
		{400, "invalid storage id; 'x': Valid encoded KSUIDs are 27 characters", client.ErrInvalid},
		{400, "invalid queue; 'q' already exists", client.ErrDuplicate},
		{400, "duplicate client id; a client cannot make multiple leased requests to the same queue", client.ErrDuplicate},
		{400, "items cannot be empty; at least one item is required", client.ErrInvalid},
		{401, "invalid authorization header format", client.ErrDenied},
		{453, "queue is shutting down", client.ErrShutdown},
		{453, "namespace does not exist; 'n' was not found", client.ErrInvalid},
		{454, "request timeout; no items are in the queue, try again", client.ErrEmpty},
		{454, "queue is overloaded; try again later", client.ErrTryAgain},
		{454, "partition not available; partition '0' is failing, retry again", client.ErrTryAgain},
		{454, "the disk is full: /data has 1 bytes free, needs 2", client.ErrFull},
		{454, "queue is full; it holds 3 items, max_items is 3; try again later", client.ErrFull},
		{454, "too many scheduled items; try again when some are due", client.ErrFull},
		{454, "cannot open /data is full/too many", client.ErrTryAgain},
		{454, "the agent is busy: 60 bytes of requests are in flight, limit 100; try again", client.ErrTryAgain},
		{454, "the request is too large for this agent: 101 bytes, and at most 100 may be in flight", client.ErrInvalid},
		{455, "proto: syntax error", client.ErrInvalid},
		{500, "Internal Error", client.ErrInternal},
		{501, "no such method; /v1/foo", client.ErrUnsupported},
		{502, "", client.ErrInternal},
	} {
		f := newFake()
		f.intercept = func(string, int) (int, string) { return test.code, test.text }
		c := &client.Client{Socket: serveUnix(t, f)}
		err := c.PauseQueue(t.Context(), "q")
		var e *client.Error
		if !errors.As(err, &e) || e.Code != test.code || e.Message != test.text {
			t.Errorf("%d %s: got %#v", test.code, test.text, err)
			continue
		}
		for _, kind := range kinds {
			if errors.Is(err, kind) != (kind == test.want) {
				t.Errorf("%d %s: Is(%v) is %v", test.code, test.text, kind, errors.Is(err, kind))
			}
		}
	}
}

func TestAnswersThatAreNotTheAgents(t *testing.T) {
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		want    error
		text    string
	}{
		{"JSON", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(455)
			w.Write([]byte(`{"code":455,"code_text":"Client Content Error","message":"no","new":1}`))
		}, client.ErrInvalid, "no"},
		{"HTML", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(503)
			w.Write([]byte("<p>busy"))
		}, client.ErrInternal, "503 Service Unavailable, and the answer is not of the agent: content type 'text/html'"},
		{"garbage", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/protobuf")
			w.Write([]byte("\xff\xff"))
		}, client.ErrInternal, "the reply cannot be read"},
		{"broken off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			client.ErrUnavailable, "the request may have taken effect: unexpected EOF"},
		{"too large", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99999999999")
			w.WriteHeader(200)
		}, client.ErrUnavailable, "99999999999 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &client.Client{Socket: serveUnix(t, test.handler)}
			_, err := c.ListQueues(t.Context(), "", 0)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want %v with %q", err, test.want, test.text)
			}
		})
	}
}

// TestRequests pins what the methods put into requests, for those that the tests of the Worker do not use.
func TestRequests(t *testing.T) {
	at := time.Date(2026, 11, 23, 1, 2, 3, 4000, time.UTC)
	for _, test := range []struct {
		path string
		call func(c *client.Client) error
		got  proto.Message
		want string
	}{
		{"/v1/queue.produce", func(c *client.Client) error {
			return c.Produce(t.Context(), "q", client.ProduceItem{
				Payload: []byte("p"), Encoding: "e", Kind: "k", Reference: "r", SourceID: "s", EnqueueAt: at})
		}, new(pb.QueueProduceRequest), `{"queue_name":"q","request_timeout":"1m0s","items":[{"encoding":"e","kind":"k",` +
			`"reference":"r","enqueue_at":"2026-11-23T01:02:03.000004Z","bytes":"cA==","source_id":"s"}]}`},
		{"/v1/queue.lease", func(c *client.Client) error {
			// The answer has no items, which an agent never sends.
			if _, err := c.Lease(t.Context(), "q", client.LeaseOptions{BatchSize: 7, Wait: time.Second, LeaseTimeout: time.Hour, ClientID: "c"}); !errors.Is(err, client.ErrInternal) {
				t.Errorf("lease without items: %v", err)
			}
			return nil
		}, new(pb.QueueLeaseRequest), `{"queue_name":"q","batch_size":7,"client_id":"c","request_timeout":"1s","lease_timeout":"1h0m0s"}`},
		{"/v1/queue.retry", func(c *client.Client) error {
			return c.Retry(t.Context(), "q", 2, client.RetryItem{ID: "a", At: at}, client.RetryItem{ID: "b", Dead: true})
		}, new(pb.QueueRetryRequest), `{"queue_name":"q","partition":2,"items":[{"id":"a","retry_at":"2026-11-23T01:02:03.000004Z"},{"id":"b","dead":true}]}`},
		{"/v1/queue.extend", func(c *client.Client) error {
			_, err := c.Extend(t.Context(), "q", 1, time.Minute, "a", "b")
			return err
		}, new(pb.QueueExtendRequest), `{"queue_name":"q","partition":1,"request_timeout":"1m0s","ids":["a","b"],"lease_timeout":"1m0s"}`},
		{"/v1/queues.create", func(c *client.Client) error {
			return c.CreateQueue(t.Context(), client.QueueInfo{Name: "q", LeaseTimeout: time.Minute, ExpireTimeout: time.Hour,
				MaxAttempts: 3, DeadQueue: "d", Reference: "r", Partitions: 1<<31 - 1, MaxItems: 4, MaxBytes: 1 << 40,
				FullPolicy: client.FullDropOldest})
		}, new(pb.QueueInfo), `{"queue_name":"q","dead_queue":"d","reference":"r","lease_timeout":"1m0s","expire_timeout":"1h0m0s","max_attempts":3,"requested_partitions":2147483647,` +
			`"max_items":"4","max_bytes":"1099511627776","full_policy":"drop-oldest"}`},
		{"/v1/queue.clear", func(c *client.Client) error {
			return c.ClearQueue(t.Context(), "q", client.ClearOptions{Ready: true, Scheduled: true, Destructive: true})
		}, new(pb.QueueClearRequest), `{"queue_name":"q","scheduled":true,"queue":true,"destructive":true}`},
		{"/v1/queue.redrive", func(c *client.Client) error {
			_, err := c.Redrive(t.Context(), "q", "to", 5)
			return err
		}, new(pb.QueueRedriveRequest), `{"queue_name":"q","target_queue":"to","limit":5,"request_timeout":"1m0s"}`},
		{"/v1/storage/scheduled.list", func(c *client.Client) error {
			_, err := c.ListScheduled(t.Context(), "q", 1, client.Page{Pivot: "p", Limit: 3})
			return err
		}, new(pb.StorageItemsListRequest), `{"queue_name":"q","partition":1,"pivot":"p","limit":3}`},
		{"/v1/storage/items.import", func(c *client.Client) error {
			_, err := c.ImportItems(t.Context(), "q", 1, []client.StoredItem{{SourceID: "s", IsLeased: true, LeaseDeadline: at,
				ExpireDeadline: at, Attempts: 2, MaxAttempts: 9, Kind: "k", Payload: []byte("p")}})
			return err
		}, new(pb.StorageItemsImportRequest), `{"queue_name":"q","partition":1,"items":[{"source_id":"s","is_leased":true,` +
			`"lease_deadline":"2026-11-23T01:02:03.000004Z","expire_deadline":"2026-11-23T01:02:03.000004Z","attempts":2,"max_attempts":9,"kind":"k","payload":"cA=="}]}`},
		{"/v1/storage/items.delete", func(c *client.Client) error {
			return c.DeleteItems(t.Context(), "q", 1, "a")
		}, new(pb.StorageItemsDeleteRequest), `{"queue_name":"q","partition":1,"ids":["a"]}`},
	} {
		c := &client.Client{Socket: serveUnix(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != test.path || r.Method != "POST" || r.Header.Get("Content-Type") != "application/protobuf" {
				t.Errorf("got %s %s (%s), want %s", r.Method, r.URL.Path, r.Header.Get("Content-Type"), test.path)
			}
			decode(t, r, test.got)
			answer(w, 200, &pb.Reply{})
		}))}
		if err := test.call(c); err != nil {
			t.Errorf("%s: %v", test.path, err)
		}
		if got := compactJSON(t, test.got); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.path, got, test.want)
		}
	}
}

func decode(t *testing.T, r *http.Request, m proto.Message) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = proto.Unmarshal(body, m)
	}
	if err != nil {
		t.Error(err)
	}
}

// compactJSON returns m as JSON without the white space that the encoder varies.
func compactJSON(t *testing.T, m proto.Message) string {
	text, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAnswersOfOurOwn(t *testing.T) {
	c := &client.Client{Socket: serveUnix(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/queues.info":
			answer(w, 200, &pb.QueueInfo{QueueName: "q", MaxItems: 3, MaxBytes: 1 << 40})
		case "/v1/agent.audit":
			var req pb.AgentAuditRequest
			decode(t, r, &req)
			answer(w, 200, &pb.AgentAuditResponse{Partitions: []*pb.PartitionAudit{
				{QueueName: req.QueueName, Partition: 1, Ready: 2, Leased: 3, Scheduled: 4, Moving: 5, Bytes: 6,
					Ledger: &pb.Ledger{Produced: 14}},
				{QueueName: req.QueueName, Differences: []string{"x"}},
				{QueueName: req.QueueName, Failure: "y"},
			}})
		}
	}))}
	info, err := c.QueueInfo(t.Context(), "q")
	if err != nil || info.MaxItems != 3 || info.MaxBytes != 1<<40 || info.FullPolicy != client.FullReject {
		t.Errorf("info: %+v, %v", info, err)
	}
	found, err := c.Audit(t.Context(), "q")
	if err != nil || len(found) != 3 || !found[0].OK() || found[1].OK() || found[2].OK() {
		t.Fatalf("audit: %+v, %v", found, err)
	}
	want := client.PartitionAudit{Queue: "q", Partition: 1, Ready: 2, Leased: 3, Scheduled: 4, Moving: 5, Bytes: 6,
		Ledger: client.Ledger{Produced: 14}}
	if !reflect.DeepEqual(found[0], want) {
		t.Errorf("audit: %+v, want %+v", found[0], want)
	}
}

// A back-up whose agent ends in the middle is not one that is damaged.
func TestBackupBreaksOff(t *testing.T) {
	c := client.Client{Socket: serveUnix(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write([]byte("querator backup 1\n"))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))}
	defer c.Close()
	stream, err := c.Backup(t.Context(), client.BackupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	_, err = backup.NewReader(stream)
	if !errors.Is(err, client.ErrUnavailable) || errors.Is(err, queue.ErrCorrupt) || !strings.Contains(err.Error(), "broke before the end") {
		t.Errorf("reading what broke off: %v, want ErrUnavailable", err)
	}
}
