package flashfs

import (
	"slices"
	"syscall"
)

// Model says what a sync puts on flash beside what it must.
type Model string

// The models; see the package's documentation.
const (
	Journal Model = "journal"
	Log     Model = "log"
	Strict  Model = "strict"
)

// Models returns all models.
func Models() []Model { return []Model{Journal, Log, Strict} }

// tree is a whole file system. It is guarded by the mutex of its server.
type tree struct {
	model  Model
	root   *node
	nodes  map[uint64]*node
	nextID uint64
	// ops are the changes that are not on flash, of directories and of the extent
	// of files, in order; lastOp is the number of the last one that was made.
	ops    []*op
	lastOp uint64
}

// rootID is the number of the root, which the kernel knows.
const rootID = 1

func newTree(model Model) *tree {
	t := &tree{model: model, nodes: make(map[uint64]*node), nextID: rootID}
	t.root = t.newNode(true, 0o755)
	return t
}

func (t *tree) newNode(isDir bool, mode uint32) *node {
	n := newNode(t.nextID, isDir, mode)
	t.nodes[n.id] = n
	t.nextID++
	return n
}

// slot is a name in a directory.
type slot struct {
	dir  *node
	name string
}

// entry says what a slot comes to mean: nil when the name is gone.
type entry struct {
	slot
	to *node
}

// op is one change, which is made wholly or not at all: of directories, or of the
// extent of a file, which is its size and where it has holes.
type op struct {
	no      uint64
	file    *node // whose extent changes; nil for a change of directories
	entries []entry
	synced  map[*node]bool // directories that were synced since
}

// touches reports whether both are about the same name or file.
func (o *op) touches(other *op) bool {
	if o.file != nil && o.file == other.file {
		return true
	}
	for i := range o.entries {
		for j := range other.entries {
			if o.entries[i].slot == other.entries[j].slot {
				return true
			}
		}
	}
	return false
}

// isIn reports whether it changes a name in the directory.
func (o *op) isIn(dir *node) bool {
	for i := range o.entries {
		if o.entries[i].dir == dir {
			return true
		}
	}
	return false
}

// names reports whether it gives the node a name.
func (o *op) names(n *node) bool {
	for i := range o.entries {
		if o.entries[i].to == n {
			return true
		}
	}
	return false
}

// isSynced reports whether all directories it is about were synced since.
func (o *op) isSynced() bool {
	for i := range o.entries {
		if !o.synced[o.entries[i].dir] {
			return false
		}
	}
	return len(o.entries) > 0
}

// land puts the change on flash.
func (o *op) land() {
	if o.file != nil {
		o.file.extentLanded(o)
	}
	for _, e := range o.entries {
		if e.to == nil {
			delete(e.dir.flash, e.name)
		} else {
			e.dir.flash[e.name] = e.to
		}
	}
}

// change makes a change of directories.
func (t *tree) change(entries ...entry) {
	t.lastOp++
	t.ops = append(t.ops, &op{no: t.lastOp, entries: entries, synced: make(map[*node]bool)})
	for _, e := range entries {
		e.dir.lastOp = t.lastOp
		if e.to == nil {
			delete(e.dir.entries, e.name)
			continue
		}
		e.dir.entries[e.name] = e.to
		e.to.parent, e.to.name, e.to.lastOp = e.dir, e.name, t.lastOp
	}
}

// extent notes a change of the extent of a file, which the caller makes.
func (t *tree) extent(n *node) *op {
	t.lastOp++
	o := &op{no: t.lastOp, file: n}
	t.ops = append(t.ops, o)
	n.lastOp = t.lastOp
	return o
}

// setSize changes the size of a file otherwise than by writing behind its end.
func (t *tree) setSize(n *node, size int64) {
	if size != n.size() {
		n.truncate(size, t.extent(n))
	}
}

// create makes a file or directory.
func (t *tree) create(dir *node, name string, isDir bool, mode uint32) *node {
	n := t.newNode(isDir, mode)
	t.change(entry{slot{dir, name}, n})
	return n
}

// link gives a file one more name.
func (t *tree) link(n, dir *node, name string) {
	n.links++
	t.change(entry{slot{dir, name}, n})
}

// remove removes a name.
func (t *tree) remove(dir *node, name string, isDir bool) syscall.Errno {
	n := dir.entries[name]
	switch {
	case n == nil:
		return syscall.ENOENT
	case isDir && !n.isDir:
		return syscall.ENOTDIR
	case !isDir && n.isDir:
		return syscall.EISDIR
	case isDir && len(n.entries) > 0:
		return syscall.ENOTEMPTY
	}
	n.links--
	t.change(entry{slot{dir, name}, nil})
	return 0
}

// rename renames a file or directory, over what has the new name.
func (t *tree) rename(dir *node, name string, toDir *node, toName string) syscall.Errno {
	n, target := dir.entries[name], toDir.entries[toName]
	switch {
	case n == nil:
		return syscall.ENOENT
	case n == target:
		return 0
	case target != nil && target.isDir && (!n.isDir || len(target.entries) > 0):
		return syscall.ENOTEMPTY
	case target != nil && !target.isDir && n.isDir:
		return syscall.ENOTDIR
	}
	if target != nil {
		target.links--
	}
	t.change(entry{slot{dir, name}, nil}, entry{slot{toDir, toName}, n})
	return 0
}

// sync syncs a file or directory.
func (t *tree) sync(n *node) {
	switch t.model {
	case Journal:
		t.landUpTo(n.lastOp)
	case Log:
		t.landOf(n)
	case Strict:
		if n.isDir {
			t.syncStrict(n)
		} else {
			t.landWith(func(o *op) bool { return o.file == n })
		}
	}
	if !n.isDir {
		n.sync()
	}
}

// landOf puts on flash what a file or directory needs to be found: its names, and
// of a directory the names in it.
func (t *tree) landOf(n *node) {
	t.landWith(func(o *op) bool {
		for up := n; up != nil; up = up.parent {
			if o.names(up) {
				return true
			}
		}
		return o.file == n || n.isDir && o.isIn(n)
	})
}

// landWith puts the chosen changes on flash, and the earlier ones of the same
// names and files.
func (t *tree) landWith(chosen func(*op) bool) {
	var landing, rest []*op
	for i := len(t.ops) - 1; i >= 0; i-- {
		if o := t.ops[i]; chosen(o) || touchesAny(o, landing) {
			landing = append(landing, o)
		} else {
			rest = append(rest, o)
		}
	}
	slices.Reverse(landing)
	slices.Reverse(rest)
	for _, o := range landing {
		o.land()
	}
	t.ops = rest
}

// landUpTo puts all changes up to that number on flash.
func (t *tree) landUpTo(no uint64) {
	for len(t.ops) > 0 && t.ops[0].no <= no {
		t.ops[0].land()
		t.ops = t.ops[1:]
	}
}

// syncStrict puts the entries of a directory on flash.
func (t *tree) syncStrict(dir *node) {
	var rest []*op
	for _, o := range t.ops {
		if o.isIn(dir) {
			o.synced[dir] = true
		}
		if o.isSynced() && !touchesAny(o, rest) {
			o.land()
		} else {
			rest = append(rest, o)
		}
	}
	t.ops = rest
}

func touchesAny(o *op, ops []*op) bool {
	for _, other := range ops {
		if o.touches(other) {
			return true
		}
	}
	return false
}
