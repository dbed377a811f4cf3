// Package metrics writes what the agent counts and measures, in the text format
// of Prometheus (version 0.0.4), and holds the table of all that it can write.
//
// # The table
//
// A Family is one name with its type, its help and the names of its labels.
// table.go lists all of them, in the order in which they are written;
// agent/metrics/metrics.md is made of it. There is no way to write a name that is not in
// the table, so the document cannot be behind the program.
//
// # The number of series
//
// A label whose values users choose could make as many series as there are
// values. Only the names of queues are such: at most [metrics] max-queues of
// them get series of their own, those that were created first, so that a queue
// keeps its series while it exists; all others together are the queue "~other",
// a name that no queue can have. The paths of requests are those of the API,
// every other is "other". All remaining labels have few, fixed values.
//
// # How it is done
//
// Nothing is kept between two requests for the page but the counters of
// requests (Requests): the rest is asked for when the page is made, and costs
// nothing while nobody looks.
package metrics
