package agent

import (
	"runtime/debug"

	"github.com/kapetan-io/querator-edge/badgerstore"
)

// memoryShares says how the memory limit is divided, in bytes unless it says
// otherwise. Each share bounds what it is for, whatever is asked of the agent; in
// 64ths of the limit, at 64 MiB and 32 MiB:
//
//	stores       16   databases of the open partitions, sealed segments that are read
//	in flight    16   bodies of requests and replies (max-in-flight-bytes)
//	connections  16   buffers and goroutines, 14 KiB each: 1170 and 585 of them
//	ahead         4   items that were read ahead of the leases
//	deliver       4   leased items until their reply is written
//	state         4   leases that are out and scheduled items
//	buffers       2   what the kernel holds for the first connections
//	commits       2   commits of several requests while they are written
//
// They add up to the limit. Hardly ever are all of them used up; what that leaves is
// for the runtime, garbage, page tables and fragmentation, and for what is larger
// than its share. Of that there is one at a time: the block of an item of megabytes
// that is compressed, when it is written, and a table that is built when a segment is
// closed, of twice what is in the memtable (package badgerstore). An item of megabytes
// in a lease (package queue) or in a list (package api) is in flight like a body: at
// 32 MiB there is one of the three.
// Garbage is collected before each body of more than a megabyte (package api).
type memoryShares struct {
	limit int64
	// heap is what the collector keeps the process within, 13 of 16 parts. It does not
	// count what the kernel holds, which is in buffers, and takes a moment: where the
	// processors are busy it is behind by up to 9 MiB, as measured at both limits.
	heap int64
	// floor is how large the heap may grow before garbage is collected, although little
	// is alive.
	floor int64
	// stores is for the databases of all partition storages; three quarters of it
	// are enough for the open partitions with the least that they need.
	stores int64
	open   int // partitions that are open for writing at a time
	// inFlight is for bodies, unless the configuration says otherwise.
	inFlight int64
	// connections is for what a connection takes; each lease that waits has one, or is on
	// a stream, which counts as four, and takes a KiB of what is in flight.
	connections    int64
	maxConnections int
	// ahead is for items that are read ahead of the leases, all partitions
	// together.
	ahead int64
	// deliver is for leased items until their answer is written, and for an answer
	// to a list.
	deliver int64
	// state is for leases and scheduled items, all partitions together.
	state int64
	// buffers is for the send buffers of the first connections, which are large;
	// those of all others are within connections.
	buffers int64
	wide    int // so many connections
	// commits is for two commits at a time of several requests, each of group bytes.
	commits, group int64
}

// sharesOf divides a memory limit.
func sharesOf(limit int64) memoryShares {
	part := func(n int64) int64 { return limit / 64 * n }
	m := memoryShares{
		limit: limit, heap: limit / 16 * 13, floor: min(part(16), mostFloor),
		stores: part(16), inFlight: part(16), connections: part(16), ahead: part(4), deliver: part(4), state: part(4),
		buffers: part(2), commits: part(2),
	}
	m.group = min(1<<20, m.commits/2)
	m.maxConnections = int(m.connections / connMemory)
	m.wide = int(m.buffers / wideBuffer)
	m.open = int(max(leastOpen, m.stores*3/4/badgerstore.TailMemory))
	return m
}

// openOf returns how many partitions may be open by the configuration and by the memory
// limit.
func (m *memoryShares) openOf(most int) int {
	if most > 0 {
		return min(most, m.open)
	}
	return m.open
}

const (
	// leastOpen is how many partitions can be open whatever the limit.
	leastOpen = 4
	// connMemory is what a connection takes with a request under way: a goroutine's
	// stack, a buffer to read into, the head, and the least send buffer.
	connMemory = 14 << 10
	// mostFloor is what a heap with little alive may grow to whatever the limit. A higher one
	// takes a higher percentage, which counts for a moment, too, when much is alive (pace).
	mostFloor = 16 << 20
	// wideBuffer is the send buffer of a connection that is one of the first.
	wideBuffer = 64 << 10
)

// apply tells the collector. Below the limit the heap may be three times what is
// alive: the collector then runs a third as often, which under load is a tenth of
// all the work. An agent that serves lets it grow to the floor, too (pace).
func (m *memoryShares) apply() {
	debug.SetMemoryLimit(m.heap)
	debug.SetGCPercent(usualPercent)
}

// maxConns returns how many connections there may be by the configuration and by
// the memory limit.
func (a *Agent) maxConns() int { return min(a.cfg.Limits.MaxConnections, a.memory.maxConnections) }
