package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Reader reads messages of a stream over a connection that its owner uses for other things at the same time. It
// is for one goroutine, but for Ring; it ends with the connection. What the server answers comes on a subject of
// its own below the inbox, _INBOX_<device>.d.
type Reader struct {
	c       *Conn
	replies chan *nats.Msg // to requests; written by nats.go
	refusal chan struct{}  // has room for one: something new is in refused
	next    uint64         // the number of the last request
	taps    uint64         // how many were made

	mu      sync.Mutex
	own     map[string]bool  // subjects that this reader uses, but for those of consumers
	refused map[string]error // those that the server forbids
}

// MaxPull is the most messages that one Pull may ask for.
const MaxPull = 256

// readerToken is the part of the inbox that belongs to the reader.
const readerToken = "d."

// ErrGone says that there is no such consumer, any more or at all.
var ErrGone = errors.New("the consumer is gone")

// NewReader returns the reader of the connection, which has one at most.
func (c *Conn) NewReader() (*Reader, error) {
	r := &Reader{
		c: c, replies: make(chan *nats.Msg, answerRoom), refusal: make(chan struct{}, 1),
		own: map[string]bool{}, refused: map[string]error{},
	}
	c.reader.Store(r)
	if _, err := c.nc.ChanSubscribe(c.inbox+readerToken+c.nonce+".*", r.replies); err != nil {
		return nil, err
	}
	return r, nil
}

// Closed is closed when the connection has ended.
func (r *Reader) Closed() <-chan struct{} { return r.c.closed }

// Ring has bell called whenever something is published on subject, in a goroutine of the connection; it must not
// block. If a stream has published it again, by itself, bell gets the name of the stream and the number of the
// message there; else nothing. A subject that the login may not subscribe to is known from Refused a moment later.
func (r *Reader) Ring(subject string, bell func(stream string, seq uint64)) error {
	r.owns(subject)
	sub, err := r.c.nc.Subscribe(subject, func(m *nats.Msg) {
		seq, _ := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
		bell(m.Header.Get("Nats-Stream"), seq)
	})
	if err != nil {
		return err
	}
	return sub.SetPendingLimits(bellRoom, bellBytes)
}

// What may wait of a bell that is rung faster than it is heard; the rest is dropped, which does no harm.
const (
	bellRoom  = 64
	bellBytes = 64 << 10
)

// Refused returns what the server has against a subject; nil if nothing.
func (r *Reader) Refused(subject string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused[subject]
}

func (r *Reader) owns(subject string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.refused, subject)
	if !strings.HasPrefix(subject, consumerPrefix) {
		r.own[subject] = true
	}
}

// consumerPrefix begins the subjects of consumers, which belong to the reader all.
const consumerPrefix = apiPrefix + "CONSUMER."

// forget drops what the server has against a subject of a consumer, after the request: the next consumer has other ones.
func (r *Reader) forget(subject string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if strings.HasPrefix(subject, consumerPrefix) {
		delete(r.refused, subject)
	}
}

// refuse takes what the server said out of turn if it is about a subject of this reader. It is called by a
// goroutine of nats.go.
func (r *Reader) refuse(err error) bool {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return false
	}
	_, subject, _ := strings.Cut(err.Error(), `"`)
	subject, _, _ = strings.Cut(subject, `"`)
	r.mu.Lock()
	defer r.mu.Unlock()
	if inbox := r.c.inbox + readerToken; strings.HasPrefix(subject, inbox) {
		subject = inbox
	} else if !r.own[subject] && !strings.HasPrefix(subject, consumerPrefix) {
		return false
	}
	r.refused[subject] = err
	select {
	case r.refusal <- struct{}{}:
	default:
	}
	return true
}

// denied returns what the server has against a request on subject, or against its answer.
func (r *Reader) denied(subject string) error {
	if err := r.Refused(r.c.inbox + readerToken); err != nil {
		return err
	}
	return r.Refused(subject)
}

// wait returns the next of what came. The error is ErrNoReply, ErrClosed, or what the server said of the subject.
func (r *Reader) wait(ctx context.Context, from <-chan *nats.Msg, subject string, timer *time.Timer) (*nats.Msg, error) {
	for {
		select {
		case m := <-from:
			return m, nil
		case <-r.refusal:
			if err := r.denied(subject); err != nil {
				return nil, err
			}
		case <-r.c.closed:
			return nil, r.c.ended()
		case <-timer.C:
			return nil, fmt.Errorf("%w: %s", ErrNoReply, subject)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// request asks JetStream and decodes the answer into out.
func (r *Reader) request(ctx context.Context, subject string, data []byte, timeout time.Duration, out any) error {
	r.owns(subject)
	defer r.forget(subject)
	r.next++
	n := r.next
	if err := r.c.nc.PublishMsg(&nats.Msg{Subject: subject, Reply: r.c.replyTo(readerToken, n), Data: data}); err != nil {
		return err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		m, err := r.wait(ctx, r.replies, subject, timer)
		switch {
		case err != nil:
			return err
		case r.c.number(m) != n:
			continue // A late answer.
		case len(m.Data) == 0 && m.Header.Get("Status") == "503":
			return fmt.Errorf("%w: %s", ErrNoResponders, subject)
		case out == nil:
			return nil
		}
		if err := json.Unmarshal(m.Data, out); err != nil {
			return fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		return nil
	}
}

// Info asks for the settings and the state of a stream.
func (r *Reader) Info(ctx context.Context, stream string, timeout time.Duration) (*StreamInfo, error) {
	var info StreamInfo
	if err := r.request(ctx, infoSubject(stream), nil, timeout, &info); err != nil {
		return nil, err
	}
	if info.Error != nil {
		return nil, info.Error
	}
	return &info, nil
}

// Right is a subject that a login must be allowed to publish on to read.
type Right struct {
	Name    string // what it is for: create, read or remove
	Subject string // with wildcards
	Err     error  // what the server has against it
}

// Rights tries the rights that a consumer needs, in ways that change nothing.
func (r *Reader) Rights(ctx context.Context, c *Consumer, timeout time.Duration) []Right {
	const nobody = "querator-test"
	rights := []Right{
		{Name: "create", Subject: c.createSubject("*")}, {Name: "read", Subject: c.nextSubject("*")},
		{Name: "remove", Subject: c.deleteSubject("*")},
	}
	subjects := []string{c.createSubject(nobody), c.nextSubject(nobody), c.deleteSubject(nobody)}
	for i := range rights {
		// The server looks at the rights first, and then refuses what is for another stream, or no request at all.
		err := r.request(ctx, subjects[i], []byte(`{"stream_name":"another"}`), timeout, nil)
		if !errors.Is(err, ErrNoResponders) {
			rights[i].Err = err
		}
	}
	return rights
}
