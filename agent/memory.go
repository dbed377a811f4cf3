package agent

import "runtime/debug"

// limitMemory makes the collector keep the heap within the memory limit. A
// fifth of it is left for what the collector does not count: stacks of the
// kernel, pages of mapped files that are being written, fragmentation.
//
// Below the limit the heap may be three times what is alive: the collector then
// runs a third as often, which under load is a tenth of all the work.
func limitMemory(limit int64) {
	debug.SetMemoryLimit(limit / 5 * 4)
	debug.SetGCPercent(200)
}
