package measure

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ProcValue returns the number behind a name in a file of /proc, and whether it is there.
func ProcValue(path, name string) (int64, bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 2 && fields[0] == name {
			v, err := strconv.ParseInt(fields[1], 10, 64)
			return v, err == nil
		}
	}
	return 0, false
}

// Anonymous returns the anonymous memory of a process in bytes, as the kernel counts it page by page; 0 if this
// process may not see it. It costs the kernel a walk over the pages.
func Anonymous(pid int) int64 {
	v, _ := ProcValue(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Anonymous:")
	return v << 10 // The file has KiB.
}

// Written returns the bytes that a process, with its children that have ended, has made the kernel write, and whether
// that is known. A page counts when it becomes dirty, unless its file is removed or cut before it is written.
func Written(pid int) (int64, bool) {
	path := fmt.Sprintf("/proc/%d/io", pid)
	written, ok := ProcValue(path, "write_bytes:")
	cancelled, _ := ProcValue(path, "cancelled_write_bytes:") // 0 where the kernel does not say.
	return written - cancelled, ok
}

// Processor returns the processor time that a process has used; 0 if it is gone.
func Processor(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ") // The name may have spaces.
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * (time.Second / clockTicks)
}

// clockTicks is USER_HZ, 100 on every Linux that Go runs on.
const clockTicks = 100

// memoryEvery is how often a Memory looks. What it reads is a counter, which costs next to nothing.
const memoryEvery = 20 * time.Millisecond

// Memory watches the anonymous memory of a process.
type Memory struct {
	end  chan struct{}
	done sync.WaitGroup
	most int64 // read after done
}

// WatchMemory begins to watch a process. The caller ends it with Stop.
func WatchMemory(pid int) *Memory {
	m := &Memory{end: make(chan struct{})}
	path := fmt.Sprintf("/proc/%d/status", pid)
	m.done.Go(func() {
		tick := time.NewTicker(memoryEvery)
		defer tick.Stop()
		for {
			v, _ := ProcValue(path, "RssAnon:")
			m.most = max(m.most, v<<10) // The file has KiB.
			select {
			case <-tick.C:
			case <-m.end:
				return
			}
		}
	})
	return m
}

// Stop ends the watch and returns the most anonymous memory that was seen, in bytes. It is called once.
func (m *Memory) Stop() int64 {
	close(m.end)
	m.done.Wait()
	return m.most
}
