// Package crashtest drives the real program over its real socket, ends it in
// the middle of its work, starts it again, and checks that every promise held.
//
// A Book knows of every item what became of it as far as the agent has said:
// what was acknowledged must be so, what was refused must not, and what was
// under way when the agent ended may be so or not, but wholly. A Load uses the
// agent from several goroutines and writes down what happens; Book.Check looks
// at all the agent holds and compares. Process starts and ends the agent.
//
// What is checked after each end and start:
//
//   - an item whose produce was acknowledged is there exactly once, with its
//     bytes and labels, until it is completed, deleted or cleared; a batch that
//     was under way is there wholly or not at all;
//   - nothing that is gone comes back and nothing is there that nobody made;
//   - an item that is dead is in the dead queue, once, and nowhere else;
//   - items of one producer that were never given back are in their order;
//   - attempts never fall, and rise only by leases that were given or whose
//     answer was lost;
//   - a lease that has time left is still held under its id;
//   - queues are there as they were created, or are gone with all they held;
//   - the ledger adds up, and its counts are those of the book.
//
// With an uplink, CheckEvents compares what a server got of many rounds: every
// completed item has its event once, or is counted by a gap event, and nothing else
// has one; the events of a partition are numbered without a gap, and each start of
// the agent has an epoch of its own.
package crashtest
