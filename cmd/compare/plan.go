package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// work is what a measurement does.
type work string

const (
	produceOnly work = "produce"
	drainOnly   work = "drain"
	both        work = "both"
	// starting is filling a backlog, SIGKILL, and the start with it.
	starting work = "start"
)

// works are those of every shape, in this order.
var works = []work{produceOnly, drainOnly, both}

// shape is how many clients there are and how many items they put into a call.
type shape struct {
	Name string
	// Alone is how many clients produce only or drain only; together half of Together produces, half drains.
	Alone, Together, Batch int
	// Shared: the clients are goroutines of one program, and share connections where the peer is a sharer.
	Shared bool
}

// The places of the shapes.
const (
	alone = iota
	apart
	shared
	batches
)

var shapes = []shape{
	alone:   {"1 client, one item a call", 1, 1, 1, false},
	apart:   {"16 clients, one item a call", 16, 16, 1, false},
	shared:  {"16 in one program, one item a call", 16, 16, 1, true},
	batches: {"8 + 8 clients, batches of 100", 8, 16, 100, false},
}

// load returns what the clients of a shape do.
func (s shape) load(w work, st *stage) load {
	l := load{batch: s.Batch, length: st.Length, payloads: newPayloads(st.Size, s.Batch, st.Random)}
	switch w {
	case produceOnly:
		l.producers = s.Alone
	case drainOnly:
		l.consumers, l.drain = s.Alone, true
	case both:
		l.alternate = s.Together == 1
		l.producers, l.consumers = s.Together/2, s.Together/2
		// Without it whoever gets more of the processors runs away, and the rate is that of half the work.
		l.ahead = int64(3 * s.Batch * max(l.producers, 1))
	}
	return l
}

// stage is a part of a comparison: all shapes and works with one payload and one backlog.
type stage struct {
	Size    int
	Backlog int64
	Shapes  []shape
	Rounds  int
	Length  time.Duration
	// FillBatch, if not 0, makes one client fill the backlog, with so many items a call.
	FillBatch int
	// Random payloads cannot be compressed; else they are JSON.
	Random bool
}

// plan returns the stages. The short form takes less than ten minutes on two cores.
func (o *options) plan() ([]stage, error) {
	sizes, err := numbers("-sizes", o.sizes)
	if err != nil {
		return nil, err
	}
	backlogs, err := numbers("-backlogs", o.backlogs)
	if err != nil {
		return nil, err
	}
	var stages []stage
	for _, size := range sizes {
		for _, backlog := range backlogs {
			s := stage{Size: int(size), Backlog: backlog, Shapes: shapes, Rounds: o.rounds, Length: o.length, Random: o.random}
			if !o.full && backlog > 100_000 {
				// Filling takes most of the time. Once shows memory and start.
				s.Rounds, s.Shapes = 1, shapes[batches:]
			}
			stages = append(stages, s)
		}
	}
	return stages, nil
}

// numbers reads a list of positive numbers with commas between.
func numbers(name, text string) ([]int64, error) {
	var all []int64
	for _, word := range strings.Split(text, ",") {
		n, err := strconv.ParseInt(strings.TrimSpace(word), 10, 64)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("%s has %q; numbers above 0 with commas between are allowed", name, word)
		}
		all = append(all, n)
	}
	return all, nil
}
