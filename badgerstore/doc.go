// Package badgerstore keeps queues on Badger v4.9.6. It implements
// queue.Storage and queue.PartitionStore (Storage), and queue.MetaStore (Meta).
//
// # Directories
//
//	STORAGE/
//	  LOCK                                the process that uses it, locked by flock
//	  FORMAT                              version of the store format, see format.go
//	  my%20queue-000000-partition/        partition 0 of the queue "my queue"
//	    00000000000016777216/             a segment: one small Badger database, with
//	      00001.mem                       a log, while it is written,
//	      000001.sst                      or a table, once it is not any more,
//	      000001.vlog                     and large values
//	      used                            it has, or had, header and checkpoint; and how
//	                                      many of its commits are on flash at least
//	      sources.idx                     index of its source ids, once it is sealed
//	      journal                         small commits, before the log has them; only
//	                                      while it is written
//	    00000000000033554432/
//	    00000000000050331648.removed/     one that is being removed
//	    00000000000067108864.repair/      one that is being made of what can be read
//	                                      of a damaged one
//	    spent.vlog                        the value log of one that is gone, for the
//	                                      next; only while the partition is used
//	    quarantine/                       segments that were set aside, and copies
//	  ~queue-storage-partition/           below the queue storage: definitions
//	    LOCK
//	    00000000000117440512/             a generation of them, a Badger database
//
// A queue's name never becomes a path: whatever is not a letter, a digit or one
// of ". _ -" is escaped with '%', a name that gets too long ends in a hash. Which
// queue a directory belongs to, the headers of its segments say.
//
// A segment is named after the first sequence number of its span, in 20 digits:
// a sequence number is the span's number in the high 40 bits and the index in the
// span in the low 24. Spans are used in rising order and never again.
//
// # Segments
//
// Badger is used for what it does well: reading a key, iterating. Nothing is ever
// deleted in a database, compacted or collected, because in this version these
// bring deleted keys back, or lose what was acknowledged. Space is freed by removing
// the directory of a segment when none of its items is alive, which is immediate and
// asks for no other segment.
//
// Nor does Badger write. While a segment is written its two logs are written by us, in
// Badger's format (rawlog.go, tail_write.go), and read by an index in memory that says
// where each entry is (index.go, tail_read.go). When it is full its log becomes a table
// (flush.go), and Badger opens it when somebody reads it. A transaction of Badger's
// wakes its writer and is copied to a memtable, of which each open database has one:
// a ring's worth of small commits (below) took 0.9 ms to pass on, and takes 0.35; the
// agent took 34 MiB of memory with one client and takes 12, and 54 with 300 queues
// and takes 30. And Badger writes through mapped files, where a full disk and a
// device that fails are signals that end the process; calls return errors.
//
// Everything is written to the newest segment, the tail: blocks of new items and
// the record of every commit, also when it is about items of older segments.
// So a commit is one transaction in one database, atomic, with one sync; what has
// to be replayed after a restart is in the newest segment alone; and older
// segments are bags of blocks that are never written again. (The other way, to
// record what becomes of an item in the segment that holds it, asks for a sync of
// every segment that a commit touches, and leaves commits half done after a power
// cut.) For that, a segment begins with a checkpoint: the whole queue.State as it
// was when the segment became the tail. It is small, since ready items are an
// interval.
//
// # Keys
//
//	'h'                header: format version, queue, partition, tag, span, boot
//	'k'                checkpoint
//	'b' + first        block: the items from sequence number first on
//	'c' + n            record of commit n of this segment, from 0 on, no gaps
//
// Numbers in keys are eight bytes, big endian. What the values look like, byte by
// byte, stands at the top of header.go, checkpoint.go, block.go and record.go;
// each has a version and a checksum of its own. Example, a partition that took
// two commits of 100 items, then leased 10:
//
//	h                         queue "readings", partition 0, span 1, boot …
//	k                         an empty state
//	b 00 00 00 00 01 00 00 00 items 16777216 to 16777315
//	b 00 00 00 00 01 00 00 64 items 16777316 to 16777415
//	c 00 00 00 00 00 00 00 00 added 100; 0 records are known to be on flash
//	c 00 00 00 00 00 00 00 01 added 100; 1 record is known to be on flash
//	c 00 00 00 00 00 00 00 02 10 leases; 2 records are known to be on flash
//
// Header and checkpoint are on flash before the first record is written. A commit is
// one transaction of the log, whatever its size; older versions wrote the blocks of
// one too large for Badger in several, and a block means nothing before the record
// that follows it.
//
// # Events
//
// What a deliverer of events is to learn of a commit stands in its record: the
// number of the first event, and for each the item's sequence number, why it is
// gone and its attempts (eventcodec.go). Nothing else is written for an event:
// when it happened is when the commit was made, what the item was is read from
// its block. So a segment stays until none of its items is alive, and neither the
// records nor the blocks in it are needed for an event that can still be read.
// The checkpoint knows which segments these are: it holds the events as runs of
// hundreds, each with the segment and the number of the record that it begins in,
// and the segments of its items (queue.EventBook). Events are found by walking the
// records from there on, or from where the last call ended.
//
// Events that are given up leave a gap in a commit of its own, and their segments
// go. Records of events that are lost with a damaged file become a gap when they
// are read; items that are lost cost what the event says of them, not the event.
// An older state that damage leads back to may number events again that were
// delivered: they are told apart by their epoch, which is new at each opening.
//
// # Durability
//
// A commit is on flash when both logs are synced: first the value log, if a value of
// 8 KiB or more was written since the last sync, then the memtable's log, unless a
// journal takes the place of the second sync, as below. The books
// in tail.go say how much of both is used, and a segment is closed to commits before
// one of them is full. How many commits a segment takes therefore depends on the
// memtable's log; it has 128 KiB at first, and four times that, twice, when segments
// fill up by commits rather than by items, within Options.MemoryBudget, since an
// index of it is in memory.
//
// A tail that takes commits that are small but for large values, such as of clients that
// produce one item at a time, gets a journal (journal.go): a ring of 64 KiB into which a
// commit is written with one write of as few sectors as it takes. The memtable's log gets
// a ring's worth of commits at a time. That writes 5 bytes to the device for a byte of a
// 256-byte payload instead of 18. The journal is a redo log of the memtable's log: it holds
// which transaction belongs at which byte of it. So all that is said here of
// records, recovery and damage stays as it is: before anybody looks at a directory
// that was not closed, its journal is written to where it belongs (redo.go).
//
// What the journal says of a commit with large values does not go to the ring, but behind
// the values in the value log (carried.go). So any commit that a journal can take is one
// sync, where values before cost a second one: a client that produces items of 16 KiB, one
// at a time, got 1.4 times as many of them done.
//
// Blocks that are reserved count as unwritten, and to note which are written by now
// costs the file system more than the value itself. So a partition keeps the value log
// of a segment that is gone, whose blocks were all written, for the next one (spent.go),
// as long as it is used and space is not short. What such a log held before stays
// behind what is written anew, and is told from it by a stamp in the versions of the
// transactions (stamp.go).
//
// The next segment is made by a goroutine when the tail is 70 % full. The old tail
// is synced before the new one gets its checkpoint. It stays open for readers close
// behind, for up to three changes of segment; then it is sealed: its index of source
// ids is written, and its table.
//
// A partition that is not used for long has its tail closed (rest.go): a table is made
// of its log, and what was reserved is given back. One whose memory others need for a
// moment sleeps instead (sleep.go): the files stay as they are, closed, and only the
// index stays in memory, so that it costs no write to give way and none to go on. Of
// 100 queues in turn, with a third of them open at a time, each item took 10 ms while
// every change was a closing.
//
// # Recovery
//
// The newest segment that has a header and a checkpoint is read: the checkpoint,
// then the records in order. Each record says how many records before it were on
// flash when it was written. If a record is missing or damaged, or a block of
// its items, although a later record says that it was on flash, that is damage;
// else it is the torn end of what was never acknowledged, and everything from
// there on is dropped. A newest segment without header and records that is not
// marked as used was being created when the power went, and is removed.
//
// After a restart, clean or not, the first commit begins a new segment: nothing
// is appended to files that a power cut may have torn, and sequence numbers of
// commits that were lost are never given out again.
//
// Badger's log of level error counts as a failure, since it reports some failures
// nowhere else. After any failure but damage a partition refuses everything until
// it is opened again.
//
// # Damage
//
// Before Badger opens a directory, its files are looked at, because Badger
// deletes tables that a damaged MANIFEST does not name, drops what lies behind a
// flipped bit in a log, cannot open a directory with an empty log, and ends the
// process over some damage. What it must not open is repaired first: rawlog.go
// and rawtable.go read Badger's files without Badger, with the checksums of their
// entries and with ours; what verifies is copied to a new database, which takes
// the place of the damaged directory, and that goes to the quarantine. Nothing is
// deleted. So a damaged file costs the blocks and records that are in the damaged
// part of it.
//
// A block that is gone costs its items: the engine is told (queue.Damage), gives
// them up in a commit, and counts them as quarantined. A record that is gone costs
// what it and later ones said of leases and completed items: the state is that of
// the record before, and what the segment holds beyond it is offered again. A
// checkpoint that is gone costs nothing while the segment before is there, whose
// records lead to the same state; else all that the segments hold is offered
// again.
//
// Bit flips in the last commits before a power cut cannot be told from what it
// leaves of commits that were never acknowledged. They are dropped, and the event
// Dropped says so, unless the flip is in a record that only a journal had: then there
// is nothing that tells of the commit.
//
// Definitions of queues that cannot be read are made again by the engine from the
// names of the partitions and the headers of their segments, with default options.
//
// # A full disk
//
// The blocks of both logs are reserved before they are written, and items are
// refused with queue.ErrFull when less than Options.MinFree bytes, or
// Options.MinFreeInodes inodes, would be left. What leases and completes items
// uses that reserve; copies of items whose leases have ended use half of it. The
// table that a log becomes is written into blocks that are reserved before, too.
//
// # Format versions
//
//	1  the first
//	2  records and checkpoints of version 2, with events
//	3  records and checkpoints of version 3, with marks of feeds
//	4  journals
//	5  blocks compressed with zstd
//	6  journals that hold pointers to large values
//	7  value logs that are used again
//	8  journals that belong to a numbered log, and records of them in the value log
//
// The header of a segment and the file FORMAT name the version that what they
// stand for asks for: a store that never had an event is of format 1 and can be
// used by older programs, and becomes one of format 2 just before its first event
// is written, one of format 3 just before the first mark of a feed, one of format 5
// when it is opened to compress with zstd, or before a back-up with such blocks is
// restored, one of format 7 just before the first value log is kept to be used again, and
// one of format 8 just before the first journal is made. An older
// program refuses it as a whole then. Sealed segments have no journal, and a block
// says by itself what it is compressed with, so that no header asks for the formats
// from 4 on.
package badgerstore
