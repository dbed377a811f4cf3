package client

// The encoders are not exported: what they write and read is compared with the generated code here.

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kapetan-io/querator-edge/agent/pb"
)

func TestProduceBody(t *testing.T) {
	at := time.Date(2026, 11, 23, 1, 2, 3, 4, time.UTC)
	for _, items := range [][]ProduceItem{
		nil,
		{{}},
		{{Payload: []byte("p"), Encoding: "e", Kind: "k", Reference: "r", SourceID: "s", EnqueueAt: at}},
		{{Payload: bytes.Repeat([]byte("x"), 100_000)}, {EnqueueAt: at.Add(-4)}, {EnqueueAt: time.Unix(-5, 5)}},
		{{Encoding: strings.Repeat("é", 300)}, {SourceID: strings.Repeat("s", 200)}},
	} {
		want := &pb.QueueProduceRequest{QueueName: "q", RequestTimeout: "1m"}
		for _, it := range items {
			want.Items = append(want.Items, &pb.QueueProduceItem{
				Bytes: it.Payload, Encoding: it.Encoding, Kind: it.Kind, Reference: it.Reference, SourceId: it.SourceID,
				EnqueueAt: toTimestamp(it.EnqueueAt),
			})
		}
		body := produceBody("q", "1m", items)
		var got pb.QueueProduceRequest
		if err := proto.Unmarshal(body, &got); err != nil || !proto.Equal(&got, want) {
			t.Errorf("%v\n got %v\nwant %v", err, &got, want)
		}
		if proto.Size(want) != len(body) {
			t.Errorf("%d bytes, the generated code writes %d", len(body), proto.Size(want))
		}
	}
}

func TestCompleteBody(t *testing.T) {
	for _, partition := range []int{0, 7, -1} {
		want := &pb.QueueCompleteRequest{QueueName: "q", Partition: int32(partition), RequestTimeout: "1m", Ids: []string{"a", "", "bc"}}
		var got pb.QueueCompleteRequest
		if err := proto.Unmarshal(completeBody("q", partition, "1m", want.Ids), &got); err != nil || !proto.Equal(&got, want) {
			t.Errorf("%v\n got %v\nwant %v", err, &got, want)
		}
	}
}

// leaseReply makes a reply as the agent does.
func leaseReply(f interface{ Fatal(...any) }) []byte {
	body, err := proto.Marshal(&pb.QueueLeaseResponse{QueueName: "q", Partition: 3, Items: []*pb.QueueLeaseItem{
		{Id: "a", Encoding: "e", Kind: "k", Reference: "r", Attempts: 2, Bytes: []byte("payload"), SourceId: "source",
			LeaseDeadline: timestamppb.New(time.Unix(1e9, 5))},
		{Id: "b", Encoding: "e", Kind: "other", Attempts: 1, LeaseDeadline: timestamppb.New(time.Time{})},
		{},
	}})
	if err != nil {
		f.Fatal(err)
	}
	return body
}

func TestPayloadsCannotGrowIntoEachOther(t *testing.T) {
	items, err := leaseItems("q", leaseReply(t))
	if err != nil || len(items) != 3 {
		t.Fatal(items, err)
	}
	if p := items[0].Payload; cap(p) != len(p) {
		t.Errorf("the payload has room for %d bytes, and %d bytes", cap(p), len(p))
	}
}

func FuzzLeaseReply(f *testing.F) {
	f.Add(leaseReply(f))
	f.Add([]byte{})
	f.Add([]byte{0x1a, 0x02, 0x2a, 0x00})
	f.Add([]byte{0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x1b, 0x1c})
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := leaseItems("q", body)
		var want pb.QueueLeaseResponse
		if wantErr := proto.Unmarshal(body, &want); wantErr != nil {
			return // It refuses a little more: text that is not UTF-8.
		}
		if err != nil {
			t.Fatalf("the generated code reads it, but: %v", err)
		}
		if len(got) != len(want.Items) {
			t.Fatalf("%d items, want %d", len(got), len(want.Items))
		}
		for i, w := range want.Items {
			it := Item{Queue: "q", Partition: int(want.Partition), ID: w.Id, Attempts: int(w.Attempts), Encoding: w.Encoding,
				Kind: w.Kind, Reference: w.Reference, SourceID: w.SourceId, LeaseDeadline: fromTimestamp(w.LeaseDeadline)}
			if !bytes.Equal(got[i].Payload, w.Bytes) {
				t.Errorf("payload %d is %q, want %q", i, got[i].Payload, w.Bytes)
			}
			got[i].Payload = nil
			if !reflect.DeepEqual(got[i], it) {
				t.Errorf("item %d:\n got %+v\nwant %+v", i, got[i], it)
			}
		}
	})
}
