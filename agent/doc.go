// Package agent is the process: it wires configuration, stores, the engine and
// the API together, serves them on a Unix socket, and ends in order.
//
// # Goroutines
//
// Run owns all of them and returns when they have ended: the HTTP server with
// one goroutine a connection (bounded by [limits] max-connections), and one more for a
// stream, or up to five while the device is slow (package api), the loops
// of the partitions (package queue), the background work of the stores (package
// badgerstore), the keeper of the last time seen, the watcher of processes that
// hold leases (package access), and the supervisor, which feeds
// the watchdog and tells the service manager how things are.
//
// # Start
//
// Directories are locked and opened, queues are loaded, those of the
// configuration created; then the socket appears, and /health answers 200.
// Partitions open in the background; requests wait for theirs.
//
// A socket that was inherited from the service manager listens all the while, so
// that clients wait instead of failing. SIGHUP reads the configuration again.
//
// # End
//
// Nothing more is accepted; who is there gets a moment for his answer. The engine
// answers what waits ("queue is shutting down") and syncs; replies
// in progress are written, at most [shutdown] timeout; the socket goes; the
// stores close, the definitions of queues last.
package agent
