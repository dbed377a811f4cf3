package queue

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// BackupStore is what a PartitionStore is beside, when its partition can be
// backed up while it is in use. Its method and those of the PartitionBackup are
// called by the partition's loop, like the others.
type BackupStore interface {
	// BeginBackup begins a back-up of the partition as it is now. since says what
	// an earlier back-up of this partition has, which is left out; nil is
	// nothing. Only one can be under way: the error is of kind ErrOverloaded
	// then.
	BeginBackup(since []BackupMark) (PartitionBackup, error)
}

// PartitionBackup is a back-up of one partition that is under way. What it needs
// is kept until End.
type PartitionBackup interface {
	// Head returns what the back-up says of the partition before its items.
	Head() *PartitionHead
	// Next returns the next piece: about maxBytes, or a single block that is
	// larger. It is valid until the next call. A nil piece says that there is
	// none just now; io.EOF that all were returned. The error is of kind ErrFull
	// when the disk has no room any more for what is kept for the back-up.
	Next(maxBytes int) (*BackupPiece, error)
	// End gives free what was kept.
	End()
}

// PartitionHead is what a back-up says of a partition before its items.
type PartitionHead struct {
	Tag   Tag
	State []byte       // the State in the store's own form
	Marks []BackupMark // the segments that belong to it, ascending
	Items int64        // held
	Bytes int64        // Totals.Bytes
}

// BackupMark says how much of a segment a back-up has. Segments only grow, so
// that a mark stands for a beginning of it.
type BackupMark struct {
	Span    uint64
	Items   uint64 // so many of its items
	Commits uint64 // so many of the commits that are recorded in it
	// Whole: the segment grows no more and the back-up has all of it, whatever
	// the numbers say.
	Whole bool
}

// BackupPiece is a part of a segment. Pieces come in the order of the segments'
// spans.
type BackupPiece struct {
	Span uint64
	From BackupMark // where the parts of this segment in this back-up begin
	Data []byte     // in the store's own form; may be empty
	// Lost says what could not be read, and is missing in the back-up; empty if
	// nothing is.
	Lost string
}

// BackupRequest says what is to be backed up.
type BackupRequest struct {
	// Queue is the queue; empty is all.
	Queue string
	// Partition is the only partition of Queue that is wanted; -1 is all.
	Partition int
	// Since returns what an earlier back-up has of the partition with that tag;
	// nil, or nil returned, is nothing.
	Since func(queue string, tag Tag) []BackupMark
}

// BackupQueue is a queue in a back-up.
type BackupQueue struct {
	Definition Definition
	Partitions []BackupPartition // ascending; all, or the one asked for
}

// BackupPartition is a partition in a back-up.
type BackupPartition struct {
	Partition int
	Head      *PartitionHead // nil with Volatile and Failure
	// Volatile: the storage keeps items in memory, so that there is nothing to
	// back up.
	Volatile bool
	// Failure is why the partition could not be backed up; nil if it can.
	Failure error

	queue *Queue
	under PartitionBackup
}

// Backup is a back-up that is being read. It belongs to one goroutine, which
// closes it.
type Backup struct {
	Queues []BackupQueue

	s     *Service
	parts []*BackupPartition
	at    int
}

const (
	// backupPiece is how much of a partition is read at a time, in its loop: well
	// under a millisecond's work when the disk's cache has it.
	backupPiece = 256 << 10
	// backupWait is how long to wait for a piece that is not there just now.
	backupWait = 10 * time.Millisecond
	// backupBegin bounds the time for a look at all partitions.
	backupBegin = 30 * time.Second
)

// Backup begins a back-up. Each partition is in it as it was at one moment
// before Backup returns: as after one of its commits, with all that was
// acknowledged before. No item that moves from one queue to another is lost
// between these moments, or in both. The queues go on meanwhile; segments
// that are done with are kept until they were read. Only one back-up can be
// under way; the error is of kind ErrOverloaded then, of kind ErrNotFound or
// ErrInvalid when there is no such queue or partition.
func (s *Service) Backup(ctx context.Context, r *BackupRequest) (*Backup, error) {
	queues, err := s.backupQueues(r)
	if err != nil {
		return nil, err
	}
	if !s.backups.TryLock() {
		return nil, &Error{Kind: ErrOverloaded, Op: "back-up", Msg: "another back-up is being taken; try again later"}
	}
	b := &Backup{s: s}
	begin, cancel := context.WithTimeout(ctx, backupBegin)
	defer cancel()
	if err := s.routes.gate.shut(begin); err != nil {
		s.backups.Unlock()
		return nil, err
	}
	defer s.routes.gate.open()
	for _, q := range queues {
		bq := BackupQueue{Definition: q.definition()}
		for _, p := range q.core.parts {
			if r.Partition < 0 || p.key.Partition == r.Partition {
				bq.Partitions = append(bq.Partitions, q.beginBackup(begin, p, r.Since))
			}
		}
		b.Queues = append(b.Queues, bq)
	}
	for i := range b.Queues {
		for j := range b.Queues[i].Partitions {
			b.parts = append(b.parts, &b.Queues[i].Partitions[j])
		}
	}
	if err := ctx.Err(); err != nil {
		b.Close()
		return nil, context.Cause(ctx)
	}
	return b, nil
}

// backupQueues returns the queues that the request is about, by name.
func (s *Service) backupQueues(r *BackupRequest) ([]*Queue, error) {
	if r.Queue != "" {
		q, err := s.Queue(r.Queue)
		if err == nil && r.Partition >= 0 {
			err = q.CheckPartition(r.Partition)
		}
		return []*Queue{q}, err
	}
	if r.Partition >= 0 {
		return nil, invalid("partition is invalid; name the queue of partition '%d'", r.Partition)
	}
	infos, err := s.List(context.Background(), "", maxList)
	if err != nil {
		return nil, err
	}
	var queues []*Queue
	for i := range infos {
		if q := s.find(infos[i].Name); q != nil {
			queues = append(queues, q)
		}
	}
	return queues, nil
}

// beginBackup begins the back-up of one partition.
func (q *Queue) beginBackup(ctx context.Context, p *partition, since func(string, Tag) []BackupMark) BackupPartition {
	b := BackupPartition{Partition: p.key.Partition, queue: q}
	var marks []BackupMark
	if since != nil {
		marks = since(q.core.name, p.key.Tag)
	}
	var begun struct {
		under    PartitionBackup
		volatile bool
	}
	err := q.call(ctx, p, func() error {
		if ctx.Err() != nil {
			return context.Cause(ctx) // Nobody waits any more, or would end it.
		}
		st, ok := p.ps.(BackupStore)
		if !ok {
			begun.volatile = true
			return nil
		}
		under, err := st.BeginBackup(marks)
		begun.under = under
		return err
	})
	if err != nil {
		b.Failure = err
		// It may have begun all the same, when nobody waited for it any more.
		p.post(func() {
			if begun.under != nil {
				begun.under.End()
			}
		})
		return b
	}
	b.Volatile, b.under = begun.volatile, begun.under
	if b.under != nil {
		b.Head = b.under.Head()
	}
	return b
}

// Next returns the next piece, and the index of its partition, counted over all
// queues. It is valid until the next call. The error is io.EOF at the end; any
// other ends the back-up.
func (b *Backup) Next(ctx context.Context) (part int, piece *BackupPiece, err error) {
	for ; b.at < len(b.parts); b.at++ {
		p := b.parts[b.at]
		if p.under == nil {
			continue
		}
		piece, err = p.next(ctx)
		if err == nil {
			return b.at, piece, nil
		}
		if !errors.Is(err, io.EOF) {
			return b.at, nil, err
		}
		p.end()
	}
	return 0, nil, io.EOF
}

// next reads a piece in the partition's loop.
func (b *BackupPartition) next(ctx context.Context) (*BackupPiece, error) {
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-wait.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		var piece *BackupPiece
		end := false
		err := b.queue.call(ctx, b.queue.core.parts[b.Partition], func() (err error) {
			piece, err = b.under.Next(backupPiece)
			if errors.Is(err, io.EOF) {
				end, err = true, nil
			}
			return err
		})
		switch {
		case err != nil:
			return nil, err
		case end:
			return nil, io.EOF
		case piece != nil:
			return piece, nil
		}
		wait.Reset(backupWait)
	}
}

// end gives free what the partition keeps. A partition that was closed keeps
// nothing.
func (b *BackupPartition) end() {
	if b.under == nil {
		return
	}
	b.queue.core.parts[b.Partition].post(b.under.End)
	b.under = nil
}

// post has fn called in the partition's loop, behind what waits there, unless
// the partition is closed.
func (p *partition) post(fn func()) {
	r := newRequest(kindCall)
	r.call = func() error { fn(); return nil }
	p.inbox.put(r)
}

// Close ends the back-up, read to its end or not.
func (b *Backup) Close() {
	for _, p := range b.parts {
		p.end()
	}
	b.s.backups.Unlock()
}

// gate lets moves between partitions pass, but not while a back-up looks at all
// partitions: it would find the items in both places, or in none. Its methods
// may be called from any goroutine.
type gate struct {
	mu     sync.Mutex
	moving int           // moves that are under way
	closed bool          // none begins
	empty  chan struct{} // closed when closed is set and moving is 0
}

// enter reports whether a move may begin; then leave is called when it is over.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.moving++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.moving--; g.moving == 0 && g.closed {
		close(g.empty)
	}
}

// shut keeps moves from beginning, and returns when those that are under way
// are over.
func (g *gate) shut(ctx context.Context) error {
	g.mu.Lock()
	g.closed, g.empty = true, make(chan struct{})
	if g.moving == 0 {
		close(g.empty)
	}
	empty := g.empty
	g.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		g.open()
		return &Error{Kind: ErrOverloaded, Op: "back-up", Err: context.Cause(ctx),
			Msg: "items are being moved between queues for too long; try again later"}
	}
}

// open lets moves begin again.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = false
}
