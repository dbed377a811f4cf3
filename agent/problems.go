package agent

import (
	"context"
	"fmt"

	"github.com/kapetan-io/querator-edge/agent/api"
	"github.com/kapetan-io/querator-edge/agent/device"
	"github.com/kapetan-io/querator-edge/agent/pb"
)

// problems returns what the process knows that a person should look after.
func (a *Agent) problems(ctx context.Context) []api.Problem {
	var list []api.Problem
	warn := func(about, hint, format string, args ...any) {
		list = append(list, api.Problem{About: about, Text: fmt.Sprintf(format, args...), Hint: hint})
	}
	for _, s := range a.places() {
		list = append(list, placeProblems(s)...)
	}
	if !a.clock.Trusted() {
		warn("clock", "set it, or wait for NTP; scheduled items wait until then", "the wall clock is not believed: %s", a.trust.reason())
	}
	if used, limit := anonymous(), int64(a.cfg.MemoryLimit); used > limit {
		warn("memory", "raise memory-limit, or lower max-connections and max-in-flight-bytes",
			"%s are used, memory-limit is %s", mebibytes(used), mebibytes(limit))
	}
	if open := a.conns.Load(); open >= int64(a.maxConns()) {
		warn("connections", "raise max-connections, or look for a client that does not close them",
			"%d are open, and no more are accepted", open)
	}
	list = append(list, a.uplinkProblems(ctx)...)
	return list
}

// placeProblems returns what is wrong with a storage.
func placeProblems(s *pb.StorageStatus) []api.Problem {
	about := fmt.Sprintf("storage '%s'", s.Name)
	if s.Name == "" {
		about = "storage of the queue definitions"
	}
	if s.Failure != "" {
		return []api.Problem{{Failing: true, About: about, Text: s.Failure}}
	}
	var list []api.Problem
	if s.FreeBytes < s.FloorBytes {
		list = append(list, api.Problem{About: about,
			Text: fmt.Sprintf("full: %s are free in %s, %s have to be; produce is refused", mebibytes(s.FreeBytes), s.Dir, mebibytes(s.FloorBytes)),
			Hint: "remove other files from the disk, complete items, or clear queues"})
	}
	if s.FreeInodes < s.FloorInodes {
		list = append(list, api.Problem{About: about,
			Text: fmt.Sprintf("full: %d inodes are free in %s, %d have to be; produce is refused", s.FreeInodes, s.Dir, s.FloorInodes),
			Hint: "remove other small files from the disk"})
	}
	if fs := (device.FileSystem{Kind: s.FileSystem}); fs.IsVolatile() {
		list = append(list, api.Problem{About: about,
			Text: fmt.Sprintf("%s is on a file system of the kind %s: everything may be gone when the power goes", s.Dir, s.FileSystem),
			Hint: "choose a directory on flash with data-dir or storage-dir"})
	} else if fs.IsRemote() {
		list = append(list, api.Problem{About: about,
			Text: fmt.Sprintf("%s is on a file system of the kind %s: a sync there may promise nothing", s.Dir, s.FileSystem),
			Hint: "choose a directory on a local disk with data-dir or storage-dir"})
	}
	return list
}

// mebibytes returns a size as people read it.
func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
