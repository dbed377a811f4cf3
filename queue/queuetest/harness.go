package queuetest

import (
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// Stores are one place to keep queues in, opened.
type Stores struct {
	Storage queue.Storage
	Meta    queue.MetaStore
}

// Harness opens the stores under test in one place, which is empty at first.
// Its functions are called from the goroutine of the test.
type Harness struct {
	// Open opens the place as a process does that starts in the boot of that
	// name. Everything that an earlier call returned has been closed. The place
	// has room for 256 MiB of items.
	Open func(t testing.TB, boot string) Stores
	// Copy returns a harness over a copy of the place as it is now, while it is
	// open: what a kill of the process would leave. Nil if a kill leaves
	// nothing.
	Copy func(t testing.TB) Harness
	// Check looks for damage in the place while it is closed. The suite calls
	// it at the end of every test. It may be nil.
	Check func(t testing.TB)
}

// Seed returns the seed of a random test: the value of the flag "seed" if the
// test binary has one and it is not 0, else another one each time. The log of
// the test names it.
func Seed(t testing.TB) uint64 {
	t.Helper()
	var seed uint64
	if f := flag.Lookup("seed"); f != nil {
		seed, _ = strconv.ParseUint(f.Value.String(), 10, 64)
	}
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("replay with -run '^%s$' -seed=%d", t.Name(), seed)
	return seed
}

// amount returns how much of something a test does: the most if the environment
// variable QUERATOR_LONG is set, the least with the flag -short.
func amount(short, normal, long int) int {
	switch {
	case os.Getenv("QUERATOR_LONG") != "":
		return long
	case testing.Short():
		return short
	}
	return normal
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)) }

// place is a harness's place while a test of the suite uses it.
type place struct {
	t       testing.TB
	h       Harness
	boot    string
	stores  Stores
	drivers []*driver
}

func newPlace(t testing.TB, h Harness) *place {
	p := &place{t: t, h: h, boot: "boot-1"}
	p.stores = h.Open(t, p.boot)
	return p
}

// reopen closes everything and opens it again in the boot of that name; every
// partition must have what it had.
func (p *place) reopen(boot string) {
	p.t.Helper()
	p.close()
	p.boot = boot
	p.stores = p.h.Open(p.t, boot)
	for _, d := range p.drivers {
		d.open()
	}
}

// restart is reopen in the same boot.
func (p *place) restart() {
	p.t.Helper()
	p.reopen(p.boot)
}

func (p *place) close() {
	p.t.Helper()
	for _, d := range p.drivers {
		d.close()
	}
	if err := p.stores.Storage.Close(); err != nil {
		p.t.Fatalf("close storage: %v", err)
	}
	if err := p.stores.Meta.Close(); err != nil {
		p.t.Fatalf("close meta store: %v", err)
	}
}

// copied opens a copy of the place, as a process would after a kill, compares
// its partitions with the drivers' models, and gives it up.
func (p *place) copied() {
	p.t.Helper()
	if p.h.Copy == nil {
		return
	}
	h := p.h.Copy(p.t)
	c := &place{t: p.t, h: h, boot: p.boot, stores: h.Open(p.t, p.boot)}
	for _, d := range p.drivers {
		twin := d.twin(c)
		twin.open()
		twin.verify()
		c.drivers = append(c.drivers, twin)
	}
	c.close()
	if h.Check != nil {
		h.Check(p.t)
	}
}

// finish ends a test: everything is compared, before and after a restart.
func (p *place) finish() {
	p.t.Helper()
	for _, d := range p.drivers {
		d.verify()
	}
	p.restart()
	for _, d := range p.drivers {
		d.verify()
	}
	p.close()
	for _, d := range p.drivers {
		d.verifyKept()
	}
	if p.h.Check != nil {
		p.h.Check(p.t)
	}
}

// eventually waits for what a store does in the background.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not after 30 s", what)
		}
	}
}
