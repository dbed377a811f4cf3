package metrics

import (
	"fmt"
	"strings"
)

// Family is one name on the page.
type Family int

// The types of families.
const (
	counter = "counter"
	gauge   = "gauge"
	summary = "summary"
)

// The families, in the order of the page.
const (
	BuildInfo Family = iota
	Healthy
	StartTime
	Uptime
	CPUSeconds
	OpenFiles
	Goroutines

	MemoryLimit
	MemoryRuntime
	MemoryAnonymous
	Connections
	ConnectionsLimit
	InFlightBytes
	InFlightLimit

	ClockTrusted
	ClockSynchronised

	StorageFree
	StorageTotal
	StorageFloor
	StorageFreeInodes

	Queues
	QueuesPaused
	Partitions
	PartitionsFailed
	Items
	ItemBytes
	HeldForClock
	LeaseWaiting
	RequestsInside
	ItemsIn
	ItemsOut
	Leases
	Retries
	Lapsed
	PayloadBytes
	WrittenBytes
	Syncs
	DeviceWritten
	DiskBytes
	Segments
	SegmentsOpen

	QueueItems
	QueueBytes
	QueueAge
	QueueIn
	QueueCompleted
	QueueGone
	QueueWaiting
	QueueFailed

	RequestDuration
	RequestsTotal
	Refused
	Holders

	UplinkConnected
	UplinkPending
	UplinkOldest
	UplinkBytes
	UplinkBlocked
	UplinkDelivered
	UplinkResent
	UplinkLost
	UplinkNetwork
	DownlinkTaken
	DownlinkSkipped
	DownlinkMissed
	DownlinkWaiting
	DownlinkWell

	families
)

// about is what the table says of a family.
type about struct {
	name, kind string
	labels     []string
	help       string
}

// table is in the order of the constants. A counter counts since the queues were
// created, as their ledgers do, unless it says otherwise.
var table = [families]about{
	BuildInfo:  {"querator_build_info", gauge, []string{"version"}, "Always 1; the label is the version of the program."},
	Healthy:    {"querator_healthy", gauge, nil, "1 if all partitions answer and can be used, else 0."},
	StartTime:  {"querator_start_time_seconds", gauge, nil, "When the agent started, in seconds since 1970 by the clock of that moment."},
	Uptime:     {"querator_uptime_seconds", gauge, nil, "How long the agent has been running, whatever the wall clock did."},
	CPUSeconds: {"querator_cpu_seconds_total", counter, nil, "Processor time that the agent has used since it started."},
	OpenFiles:  {"querator_open_files", gauge, nil, "File descriptors of the agent, connections included."},
	Goroutines: {"querator_goroutines", gauge, nil, "Goroutines of the agent."},

	MemoryLimit:      {"querator_memory_limit_bytes", gauge, nil, "The setting memory-limit."},
	MemoryRuntime:    {"querator_memory_runtime_bytes", gauge, nil, "Memory that the Go runtime has of the system."},
	MemoryAnonymous:  {"querator_memory_anonymous_bytes", gauge, nil, "Anonymous resident memory of the agent, as the kernel counts it."},
	Connections:      {"querator_connections", gauge, nil, "Open connections."},
	ConnectionsLimit: {"querator_connections_limit", gauge, nil, "The setting max-connections; further ones wait to be accepted."},
	InFlightBytes:    {"http_in_flight_bytes", gauge, nil, "Bodies of requests and answers that are being handled."},
	InFlightLimit:    {"http_in_flight_limit_bytes", gauge, nil, "Their bound; requests beyond it are refused with 454."},

	ClockTrusted:      {"querator_clock_trusted", gauge, nil, "1 if the wall clock is believed, so that scheduled items become due, else 0."},
	ClockSynchronised: {"querator_clock_synchronised", gauge, nil, "1 if the kernel says that NTP keeps the clock right, else 0."},

	StorageFree:       {"querator_storage_free_bytes", gauge, []string{"storage"}, "Free bytes of the file system of a storage; the storage of the queue definitions is \"queues\"."},
	StorageTotal:      {"querator_storage_total_bytes", gauge, []string{"storage"}, "Size of that file system."},
	StorageFloor:      {"querator_storage_floor_bytes", gauge, []string{"storage"}, "Below so many free bytes produce is refused."},
	StorageFreeInodes: {"querator_storage_free_inodes", gauge, []string{"storage"}, "Free inodes of that file system, where it counts them."},

	Queues:           {"querator_queues", gauge, nil, "Queues."},
	QueuesPaused:     {"querator_queues_paused", gauge, nil, "Queues whose leases are refused until they are resumed."},
	Partitions:       {"querator_partitions", gauge, nil, "Partitions of all queues."},
	PartitionsFailed: {"querator_partitions_failed", gauge, nil, "Partitions that cannot be used; the status says why."},
	Items:            {"querator_items", gauge, []string{"state"}, "Items held: ready, leased, scheduled, or moving to another queue."},
	ItemBytes:        {"querator_item_bytes", gauge, nil, "Their payloads and labels, and 64 bytes more for each."},
	HeldForClock:     {"querator_items_held_for_clock", gauge, nil, "Scheduled items that wait for a trusted clock."},
	LeaseWaiting:     {"querator_lease_requests_waiting", gauge, nil, "Lease requests that wait for items."},
	RequestsInside:   {"querator_requests_inside", gauge, nil, "Requests of queues that have not been answered, waiting leases included."},
	ItemsIn:          {"querator_items_in_total", counter, []string{"way"}, "Items that came in: produced, imported, moved_in from another queue."},
	ItemsOut:         {"querator_items_out_total", counter, []string{"way"}, "Items that went: completed, dead, expired, cleared, deleted, dropped, quarantined, moved_out to another queue."},
	Leases:           {"querator_leases_total", counter, nil, "Leases given."},
	Retries:          {"querator_retries_total", counter, nil, "Leased items given back by their holders."},
	Lapsed:           {"querator_leases_lapsed_total", counter, nil, "Leases that ran out."},
	PayloadBytes:     {"querator_payload_bytes_total", counter, nil, "Bytes of payloads produced and imported since the agent started."},
	WrittenBytes:     {"querator_store_written_bytes_total", counter, nil, "Bytes that the stores of the partitions have written since the agent started."},
	Syncs:            {"querator_store_syncs_total", counter, nil, "Times that they have synced since the agent started."},
	DeviceWritten:    {"querator_device_written_bytes_total", counter, nil, "Bytes written to the device for the agent since it started, as the kernel counts them."},
	DiskBytes:        {"querator_disk_bytes", gauge, nil, "Bytes that the partitions occupy."},
	Segments:         {"querator_segments", gauge, nil, "Segments of all partitions."},
	SegmentsOpen:     {"querator_segments_open", gauge, nil, "Those that are open."},

	QueueItems:     {"querator_queue_items", gauge, []string{"queue", "state"}, "As querator_items, for one queue: ready, leased, scheduled."},
	QueueBytes:     {"querator_queue_item_bytes", gauge, []string{"queue"}, "As querator_item_bytes, for one queue."},
	QueueAge:       {"querator_queue_age_seconds", gauge, []string{"queue"}, "Average age of the ready and leased items of a queue."},
	QueueIn:        {"querator_queue_in_total", counter, []string{"queue"}, "Items that came into a queue, by whatever way."},
	QueueCompleted: {"querator_queue_completed_total", counter, []string{"queue"}, "Items of a queue that were completed."},
	QueueGone:      {"querator_queue_gone_total", counter, []string{"queue"}, "Items that went otherwise: dead, expired, dropped, moved, cleared, deleted, quarantined."},
	QueueWaiting:   {"querator_queue_lease_requests_waiting", gauge, []string{"queue"}, "Lease requests that wait for items of a queue."},
	QueueFailed:    {"querator_queue_partitions_failed", gauge, []string{"queue"}, "Partitions of a queue that cannot be used."},

	RequestDuration: {"http_handler_duration", summary, []string{"path", "quantile"}, "Seconds from a request to the end of its answer, waiting for items included; the quantiles look back five minutes."},
	RequestsTotal:   {"http_requests_total", counter, []string{"path", "code"}, "Requests answered since the agent started."},
	Refused:         {"querator_refused_total", counter, []string{"operation"}, "Calls that the access rules refused since the agent started: produce, consume, read, admin."},
	Holders:         {"querator_lease_holders", gauge, nil, "Processes that hold, or held, leases which end with them."},

	UplinkConnected: {"querator_uplink_connected", gauge, nil, "1 if the uplink has a connection, else 0; the uplink's families are there only if one is configured."},
	UplinkPending:   {"querator_uplink_pending_events", gauge, nil, "Events that wait to be delivered."},
	UplinkOldest:    {"querator_uplink_oldest_seconds", gauge, nil, "Age of the oldest of them, while the device ran."},
	UplinkBytes:     {"querator_uplink_outbox_bytes", gauge, nil, "Bytes that are occupied on flash for the sake of events alone."},
	UplinkBlocked:   {"querator_uplink_blocked_partitions", gauge, nil, "Partitions that refuse completes, since there is no room for their events."},
	UplinkDelivered: {"querator_uplink_delivered_total", counter, nil, "Events that the server acknowledged since the agent started."},
	UplinkResent:    {"querator_uplink_resent_total", counter, nil, "Those of them that it had acknowledged before, and lost."},
	UplinkLost:      {"querator_uplink_lost_total", counter, nil, "Events that were given up, since the agent started or in gap events that the server has not got yet."},
	UplinkNetwork:   {"querator_uplink_network_bytes_total", counter, []string{"direction"}, "Bytes on the network since the agent started: out, in."},

	DownlinkTaken:   {"querator_downlink_taken_total", counter, []string{"queue"}, "Messages that became items of the queue, since it exists; the downlink's families are there only if one is configured."},
	DownlinkSkipped: {"querator_downlink_skipped_total", counter, []string{"queue"}, "Messages that could not become an item."},
	DownlinkMissed:  {"querator_downlink_missed_total", counter, []string{"queue"}, "Numbers of the stream that were gone before they could be taken; those of the queue's messages are among them."},
	DownlinkWaiting: {"querator_downlink_waiting_messages", gauge, []string{"queue"}, "Messages that were waiting on the server at the last look."},
	DownlinkWell:    {"querator_downlink_well", gauge, []string{"queue"}, "1 if the downlink is connected and nothing is wrong with it, else 0."},
}

// Document returns agent/metrics/metrics.md.
func Document() string {
	var b strings.Builder
	b.WriteString(documentHead)
	for _, d := range table {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.name, d.kind, strings.Join(d.labels, ", "), d.help)
	}
	return b.String()
}

const documentHead = `# Metrics

` + "`GET /metrics`" + ` on the agent's socket answers in the text format of Prometheus:

    curl --unix-socket "$QUERATOR_SOCKET" http://querator/metrics

A device without queues has about 60 series and a few for each call that is used. At most ` + "`[metrics] max-queues`" + `
queues have series of their own (8 of them, 10 lines), those that were created first; the others are summed up as the
queue ` + "`~other`" + `. Counters count since the queues were created and go on over restarts, unless their help says that
they begin when the agent starts. They never fall while it runs, also when a queue is deleted.

Queues that the caller may not read (` + "`[[access]]`" + `) are left out of those with series of their own; the sums have them.

The table is made of the program's own (` + "`go test ./agent/metrics -update`" + `); a test compares it with what is served.

| name | type | labels | help |
|---|---|---|---|
`
