// Package queue keeps durable queues of items and hands the items out under
// leases. It holds the rules; where the items lie is the business of a store
// (interfaces MetaStore, Storage and PartitionStore), and who calls is the
// business of whoever embeds it. It depends on the standard library only.
//
// # The life of an item
//
//	produce ──► scheduled ──(due)──► ready ◄─────────────────────────┐
//	   │                               ▲ │                           │
//	   └───────────────────────────────┘ └─lease─► leased ─retry─────┤ new id, at the tail
//	                                                │ │ └─lapses─────┘
//	                                                │ └─retry at a later time─► scheduled
//	                                                └─complete─► gone
//
//	ready or leased, past its expire deadline ─► dead
//	lease lapsed with max attempts used up, or retried as dead ─► dead
//	dead ─► the dead queue under a new id, or gone if the queue has none
//
// Every item has a sequence number in its partition; the id that users see
// carries it. An item that goes back to ready gets a new number at the tail, so
// the id of an ended lease names nothing any more: a late complete cannot touch
// the next lease. Attempts are counted when a lease is given.
//
// # Partitions and commits
//
// A queue has one or more partitions. One goroutine, the loop, owns the state
// of a partition: it takes every request that waits, applies them in memory,
// writes one commit, syncs once and answers all of them. While it syncs, the
// next group gathers. Nothing is answered before it is as durable as promised:
//
//   - produce, complete, retry, import, clear, delete: on flash.
//   - lease, extend: written, and on flash within a second (Limits.LeaseSync).
//     A power cut that takes such a lease has killed its holder too, and the
//     item is offered again. Only items whose produce is on flash are leased.
//
// A lease that comes in the same group as the produce of its items is answered
// after the common sync.
//
// A caller that finds the loop asleep serves its own request, and with it all that
// wait: nobody has to be woken. The methods of Queue wait for the answer; whoever has
// many requests under way begins them instead (Batch, Call), and serves them together.
//
// # Time
//
// Leases run on the time since boot, which counts suspend and knows no steps of
// the wall clock. After a reboot all leases are over, since their holders were
// processes of the boot that ended. An item's age within a boot is counted the
// same way; of items of earlier boots only the wall clock can tell, and it
// decides when it is trusted (Clock.Trusted). A time of day that an item is
// scheduled for waits for a trusted clock; a retry delay runs on boot time.
//
// A lease can be tied to its holder, a number that whoever embeds the engine gives
// to a process; when the process has ended, Service.ReleaseHolders ends its leases
// as if their time were up. Holders are not stored: in the next run such leases go
// by their deadlines, until an extend names a holder again.
//
// # Where to begin reading
//
// item.go, store.go, commit.go, state.go, then service.go, queue.go,
// partition.go and the files named after the requests.
package queue
