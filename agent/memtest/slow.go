package memtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

const (
	// slowPart is how much a slow client sends or reads at a time.
	slowPart = 32 << 10
	// slowPause is how long it takes for that: a body of 5 MB takes 15 s.
	slowPause = 100 * time.Millisecond
	// slowBehind is how far it may be behind and catch up, when the machine is busy:
	// the agent gives up on a client that takes twice as long.
	slowBehind = 5 * time.Second
)

// slowConn reads and writes slowly. It belongs to one client.
type slowConn struct {
	net.Conn
	ctx         context.Context //nolint:containedctx // It is that of the client, whose connection this is.
	read, write bool
	next        time.Time // when the next part is due
}

func (s *slowConn) Read(p []byte) (int, error) {
	if !s.read {
		return s.Conn.Read(p)
	}
	n, err := s.Conn.Read(p[:min(len(p), slowPart)])
	if err != nil {
		return n, err
	}
	return n, s.pause(n) // For what there was: a small send buffer makes it no slower.
}

func (s *slowConn) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := len(p)
		if s.write {
			part = min(part, slowPart)
			if err := s.pause(part); err != nil {
				return n, err
			}
		}
		m, err := s.Conn.Write(p[:part])
		n += m
		if err != nil {
			return n, err
		}
		p = p[part:]
	}
	return n, nil
}

// pause waits for as long as n bytes take.
func (s *slowConn) pause(n int) error {
	s.next = s.next.Add(slowPause * time.Duration(n) / slowPart)
	if least := time.Now().Add(-slowBehind); s.next.Before(least) {
		s.next = least
	}
	select {
	case <-s.ctx.Done():
		return s.ctx.Err()
	case <-time.After(time.Until(s.next)):
		return nil
	}
}

// slowClient returns a client whose connections are slow one way or the other.
func (l *Load) slowClient(ctx context.Context, read, write bool) *client.Client {
	return &client.Client{Dial: func(dialCtx context.Context) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(dialCtx, "unix", l.Socket)
		if err != nil {
			return nil, err
		}
		return &slowConn{Conn: c, ctx: ctx, read: read, write: write, next: time.Now()}, nil
	}}
}

// sendSlowly puts large payloads into a queue, a bit at a time.
func (l *Load) sendSlowly(ctx context.Context, _ *client.Client, i int) {
	c := l.slowClient(ctx, false, true)
	defer c.Close()
	items := newLarge(l.Seed+uint64(2000+i), l.LargeBody, i)
	for ctx.Err() == nil {
		begin := time.Now()
		err := c.Produce(ctx, slowQueue, items.take(1)...)
		if err == nil {
			l.Tally.Done("produce slowly", 1, time.Since(begin))
		} else if !l.failed(ctx, "produce slowly", err) {
			return
		}
	}
}

// readSlowly leases what the senders have sent, or looks through the backlog or
// through the large items, a bit at a time.
func (l *Load) readSlowly(ctx context.Context, fast *client.Client, i int) {
	c := l.slowClient(ctx, true, false)
	defer c.Close()
	for ctx.Err() == nil {
		if i%2 == 0 {
			if !l.leaseAndComplete(ctx, c, slowQueue, " slowly", 2) {
				return
			}
			continue
		}
		name, what, limit := backlogQueue, "list slowly", 1000
		if i%4 == 3 {
			name, what, limit = largeQueue, "list large slowly", 3
		}
		begin := time.Now()
		items, err := c.ListItems(ctx, name, 0, client.Page{Limit: limit})
		switch {
		case err == nil:
			l.Tally.Done(what, len(items), time.Since(begin))
		case !l.failed(ctx, what, err):
			return
		}
	}
}

// stayConnected holds a connection on which nothing is asked, but that the agent
// is there.
func (l *Load) stayConnected(ctx context.Context, _ *client.Client, _ int) {
	for ctx.Err() == nil {
		if err := l.silence(ctx); err != nil && ctx.Err() == nil {
			l.Tally.Refused("silence", err)
			return
		}
	}
}

// silence holds one connection until ctx ends or the agent closes it.
func (l *Load) silence(ctx context.Context) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", l.Socket)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(c, "GET /health HTTP/1.1\r\nHost: agent\r\n\r\n"); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, c) // Ends when the agent closes it, after the idle timeout.
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("a silent connection: %w", err)
	}
	return nil
}
