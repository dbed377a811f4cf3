package agent

import (
	"bufio"
	"bytes"
	"os"
	"runtime/metrics"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// runtimeMemory returns what the Go runtime has of the system, in bytes.
func runtimeMemory() int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64()) - int64(sample[1].Value.Uint64())
}

// anonymous returns the anonymous resident memory of this process in bytes, 0
// if the kernel does not tell.
func anonymous() int64 {
	return procField("/proc/self/status", "RssAnon:", " kB") << 10
}

// deviceWritten returns how many bytes the kernel has written to devices for
// this process, 0 if it does not tell.
func deviceWritten() int64 {
	return procField("/proc/self/io", "write_bytes:", "")
}

// procField returns the number behind a key in a file of /proc, 0 if it is not
// there.
func procField(path, key, unit string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for sc := bufio.NewScanner(bytes.NewReader(text)); sc.Scan(); {
		if value, ok := strings.CutPrefix(sc.Text(), key); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), unit), 10, 64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}

// cpuTime returns the processor time of this process.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// openFiles returns how many file descriptors are open, 0 if that cannot be
// told.
func openFiles() int {
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return 0
	}
	return len(names) - 1 // Without d.
}
