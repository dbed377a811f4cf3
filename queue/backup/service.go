package backup

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// Request says what is to be backed up.
type Request struct {
	Queue     string // empty: all
	Partition int    // of Queue; -1: all
	// Since is the head of the back-up that this one goes on from; nil: it is a
	// full one.
	Since *Head
	// Version is the program's, and Now the wall clock's time, for the head.
	Version string
	Now     time.Time
}

// Taking is a back-up that is being taken. It belongs to one goroutine, which
// closes it.
type Taking struct {
	Head *Head

	from *queue.Backup
}

// Take begins a back-up of a service. The errors are those of
// queue.Service.Backup.
func Take(ctx context.Context, s *queue.Service, r *Request) (*Taking, error) {
	b, err := s.Backup(ctx, &queue.BackupRequest{Queue: r.Queue, Partition: r.Partition, Since: r.Since.marks})
	if err != nil {
		return nil, err
	}
	h := &Head{ID: rand.Text(), Kind: Full, CreatedAt: r.Now.UTC(), Version: r.Version}
	if r.Since != nil {
		h.Kind, h.Parent = Incremental, r.Since.ID
	}
	for i := range b.Queues {
		h.Queues = append(h.Queues, newQueueHead(&b.Queues[i]))
	}
	return &Taking{Head: h, from: b}, nil
}

// StateBytes returns how many bytes of memory the states take until Close.
func (t *Taking) StateBytes() (n int64) {
	for _, p := range t.Head.parts() {
		n += int64(len(p.state))
	}
	return n
}

// Copy writes the back-up. When it cannot be gone on with, the stream says so;
// the error tells why, unless it is one of w.
func (t *Taking) Copy(ctx context.Context, w io.Writer) error {
	out, err := NewWriter(w, t.Head)
	if err != nil {
		return err
	}
	for {
		part, piece, err := t.from.Next(ctx)
		if errors.Is(err, io.EOF) {
			return out.Close()
		}
		if err != nil {
			p := t.Head.parts()[part]
			why := fmt.Sprintf("queue '%s' partition %d: %v", p.queue.Name, p.Partition, err)
			return errors.Join(err, out.Fail(why))
		}
		if err := out.Write(part, piece); err != nil {
			return err
		}
	}
}

// Close gives free what was kept for the back-up.
func (t *Taking) Close() { t.from.Close() }

// Restored says what was restored.
type Restored struct {
	Queues, Partitions int
	Items              int64
	// Notes are what the user should know, in words.
	Notes []string
}

// Put restores all that the back-up has, or nothing. It must be a full one. The
// errors are those of Reader.Next and queue.Service.Restore.
func Put(ctx context.Context, s *queue.Service, r *Reader) (*Restored, error) {
	if err := r.Head.mustBeFull(); err != nil {
		return nil, err
	}
	done := &Restored{Queues: len(r.Head.Queues)}
	var queues []queue.RestoreQueue
	for i := range r.Head.Queues {
		q := &r.Head.Queues[i]
		rq := queue.RestoreQueue{Definition: q.definition(), Partitions: make(map[int]*queue.PartitionHead)}
		for j := range q.Partitions {
			p := &q.Partitions[j]
			if !p.has() {
				done.note("queue '%s' partition %d: its items are not in the back-up; it is restored empty", q.Name, p.Partition)
				continue
			}
			rq.Partitions[p.Partition] = p.head()
			done.Partitions++
			done.Items += p.Items
		}
		queues = append(queues, rq)
	}
	under, err := s.Restore(ctx, queues)
	if err != nil {
		return nil, err
	}
	defer under.Abort()
	if err := copyPieces(ctx, under, r); err != nil {
		return nil, err
	}
	if err := under.Finish(ctx); err != nil {
		return nil, err
	}
	for _, lost := range r.Lost {
		done.note("%s", lost)
	}
	for i := range r.Head.Queues {
		if dead := string(r.Head.Queues[i].DeadQueue); dead != "" {
			if _, err := s.Queue(dead); err != nil {
				done.note("queue '%s': its dead queue '%s' does not exist; create it, or its dead items wait", r.Head.Queues[i].Name, dead)
			}
		}
	}
	return done, nil
}

// copyPieces writes all that is left of r.
func copyPieces(ctx context.Context, to *queue.Restore, r *Reader) error {
	for {
		part, piece, err := r.Next()
		if errors.Is(err, io.EOF) {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		p := r.parts[part]
		if err := to.Write(string(p.queue.Name), p.Partition, piece); err != nil {
			return err
		}
	}
}

func (d *Restored) note(format string, args ...any) {
	if len(d.Notes) < maxLost {
		d.Notes = append(d.Notes, fmt.Sprintf(format, args...))
	}
}
