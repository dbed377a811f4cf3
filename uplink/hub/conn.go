package hub

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// Bounds of what waits to be read. More replies than a window has messages cannot be of use.
const (
	replyRoom  = 512
	answerRoom = 16
	deniedRoom = 16
)

// Conn is one connection. All methods but Close, Closed and URL are for one goroutine.
type Conn struct {
	nc      *nats.Conn
	inbox   string
	nonce   string
	replies chan *nats.Msg // to publishes; written by nats.go
	answers chan *nats.Msg // to requests; written by nats.go
	denied  chan error     // what the server said out of turn; written by nats.go
	closed  chan struct{}
	end     sync.Once // closes closed
	next    uint64    // the number of the next reply that is asked for
	flushed bool      // the first publish was followed by a flush
	deaf    bool      // receipts do not reach us
	stops   []func() bool
	reader  atomic.Pointer[Reader] // nil without one
	in      atomic.Int64           // bytes that came in
}

// ErrClosed says that the connection has ended; the reason is wrapped beside it.
var ErrClosed = errors.New("connection closed")

// ErrNoReply says that nothing was heard in time: the server may have done what it was asked for, or not.
var ErrNoReply = errors.New("no reply in time")

// The two subjects of replies, below the inbox.
const (
	replyToken  = "p."
	answerToken = "q."
)

// listen subscribes to the replies.
func (c *Conn) listen() error {
	if _, err := c.nc.ChanSubscribe(c.inbox+replyToken+c.nonce+".*", c.replies); err != nil {
		return err
	}
	_, err := c.nc.ChanSubscribe(c.inbox+answerToken+c.nonce+".*", c.answers)
	return err
}

// deny keeps what the server said out of turn until somebody waits; the oldest is enough. What is about the
// reader's subjects is its business.
func (c *Conn) deny(err error) {
	if r := c.reader.Load(); r != nil && r.refuse(err) {
		return
	}
	select {
	case c.denied <- err:
	default:
	}
}

// Close ends the connection, and waits until nobody calls back any more.
func (c *Conn) Close() {
	c.nc.Close()
	c.hasEnded() // nats.go does not tell those who end it themselves.
}

func (c *Conn) hasEnded() { c.end.Do(func() { close(c.closed) }) }

// Closed is closed when the connection has ended.
func (c *Conn) Closed() <-chan struct{} { return c.closed }

// URL is the address of the server, without secrets; Version its version.
func (c *Conn) URL() string { return c.nc.ConnectedUrlRedacted() }

// Version is what the server calls itself.
func (c *Conn) Version() string { return c.nc.ConnectedServerVersion() }

// MaxPayload is the most bytes of headers and data that the server takes.
func (c *Conn) MaxPayload() int { return int(min(c.nc.MaxPayload(), 1<<30)) }

// ended is the error of a connection that is gone.
func (c *Conn) ended() error {
	if err := c.nc.LastError(); err != nil {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return ErrClosed
}

// Deaf reports whether receipts do not reach this connection, since its login may not subscribe to them. Every
// publish then ends with ErrNoReply at once, and what became of it has to be read back.
func (c *Conn) Deaf() bool { return c.deaf }

// Probe asks the server for a sign of life.
func (c *Conn) Probe(timeout time.Duration) error {
	if err := c.nc.FlushTimeout(timeout); err != nil {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return nil
}

// Heartbeat publishes outside of any stream: nobody answers, and it may be lost.
func (c *Conn) Heartbeat(subject string, data []byte) error { return c.nc.Publish(subject, data) }

// MayPublish publishes an empty message on a subject and returns what the server has against it.
func (c *Conn) MayPublish(subject string, timeout time.Duration) error {
	if err := c.nc.Publish(subject, nil); err != nil {
		return err
	}
	if err := c.Probe(timeout); err != nil {
		return err
	}
	if err := c.nc.LastError(); errors.Is(err, nats.ErrPermissionViolation) && c.concerns(err, subject) {
		return err
	}
	return nil
}

// replyTo returns the reply subject of a number.
func (c *Conn) replyTo(kind string, number uint64) string {
	return c.inbox + kind + c.nonce + "." + strconv.FormatUint(number, 36)
}

// number returns that of a reply subject; 0 for none of ours.
func (c *Conn) number(m *nats.Msg) uint64 {
	n, err := strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 36, 64)
	if err != nil {
		return 0
	}
	return n
}

// request publishes and waits for one answer. err is ErrNoReply, ErrClosed, ErrNoResponders, or what the server
// said out of turn about the subject.
func (c *Conn) request(ctx context.Context, subject string, data []byte, timeout time.Duration) (*nats.Msg, error) {
	c.next++
	want := c.next
	if err := c.nc.PublishMsg(&nats.Msg{Subject: subject, Reply: c.replyTo(answerToken, want), Data: data}); err != nil {
		return nil, err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		select {
		case m := <-c.answers:
			if c.number(m) != want {
				continue
			}
			if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
				return nil, fmt.Errorf("%w: %s", ErrNoResponders, subject)
			}
			return m, nil
		case err := <-c.denied:
			if c.hears(err) && c.concerns(err, subject) {
				return nil, err
			}
		case <-c.closed:
			return nil, c.ended()
		case <-timer.C:
			return nil, fmt.Errorf("%w: %s, %s", ErrNoReply, subject, timeout)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// hears reports whether an error of the server says that receipts cannot reach us, and remembers it.
func (c *Conn) hears(err error) bool {
	if errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `"`+c.inbox+replyToken) {
		c.deaf = true
	}
	return !c.deaf
}

// concerns reports whether an error of the server is about a subject or about our inbox.
func (c *Conn) concerns(err error, subject string) bool {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return false
	}
	text := err.Error()
	return strings.Contains(text, `"`+subject+`"`) || strings.Contains(text, `"`+c.inbox)
}
