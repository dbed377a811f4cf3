// Package queuetest tests stores and the engine, for use in tests only.
//
//   - RunStore is the conformance suite of queue.Storage, queue.PartitionStore
//     and queue.MetaStore. Every store has to pass it.
//   - RunEngine drives a queue.Service over a store with random requests and
//     compares every answer with a small model of what the contract says.
//   - Clock is a clock that tests set.
//
// A store's test hands in a Harness, which opens the store, and the suite
// closes and opens it again as restarts and reboots would.
//
// Random tests print their seed. A test binary that declares an unsigned flag
// "seed" replays one with -seed=N. With the environment variable QUERATOR_LONG
// they take about ten times as many steps, with -short about half of them.
package queuetest
