package api_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

// logical returns what stats says of a queue.
func (w *world) logical(name string) *pb.QueueLogicalStats {
	w.t.Helper()
	var reply pb.QueueStatsResponse
	w.must("/v1/queue.stats", &pb.QueueStatsRequest{QueueName: name}, &reply)
	if len(reply.LogicalQueues) != 1 {
		w.t.Fatalf("%d logical queues", len(reply.LogicalQueues))
	}
	return reply.LogicalQueues[0]
}

// stats returns the figures of a queue's partitions, added up.
func (w *world) stats(name string) *pb.QueuePartitionStats {
	w.t.Helper()
	sum := &pb.QueuePartitionStats{}
	for _, p := range w.logical(name).Partitions {
		sum.Total += p.Total
		sum.TotalLeased += p.TotalLeased
		sum.Scheduled += p.Scheduled
	}
	return sum
}

// items returns the ready and leased items of partition 0.
func (w *world) items(name string) []*pb.StorageItem {
	w.t.Helper()
	var reply pb.StorageItemsListResponse
	w.must("/v1/storage/items.list", &pb.StorageItemsListRequest{QueueName: name, Limit: 20_000}, &reply)
	return reply.Items
}

// produce adds items with these payloads.
func (w *world) produce(name string, payloads ...string) {
	w.t.Helper()
	req := &pb.QueueProduceRequest{QueueName: name, RequestTimeout: "1m"}
	for _, p := range payloads {
		req.Items = append(req.Items, &pb.QueueProduceItem{Utf8: p})
	}
	w.must("/v1/queue.produce", req, nil)
}

// lease takes up to n items.
func (w *world) lease(name string, n int) *pb.QueueLeaseResponse {
	w.t.Helper()
	var reply pb.QueueLeaseResponse
	w.must("/v1/queue.lease", &pb.QueueLeaseRequest{
		QueueName: name, BatchSize: int32(n), ClientId: "tester", RequestTimeout: "10s",
	}, &reply)
	return &reply
}

func idsOf(items []*pb.QueueLeaseItem) []string {
	var ids []string
	for _, it := range items {
		ids = append(ids, it.Id)
	}
	return ids
}

// waitFor asks until the condition holds; each question is a call, so nothing
// spins.
func (w *world) waitFor(what string, cond func() bool) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); {
		if time.Now().After(end) {
			w.t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// isIdle asks something and reports whether no bytes are in flight.
func (w *world) isIdle() bool {
	w.do("GET", "/health", nil)
	return w.h.Budget().InFlight() == 0
}

func TestProduceLeaseComplete(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	produced := &pb.QueueProduceRequest{QueueName: "q", RequestTimeout: "1m", Items: []*pb.QueueProduceItem{
		{Kind: "k", Encoding: "e", Reference: "r", Bytes: []byte{0, 255}, Utf8: "not taken"},
		{Utf8: "tëxt"},
		{},
	}}
	if a := w.call("/v1/queue.produce", produced, nil); a.code != 200 {
		t.Fatalf("%d %s", a.code, a.body)
	}
	before := time.Now()
	got := w.lease("q", 10)
	if got.QueueName != "q" || len(got.Items) != 3 {
		t.Fatalf("leased %v", got)
	}
	it := got.Items[0]
	if it.Kind != "k" || it.Encoding != "e" || it.Reference != "r" || !bytes.Equal(it.Bytes, []byte{0, 255}) || it.Attempts != 1 {
		t.Errorf("the first item is %v", it)
	}
	if left := it.LeaseDeadline.AsTime().Sub(before); left < 59*time.Second || left > 70*time.Second {
		t.Errorf("the lease ends in %s, want a minute", left)
	}
	if string(got.Items[1].Bytes) != "tëxt" || got.Items[2].Bytes != nil {
		t.Errorf("the payloads are %q and %v", got.Items[1].Bytes, got.Items[2].Bytes)
	}
	ids := idsOf(got.Items)
	if !slices.IsSorted(ids) || len(ids[0]) != queue.IDLength {
		t.Errorf("the ids are %v", ids)
	}
	complete := &pb.QueueCompleteRequest{QueueName: "q", RequestTimeout: "1m", Ids: ids}
	// All or none.
	w.call("/v1/queue.complete", &pb.QueueCompleteRequest{QueueName: "q", RequestTimeout: "1m", Ids: []string{ids[0], unknownID}}, nil).
		refused(t, 400, "invalid storage id; '"+unknownID+"' does not exist")
	w.call("/v1/queue.complete", complete, nil).done(t)
	w.call("/v1/queue.complete", complete, nil).refused(t, 400, "invalid storage id; '"+ids[0]+"' does not exist")
	if s := w.stats("q"); s.Total != 0 || s.TotalLeased != 0 {
		t.Errorf("stats after complete: %v", s)
	}
}

func TestLeaseAndListAreTheSameInProtobuf(t *testing.T) {
	w := newWorld(t)
	w.create("q", `"requested_partitions":2`)
	w.produce("q", "a")
	w.produce("q", "b")
	seen := map[int32]bool{}
	for range 2 {
		body, err := proto.Marshal(&pb.QueueLeaseRequest{QueueName: "q", BatchSize: 1, ClientId: "c", RequestTimeout: "1s"})
		if err != nil {
			t.Fatal(err)
		}
		a := w.do("POST", "/v1/queue.lease", bytes.NewReader(body),
			"Content-Type", "application/protobuf", "Accept", "application/protobuf")
		var reply pb.QueueLeaseResponse
		if err := proto.Unmarshal(a.body, &reply); err != nil || len(reply.Items) != 1 {
			t.Fatalf("%v, %d, %v", err, a.code, &reply)
		}
		seen[reply.Partition] = true
	}
	if !seen[0] || !seen[1] {
		t.Errorf("leased of the partitions %v, want both", seen)
	}
	a := w.post("/v1/storage/items.list", `{"queue_name":"q","partition":1}`, "Accept", "application/protobuf")
	var list pb.StorageItemsListResponse
	if err := proto.Unmarshal(a.body, &list); err != nil || len(list.Items) != 1 || !list.Items[0].IsLeased {
		t.Errorf("list: %v, %v", err, &list)
	}
}

func TestWaitingLeases(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	first := make(chan *answer)
	body := `{"queue_name":"q","client_id":"c","batch_size":1,"request_timeout":"1m"}`
	go func() { first <- w.post("/v1/queue.lease", body) }()
	w.waitFor("the lease waits", func() bool { return w.logical("q").LeaseWaiting == 1 })
	w.post("/v1/queue.lease", body).refused(t, 400,
		"duplicate client id; a client cannot make multiple leased requests to the same queue")
	w.waitFor("a lease that waits holds no bytes", w.isIdle)
	w.produce("q", "x")
	if a := <-first; a.code != 200 {
		t.Errorf("the first of two: %d %s", a.code, a.body)
	}
}

func TestClientThatGoesAwayStopsWaiting(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "POST", "http://unix/v1/queue.lease",
		strings.NewReader(`{"queue_name":"q","client_id":"c","batch_size":1,"request_timeout":"15m"}`))
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan error)
	go func() {
		resp, err := w.client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		gone <- err
	}()
	w.waitFor("the lease waits", func() bool { return w.logical("q").LeaseWaiting == 1 })
	cancel()
	if err := <-gone; err == nil {
		t.Error("the cancelled lease was answered")
	}
	w.waitFor("the lease is dropped", func() bool { return w.logical("q").LeaseWaiting == 0 })
}

func TestScheduledItems(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	due := time.Now().UTC().Add(time.Hour).Truncate(time.Second) // No fraction to be formatted.
	w.must("/v1/queue.produce", &pb.QueueProduceRequest{QueueName: "q", RequestTimeout: "1m", Items: []*pb.QueueProduceItem{
		{Utf8: "later", EnqueueAt: timestamppb.New(due)},
		{Utf8: "now", EnqueueAt: timestamppb.New(time.Now().Add(-time.Hour))},
	}}, nil)
	a := w.post("/v1/storage/scheduled.list", `{"queue_name":"q"}`)
	if !bytes.Contains(a.body, []byte(`"payload":"bGF0ZXI="`)) ||
		!bytes.Contains(a.body, []byte(`"enqueue_at":"`+due.Format(time.RFC3339))) {
		t.Errorf("scheduled.list answers %s, want %s", a.body, due)
	}
	if items := w.items("q"); len(items) != 1 || string(items[0].Payload) != "now" || items[0].EnqueueAt != nil {
		t.Errorf("items.list has %v", items)
	}
	if s := w.stats("q"); s.Total != 1 || s.Scheduled != 1 {
		t.Errorf("stats: %v", s)
	}
}

func TestRetryExtendAndSourceID(t *testing.T) {
	w := newWorld(t)
	w.create("dead")
	w.create("q", `"dead_queue":"dead"`)
	for range 2 { // The second one is skipped.
		w.must("/v1/queue.produce", &pb.QueueProduceRequest{QueueName: "q", RequestTimeout: "1m", Items: []*pb.QueueProduceItem{
			{Utf8: "x", SourceId: "s"},
		}}, nil)
	}
	w.produce("q", "y")
	got := w.lease("q", 10)
	if len(got.Items) != 2 {
		t.Fatalf("leased %d items, want 2", len(got.Items))
	}
	ids := idsOf(got.Items)
	var extended pb.QueueExtendResponse
	w.must("/v1/queue.extend", &pb.QueueExtendRequest{QueueName: "q", Ids: ids[:1], LeaseTimeout: "10m", RequestTimeout: "5s"}, &extended)
	if left := time.Until(extended.LeaseDeadline.AsTime()); left < 9*time.Minute || left > 10*time.Minute {
		t.Errorf("the extended lease ends in %s, want 10m", left)
	}
	w.call("/v1/queue.retry", &pb.QueueRetryRequest{QueueName: "q", Items: []*pb.QueueRetryItem{
		{Id: ids[0]}, {Id: ids[1], Dead: true},
	}}, nil).done(t)
	again := w.lease("q", 10)
	if len(again.Items) != 1 || again.Items[0].Id == ids[0] || again.Items[0].Attempts != 2 {
		t.Errorf("after retry: %v", again)
	}
	w.waitFor("the dead item arrives", func() bool { return len(w.items("dead")) == 1 })
	if it := w.items("dead")[0]; it.SourceId != ids[1] || it.Attempts != 0 || string(it.Payload) != "y" {
		t.Errorf("the dead item is %v", it)
	}
	var moved pb.QueueRedriveResponse
	w.must("/v1/queue.redrive", &pb.QueueRedriveRequest{QueueName: "dead", TargetQueue: "q", RequestTimeout: "5s"}, &moved)
	if moved.Moved != 1 {
		t.Errorf("%d items moved, want 1", moved.Moved)
	}
	if got := w.lease("q", 10); len(got.Items) != 1 || string(got.Items[0].Bytes) != "y" {
		t.Errorf("after redrive: %v", got)
	}
}

func TestPauseAndResume(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	w.produce("q", "x")
	w.call("/v1/queue.pause", &pb.QueuePauseRequest{QueueName: "q"}, nil).done(t)
	w.call("/v1/queue.lease", &pb.QueueLeaseRequest{QueueName: "q", BatchSize: 1, ClientId: "c", RequestTimeout: "20ms"}, nil).message(t, 454)
	w.call("/v1/queue.resume", &pb.QueueResumeRequest{QueueName: "q"}, nil).done(t)
	if got := w.lease("q", 1); len(got.Items) != 1 {
		t.Errorf("after resume: %v", got)
	}
}

func TestClearAndReload(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	w.produce("q", "a", "b")
	w.lease("q", 1)
	w.call("/v1/queue.clear", &pb.QueueClearRequest{QueueName: "q", Queue: true}, nil).done(t)
	w.call("/v1/queue.reload", &pb.QueueReloadRequest{QueueName: "q"}, nil).done(t)
	if s := w.stats("q"); s.Total != 1 || s.TotalLeased != 1 {
		t.Errorf("after clear: %v", s)
	}
	w.call("/v1/queue.clear", &pb.QueueClearRequest{QueueName: "q", Queue: true, Destructive: true}, nil).done(t)
	if s := w.stats("q"); s.Total != 0 {
		t.Errorf("after a destructive clear: %v", s)
	}
}

func TestStatsOfEmptyAndSeveralPartitions(t *testing.T) {
	w := newWorld(t)
	w.create("q", `"requested_partitions":3`)
	w.produce("q", "a", "b")
	parts := w.logical("q").Partitions
	if len(parts) != 3 {
		t.Fatalf("%d rows, want 3", len(parts))
	}
	for i, p := range parts {
		if p.Partition != int32(i) {
			t.Errorf("row %d is of partition %d", i, p.Partition)
		}
		if p.Total == 0 && (p.AverageAge != "0s" || p.AverageLeasedAge != "0s") {
			t.Errorf("an empty partition has ages %q and %q", p.AverageAge, p.AverageLeasedAge)
		}
	}
}

func TestQueueLife(t *testing.T) {
	w := newWorld(t)
	w.create("dead")
	w.create("q", `"dead_queue":"dead"`, `"reference":"note"`, `"max_attempts":3`)
	var info pb.QueueInfo
	w.must("/v1/queues.info", &pb.QueuesInfoRequest{QueueName: "q"}, &info)
	if info.LeaseTimeout != "1m0s" || info.ExpireTimeout != "24h0m0s" || info.DeadQueue != "dead" || info.Reference != "note" ||
		info.MaxAttempts != 3 || info.RequestedPartitions != 1 || info.Namespace != "_system" || info.Partitions != nil ||
		!info.CreatedAt.AsTime().Equal(info.UpdatedAt.AsTime()) || time.Since(info.CreatedAt.AsTime()) > time.Minute {
		t.Errorf("info after create: %v", &info)
	}
	// What is left out of an update stays or is cleared, as it is.
	w.call("/v1/queues.update", &pb.QueueInfo{QueueName: "q", LeaseTimeout: "2m"}, nil).done(t)
	created := info.CreatedAt
	w.must("/v1/queues.info", &pb.QueuesInfoRequest{QueueName: "q"}, &info)
	if info.LeaseTimeout != "2m0s" || info.ExpireTimeout != "24h0m0s" || info.DeadQueue != "" || info.Reference != "" ||
		info.MaxAttempts != 0 || !proto.Equal(info.CreatedAt, created) || !info.UpdatedAt.AsTime().After(created.AsTime()) {
		t.Errorf("info after update: %v", &info)
	}
	w.produce("q", "x")
	w.call("/v1/queues.delete", &pb.QueuesDeleteRequest{QueueName: "q"}, nil).done(t)
	w.call("/v1/queues.info", &pb.QueuesInfoRequest{QueueName: "q"}, nil).refused(t, 400, "queue does not exist; no such queue named 'q'")
	w.create("q")
	if got := w.stats("q").Total; got != 0 {
		t.Errorf("%d items in a queue that was created again", got)
	}
}

func TestQueuesList(t *testing.T) {
	w := newWorld(t)
	var names []string
	for i := range 300 { // More than are read at a time.
		names = append(names, fmt.Sprintf("q-%03d", i))
		w.create(names[i])
	}
	list := func(pivot string, limit int32, ns string) []string {
		var reply pb.QueuesListResponse
		w.must("/v1/queues.list", &pb.QueuesListRequest{Pivot: pivot, Limit: limit, Namespace: ns}, &reply)
		var got []string
		for _, info := range reply.Items {
			got = append(got, info.QueueName)
		}
		return got
	}
	for _, tc := range []struct {
		pivot string
		limit int32
		ns    string
		want  []string
	}{
		{"", 0, "", names}, {"", 65536, "_system", names}, {"", 257, "", names[:257]}, {"q-010", 2, "", names[10:12]},
		{"q-010x", 1, "", names[11:12]}, {"z", 0, "", nil}, {"", 0, "other", nil}, {"", 256, "", names[:256]},
	} {
		if got := list(tc.pivot, tc.limit, tc.ns); !slices.Equal(got, tc.want) {
			t.Errorf("from %q, limit %d, namespace %q: %d names %.60v, want %d", tc.pivot, tc.limit, tc.ns, len(got), got, len(tc.want))
		}
	}
}

func TestItemsListPages(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	for i := range 10 {
		var payloads []string
		for j := range 1000 {
			payloads = append(payloads, fmt.Sprintf("%04d", i*1000+j))
		}
		w.produce("q", payloads...)
	}
	for _, format := range []string{"application/json", "application/protobuf"} {
		a := w.post("/v1/storage/items.list", `{"queue_name":"q","limit":10000}`, "Accept", format)
		var reply pb.StorageItemsListResponse
		if err := unmarshal(format, a.body, &reply); err != nil {
			t.Fatal(err)
		}
		if len(reply.Items) != 10_000 {
			t.Fatalf("%s: %d items, want 10000", format, len(reply.Items))
		}
		for i, it := range reply.Items {
			if string(it.Payload) != fmt.Sprintf("%04d", i) {
				t.Fatalf("%s: item %d is %q", format, i, it.Payload)
			}
		}
	}
	all := w.items("q")
	var page pb.StorageItemsListResponse
	w.must("/v1/storage/items.list", &pb.StorageItemsListRequest{QueueName: "q"}, &page)
	if len(page.Items) != 1000 {
		t.Errorf("limit 0 lists %d items, want 1000", len(page.Items))
	}
	w.must("/v1/storage/items.list", &pb.StorageItemsListRequest{QueueName: "q", Pivot: all[5000].Id, Limit: 17}, &page)
	if len(page.Items) != 17 || page.Items[0].Id != all[5000].Id || page.Items[16].Id != all[5016].Id {
		t.Errorf("the page from the pivot has %d items", len(page.Items))
	}
	w.must("/v1/storage/items.list", &pb.StorageItemsListRequest{QueueName: "q", Pivot: "000000000000000000000000000", Limit: 1}, &page)
	if len(page.Items) != 1 || page.Items[0].Id != all[0].Id {
		t.Errorf("a pivot before the first item lists %v", page.Items)
	}
}

func TestImport(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	now := time.Now().UTC()
	items := []*pb.StorageItem{
		{IsLeased: true, ExpireDeadline: timestamppb.New(now.Add(100 * time.Hour)), LeaseDeadline: timestamppb.New(now.Add(50 * time.Hour)),
			Attempts: 5, MaxAttempts: 9, Reference: "r", Encoding: "e", Kind: "k", Payload: []byte("leased"), SourceId: "s"},
		{ExpireDeadline: timestamppb.New(now.Add(1000 * time.Hour)), LeaseDeadline: timestamppb.New(now.Add(50 * time.Hour)),
			Attempts: 10_000, Payload: []byte("ready"), Id: "mine", CreatedAt: timestamppb.New(now.Add(-time.Hour))},
	}
	var reply pb.StorageItemsImportResponse
	w.must("/v1/storage/items.import", &pb.StorageItemsImportRequest{QueueName: "q", Items: items}, &reply)
	if len(reply.Items) != 2 {
		t.Fatalf("the reply has %d items", len(reply.Items))
	}
	for i, got := range reply.Items {
		want := items[i]
		if len(got.Id) != queue.IDLength || time.Since(got.CreatedAt.AsTime()) > time.Minute {
			t.Errorf("item %d: id %q, created at %s", i, got.Id, got.CreatedAt.AsTime())
		}
		sameTime := func(a, b *timestamppb.Timestamp) bool {
			return a.AsTime().Truncate(time.Microsecond).Equal(b.AsTime().Truncate(time.Microsecond))
		}
		if got.IsLeased != want.IsLeased || !sameTime(got.LeaseDeadline, want.LeaseDeadline) || got.Attempts != want.Attempts ||
			!sameTime(got.ExpireDeadline, want.ExpireDeadline) || got.MaxAttempts != want.MaxAttempts ||
			got.Reference != want.Reference || got.Encoding != want.Encoding || got.Kind != want.Kind ||
			!bytes.Equal(got.Payload, want.Payload) || got.SourceId != want.SourceId {
			t.Errorf("item %d is %v, want %v", i, got, want)
		}
	}
	w.must("/v1/storage/items.import", &pb.StorageItemsImportRequest{QueueName: "q", Items: items[:1]}, &reply)
	if len(reply.Items) != 1 || len(w.items("q")) != 2 {
		t.Errorf("a source id that is there: %v", &reply)
	}
	// The reply for an item that was skipped is what was given, created in 1970.
	items[0].Id, items[0].CreatedAt = "of the caller", timestamppb.New(now)
	reply.Reset()
	w.must("/v1/storage/items.import", &pb.StorageItemsImportRequest{QueueName: "q", Items: items[:1]}, &reply)
	items[0].CreatedAt = &timestamppb.Timestamp{}
	if len(reply.Items) != 1 || !proto.Equal(reply.Items[0], items[0]) {
		t.Errorf("a source id that is there: %v, want %v", &reply, items[0])
	}
	w.create("r")
	w.produce("r", "x")
	a := w.post("/v1/storage/items.list", `{"queue_name":"r"}`)
	if !bytes.Contains(a.body, []byte(`0001-01-01T00:00:00Z`)) {
		t.Errorf("an item without a lease has no zero lease deadline: %s", a.body)
	}
	w.call("/v1/storage/items.delete", &pb.StorageItemsDeleteRequest{QueueName: "q", Ids: []string{w.items("q")[0].Id}}, nil).done(t)
	if got := len(w.items("q")); got != 1 {
		t.Errorf("%d items after a delete, want 1", got)
	}
}
