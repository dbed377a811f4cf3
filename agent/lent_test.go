package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// sipping is a connection that reads little at a time.
type sipping struct{ net.Conn }

func (s sipping) Read(p []byte) (int, error) { return s.Conn.Read(p[:min(len(p), 700)]) }

// payloadOf returns the payload that an item of a name has, which nobody else's looks like.
func payloadOf(name string, size int) []byte {
	h := fnv.New64a()
	fmt.Fprint(h, name)
	rng := rand.New(rand.NewPCG(h.Sum64(), 1))
	p := make([]byte, size)
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	return p
}

// What the agent lends to calls for their requests and replies is one call's at a time:
// many clients at once, of all kinds and also slow ones, each get the items that were
// produced, whole, and each item once.
func TestRequestsAndRepliesAreNotMixedUp(t *testing.T) {
	r := runAgent(t, "")
	err := r.CreateQueue(t.Context(), client.QueueInfo{Name: "mixed", LeaseTimeout: time.Minute, ExpireTimeout: time.Hour, Partitions: 4})
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	socket := r.Socket
	slow := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		nc, err := d.DialContext(ctx, "unix", socket)
		return sipping{nc}, err
	}
	clients := []*client.Client{r.Client, {Socket: socket}, {Dial: slow}}
	const producers, calls = 6, 25
	var making, taking sync.WaitGroup
	made := make([]int, producers)
	for p := range producers {
		making.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(p)))
			c := clients[p%len(clients)]
			for range calls {
				items := make([]client.ProduceItem, []int{1, 7, 20, 100, 250}[rng.IntN(5)])
				for i := range items {
					size := rng.IntN(900)
					name := fmt.Sprintf("%d/%d/%d", p, made[p]+i, size)
					items[i] = client.ProduceItem{Payload: payloadOf(name, size), Reference: name, Kind: strings.Repeat("k", p+1)}
				}
				if err := c.Produce(t.Context(), "mixed", items...); err != nil {
					t.Errorf("producer %d: %v", p, err)
					return
				}
				made[p] += len(items)
			}
		})
	}
	var mu sync.Mutex
	got := map[string]bool{}
	check := func(items []client.Item) {
		mu.Lock()
		defer mu.Unlock()
		for _, it := range items {
			var p, n, size int
			if _, err := fmt.Sscanf(it.Reference, "%d/%d/%d", &p, &n, &size); err != nil || it.Kind != strings.Repeat("k", p+1) {
				t.Errorf("an item with the name %q and the kind %q was not produced", it.Reference, it.Kind)
			}
			if !bytes.Equal(it.Payload, payloadOf(it.Reference, size)) {
				t.Errorf("the payload of %s is another", it.Reference)
			}
			if got[it.Reference] {
				t.Errorf("%s was leased twice", it.Reference)
			}
			got[it.Reference] = true
		}
	}
	ended, end := context.WithCancel(t.Context())
	for n := range 9 {
		taking.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(100+n)))
			c := clients[n%len(clients)]
			for last := false; ; last = ended.Err() != nil {
				items, err := c.Lease(t.Context(), "mixed", client.LeaseOptions{BatchSize: []int{1, 16, 100, 400}[rng.IntN(4)], Wait: 100 * time.Millisecond})
				switch {
				case errors.Is(err, client.ErrEmpty) && last:
					return
				case errors.Is(err, client.ErrEmpty):
					continue
				case err != nil:
					t.Errorf("consumer %d: %v", n, err)
					return
				}
				check(items)
				ids := make([]string, len(items))
				for i := range items {
					ids[i] = items[i].ID
				}
				if err := c.Complete(t.Context(), "mixed", items[0].Partition, ids...); err != nil {
					t.Errorf("consumer %d: %v", n, err)
				}
			}
		})
	}
	making.Wait()
	end()
	taking.Wait()
	total := 0
	for _, n := range made {
		total += n
	}
	if len(got) != total {
		t.Errorf("%d items were leased, %d produced", len(got), total)
	}
	for _, c := range clients[1:] {
		c.Close()
	}
}
