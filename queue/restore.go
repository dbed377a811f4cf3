package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// RestoreStorage is what a Storage is beside, when partitions can be restored
// from back-ups in it.
type RestoreStorage interface {
	// RestorePartition begins to restore the partition with that key, beside what
	// there may be under its name; head is what the back-up says of it. tags
	// translates the tags of the back-up's partitions into those that they get;
	// its own is in it.
	RestorePartition(key PartitionKey, head *PartitionHead, tags map[Tag]Tag) (PartitionRestore, error)
}

// PartitionRestore is a partition that is being restored. It belongs to one
// goroutine. Whoever began it ends it with Install or Abort.
type PartitionRestore interface {
	// Write adds a piece. Pieces come in the order of their spans.
	Write(piece *BackupPiece) error
	// Finish puts everything on flash. The partition cannot be opened yet.
	Finish() error
	// Install makes it the partition of that key, after Finish. What was there
	// under its name was removed before.
	Install() error
	// Abort removes it.
	Abort()
}

// RestoreQueue is a queue to restore.
type RestoreQueue struct {
	// Definition is that of the back-up, but for the name, which may be another
	// one.
	Definition Definition
	// Partitions are the heads of those that are restored, by their numbers. The
	// others are new.
	Partitions map[int]*PartitionHead
}

// Restore is a restore that is under way. It belongs to one goroutine, which
// ends it with Finish or Abort. Until Finish nobody sees anything of it.
type Restore struct {
	s      *Service
	queues []*restoredQueue
	under  *restoredPartition // being written
	ended  bool
}

// restoredQueue is one queue of a Restore.
type restoredQueue struct {
	def Definition
	// old is the queue of that name that there is; nil if there is none. Nothing
	// was ever put into it, or with join into the partitions that are restored.
	old   *Queue
	join  bool // the other partitions of old stay
	parts map[int]*restoredPartition
}

// restoredPartition is one partition of a Restore.
type restoredPartition struct {
	key      PartitionKey
	under    PartitionRestore
	finished bool
}

// errRestored is the hint of what cannot be restored because it exists.
const errRestored = "delete it first, or restore under another name"

// Restore begins to restore queues under the names of their definitions. The
// partitions get tags of their own, so that their items have other ids than
// those of the device that the back-up was taken of, which may still be in use.
// Leases are over. A queue that exists is refused with ErrDuplicate, unless
// nothing was ever put into it, or into those of its partitions that are
// restored. Only one restore can be under way; the error is of kind
// ErrOverloaded then. A definition that cannot be is of kind ErrInvalid.
func (s *Service) Restore(ctx context.Context, queues []RestoreQueue) (*Restore, error) {
	s.define.Lock()
	defer s.define.Unlock()
	if err := s.checkOpen(); err != nil {
		return nil, err
	}
	if s.restoring != nil {
		return nil, &Error{Kind: ErrOverloaded, Op: "restore", Msg: "another restore is under way; try again later"}
	}
	r := &Restore{s: s}
	tags := make(map[Tag]Tag)
	seen := make(map[string]bool)
	for i := range queues {
		q, err := s.prepareRestore(ctx, &queues[i], tags)
		if err != nil {
			return nil, err
		}
		if seen[q.def.Name] {
			return nil, invalid("the back-up has queue '%s' twice", q.def.Name)
		}
		seen[q.def.Name] = true
		r.queues = append(r.queues, q)
	}
	s.restoring = r
	for i, q := range r.queues {
		if err := q.begin(s, queues[i].Partitions, tags); err != nil {
			r.abort()
			return nil, err
		}
	}
	return r, nil
}

// prepareRestore checks a queue to restore, and chooses its places and tags.
func (s *Service) prepareRestore(ctx context.Context, r *RestoreQueue, tags map[Tag]Tag) (*restoredQueue, error) {
	d := r.Definition.clone()
	if err := s.checkRestored(&d); err != nil {
		return nil, err
	}
	q := &restoredQueue{def: d, old: s.find(d.Name), parts: make(map[int]*restoredPartition)}
	if q.old != nil {
		q.join = len(r.Partitions) < len(d.Places)
		if err := q.old.checkUnused(ctx, q.join, r.Partitions); err != nil {
			return nil, err
		}
	}
	places := s.place(len(d.Places))
	if q.join {
		q.def = q.old.definition()
	}
	for i := range d.Places {
		if s.storage(d.Places[i].Storage) != nil {
			places[i].Storage = d.Places[i].Storage
		}
		switch head := r.Partitions[i]; {
		case head != nil:
			tags[head.Tag] = places[i].Tag
		case q.join:
			continue
		}
		if i >= len(q.def.Places) {
			return nil, invalid("partition is invalid; queue '%s' has no partition '%d'", d.Name, i)
		}
		q.def.Places[i] = places[i]
	}
	return q, nil
}

// checkRestored checks a definition of a back-up. Its dead queue need not be
// there.
func (s *Service) checkRestored(d *Definition) error {
	name := d.Name
	if name == "" || len(name) > 512 || strings.ContainsFunc(name, unicode.IsSpace) || strings.Contains(name, "~") {
		return invalid("queue name is invalid; '%s' is empty, longer than 512 characters, or contains whitespace or '~'", name)
	}
	if n := len(d.Places); n < 1 || n > maxPartitions {
		return invalid("the back-up is invalid; queue '%s' has %d partitions", name, n)
	}
	d.Deleting, d.Restoring = false, false
	info := d.Info
	info.DeadQueue = ""
	info.RequestedPartitions = max(1, info.RequestedPartitions)
	if err := s.checkOptions(&info); err != nil {
		return err
	}
	return checkNew(&info)
}

// checkUnused returns an error of kind ErrDuplicate if anything was ever put into
// the queue; with join into those of its partitions.
func (q *Queue) checkUnused(ctx context.Context, join bool, parts map[int]*PartitionHead) error {
	for _, p := range q.core.parts {
		if join && parts[p.key.Partition] == nil {
			continue
		}
		var in uint64
		if err := q.call(ctx, p, func() error { in = p.st.Totals.Ledger.In(); return nil }); err != nil {
			return err
		}
		switch {
		case in > 0 && join:
			return &Error{Kind: ErrDuplicate, Op: "restore", Queue: q.core.name, Partition: p.key.Partition, Hint: errRestored,
				Msg: fmt.Sprintf("partition '%d' of queue '%s' already exists and was used", p.key.Partition, q.core.name)}
		case in > 0:
			return &Error{Kind: ErrDuplicate, Op: "restore", Queue: q.core.name, Hint: errRestored,
				Msg: fmt.Sprintf("queue '%s' already exists and was used", q.core.name)}
		}
	}
	return nil
}

// begin begins to restore the partitions of a queue.
func (q *restoredQueue) begin(s *Service, heads map[int]*PartitionHead, tags map[Tag]Tag) error {
	for i, head := range heads {
		place := q.def.Places[i]
		st, ok := s.storage(place.Storage).(RestoreStorage)
		if !ok {
			return &Error{Kind: ErrInvalid, Op: "restore", Queue: q.def.Name, Partition: i,
				Msg: fmt.Sprintf("partition storage '%s' keeps items in memory only; nothing can be restored there", place.Storage)}
		}
		key := PartitionKey{Queue: q.def.Name, Partition: i, Tag: place.Tag}
		under, err := st.RestorePartition(key, head, tags)
		if err != nil {
			return err
		}
		q.parts[i] = &restoredPartition{key: key, under: under}
	}
	return nil
}

// Write adds a piece to a partition. The pieces of a partition come one after the
// other.
func (r *Restore) Write(queue string, partition int, piece *BackupPiece) error {
	p := r.find(queue, partition)
	switch {
	case p == nil || r.ended:
		return invalid("the back-up is invalid; it has items of queue '%s' partition '%d', which is none of it", queue, partition)
	case p.finished:
		return invalid("the back-up is invalid; the items of queue '%s' partition '%d' are in two places", queue, partition)
	}
	if p != r.under {
		if err := r.finishUnder(); err != nil {
			return err
		}
		r.under = p
	}
	return p.under.Write(piece)
}

// has reports whether a queue of that name is being restored. r may be nil.
func (r *Restore) has(name string) bool {
	return r != nil && slices.ContainsFunc(r.queues, func(q *restoredQueue) bool { return q.def.Name == name })
}

func (r *Restore) find(queue string, partition int) *restoredPartition {
	for _, q := range r.queues {
		if q.def.Name == queue {
			return q.parts[partition]
		}
	}
	return nil
}

// finishUnder puts the partition that is being written on flash.
func (r *Restore) finishUnder() error {
	p := r.under
	r.under = nil
	if p == nil {
		return nil
	}
	p.finished = true
	return p.under.Finish()
}

// Finish makes the queues known and starts them. If it fails, those that it has
// not come to are not restored.
func (r *Restore) Finish(ctx context.Context) error {
	if err := r.finishUnder(); err != nil {
		return err
	}
	for _, q := range r.queues {
		for _, p := range q.parts {
			if p.finished {
				continue
			}
			p.finished = true
			if err := p.under.Finish(); err != nil {
				return err
			}
		}
	}
	r.s.define.Lock()
	defer r.s.define.Unlock()
	if err := r.s.checkOpen(); err != nil {
		return err
	}
	r.ended = true
	defer func() { r.s.restoring = nil }()
	for i, q := range r.queues {
		if err := q.finish(ctx, r.s); err != nil {
			for _, left := range r.queues[i:] {
				left.abort()
			}
			if i > 0 {
				err = fmt.Errorf("%d of %d queues were restored, not '%s': %w", i, len(r.queues), q.def.Name, err)
			}
			return err
		}
	}
	return nil
}

// Abort ends the restore, if Finish has not, as if it had never begun.
func (r *Restore) Abort() {
	r.s.define.Lock()
	defer r.s.define.Unlock()
	r.abort()
}

func (r *Restore) abort() {
	if r.ended {
		return
	}
	r.ended = true
	r.s.restoring = nil
	for _, q := range r.queues {
		q.abort()
	}
}

func (q *restoredQueue) abort() {
	for i, p := range q.parts {
		p.under.Abort()
		delete(q.parts, i)
	}
}

// finish makes one queue known. Its old one, if there is one, is stopped before,
// and started again if the restore fails.
func (q *restoredQueue) finish(ctx context.Context, s *Service) error {
	if s.find(q.def.Name) != q.old {
		return &Error{Kind: ErrDuplicate, Op: "restore", Queue: q.def.Name,
			Msg: fmt.Sprintf("queue '%s' already exists, or was deleted meanwhile", q.def.Name)}
	}
	var before Definition
	if q.old != nil {
		if err := q.stopOld(ctx, s); err != nil {
			return err
		}
		before = q.old.definition()
	}
	err := q.install(ctx, s, &before)
	if err == nil {
		s.start(&q.def)
		return nil
	}
	if q.old != nil {
		s.start(&before)
	}
	return err
}

// stopOld makes the old queue unknown and stops it, unless somebody has put items
// into it meanwhile.
func (q *restoredQueue) stopOld(ctx context.Context, s *Service) error {
	s.leave(q.old)
	heads := make(map[int]*PartitionHead)
	for i := range q.parts {
		heads[i] = &PartitionHead{}
	}
	if err := q.old.checkUnused(ctx, q.join, heads); err != nil {
		s.enter(q.old)
		return err
	}
	q.old.stop()
	return nil
}

// start makes a queue of a definition known and starts it.
func (s *Service) start(d *Definition) {
	q := newQueue(s, d)
	s.enter(q)
	q.start()
}

// install puts the partitions in place. A queue that is new is marked as being
// restored until all of them are, so that it is gone if that is interrupted.
func (q *restoredQueue) install(ctx context.Context, s *Service, before *Definition) error {
	d := q.def.clone()
	d.Restoring = !q.join
	if d.Restoring {
		if err := s.cfg.Meta.Put(ctx, &d); err != nil {
			return err
		}
	}
	err := q.replace(s, before)
	if err == nil {
		d.Restoring = false
		err = s.cfg.Meta.Put(ctx, &d)
	}
	if err == nil || q.join {
		return err
	}
	undo := s.erase(context.WithoutCancel(ctx), &d)
	if q.old != nil && undo == nil {
		undo = s.cfg.Meta.Put(context.WithoutCancel(ctx), before)
	}
	return errors.Join(err, undo)
}

// replace removes the partitions of before that are replaced, and installs those
// that were restored.
func (q *restoredQueue) replace(s *Service, before *Definition) error {
	for i, place := range before.Places {
		if q.join && q.parts[i] == nil {
			continue
		}
		if st := s.storage(place.Storage); st != nil {
			if err := st.RemovePartition(PartitionKey{Queue: before.Name, Partition: i, Tag: place.Tag}); err != nil {
				return err
			}
		}
	}
	for i, p := range q.parts {
		if err := p.under.Install(); err != nil {
			return err
		}
		delete(q.parts, i)
	}
	return nil
}

// Retag makes the state that of another incarnation of the partition: its leases
// are over, and other partitions are called what tags translates theirs into.
func (s *State) Retag(tag Tag, boot string, tags map[Tag]Tag) {
	s.EnterBoot(boot)
	s.Tag = tag
	for i := range s.Origins {
		if t, ok := tags[s.Origins[i].From]; ok {
			s.Origins[i].From = t
		}
	}
	for _, l := range s.Leases {
		l.retag(tags)
	}
}

// Retag does to a commit of the partition what State.Retag does to its state.
func (c *Commit) Retag(tags map[Tag]Tag) (changed bool) {
	if c.Origin != nil {
		if t, ok := tags[c.Origin.From]; ok {
			c.Origin, changed = &Origin{From: t, Seqs: c.Origin.Seqs}, true
		}
	}
	for i := range c.Leases {
		changed = c.Leases[i].retag(tags) || changed
	}
	return changed
}

// retag translates where a lease's item is going.
func (l *Lease) retag(tags map[Tag]Tag) (changed bool) {
	if !l.IsMoving() {
		return false
	}
	for from, to := range tags {
		if tagCode(from) == l.Wall {
			l.Wall = tagCode(to)
			return true
		}
	}
	return false
}
