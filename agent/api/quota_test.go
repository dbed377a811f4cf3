package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kapetan-io/querator-edge/agent/pb"
)

// protobuf makes a call in JSON whose reply is protobuf.
func (w *world) protobuf(path, body string, reply proto.Message) {
	w.t.Helper()
	a := w.post(path, body, "Accept", "application/protobuf")
	if a.code != http.StatusOK {
		w.t.Fatalf("%s: %d %q", path, a.code, a.body)
	}
	if err := proto.Unmarshal(a.body, reply); err != nil {
		w.t.Fatal(err)
	}
}

// upstream are the fields of a queue that a client of Querator knows.
var upstream = []string{
	"queue_name", "created_at", "updated_at", "dead_queue", "reference", "lease_timeout", "expire_timeout", "max_attempts",
	"requested_partitions", "partitions", "namespace",
}

// TestQuotaIsNotInJSON: a client of Querator refuses fields that it does not
// know, so they are in replies in protobuf only.
func TestQuotaIsNotInJSON(t *testing.T) {
	w := newWorld(t)
	w.create("q", `"max_items":3`, `"max_bytes":"9007199254740993"`, `"full_policy":"drop-oldest"`)
	var one map[string]json.RawMessage
	var list struct {
		Items []map[string]json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(w.post("/v1/queues.info", `{"queue_name":"q"}`).body, &one); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(w.post("/v1/queues.list", `{}`).body, &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 {
		t.Fatalf("%d queues", len(list.Items))
	}
	for _, fields := range []map[string]json.RawMessage{one, list.Items[0]} {
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if !slices.Contains(upstream, name) {
				t.Errorf("a client of Querator does not know %q", name)
			}
		}
	}
	var info pb.QueueInfo
	w.protobuf("/v1/queues.info", `{"queue_name":"q"}`, &info)
	var infos pb.QueuesListResponse
	w.protobuf("/v1/queues.list", `{}`, &infos)
	for _, got := range []*pb.QueueInfo{&info, infos.Items[0]} {
		if got.MaxItems != 3 || got.MaxBytes != 9007199254740993 || got.FullPolicy != "drop-oldest" {
			t.Errorf("in protobuf: %v", got)
		}
	}
	// The status is a call of our own.
	if a := w.post("/v1/agent.status", "{}"); !strings.Contains(strings.ReplaceAll(string(a.body), " ", ""), `"max_items":"3"`) {
		t.Errorf("the status does not have it: %s", a.body)
	}
}

func TestQuota(t *testing.T) {
	w := newWorld(t)
	quota := func() string {
		var info pb.QueueInfo
		w.protobuf("/v1/queues.info", `{"queue_name":"q"}`, &info)
		return fmt.Sprint(info.MaxItems, info.MaxBytes, info.FullPolicy, info.LeaseTimeout)
	}
	w.create("q", `"max_items":3`)
	w.produce("q", "a", "b", "c")
	produce := func() *answer {
		return w.post("/v1/queue.produce", `{"queue_name":"q","request_timeout":"1m","items":[{"utf8":"d"}]}`)
	}
	produce().refused(t, 454, "queue is full; it holds 3 items, max_items is 3; try again later")

	w.call("/v1/queues.update", &pb.QueueInfo{QueueName: "q", MaxItems: 3, MaxBytes: 1000, FullPolicy: "drop-oldest"}, nil).done(t)
	if got, want := quota(), "3 1000drop-oldest1m0s"; got != want {
		t.Errorf("after an update: %s, want %s", got, want)
	}
	produce().done(t)
	if items := w.items("q"); len(items) != 3 || string(items[0].Payload) != "b" || string(items[2].Payload) != "d" {
		t.Errorf("the oldest was not dropped: %v", items)
	}
	w.post("/v1/queues.update", `{"queue_name":"q"}`).done(t)
	if got, want := quota(), "0 01m0s"; got != want {
		t.Errorf("after an update without them: %s, want %s", got, want)
	}

	for _, test := range []struct{ option, want string }{
		{`"max_items":-1`, "max items is invalid; cannot be negative"},
		{`"max_bytes":-1`, "max bytes is invalid; cannot be negative"},
		{`"full_policy":"x"`, "full policy is invalid; 'x' is not one of (reject, drop-oldest)"},
	} {
		w.post("/v1/queues.update", `{"queue_name":"q",`+test.option+`}`).refused(t, 400, test.want)
		w.post("/v1/queues.create", `{"queue_name":"r","lease_timeout":"1m","expire_timeout":"1h","requested_partitions":1,`+
			test.option+`}`).refused(t, 400, test.want)
	}
	w.post("/v1/queues.update", `{"queue_name":"q","max_items":1.5}`).message(t, 455)
}
