package flashfs

import (
	"slices"
	"strings"
	"syscall"
)

// The calls that a Rule can be about.
const (
	CallFsync     = "fsync"
	CallFdatasync = "fdatasync"
	CallFsyncDir  = "fsyncdir"
	CallWrite     = "write" // also the kernel's writeback of what was mapped
	CallFallocate = "fallocate"
	CallTruncate  = "truncate" // and other changes of attributes
	CallCreate    = "create"
	CallMkdir     = "mkdir"
	CallLink      = "link"
	CallRename    = "rename"
	CallRemove    = "remove"
	CallOpen      = "open"
	CallOpenDir   = "opendir"
	CallRead      = "read" // also of what was mapped; what the kernel has in memory is not asked for
)

// Changes are all calls that change something or sync it: those that fail when a
// file system was remounted read-only.
func Changes() []string {
	return []string{CallFsync, CallFdatasync, CallFsyncDir, CallWrite, CallFallocate, CallTruncate, CallCreate, CallMkdir,
		CallLink, CallRename, CallRemove}
}

// changes reports whether a call is one of Changes.
func changes(call string) bool { return call != CallOpen && call != CallOpenDir && call != CallRead }

// Rule makes calls fail.
type Rule struct {
	Calls []string
	// Under is a directory below the root, with a leading slash: only what is at
	// or below it fails. "" is everything.
	Under string
	// Error is what they fail with. Without one, syncs succeed and do nothing.
	Error syscall.Errno
	// Skip is how many of those calls succeed first; Times how many fail then, 0
	// is all of them.
	Skip, Times int

	hits int
}

// hit reports whether the rule is about this call, and counts it.
func (r *Rule) hit(call string, n *node) bool {
	if !slices.Contains(r.Calls, call) {
		return false
	}
	if r.Under != "" {
		path := n.path()
		if path != r.Under && !strings.HasPrefix(path, r.Under+"/") {
			return false
		}
	}
	r.hits++
	return r.hits > r.Skip && (r.Times == 0 || r.hits <= r.Skip+r.Times)
}
