package queuetest

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// nanos returns t in nanoseconds since 1970, or the nearest that there is.
func nanos(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

func sizeOf(items []queue.Item) int64 {
	var n int64
	for i := range items {
		n += items[i].Size()
	}
	return n
}

// added sums up the items as queue.Added says.
func added(first uint64, items []queue.Item, scheduled []int) queue.Added {
	if len(items) == 0 {
		return queue.Added{}
	}
	a := queue.Added{First: first, Count: uint32(len(items)), MinExpire: math.MaxInt64, MaxExpire: math.MinInt64, Ordered: true}
	last := int64(math.MinInt64)
	for i := range items {
		if slices.Contains(scheduled, i) {
			continue
		}
		e := nanos(items[i].ExpireDeadline)
		a.MinExpire, a.MaxExpire = min(a.MinExpire, e), max(a.MaxExpire, e)
		a.Ordered = a.Ordered && e >= last
		last = e
	}
	return a
}

func cloneItems(items []queue.Item) []queue.Item {
	c := slices.Clone(items)
	for i := range c {
		c[i].Payload = bytes.Clone(c[i].Payload)
		c[i].ID, c[i].Written, c[i].SameBoot = queue.ID{}, queue.Instant{}, false
	}
	return c
}

// scribble spoils a commit, of which a store keeps nothing. The seqs of Origin
// are the State's from the commit on.
func scribble(c *queue.Commit) {
	for i := range c.Items {
		for j := range c.Items[i].Payload {
			c.Items[i].Payload[j] = 0xdb
		}
		c.Items[i] = queue.Item{SourceID: "spoiled"}
	}
	for i := range c.Leases {
		c.Leases[i] = queue.Lease{Seq: math.MaxUint64}
	}
	for i := range c.Schedules {
		c.Schedules[i] = queue.Scheduled{Seq: math.MaxUint64}
	}
	for i := range c.Removed {
		c.Removed[i] = math.MaxUint64
	}
	*c = queue.Commit{}
}

var day = time.Date(2026, 3, 1, 11, 59, 0, 123456789, time.UTC)

// item returns an item with a short payload that n names.
func item(n int) queue.Item {
	created := day.Add(time.Duration(n) * time.Millisecond)
	return queue.Item{
		Kind: "reading", Encoding: "json", Payload: fmt.Appendf(nil, `{"n":%d}`, n),
		CreatedAt: created, ExpireDeadline: created.Add(24 * time.Hour),
	}
}

// items returns n items with short payloads.
func items(n int) []queue.Item {
	list := make([]queue.Item, n)
	for i := range list {
		list[i] = item(i)
	}
	return list
}

// bigItem returns an item with a payload of so many bytes that cannot be
// compressed.
func bigItem(rng *rand.Rand, n, size int) queue.Item {
	it := item(n)
	it.Encoding, it.Payload = "binary", noise(rng, size)
	return it
}

func noise(rng *rand.Rand, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		if i%8 == 0 && i+8 <= size {
			v := rng.Uint64()
			for j := range 8 {
				b[i+j] = byte(v >> (8 * j))
			}
		} else if i >= size&^7 {
			b[i] = byte(rng.Uint32())
		}
	}
	return b
}

// anyItem returns an item in which every field is drawn.
func anyItem(rng *rand.Rand, n int) queue.Item {
	it := item(n)
	switch rng.IntN(12) {
	case 0:
		it.Payload = nil
	case 1:
		it.Payload = noise(rng, rng.IntN(3000))
	case 2:
		it.Payload = bytes.Repeat([]byte("abcdefgh"), rng.IntN(2000))
	case 3:
		it.Payload = noise(rng, rng.IntN(100_000))
	}
	if rng.IntN(3) == 0 {
		it.Kind, it.Encoding = "", ""
		it.Reference = strings.Repeat("ref ", rng.IntN(20))
	}
	if rng.IntN(4) == 0 {
		it.SourceID = fmt.Sprintf("source-%d", n)
	}
	it.Attempts, it.MaxAttempts = rng.Int32N(5), rng.Int32N(5)
	it.CreatedAt = day.Add(time.Duration(rng.Int64N(int64(time.Hour))))
	it.ExpireDeadline = it.CreatedAt.Add(time.Duration(rng.Int64N(int64(100 * time.Hour))))
	return it
}
