package queue

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Damage is the error of a store that cannot read some items, while the rest of
// the partition can be used. It Is ErrCorrupt.
type Damage struct {
	Span        uint64
	First, Last uint64 // sequence numbers of the items concerned; the bounds of the span if they are not known
	Path        string // where the damaged file or directory is
	Err         error
}

// Error says which items cannot be read and why.
func (d *Damage) Error() string {
	return fmt.Sprintf("items %d to %d cannot be read: %v", d.First, d.Last, d.Err)
}

// Is reports whether target is ErrCorrupt.
func (d *Damage) Is(target error) bool { return target == ErrCorrupt }

// Unwrap returns the cause.
func (d *Damage) Unwrap() error { return d.Err }

// Quarantine reports what a damaged file has cost.
type Quarantine struct {
	Queue     string
	Partition int
	// Items is how many items were given up, between First and Last; 0 if
	// nothing was lost that the partition knew of.
	Items       int
	First, Last ID
	Path        string // where the damaged file or directory is now
	Err         error
}

// maxQuarantine bounds how many items one commit gives up.
const maxQuarantine = 1 << 15

// mended reports whether err is of damage that was dealt with: what cannot be
// read was given up, so that the caller can try again. It runs in the loop,
// between commits.
func (p *partition) mended(err error) bool {
	var d *Damage
	if !errors.As(err, &d) || p.failed.Load() != nil {
		return false
	}
	n, err := p.mend([]*Damage{d})
	if err != nil {
		p.fail(err)
	}
	return err == nil && n > 0
}

// reading runs fn, which reads items, again after each damage that it meets.
func (p *partition) reading(fn func() error) error {
	for {
		err := fn()
		if !p.mended(err) {
			return err
		}
	}
}

// mend gives up the items of all damage that is known or can be found, and
// counts what is left: sums over items that cannot be read are not known. It
// returns how many items were given up.
func (p *partition) mend(known []*Damage) (lost int, err error) {
	m := &mending{p: p, damage: known}
	if err := m.count(); err != nil {
		return 0, err
	}
	for _, d := range m.damage {
		m.collect(d)
	}
	for {
		n := min(len(m.gone), maxQuarantine)
		if err := m.commit(m.gone[:n]); err != nil {
			return 0, err
		}
		lost += n
		if m.gone = m.gone[n:]; len(m.gone) == 0 {
			break
		}
	}
	return lost, m.report()
}

// mending is the work of mend.
type mending struct {
	p      *partition
	damage []*Damage
	gone   []uint64
	lost   []loss // for each of damage

	ready, created, bytes int64 // of the ready items that can be read
}

type loss struct {
	items       int
	first, last uint64
}

// count reads all ready items, and looks for those that are leased or scheduled.
func (m *mending) count() error {
	p := m.p
	for next := p.st.Totals.Cursor; next < p.st.Next; {
		if d := m.covering(next); d != nil {
			next = d.Last + 1
			continue
		}
		chunks, n, err := p.ps.Read(next, 1000, 1<<20)
		if len(chunks) > 0 || err == nil {
			for it := range chunks.All() {
				if m.covering(it.Seq()) != nil {
					continue
				}
				m.ready++
				m.created += it.CreatedAt.UnixNano() / int64(time.Millisecond)
				m.bytes += it.Size()
			}
			if len(chunks) == 0 || n <= next {
				break
			}
			next = n
			continue
		}
		var d *Damage
		if !errors.As(err, &d) {
			return err
		}
		if d.Last < next {
			return err // It is not about what was asked for.
		}
		m.damage = append(m.damage, d)
		next = max(next, d.First)
	}
	return m.look()
}

// look reads the leased and scheduled items.
func (m *mending) look() error {
	p := m.p
	var seqs []uint64
	for seq := range p.st.Leases {
		seqs = append(seqs, seq)
	}
	for seq := range p.st.Scheduled {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	for i := range seqs {
		if m.covering(seqs[i]) != nil {
			continue
		}
		_, err := p.ps.Get(seqs[i : i+1])
		var d *Damage
		switch {
		case errors.As(err, &d):
			m.damage = append(m.damage, d)
		case err != nil:
			return err
		}
	}
	return nil
}

func (m *mending) covering(seq uint64) *Damage {
	for _, d := range m.damage {
		if seq >= d.First && seq <= d.Last {
			return d
		}
	}
	return nil
}

// collect finds the items of d that are alive. Items that are on their way to
// another partition were read before; they are given up if they come back.
func (m *mending) collect(d *Damage) {
	st := m.p.st
	var seqs []uint64
	for seq, l := range st.Leases {
		if seq >= d.First && seq <= d.Last && !(l.IsMoving() && m.p.move.busy) {
			seqs = append(seqs, seq)
		}
	}
	for seq := range st.Scheduled {
		if seq >= d.First && seq <= d.Last {
			seqs = append(seqs, seq)
		}
	}
	for seq, ok := st.NextReady(d.First); ok && seq <= d.Last; seq, ok = st.NextReady(seq + 1) {
		seqs = append(seqs, seq)
	}
	slices.SortFunc(seqs, cmp.Compare[uint64])
	l := loss{items: len(seqs)}
	if len(seqs) > 0 {
		l.first, l.last = seqs[0], seqs[len(seqs)-1]
	}
	m.lost = append(m.lost, l)
	m.gone = append(m.gone, seqs...)
	slices.Sort(m.gone)
	m.gone = slices.Compact(m.gone)
}

// commit gives up these items, and sets the sums right. The ledger adds up
// afterwards whatever was lost of the partition's own books: items that were
// taken out and are back count as produced again, and those that should be here
// and nobody knows of as lost.
func (m *mending) commit(seqs []uint64) error {
	p := m.p
	g := p.newGroup(nil)
	if err := g.reserve(holdings{}, holdings{}); err != nil {
		return err
	}
	st := p.st
	for _, seq := range seqs {
		if l := st.Leases[seq]; l != nil && l.IsMoving() {
			p.move.waiting--
		}
		st.Remove(seq)
	}
	g.c.Removed = seqs
	t := &st.Totals
	t.Ready, t.ReadyCreated, t.Bytes = m.ready+m.unread(seqs), m.created, m.bytes+heldBytes(st)
	t.Ledger.Quarantined += uint64(len(seqs))
	switch diff := st.Held() - int64(t.Ledger.In()-t.Ledger.Out()); {
	case diff < 0:
		t.Ledger.Quarantined += uint64(-diff)
	case diff > 0:
		t.Ledger.Produced += uint64(diff)
	}
	p.ahead.filter(st.IsReady)
	if len(p.move.settled) > 0 && p.move.waiting <= 0 {
		p.move.settle(nil)
	}
	g.c.Sync = true
	g.seal()
	if err := p.ps.Commit(&g.c); err != nil {
		return err
	}
	p.lazyAt = 0
	p.publish()
	return nil
}

// unread returns how many ready items are still to be given up after seqs.
func (m *mending) unread(seqs []uint64) int64 {
	var n int64
	for _, seq := range m.gone[len(seqs):] {
		if m.p.st.IsReady(seq) {
			n++
		}
	}
	return n
}

// heldBytes returns the bytes of the leased and scheduled items.
func heldBytes(st *State) int64 {
	var n int64
	for _, l := range st.Leases {
		n += int64(l.Size)
	}
	for _, d := range st.Scheduled {
		n += int64(d.Size)
	}
	return n
}

// report sets the damaged spans aside and says what was lost.
func (m *mending) report() error {
	p := m.p
	for i, d := range m.damage {
		path, err := p.ps.SetAside(d.Span, d.Error())
		if err != nil {
			return err
		}
		if path == "" {
			path = d.Path
		}
		if p.events.Quarantined == nil {
			continue
		}
		q := Quarantine{Queue: p.key.Queue, Partition: p.key.Partition, Items: m.lost[i].items, Path: path, Err: d}
		if q.Items > 0 {
			q.First, q.Last = NewID(m.lost[i].first, p.key.Tag), NewID(m.lost[i].last, p.key.Tag)
		}
		p.events.Quarantined(q)
	}
	return nil
}

// NextReady returns the least sequence number of at least seq that is ready.
func (s *State) NextReady(seq uint64) (uint64, bool) {
	seq = max(seq, s.Totals.Cursor)
	for i := range s.Spans {
		sp := &s.Spans[i]
		begin := sp.Span << SpanBits
		if begin+uint64(sp.Count) <= seq {
			continue
		}
		gone := s.Removed[sp.Span]
		for seq = max(seq, begin); seq < begin+uint64(sp.Count); seq++ {
			// Most are ready; where many are not, they are passed 64 at a time.
			at := (seq - begin) / 64
			if gone != nil && at < uint64(len(gone.Words)) && gone.Words[at] == math.MaxUint64 {
				seq |= 63
				continue
			}
			if s.IsReady(seq) {
				return seq, true
			}
		}
	}
	return seq, false
}
