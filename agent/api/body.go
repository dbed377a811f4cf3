package api

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"time"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/queue"
)

// firstRead is the size of the first buffer for a body of unknown length.
const firstRead = 4096

// readBody reads the body into a buffer of its own, which belongs to the call
// from then on. The bytes are reserved in the budget until c.release.
func (c *call) readBody(limit int64) ([]byte, error) {
	n := c.r.ContentLength
	if n == 0 {
		c.bodyRead = true
		return nil, nil
	}
	var body []byte
	var err error
	if n < 0 {
		body, err = c.readChunked(limit)
	} else {
		body, err = c.readSized(n, limit)
	}
	if err != nil {
		return nil, err
	}
	c.bodyRead = true
	// A lease waits with the read side open, to see the client go.
	_ = c.rc.SetReadDeadline(time.Time{})
	return body, nil
}

// boundBody sets the time that the client has to send the body.
func (c *call) boundBody() {
	if c.r.ContentLength == 0 {
		return
	}
	end := time.Now().Add(c.h.bodyTimeout)
	_ = c.rc.SetReadDeadline(end)
	_ = c.rc.SetWriteDeadline(end) // For "100 Continue".
}

// readSized reads a body of n bytes.
func (c *call) readSized(n, limit int64) ([]byte, error) {
	if n > limit {
		return nil, c.refuse(limit, tooLarge(limit))
	}
	if n > smallBody {
		return c.readLarge(n, limit)
	}
	if err := c.reserve(n, n); err != nil {
		return nil, c.refuse(limit, err)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.r.Body, body); err != nil {
		return nil, badRead(err)
	}
	return body, nil
}

// readLarge reads a body of n bytes, more than smallBody. Room for the whole of
// it is reserved when its beginning is there: who only says that he will send
// much keeps nobody out.
func (c *call) readLarge(n, limit int64) ([]byte, error) {
	if err := c.h.budget.fits(n); err != nil {
		return nil, c.refuse(limit, err)
	}
	var begin [firstRead]byte
	if _, err := io.ReadFull(c.r.Body, begin[:]); err != nil {
		return nil, badRead(err)
	}
	if err := c.await(n); err != nil {
		return nil, c.refuse(limit, err)
	}
	c.h.budget.spend(n)
	c.boundBody() // From now on.
	body := make([]byte, n)
	if _, err := io.ReadFull(c.r.Body, body[copy(body, begin[:]):]); err != nil {
		return nil, badRead(err)
	}
	return body, nil
}

// readChunked reads a body of unknown length.
func (c *call) readChunked(limit int64) ([]byte, error) {
	return c.readSteps(min(firstRead, limit+1), limit+1, limit)
}

// readSteps reads a body in steps that are reserved before they are read, the
// first of size bytes, each as large as all before it, up to end.
func (c *call) readSteps(size, end, limit int64) ([]byte, error) {
	if err := c.reserve(size, max(size, c.r.ContentLength)); err != nil {
		return nil, c.refuse(limit, err)
	}
	body := make([]byte, 0, size)
	for {
		n, err := c.r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > limit:
			return nil, c.refuse(limit, tooLarge(limit))
		case errors.Is(err, io.EOF):
			return body, nil
		case err != nil:
			return nil, badRead(err)
		}
		if len(body) < cap(body) {
			continue
		}
		if int64(len(body)) == c.r.ContentLength {
			return body, nil
		}
		size := min(2*int64(cap(body)), end)
		if err := c.reserve(size-int64(cap(body)), max(size, c.r.ContentLength)); err != nil {
			return nil, c.refuse(limit, err)
		}
		body = append(make([]byte, 0, size), body...)
	}
}

// refuse reads what the client is still sending, as far as a body that fits
// would have gone, and returns err: a client that writes when the connection is
// closed sees a broken pipe in place of the answer.
func (c *call) refuse(limit int64, err error) error {
	c.release()
	if c.r.Header.Get("Expect") == "" {
		_, _ = io.CopyN(io.Discard, c.r.Body, limit)
	}
	return err
}

// roomWait is how long a large request waits for room before it is refused. It
// holds nothing meanwhile: what the client sends lies in the client's own buffer.
const roomWait = 10 * time.Second

// await takes n bytes of the budget for a large request, which waits for its turn.
// The error is of kind queue.ErrOverloaded.
func (c *call) await(n int64) error {
	if err := c.h.budget.fits(n); err != nil {
		return err
	}
	if c.r == nil {
		err := c.reserve(n, n) // Others that are read with it would wait, too.
		if err != nil && c.hasty {
			return errWaits
		}
		return err
	}
	taken, err := c.h.budget.line.wait(c.r.Context(), c.user(), min(roomWait, c.h.bodyTimeout), func() (full bool, err error) { return c.takeRoom(n, n) })
	if !taken && err == nil {
		return c.h.budget.busy()
	}
	return err
}

// user returns a number for who is calling.
func (c *call) user() uint64 {
	if c.peer == nil {
		return math.MaxUint64 // Nobody knows who.
	}
	return uint64(c.peer.UID)
}

// reserve takes n more bytes of the budget for the call, whose body has whole
// bytes as far as is known. It does not wait.
func (c *call) reserve(n, whole int64) error {
	_, err := c.takeRoom(n, whole)
	return err
}

// takeRoom is reserve, and says whether it was the budget that was full. The
// goroutine of another call may call it while this one waits.
func (c *call) takeRoom(n, whole int64) (full bool, err error) {
	small := whole <= smallBody
	// Who holds something already goes on: whoever has a claim may wait for that.
	if !small && c.reserved == 0 && c.h.budget.InFlight()+n > c.h.budget.limitOf(whole)-c.h.budget.claim.kept() {
		return true, c.h.budget.busy()
	}
	if err := c.h.budget.Reserve(n, whole); err != nil {
		return true, err
	}
	free := c.h.budget.limitOf(whole) - c.h.budget.InFlight() + n
	if err := c.h.guard.Reserve(c.peer, n, free, small); err != nil {
		c.h.budget.undo(n)
		return false, err
	}
	if small {
		c.small += n
	}
	c.reserved += n
	return false, nil
}

// take counts n bytes of a reply that is about to be written.
func (c *call) take(n int64) {
	c.h.budget.Take(n)
	c.h.guard.TakeBytes(c.peer, n)
	c.reserved += n
}

// release gives back what the call has reserved so far.
func (c *call) release() {
	if c.loan != nil {
		c.loan.drop()
		c.loan = nil
	}
	n, small := c.reserved, c.small
	c.reserved, c.small = 0, 0
	c.h.giveBack(c.peer, n, small)
}

// keep gives back what the call has reserved, but for n bytes of a small request.
func (c *call) keep(n int64) {
	rest, small := c.reserved-n, c.small-n
	c.reserved, c.small = n, n
	c.h.giveBack(c.peer, rest, small)
}

// giveBack gives n bytes of the budget back, of which so many were of a small
// request.
func (h *Handler) giveBack(peer *access.Peer, n, small int64) {
	if n > 0 {
		h.guard.ReleaseBytes(peer, small, n-small) // First: who waits looks at both.
		h.budget.Release(n)
	}
}

// loan is what a call has reserved for items that the engine holds as well, which
// may go on for longer than the call.
type loan struct {
	holders atomic.Int32
	back    func()
}

// lend lends what is reserved so far to the engine. It is given back when the call
// has ended and the engine has called the function that is returned, once.
func (c *call) lend(items []queue.Item) (released func()) {
	h, peer, n, small := c.h, c.peer, c.reserved, c.small
	c.reserved, c.small = 0, 0
	c.loan = &loan{back: func() {
		h.items.give(items)
		h.giveBack(peer, n, small)
	}}
	c.loan.holders.Store(2)
	return c.loan.drop
}

// drop says that one of the two has let go of it.
func (l *loan) drop() {
	if l.holders.Add(-1) == 0 {
		l.back()
	}
}

func badRead(err error) error {
	return badRequest("request body could not be read; %s", err)
}

func tooLarge(limit int64) error {
	return badRequest("request body exceeds %s limit", sizeText(limit))
}

// sizeText writes a limit the way clients know it: in units of 1024 when it is
// a multiple of 1024, else in units of 1000.
func sizeText(n int64) string {
	base, units := int64(1000), []string{"kB", "MB", "GB"}
	if n%1024 == 0 {
		base, units = 1024, []string{"KiB", "MiB", "GiB"}
	}
	if n < base {
		return fmt.Sprintf("%dB", n)
	}
	v, unit := float64(n)/float64(base), 0
	for v >= float64(base) && unit < len(units)-1 {
		v /= float64(base)
		unit++
	}
	return fmt.Sprintf("%.1f%s", v, units[unit])
}
