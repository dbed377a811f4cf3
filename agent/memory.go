package agent

import (
	"bufio"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

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

// anonymous returns the anonymous resident memory of this process in bytes, 0
// if the kernel does not tell.
func anonymous() int64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		text, ok := strings.CutPrefix(sc.Text(), "RssAnon:")
		if !ok {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 64)
		if err != nil {
			return 0
		}
		return kb << 10
	}
	return 0
}
