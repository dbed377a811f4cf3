package agent

import (
	"runtime/debug"

	"github.com/kapetan-io/querator-edge/badgerstore"
)

// memoryShares says how the memory limit is divided, in bytes unless it says
// otherwise. The shares do not add up to the limit: a fifth of it is left for what
// the collector does not count, which are sockets and page tables in the kernel,
// pages of files that are being written, and fragmentation; and some is for what
// is alive only for a moment.
type memoryShares struct {
	limit int64
	// heap is what the collector keeps the process within.
	heap int64
	// stores is for the databases of all partition storages; three
	// quarters of it are enough for the open partitions with the least that they
	// need.
	stores int64
	open   int // partitions that are open for writing at a time
	// ahead is for items that are read ahead of the leases, all partitions
	// together.
	ahead int64
	// deliver is for leased items until their answer is written, and for an answer
	// to a list.
	deliver int64
	// group is what one commit takes, if it is of several requests.
	group int64
}

// sharesOf divides a memory limit.
func sharesOf(limit int64) memoryShares {
	m := memoryShares{
		limit: limit, heap: limit / 5 * 4, stores: limit / 4, ahead: limit / 16, deliver: limit / 16,
		group: min(1<<20, limit/64),
	}
	m.open = int(max(leastOpen, m.stores*3/4/badgerstore.TailMemory))
	return m
}

// leastOpen is how many partitions can be open whatever the limit.
const leastOpen = 4

// apply tells the collector. Below the limit the heap may be three times what is
// alive: the collector then runs a third as often, which under load is a tenth of
// all the work.
func (m *memoryShares) apply() {
	debug.SetMemoryLimit(m.heap)
	debug.SetGCPercent(200)
}
