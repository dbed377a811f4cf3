package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/kapetan-io/querator-edge/agent/api"
	"github.com/kapetan-io/querator-edge/agent/metrics"
	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

type (
	apiOptions = api.Options
	limits     = queue.Limits
)

func unmarshal(format string, data []byte, m proto.Message) error {
	if format == "application/protobuf" {
		return proto.Unmarshal(data, m)
	}
	return protojson.Unmarshal(data, m)
}

func TestHealth(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	a := w.do("GET", "/health", nil)
	if a.code != 200 || a.header.Get("Content-Type") != "application/health+json" {
		t.Fatalf("%d, %q", a.code, a.header.Get("Content-Type"))
	}
	var got struct {
		Status, Version string
		Checks          map[string][]struct {
			ComponentType, Status string
			Time                  time.Time
		}
	}
	if err := json.Unmarshal(a.body, &got); err != nil {
		t.Fatal(err)
	}
	check := got.Checks["queues:storage"]
	if got.Status != "pass" || got.Version != "1.2.3" || len(check) != 1 || check[0].Status != "pass" ||
		check[0].ComponentType != "datastore" || time.Since(check[0].Time) > time.Minute {
		t.Errorf("health is %s", a.body)
	}
	if s := string(a.body); strings.Count(s, "\n") != 1 || !strings.HasSuffix(s, "}\n") || !strings.HasPrefix(s, `{"status":"pass","version":"1.2.3","checks":`) {
		t.Errorf("the body is %q, want one line", s)
	}
	if err := w.svc.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	a = w.do("GET", "/health", nil)
	if s := string(a.body); a.code != 503 || strings.Count(s, `"status":"fail"`) != 2 || !strings.Contains(s, `"output":"storage check failed"`) {
		t.Errorf("after the end: %d %s", a.code, s)
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, func(o *api.Options, _ *queue.Limits) {
		o.Collect = func(_ context.Context, p *metrics.Page, _ func(string) bool) { p.Set(metrics.Connections, 42) }
	})
	w.post("/v1/queues.list", "{}")
	w.post("/v1/queues.list", "{")
	for _, path := range []string{"/v1/x", "/v1/y", "/v1/z\"\n"} {
		w.do("POST", strings.NewReplacer("\"", "%22", "\n", "%0A").Replace(path), nil)
	}
	w.do("GET", "/health", nil)
	a := w.do("GET", "/metrics", nil)
	if !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
		t.Errorf("Content-Type is %q", a.header.Get("Content-Type"))
	}
	s := string(a.body)
	for _, want := range []string{
		`http_handler_duration{path="/v1/queues.list",quantile="0.5"} `, `http_handler_duration{path="/v1/queues.list",quantile="0.99"} `,
		`http_handler_duration_count{path="/v1/queues.list"} 2`, `http_handler_duration_count{path="/health"} 1`,
		`http_requests_total{path="/v1/queues.list",code="200"} 1`, `http_requests_total{path="/v1/queues.list",code="455"} 1`,
		`http_requests_total{path="other",code="501"} 3`, `http_in_flight_bytes 0`, `querator_connections 42`,
	} {
		if !strings.Contains(s, want) {
			t.Errorf("there is no %s in\n%s", want, s)
		}
	}
	for _, not := range []string{"/v1/x", "%", "z"} {
		if strings.Contains(s, `path="`+not) {
			t.Errorf("the label %q is a path that a client made up", not)
		}
	}
}

func TestOpenAPIIsServed(t *testing.T) {
	w := newWorld(t)
	a := w.do("GET", "/openapi.yaml", nil)
	if a.code != 200 || a.header.Get("Content-Type") != "application/yaml" || string(a.body) != api.OpenAPI {
		t.Errorf("%d %q, %d bytes", a.code, a.header.Get("Content-Type"), len(a.body))
	}
}

func TestStatus(t *testing.T) {
	w := newWorld(t, func(o *api.Options, _ *queue.Limits) {
		o.Status = func(_ context.Context, s *pb.AgentStatusResponse) {
			s.Pid, s.Uptime = 42, "1h0m0s"
			s.Memory = &pb.MemoryStatus{LimitBytes: 64 << 20}
		}
	})
	w.create("a")
	w.create("b", `"requested_partitions":2`)
	w.produce("a", "x", "y", "z")
	w.produce("b", "x")
	got := w.lease("a", 1)
	w.must("/v1/queue.complete", &pb.QueueCompleteRequest{QueueName: "a", RequestTimeout: "1m", Ids: idsOf(got.Items)}, nil)
	w.lease("a", 1)
	w.must("/v1/queue.pause", &pb.QueuePauseRequest{QueueName: "b"}, nil)
	var s pb.AgentStatusResponse
	w.must("/v1/agent.status", &pb.AgentStatusRequest{}, &s)
	if s.Version != "1.2.3" || s.Pid != 42 || s.Uptime != "1h0m0s" || s.Memory.LimitBytes != 64<<20 || s.Memory.InFlightLimitBytes == 0 {
		t.Errorf("of the process: %v", &s)
	}
	if len(s.Queues) != 2 || s.Queues[0].Info.QueueName != "a" || len(s.Queues[1].Partitions) != 2 || s.Queues[0].Paused || !s.Queues[1].Paused {
		t.Fatalf("queues: %v", s.Queues)
	}
	p := s.Queues[0].Partitions[0]
	if p.Ready != 1 || p.Leased != 1 || p.Ledger.Produced != 3 || p.Ledger.Completed != 1 || p.Bytes == 0 || p.Failure != "" {
		t.Errorf("partition: %v", p)
	}
	if s.Ledger.Produced != 4 || s.Ledger.Completed != 1 || s.Ledger.Leases != 2 {
		t.Errorf("the sum of the ledgers is %v", s.Ledger)
	}
	w.post("/v1/agent.status", `{"queue_name":"a"}`).message(t, 455)
}

// TestEveryReplyIsKnown walks over all calls with bodies that are empty, wrong
// and right; world checks status and headers of each.
func TestEveryReplyIsKnown(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	for _, path := range calls {
		for _, body := range []string{"", "{", "{}", `{"queue_name":"q"}`, `{"queue_name":"q","ids":["x"]}`, "\x0a\x01q"} {
			for _, contentType := range []string{"application/json", "application/protobuf", "text/plain"} {
				if strings.HasPrefix(path, "/v1/queues.delete") {
					continue
				}
				a := w.post(path, body, "Content-Type", contentType)
				if a.code != http.StatusOK {
					a.message(t, a.code)
				}
			}
		}
	}
}

// calls are the paths of all calls that do something.
var calls = []string{
	"/v1/queue.produce", "/v1/queue.lease", "/v1/queue.complete", "/v1/queue.retry", "/v1/queue.extend", "/v1/queue.stats",
	"/v1/queue.clear", "/v1/queue.reload", "/v1/queue.pause", "/v1/queue.resume", "/v1/queue.redrive", "/v1/queues.create",
	"/v1/queues.update", "/v1/queues.list", "/v1/queues.info", "/v1/queues.delete", "/v1/storage/items.list",
	"/v1/storage/items.import", "/v1/storage/items.delete", "/v1/storage/scheduled.list", "/v1/agent.status", "/v1/agent.audit", "/v1/agent.backup",
	"/v1/agent.access", "/v1/uplink.status", "/v1/uplink.control",
}

// Health says in words what is wrong, and stays what clients of Querator know.
func TestHealthNotes(t *testing.T) {
	problem := api.Problem{About: "clock", Text: "not believed", Hint: "set it"}
	var list atomic.Pointer[[]api.Problem]
	list.Store(&[]api.Problem{problem})
	w := newWorld(t, func(o *api.Options, _ *queue.Limits) {
		o.Problems = func(context.Context) []api.Problem { return *list.Load() }
	})
	w.create("q")
	a := w.do("GET", "/health", nil)
	if s := string(a.body); a.code != 200 || !strings.HasPrefix(s, `{"status":"pass",`) || !strings.Contains(s, `"notes":["clock: not believed; set it"]`) {
		t.Errorf("with a warning: %d %s", a.code, s)
	}
	many := slices.Repeat([]api.Problem{problem}, 101)
	list.Store(&many)
	if err := w.svc.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	a = w.do("GET", "/health", nil)
	if s := string(a.body); a.code != 503 || !strings.Contains(s, "shutting down") || strings.Count(s, "not believed") != 19 {
		t.Errorf("after the end: %d %s", a.code, s)
	}
}
