package flashfs

import (
	"maps"
	"slices"
	"time"
)

const (
	pageSize   = 4096
	sectorSize = 512
	// maxVersions bounds what is kept of a page that is written again and again
	// and never synced.
	maxVersions = 4
)

// version is one that a page or a size has had. What it holds is never changed in
// place. The first one of a list is on flash, the last one is what readers see.
type version[T any] struct {
	is T
	// by is the change that made it, if that was one of the file's extent: it is
	// kept with that, and not without.
	by *op
}

// history are the versions of a page or a size.
type history[T any] []version[T]

func (h history[T]) last() T { return h[len(h)-1].is }

// add adds a version, and forgets the one before when there are many.
func (h history[T]) add(is T, by *op) history[T] {
	if n := len(h); n >= maxVersions && h[n-1].by == nil && by == nil {
		h = h[:n-1]
	}
	return append(h, version[T]{is, by})
}

// landed drops what was before the version that a change made, now that it is on
// flash.
func (h history[T]) landed(by *op) history[T] {
	for i := range h {
		if h[i].by == by {
			h = slices.Clone(h[i:])
			h[0].by = nil
			break
		}
	}
	return h
}

// choices are the versions that a device may hold.
func (h history[T]) choices() history[T] {
	for i := range h {
		if h[i].by != nil {
			return h[:i]
		}
	}
	return h
}

// page is one page of a file. Nil stands for zeros.
type page struct {
	history[[]byte]
	dirty bool // the next sync puts the last version on flash
}

// node is a file or a directory.
type node struct {
	id       uint64
	isDir    bool
	mode     uint32 // permissions
	uid, gid uint32
	links    int
	mtime    time.Time
	// Where it is, as far as there is one place; for the paths of rules.
	parent *node
	name   string

	// A directory: what names mean now, and what they mean on flash.
	entries, flash map[string]*node
	// lastOp is the number of the last change that the node was part of.
	lastOp uint64

	// A file.
	pages    map[int64]*page
	unsynced map[int64]struct{} // pages with more than one version
	sizes    history[int64]
	reserved int64 // blocks are reserved up to here
}

func newNode(id uint64, isDir bool, mode uint32) *node {
	n := &node{id: id, isDir: isDir, mode: mode, links: 1, mtime: time.Now()}
	if isDir {
		n.entries, n.flash = make(map[string]*node), make(map[string]*node)
	} else {
		n.pages, n.unsynced = make(map[int64]*page), make(map[int64]struct{})
		n.sizes = history[int64]{{is: 0}}
	}
	return n
}

func (n *node) size() int64 {
	if n.isDir {
		return 0
	}
	return n.sizes.last()
}

// read fills buf with what is at off and returns how much there is.
func (n *node) read(buf []byte, off int64) int {
	if off >= n.size() {
		return 0
	}
	buf = buf[:min(int64(len(buf)), n.size()-off)]
	for at := 0; at < len(buf); {
		no, begin := (off+int64(at))/pageSize, (off+int64(at))%pageSize
		part := buf[at:min(len(buf), at+int(pageSize-begin))]
		clear(part)
		if p := n.pages[no]; p != nil && p.onDevice() != nil {
			copy(part, p.onDevice()[begin:])
		}
		at += len(part)
	}
	return len(buf)
}

// write writes data at off.
func (n *node) write(data []byte, off int64) {
	if end := off + int64(len(data)); end > n.size() {
		n.sizes = n.sizes.add(end, nil)
	}
	n.mtime = time.Now()
	for len(data) > 0 {
		no, begin := off/pageSize, off%pageSize
		part := data[:min(int64(len(data)), pageSize-begin)]
		v := make([]byte, pageSize)
		p := n.page(no)
		copy(v, p.last())
		copy(v[begin:], part)
		p.change(v, nil)
		data, off = data[len(part):], off+int64(len(part))
	}
}

// page returns a page that is going to be changed.
func (n *node) page(no int64) *page {
	p := n.pages[no]
	if p == nil {
		p = &page{history: history[[]byte]{{}}}
		n.pages[no] = p
	}
	n.unsynced[no] = struct{}{}
	return p
}

// onDevice is what the kernel gets when it asks for the page: what it has written
// back, but for what a sync that failed has not put on flash.
func (p *page) onDevice() []byte {
	if len(p.history) > 1 && !p.dirty {
		return p.history[0].is
	}
	return p.last()
}

func (p *page) change(v []byte, by *op) {
	p.dirty = true
	p.history = p.add(v, by)
}

// truncate sets the size. What is beyond it is zeros from now on.
func (n *node) truncate(size int64, by *op) {
	if size < n.size() {
		n.zero(size, n.size(), by)
	}
	n.sizes = n.sizes.add(size, by)
	n.mtime = time.Now()
}

// zero makes the bytes from off to end zeros.
func (n *node) zero(off, end int64, by *op) {
	for no, p := range n.pages {
		begin, limit := max(off, no*pageSize), min(end, (no+1)*pageSize)
		if begin >= limit || p.last() == nil {
			continue
		}
		var v []byte
		if limit-begin < pageSize {
			v = slices.Clone(p.last())
			clear(v[begin-no*pageSize : limit-no*pageSize])
		}
		n.page(no).change(v, by)
	}
}

// extentLanded notes that a change of the file's extent is on flash.
func (n *node) extentLanded(by *op) {
	n.sizes = n.sizes.landed(by)
	for no := range n.unsynced {
		p := n.pages[no]
		if p.history = p.landed(by); len(p.history) == 1 {
			p.dirty = false
			delete(n.unsynced, no)
		}
	}
}

// sync puts the file's content on flash.
func (n *node) sync() {
	for no := range n.unsynced {
		p := n.pages[no]
		if !p.dirty {
			continue // A sync of it has failed; see failSync.
		}
		p.history, p.dirty = history[[]byte]{{is: p.last()}}, false
		delete(n.unsynced, no)
		if p.last() == nil {
			delete(n.pages, no)
		}
	}
	n.sizes = history[int64]{{is: n.size()}}
}

// failSync is a sync that fails: the pages count as written from now on, and no
// later sync looks at them unless they are written again.
func (n *node) failSync() {
	for no := range n.unsynced {
		n.pages[no].dirty = false
	}
}

// blocks returns how many sectors the file occupies.
func (n *node) blocks() int64 {
	return max(int64(len(n.pages))*pageSize, n.reserved) / sectorSize
}

// path returns where the node is, from the root, which is "".
func (n *node) path() string {
	if n.parent == nil {
		return ""
	}
	return n.parent.path() + "/" + n.name
}

// names returns the names in a directory, in order.
func names(entries map[string]*node) []string { return slices.Sorted(maps.Keys(entries)) }
