package api_test

import (
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/kapetan-io/querator-edge/agent/pb"
)

// Large items among small ones are listed as they are, in both formats and by
// several clients at a time, of which one has large items in hand.
func TestListOfLargeItems(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	var want []string
	for i := range 40 {
		size := 10
		if i%7 == 3 {
			size = 300_000 + i
		}
		want = append(want, strings.Repeat(string(rune('a'+i%26)), size))
		w.produce("q", want[i])
	}
	check := func(items []*pb.StorageItem) {
		if len(items) != len(want) {
			t.Errorf("%d items are listed, want %d", len(items), len(want))
			return
		}
		for i, it := range items {
			if string(it.Payload) != want[i] || it.Id == "" || it.CreatedAt == nil {
				t.Errorf("item %d has %d bytes and the id %q, want %d bytes", i, len(it.Payload), it.Id, len(want[i]))
			}
		}
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var reply pb.StorageItemsListResponse
			if a := w.call("/v1/storage/items.list", &pb.StorageItemsListRequest{QueueName: "q"}, &reply); a.code != 200 {
				t.Errorf("%d %s", a.code, a.body)
			}
			check(reply.Items)
			var text pb.StorageItemsListResponse
			if err := protojson.Unmarshal([]byte(w.post("/v1/storage/items.list", `{"queue_name":"q"}`).body), &text); err != nil {
				t.Error(err)
			}
			check(text.Items)
			var binary pb.StorageItemsListResponse
			a := w.post("/v1/storage/items.list", `{"queue_name":"q"}`, "Accept", "application/protobuf")
			if err := proto.Unmarshal(a.body, &binary); err != nil {
				t.Error(err)
			}
			check(binary.Items)
		})
	}
	wg.Wait()
	w.waitFor("the bytes are given back", w.isIdle)
}
