package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/api"
	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

// watched starts an API that watches at most so many processes.
func watched(t *testing.T, holders int) (*world, *access.Guard) {
	t.Helper()
	guard := access.New(access.Options{Shares: access.Shares{Holders: holders}})
	w := newWorld(t, func(o *api.Options, _ *queue.Limits) { o.Guard = guard })
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- guard.Watch(ctx, w.svc.ReleaseHolders) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w, guard
}

// Which leases end with their process: those that say so, and else those of queues that say so. What happens then
// is tested with processes (agent/access, agent/crashtest).
func TestReleaseOnExit(t *testing.T) {
	w, guard := watched(t, 10)
	w.create("plain")
	w.create("tied", `"release_on_exit":true`)
	yes, no := true, false
	for _, test := range []struct {
		queue string
		asked *bool
		want  int
	}{
		{"plain", nil, 0}, {"plain", &no, 0}, {"tied", &no, 0}, // As yet nobody is watched.
		{"tied", nil, 1}, {"tied", &yes, 1}, {"plain", &yes, 1}, // One process, however often it leases.
	} {
		w.produce(test.queue, "x")
		var reply pb.QueueLeaseResponse
		w.must("/v1/queue.lease", &pb.QueueLeaseRequest{
			QueueName: test.queue, ClientId: "c", BatchSize: 1, RequestTimeout: "1s", ReleaseOnExit: test.asked,
		}, &reply)
		if got := guard.Holders(); got != test.want {
			t.Errorf("%s, asked for %v: %d processes are watched, want %d", test.queue, test.asked, got, test.want)
		}
		w.must("/v1/queue.extend", &pb.QueueExtendRequest{QueueName: test.queue, Ids: idsOf(reply.Items), ReleaseOnExit: true}, nil)
		w.must("/v1/queue.complete", &pb.QueueCompleteRequest{QueueName: test.queue, RequestTimeout: "1s", Ids: idsOf(reply.Items)}, nil)
		if test.want == 0 && guard.Holders() == 1 {
			w, guard = watched(t, 10)
			w.create("plain")
			w.create("tied", `"release_on_exit":true`)
		}
	}
}

// Clients of Querator do not know the option.
func TestReleaseOnExitInInfo(t *testing.T) {
	w, _ := watched(t, 10)
	w.create("tied", `"release_on_exit":true`)
	request := `{"queue_name":"tied"}`
	if a := w.post("/v1/queues.info", request); strings.Contains(string(a.body), "release") {
		t.Errorf("in JSON: %s", a.body)
	}
	var info pb.QueueInfo
	a := w.post("/v1/queues.info", request, "Accept", "application/protobuf")
	if err := proto.Unmarshal(a.body, &info); err != nil || !info.ReleaseOnExit {
		t.Errorf("in protobuf: %+v, %v", &info, err)
	}
	w.post("/v1/queues.update", `{"queue_name":"tied"}`).done(t)
	a = w.post("/v1/queues.info", request, "Accept", "application/protobuf")
	info.Reset()
	if err := proto.Unmarshal(a.body, &info); err != nil || info.ReleaseOnExit {
		t.Errorf("after an update without it: %+v, %v", &info, err)
	}
}

func TestReleaseOnExitThatCannotBe(t *testing.T) {
	w, _ := watched(t, 0)
	w.create("q")
	const lease = `{"queue_name":"q","client_id":"c","batch_size":1,"request_timeout":"1s","release_on_exit":true}`
	if got := w.post("/v1/queue.lease", lease).message(t, 454); !strings.Contains(got, "raise max-holders") {
		t.Errorf("beyond the bound: %s", got)
	}
	// Without a connection nobody knows who is calling.
	for path, body := range map[string]string{
		"/v1/queue.lease":  lease,
		"/v1/queue.extend": `{"queue_name":"q","ids":["0000001szWWYi6F2mYy6Eu801Uf"],"release_on_exit":true}`,
	} {
		rec := httptest.NewRecorder()
		w.h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body)))
		if rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "release_on_exit is invalid") {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
	// The queue's own wish gives way.
	w.create("tied", `"release_on_exit":true`)
	w.produce("tied", "x")
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/queue.lease",
		strings.NewReader(`{"queue_name":"tied","client_id":"c","batch_size":1,"request_timeout":"1s"}`)))
	if rec.Code != http.StatusOK {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}
