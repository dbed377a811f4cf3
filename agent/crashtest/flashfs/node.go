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

// page is one page of a file. Its versions are never changed in place once there
// is a later one, or the page is clean.
type page struct {
	// versions has first what is on flash, then what was written later, last what
	// readers see. Nil stands for zeros.
	versions [][]byte
	dirty    bool // the next sync puts the last version on flash
}

func (p *page) last() []byte { return p.versions[len(p.versions)-1] }

// add adds a version.
func (p *page) add(v []byte) {
	p.dirty = true
	if len(p.versions) == maxVersions {
		p.versions[maxVersions-1] = v
		return
	}
	p.versions = append(p.versions, v)
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
	pages     map[int64]*page
	unsynced  map[int64]struct{} // pages with more than one version
	size      int64
	flashSize int64
	sizes     []int64 // those since the last sync, the present one last
	reserved  int64   // blocks are reserved up to here
}

func newNode(id uint64, isDir bool, mode uint32) *node {
	n := &node{id: id, isDir: isDir, mode: mode, links: 1, mtime: time.Now()}
	if isDir {
		n.entries, n.flash = make(map[string]*node), make(map[string]*node)
	} else {
		n.pages, n.unsynced = make(map[int64]*page), make(map[int64]struct{})
	}
	return n
}

// read fills buf with what is at off and returns how much there is.
func (n *node) read(buf []byte, off int64) int {
	if off >= n.size {
		return 0
	}
	buf = buf[:min(int64(len(buf)), n.size-off)]
	for at := 0; at < len(buf); {
		no, begin := (off+int64(at))/pageSize, (off+int64(at))%pageSize
		part := buf[at:min(len(buf), at+int(pageSize-begin))]
		clear(part)
		if p := n.pages[no]; p != nil && p.last() != nil {
			copy(part, p.last()[begin:])
		}
		at += len(part)
	}
	return len(buf)
}

// write writes data at off.
func (n *node) write(data []byte, off int64) {
	n.put(data, off)
	if end := off + int64(len(data)); end > n.size {
		n.resize(end)
	}
	n.mtime = time.Now()
}

// put changes pages.
func (n *node) put(data []byte, off int64) {
	for len(data) > 0 {
		no, begin := off/pageSize, off%pageSize
		part := data[:min(int64(len(data)), pageSize-begin)]
		v := make([]byte, pageSize)
		p := n.page(no)
		copy(v, p.last())
		copy(v[begin:], part)
		p.add(v)
		data, off = data[len(part):], off+int64(len(part))
	}
}

// page returns a page that is going to be changed.
func (n *node) page(no int64) *page {
	p := n.pages[no]
	if p == nil {
		p = &page{versions: [][]byte{nil}}
		n.pages[no] = p
	}
	n.unsynced[no] = struct{}{}
	return p
}

// resize notes a new size.
func (n *node) resize(size int64) {
	n.size = size
	if len(n.sizes) == maxVersions {
		n.sizes = slices.Delete(n.sizes, 0, 1)
	}
	n.sizes = append(n.sizes, size)
}

// truncate sets the size. What is beyond it is zeros from now on.
func (n *node) truncate(size int64) {
	if size < n.size {
		n.zero(size, n.size)
	}
	if size != n.size {
		n.resize(size)
	}
	n.mtime = time.Now()
}

// zero makes the bytes from off to end zeros.
func (n *node) zero(off, end int64) {
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
		n.page(no).add(v)
	}
}

// sync puts the file's content on flash.
func (n *node) sync() {
	for no := range n.unsynced {
		p := n.pages[no]
		if !p.dirty {
			continue // A sync of it has failed; see failSync.
		}
		p.versions, p.dirty = [][]byte{p.last()}, false
		delete(n.unsynced, no)
		if p.last() == nil {
			delete(n.pages, no)
		}
	}
	n.flashSize, n.sizes = n.size, nil
}

// failSync is a sync that fails: the pages count as written from now on, and no
// later sync looks at them unless they are written again.
func (n *node) failSync() {
	for no := range n.unsynced {
		n.pages[no].dirty = false
	}
}

// isDirty reports whether a sync would put something on flash.
func (n *node) isDirty() bool {
	for no := range n.unsynced {
		if n.pages[no].dirty {
			return true
		}
	}
	return len(n.sizes) > 0
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
