//go:build !386 && !arm

package flashfs

import (
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// phase is what a server does with requests.
type phase int

const (
	serving phase = iota
	frozen        // nobody gets an answer
	dead          // writes are taken, everything else that changes something fails
	gone          // everything fails
)

// server serves a tree to the kernel. Its methods are called from goroutines of
// the FUSE library, several at a time.
type server struct {
	fuse.RawFileSystem // refuses what is not here

	mu    sync.Mutex // guards what follows
	move  *sync.Cond // of mu: the phase has changed
	phase phase
	*tree
	rules []*Rule
	// Counts of syncs, and of calls that a rule has hit.
	syncs, faults int
	maxDelay      time.Duration // of a sync
	lists         map[uint64][]string
	nextList      uint64
}

func newServer(t *tree) *server {
	s := &server{RawFileSystem: fuse.NewDefaultRawFileSystem(), tree: t, lists: make(map[uint64][]string)}
	s.move = sync.NewCond(&s.mu)
	return s
}

// String names the file system.
func (s *server) String() string { return "flashfs" }

// enter waits for its turn, locks the tree and returns the node. Unless the
// status is OK, the call ends with it and the tree is not locked.
func (s *server) enter(id uint64) (*node, fuse.Status) {
	s.mu.Lock()
	for s.phase == frozen {
		s.move.Wait()
	}
	n := s.nodes[id]
	switch {
	case s.phase == gone:
		s.mu.Unlock()
		return nil, fuse.Status(syscall.ENODEV)
	case n == nil:
		s.mu.Unlock()
		return nil, fuse.ENOENT
	}
	return n, fuse.OK
}

// begin is enter for a call that a rule can be about.
func (s *server) begin(id uint64, call string) (*node, fuse.Status) {
	n, st := s.enter(id)
	if st != fuse.OK {
		return nil, st
	}
	if s.phase == dead && call != CallWrite && changes(call) {
		s.mu.Unlock()
		return nil, fuse.EIO
	}
	for _, r := range s.rules {
		if r.Error != 0 && r.hit(call, n) {
			s.faults++
			if !n.isDir && (call == CallFsync || call == CallFdatasync) {
				n.failSync()
			}
			s.mu.Unlock()
			return nil, fuse.Status(r.Error)
		}
	}
	return n, fuse.OK
}

// forever is how long the kernel may keep what it knows: nobody else changes it.
const forever = 24 * time.Hour

func fillAttr(n *node, out *fuse.Attr) {
	*out = fuse.Attr{
		Ino: n.id, Mode: n.mode | syscall.S_IFREG, Nlink: uint32(n.links), Blksize: pageSize,
		Owner: fuse.Owner{Uid: n.uid, Gid: n.gid},
	}
	if n.isDir {
		out.Mode = n.mode | syscall.S_IFDIR
		out.Nlink = 2
	} else {
		out.Size, out.Blocks = uint64(n.size()), uint64(n.blocks())
	}
	out.SetTimes(&n.mtime, &n.mtime, &n.mtime)
}

func fillEntry(n *node, out *fuse.EntryOut) {
	out.NodeId, out.Generation = n.id, 1
	out.SetEntryTimeout(forever)
	out.SetAttrTimeout(forever)
	fillAttr(n, &out.Attr)
}

// Lookup finds a name.
func (s *server) Lookup(_ <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	dir, st := s.enter(header.NodeId)
	if st != fuse.OK {
		return st
	}
	defer s.mu.Unlock()
	n := dir.entries[name]
	if n == nil {
		return fuse.ENOENT
	}
	fillEntry(n, out)
	return fuse.OK
}

// GetAttr tells of a node.
func (s *server) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	n, st := s.enter(in.NodeId)
	if st != fuse.OK {
		return st
	}
	defer s.mu.Unlock()
	out.SetTimeout(forever)
	fillAttr(n, &out.Attr)
	return fuse.OK
}

// SetAttr changes a node.
func (s *server) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	n, st := s.begin(in.NodeId, CallTruncate)
	if st != fuse.OK {
		return st
	}
	defer s.mu.Unlock()
	if size, ok := in.GetSize(); ok {
		s.setSize(n, int64(size))
	}
	if mode, ok := in.GetMode(); ok {
		n.mode = mode & 0o7777
	}
	if uid, ok := in.GetUID(); ok {
		n.uid = uid
	}
	if gid, ok := in.GetGID(); ok {
		n.gid = gid
	}
	if at, ok := in.GetMTime(); ok {
		n.mtime = at
	}
	out.SetTimeout(forever)
	fillAttr(n, &out.Attr)
	return fuse.OK
}

// Mkdir makes a directory.
func (s *server) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	dir, st := s.begin(in.NodeId, CallMkdir)
	if st != fuse.OK {
		return st
	}
	defer s.mu.Unlock()
	if dir.entries[name] != nil {
		return fuse.Status(syscall.EEXIST)
	}
	n := s.create(dir, name, true, in.Mode&0o7777)
	n.uid, n.gid = in.Uid, in.Gid
	fillEntry(n, out)
	return fuse.OK
}

// Create makes and opens a file.
func (s *server) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	dir, st := s.begin(in.NodeId, CallCreate)
	if st != fuse.OK {
		return st
	}
	defer s.mu.Unlock()
	n := dir.entries[name]
	switch {
	case n == nil:
		n = s.create(dir, name, false, in.Mode&0o7777)
		n.uid, n.gid = in.Uid, in.Gid
	case in.Flags&syscall.O_EXCL != 0:
		return fuse.Status(syscall.EEXIST)
	case in.Flags&syscall.O_TRUNC != 0:
		s.setSize(n, 0)
	}
	fillEntry(n, &out.EntryOut)
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

// Open opens a file.
func (s *server) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n, st := s.begin(in.NodeId, CallOpen)
	if in.Flags&syscall.O_TRUNC != 0 && st == fuse.OK {
		s.mu.Unlock()
		n, st = s.begin(in.NodeId, CallTruncate)
	}
	if st != fuse.OK {
		return st
	}
	defer s.mu.Unlock()
	if in.Flags&syscall.O_TRUNC != 0 {
		s.setSize(n, 0)
	}
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

// Unlink removes a file.
func (s *server) Unlink(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return s.unlink(header.NodeId, name, false)
}

// Rmdir removes a directory.
func (s *server) Rmdir(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return s.unlink(header.NodeId, name, true)
}

func (s *server) unlink(id uint64, name string, isDir bool) fuse.Status {
	dir, st := s.begin(id, CallRemove)
	if st != fuse.OK {
		return st
	}
	defer s.mu.Unlock()
	return fuse.Status(s.remove(dir, name, isDir))
}

// Rename renames, within a directory or from one to another.
func (s *server) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	dir, st := s.begin(in.NodeId, CallRename)
	if st != fuse.OK {
		return st
	}
	defer s.mu.Unlock()
	to := s.nodes[in.Newdir]
	switch {
	case in.Flags&^uint32(unix.RENAME_NOREPLACE) != 0:
		return fuse.EINVAL
	case to == nil:
		return fuse.ENOENT
	case in.Flags&unix.RENAME_NOREPLACE != 0 && to.entries[newName] != nil:
		return fuse.Status(syscall.EEXIST)
	}
	return fuse.Status(s.rename(dir, oldName, to, newName))
}

// Link gives a file one more name.
func (s *server) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	dir, st := s.begin(in.NodeId, CallLink)
	if st != fuse.OK {
		return st
	}
	defer s.mu.Unlock()
	n := s.nodes[in.Oldnodeid]
	switch {
	case n == nil:
		return fuse.ENOENT
	case n.isDir:
		return fuse.EPERM
	case dir.entries[name] != nil:
		return fuse.Status(syscall.EEXIST)
	}
	s.link(n, dir, name)
	fillEntry(n, out)
	return fuse.OK
}

// Read reads a file.
func (s *server) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	n, st := s.begin(in.NodeId, CallRead)
	if st != fuse.OK {
		return nil, st
	}
	defer s.mu.Unlock()
	return fuse.ReadResultData(buf[:n.read(buf, int64(in.Offset))]), fuse.OK
}

// Lseek finds data and holes.
func (s *server) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	n, st := s.enter(in.NodeId)
	if st != fuse.OK {
		return st
	}
	defer s.mu.Unlock()
	off := int64(in.Offset)
	if off >= n.size() {
		return fuse.Status(syscall.ENXIO)
	}
	for ; off < n.size(); off = (off/pageSize + 1) * pageSize {
		p := n.pages[off/pageSize]
		isData := p != nil && p.last() != nil
		if isData == (in.Whence == unix.SEEK_DATA) {
			out.Offset = uint64(off)
			return fuse.OK
		}
	}
	if in.Whence == unix.SEEK_DATA {
		return fuse.Status(syscall.ENXIO)
	}
	out.Offset = uint64(n.size())
	return fuse.OK
}

// Write writes to a file.
func (s *server) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	n, st := s.begin(in.NodeId, CallWrite)
	if st != fuse.OK {
		return 0, st
	}
	defer s.mu.Unlock()
	n.write(data, int64(in.Offset))
	return uint32(len(data)), fuse.OK
}

// Flush is the closing of a descriptor, which syncs nothing.
func (s *server) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

// Fsync is fsync, fdatasync and msync of a file.
func (s *server) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	const dataOnly = 1
	call := CallFsync
	if in.FsyncFlags&dataOnly != 0 {
		call = CallFdatasync
	}
	return s.putOnFlash(in.NodeId, call)
}

// FsyncDir is fsync of a directory.
func (s *server) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return s.putOnFlash(in.NodeId, CallFsyncDir)
}

func (s *server) putOnFlash(id uint64, call string) fuse.Status {
	s.rest()
	n, st := s.begin(id, call)
	if st != fuse.OK {
		return st
	}
	defer s.mu.Unlock()
	for _, r := range s.rules {
		if r.Error == 0 && r.hit(call, n) {
			s.faults++
			return fuse.OK // A lie.
		}
	}
	s.syncs++
	s.sync(n)
	return fuse.OK
}

// rest waits as long as a slow device may take for a sync, so that cuts hit what
// goes on meanwhile.
func (s *server) rest() {
	s.mu.Lock()
	limit := s.maxDelay
	s.mu.Unlock()
	if limit > 0 {
		time.Sleep(rand.N(limit))
	}
}

// Fallocate reserves blocks, which do not count, and punches holes.
func (s *server) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	n, st := s.begin(in.NodeId, CallFallocate)
	if st != fuse.OK {
		return st
	}
	defer s.mu.Unlock()
	off, end := int64(in.Offset), int64(in.Offset+in.Length)
	switch in.Mode {
	case unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE:
		n.zero(off, end, s.extent(n))
		n.reserved = 0
	case 0:
		n.reserved = max(n.reserved, end)
		if end > n.size() {
			s.setSize(n, end)
		}
	case unix.FALLOC_FL_KEEP_SIZE:
		n.reserved = max(n.reserved, end)
	default:
		return fuse.ENOTSUP
	}
	return fuse.OK
}

// OpenDir takes a list of the names, since they may change while it is read.
func (s *server) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	dir, st := s.begin(in.NodeId, CallOpenDir)
	if st != fuse.OK {
		return st
	}
	defer s.mu.Unlock()
	s.nextList++
	s.lists[s.nextList] = names(dir.entries)
	out.Fh = s.nextList
	return fuse.OK
}

// ReadDir reads a directory.
func (s *server) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	dir, st := s.enter(in.NodeId)
	if st != fuse.OK {
		return st
	}
	defer s.mu.Unlock()
	list := s.lists[in.Fh]
	for i := in.Offset; i < uint64(len(list)); i++ {
		n := dir.entries[list[i]]
		if n == nil {
			continue // It has gone since.
		}
		mode := uint32(syscall.S_IFREG)
		if n.isDir {
			mode = syscall.S_IFDIR
		}
		if !out.AddDirEntry(fuse.DirEntry{Name: list[i], Mode: mode, Ino: n.id, Off: i + 1}) {
			break
		}
	}
	return fuse.OK
}

// ReleaseDir ends the reading of a directory.
func (s *server) ReleaseDir(in *fuse.ReleaseIn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.lists, in.Fh)
}

// StatFs shows a small device, so that a store makes its files small and many, with much
// room.
func (s *server) StatFs(_ <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	const size, free = 16 << 20 / pageSize, 6 << 30 / pageSize
	*out = fuse.StatfsOut{Blocks: size, Bfree: free, Bavail: free, Files: 1 << 20, Ffree: 1 << 19, Bsize: pageSize, Frsize: pageSize, NameLen: 255}
	return fuse.OK
}
