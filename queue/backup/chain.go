package backup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/kapetan-io/querator-edge/queue"
)

// File is a back-up that can be read from any place, such as an *os.File.
type File struct {
	Name string // for messages
	io.ReadSeeker
}

// Selection says what of a back-up is wanted. The zero value, with Partition -1,
// is all.
type Selection struct {
	Queue     string // empty: all
	Partition int    // of Queue; -1: all
	// As is the name that Queue gets; empty: its own.
	As string
}

// section is what a back-up has of one segment.
type section struct {
	part int
	from queue.BackupMark
	off  int64 // of its frame S
	sum  uint32
}

// link is one back-up of a chain.
type link struct {
	File
	head     *Head
	parts    []part
	sections []section
	at       map[place][]section
}

// place returns which segment a section is of.
func (l *link) place(s section) place {
	p := l.parts[s.part]
	return place{string(p.queue.Name), p.tag(), s.from.Span}
}

// Chain is a full back-up and the incremental ones that follow it, all of which
// were read and are sound. It stands for the full back-up that could have been
// taken in place of the last of them.
type Chain struct {
	// Head is that of the last, and Lost what is missing in any of them.
	Head *Head
	Lost []string

	links []*link
}

// OpenChain reads all of the files, in any order, and checks that they are sound
// and complete: a full back-up, and each of the others goes on from another. check, unless it
// is nil, is called with each piece. The error Is queue.ErrCorrupt,
// queue.ErrFormat or queue.ErrInvalid.
func OpenChain(files []File, check func(piece *queue.BackupPiece) error) (*Chain, error) {
	c := &Chain{}
	for _, f := range files {
		l, lost, err := readLink(f, check)
		if err != nil {
			return nil, named(f.Name, err)
		}
		c.Lost = append(c.Lost, lost...)
		c.links = append(c.links, l)
	}
	if err := c.sort(); err != nil {
		return nil, err
	}
	c.Head = c.links[len(c.links)-1].head
	return c, c.join()
}

// named adds the name of the file to an error.
func named(name string, err error) error {
	var e *queue.Error
	if errors.As(err, &e) {
		at := *e
		at.Msg = name + ": " + e.Msg
		return &at
	}
	return fmt.Errorf("%s: %w", name, err)
}

// readLink reads a whole back-up.
func readLink(f File, check func(piece *queue.BackupPiece) error) (*link, []string, error) {
	r, err := NewReader(f)
	if err != nil {
		return nil, nil, err
	}
	l := &link{File: f, head: r.Head, parts: r.parts, at: make(map[place][]section)}
	if r.Head.Kind == Manifest {
		return nil, nil, &queue.Error{Kind: queue.ErrInvalid, Msg: "it is the manifest of a back-up, without items",
			Hint: "name the back-up that was written together with it"}
	}
	r.each = func(s section) error {
		at := l.place(s)
		l.sections = append(l.sections, s)
		l.at[at] = append(l.at[at], s)
		return nil
	}
	err = r.ReadAll(check)
	return l, r.Lost, err
}

// sort puts the links in their order.
func (c *Chain) sort() error {
	var sorted []*link
	left := slices.Clone(c.links)
	parent := ""
	for len(left) > 0 {
		i := slices.IndexFunc(left, func(l *link) bool { return l.head.Parent == parent })
		if i < 0 {
			break
		}
		parent = left[i].head.ID
		sorted = append(sorted, left[i])
		left = slices.Delete(left, i, i+1)
	}
	if len(left) > 0 {
		return &queue.Error{Kind: queue.ErrInvalid, Hint: "name the full back-up and all incremental ones up to the one that is wanted",
			Msg: fmt.Sprintf("%s goes on from the back-up %s, which is not among the files, or another goes on from it too", left[0].Name, left[0].head.Parent)}
	}
	c.links = sorted
	return nil
}

// place names a segment in all links.
type place struct {
	queue string
	tag   queue.Tag
	span  uint64
}

// join checks that what the links have of each segment joins without gaps, and
// ends where the last one says.
func (c *Chain) join() error {
	have := make(map[place]queue.BackupMark)
	for _, l := range c.links {
		for _, s := range l.sections {
			at := l.place(s)
			if old := have[at]; old.Whole || old.Items != s.from.Items || old.Commits != s.from.Commits {
				return named(l.Name, damaged("the segment %d of queue '%s' does not go on where the back-up before it ended", s.from.Span, at.queue))
			}
			have[at] = find(l.parts[s.part].head().Marks, s.from.Span)
		}
	}
	last := c.links[len(c.links)-1]
	for _, p := range last.parts {
		for _, m := range p.Marks {
			if have[place{string(p.queue.Name), p.tag(), m.Span}] != queue.BackupMark(m) {
				return named(last.Name, damaged("the segment %d of queue '%s' partition %d is not complete", m.Span, p.queue.Name, p.Partition))
			}
		}
	}
	return nil
}

// Write writes what is selected as a full back-up. The error Is queue.ErrNotFound
// when the back-up does not have it.
func (c *Chain) Write(w io.Writer, sel Selection) error {
	h, from, err := c.Head.selected(sel)
	if err != nil {
		return err
	}
	b, err := NewWriter(w, h)
	if err != nil {
		return err
	}
	last := c.links[len(c.links)-1]
	for to, n := range from {
		p := last.parts[n]
		for _, m := range p.Marks {
			at := place{string(p.queue.Name), p.tag(), m.Span}
			for _, l := range c.links {
				if err := l.copy(b, to, at); err != nil {
					return named(l.Name, err)
				}
			}
		}
	}
	return b.Close()
}

// copy writes what the link has of a segment to b, as a part of partition to.
func (l *link) copy(b *Writer, to int, at place) error {
	for _, s := range l.at[at] {
		if _, err := l.Seek(s.off, io.SeekStart); err != nil {
			return err
		}
		f := frameReader{r: bufio.NewReaderSize(l, readStep), sum: s.sum, off: s.off}
		piece := &queue.BackupPiece{Span: at.span}
		for begun := false; ; begun = true {
			kind, body, err := f.frame()
			if err != nil {
				return err
			}
			piece.Data, piece.Lost = nil, ""
			switch {
			case !begun: // Frame S.
			case kind == frameData:
				piece.Data = body
			case kind == frameLost:
				piece.Lost = string(body)
			default:
				return nil
			}
			if err := b.Write(to, piece); err != nil {
				return err
			}
		}
	}
	return nil
}

// Copy writes what is selected of a full back-up that can be read once only.
func Copy(w io.Writer, r *Reader, sel Selection) error {
	if err := r.Head.mustBeFull(); err != nil {
		return err
	}
	h, from, err := r.Head.selected(sel)
	if err != nil {
		return err
	}
	b, err := NewWriter(w, h)
	if err != nil {
		return err
	}
	for {
		part, piece, err := r.Next()
		if errors.Is(err, io.EOF) {
			return b.Close()
		}
		if err != nil {
			return errors.Join(err, b.Fail(err.Error()))
		}
		if to := slices.Index(from, part); to >= 0 {
			if err := b.Write(to, piece); err != nil {
				return err
			}
		}
	}
}

// mustBeFull returns an error of kind queue.ErrInvalid unless the back-up is full.
func (h *Head) mustBeFull() error {
	if h.Kind == Full {
		return nil
	}
	return &queue.Error{Kind: queue.ErrInvalid, Msg: fmt.Sprintf("the back-up is of kind '%s'; only a full one can be restored by itself", h.Kind),
		Hint: "name the files of the full back-up and of all incremental ones that follow it"}
}

// selected returns the head of a full back-up of what is selected, and for each
// of its partitions the number that it has in h.
func (h *Head) selected(sel Selection) (*Head, []int, error) {
	out := *h
	out.Kind, out.Parent, out.Queues = Full, "", nil
	var from []int
	n := 0
	for _, q := range h.Queues {
		wanted := sel.Queue == "" || sel.Queue == string(q.Name)
		var parts []PartitionHead
		for _, p := range q.Partitions {
			if wanted && (sel.Partition < 0 || sel.Partition == p.Partition) {
				parts = append(parts, p)
				from = append(from, n)
			}
			n++
		}
		if !wanted || sel.Partition >= 0 && parts == nil {
			continue
		}
		if q.Partitions = parts; sel.As != "" {
			q.Name = []byte(sel.As)
		}
		out.Queues = append(out.Queues, q)
	}
	if sel.Queue == "" || len(out.Queues) > 0 {
		return &out, from, nil
	}
	msg := fmt.Sprintf("the back-up has no queue '%s'", sel.Queue)
	if sel.Partition >= 0 {
		msg += fmt.Sprintf(" with partition %d", sel.Partition)
	}
	return nil, nil, &queue.Error{Kind: queue.ErrNotFound, Msg: msg, Hint: "see what it has with: querator verify FILE"}
}
