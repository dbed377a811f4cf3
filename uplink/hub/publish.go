package hub

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Receipt is what the server says of one message.
type Receipt struct {
	Stream    string `json:"stream"`
	Seq       uint64 `json:"seq"`
	Duplicate bool   `json:"duplicate"`
	Batch     string `json:"batch"`
	Count     int    `json:"count"`
	// Err is set if the message was not stored, or if that is not known.
	Err error `json:"-"`
	// Known says that the server has answered.
	Known bool `json:"-"`
}

// Headers of a publish. The client library has names for some of them only.
const (
	headerFence       = "Nats-Expected-Last-Subject-Sequence"
	headerBehind      = "Nats-Expected-Last-Msg-Id"
	headerStream      = "Nats-Expected-Stream"
	headerBatchID     = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
	headerRollup      = "Nats-Rollup"
	headerTTL         = "Nats-TTL"
	headerMarker      = "Querator-Last"
	headerReason      = "Nats-Marker-Reason" // Why the server put a message in the place of the last one of a subject.
)

// Fence makes the server refuse a message unless the last one on its subject has this sequence in the stream; 0:
// there is none.
func Fence(m *nats.Msg, seq uint64) { m.Header[headerFence] = []string{strconv.FormatUint(seq, 10)} }

// Behind makes the server refuse a message unless the last one of the stream is before, by its identity.
func Behind(m, before *nats.Msg) { m.Header[headerBehind] = before.Header[nats.MsgIdHdr] }

// ForStream makes the server refuse a message that would go into another stream.
func ForStream(m *nats.Msg, stream string) { m.Header[headerStream] = []string{stream} }

// Marker makes a message the only one of its subject, for ever, and puts an identity into it that the server does
// not compare.
func Marker(m *nats.Msg, id string) {
	m.Header[headerMarker] = []string{id}
	m.Header[headerRollup] = []string{"sub"}
	m.Header[headerTTL] = []string{"never"}
}

// Size is what a message costs of the server's limit on a message.
func Size(m *nats.Msg) int {
	n := len("NATS/1.0\r\n\r\n") + len(m.Data)
	for k, values := range m.Header {
		for _, v := range values {
			n += len(k) + len(v) + len(": \r\n")
		}
	}
	return n
}

// Window publishes messages one after the other and returns a receipt for each, when all have come or none is
// to be waited for: after timeout, and at once if the server forbids the subject or is gone.
func (c *Conn) Window(ctx context.Context, all []*nats.Msg, timeout time.Duration) []Receipt {
	receipts := make([]Receipt, len(all))
	first := c.next + 1
	for i, m := range all {
		c.next++
		m.Reply = c.replyTo(replyToken, c.next)
		if err := c.publish(m); err != nil {
			failUnknown(receipts[i:], err)
			if i == 0 {
				return receipts
			}
			all = all[:i]
			break
		}
	}
	c.await(ctx, receipts[:len(all)], first, timeout)
	return receipts
}

// Batch publishes messages that are stored together or not at all, and returns the receipt of the whole. The
// caller knows from a batch of one that the server understands batches: one that does not stores them singly.
func (c *Conn) Batch(ctx context.Context, all []*nats.Msg, timeout time.Duration) Receipt {
	id := rand.Text()
	receipts := make([]Receipt, 2) // of the first message, which tells of a refusal early, and of the last
	start := c.next + 1
	c.next += 2
	ids, numbers := []string{id}, make([]string, len(all))
	for i, m := range all {
		numbers[i] = strconv.Itoa(i + 1)
		m.Header[headerBatchID] = ids
		m.Header[headerBatchSeq] = numbers[i : i+1 : i+1]
		m.Reply = ""
		switch {
		case i == len(all)-1:
			m.Header[headerBatchCommit] = []string{"1"}
			m.Reply = c.replyTo(replyToken, start+1)
		case i == 0:
			m.Reply = c.replyTo(replyToken, start)
		}
		if err := c.publish(m); err != nil {
			return Receipt{Err: err}
		}
	}
	if len(all) == 1 {
		receipts = receipts[:1]
		start++
	}
	c.await(ctx, receipts, start, timeout)
	r := receipts[len(receipts)-1]
	if first := receipts[0]; first.Err != nil && first.Known {
		r = first
	}
	if r.Err == nil && len(all) > 1 && (r.Batch != id || r.Count != len(all)) {
		r.Err = fmt.Errorf("%w: the receipt of %d messages counts %d", ErrBatch, len(all), r.Count)
	}
	return r
}

// publish hands a message to the network. The first of a connection is flushed: a subject that is forbidden is
// then known at once, since the server refuses it before it answers the flush.
func (c *Conn) publish(m *nats.Msg) error {
	if err := c.nc.PublishMsg(m); err != nil {
		return err
	}
	if c.flushed {
		return nil
	}
	c.flushed = true
	if err := c.nc.FlushTimeout(flushTimeout); err != nil {
		return fmt.Errorf("%w: %w", ErrNoReply, err)
	}
	if err := c.nc.LastError(); errors.Is(err, nats.ErrPermissionViolation) && c.hears(err) && c.concerns(err, m.Subject) {
		return err
	}
	return nil
}

// flushTimeout is how long the first flush may take.
const flushTimeout = 30 * time.Second

// await collects the receipts with the numbers from first on.
func (c *Conn) await(ctx context.Context, receipts []Receipt, first uint64, timeout time.Duration) {
	if c.deaf {
		// What was published is before the flush, so the server has it when this returns.
		err := fmt.Errorf("%w: the login may not subscribe to %s%s>", ErrNoReply, c.inbox, replyToken)
		if probe := c.Probe(timeout); probe != nil {
			err = probe
		}
		failUnknown(receipts, err)
		return
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for missing := len(receipts); missing > 0; {
		var err error
		select {
		case m := <-c.replies:
			i := c.number(m) - first
			if i >= uint64(len(receipts)) || receipts[i].Known {
				continue
			}
			// Also after a refusal: what becomes of the messages behind it must be known before more is sent.
			receipts[i] = parseReceipt(m)
			missing--
			continue
		case err = <-c.denied:
			switch {
			case !c.hears(err):
				err = fmt.Errorf("%w: %s", ErrNoReply, err.Error()) // What was published may be stored: nothing forbids it.
			case !c.concernsAny(err):
				continue
			}
		case <-c.closed:
			err = c.ended()
		case <-timer.C:
			err = fmt.Errorf("%w: %d of %d receipts are missing after %s", ErrNoReply, missing, len(receipts), timeout)
		case <-ctx.Done():
			err = ctx.Err()
		}
		failUnknown(receipts, err)
		return
	}
}

// concernsAny reports whether the server said that something is forbidden that the caller publishes, or its inbox.
// Requests of JetStream are not meant: one that is forbidden may have been given up before the server said so.
func (c *Conn) concernsAny(err error) bool {
	return errors.Is(err, nats.ErrPermissionViolation) && !strings.Contains(err.Error(), `"`+apiPrefix)
}

// apiPrefix begins the subjects of all requests of JetStream.
const apiPrefix = "$JS.API."

// failUnknown gives receipts that have not come an error.
func failUnknown(receipts []Receipt, err error) {
	for i := range receipts {
		if !receipts[i].Known && receipts[i].Err == nil {
			receipts[i].Err = err
		}
	}
}

// parseReceipt reads the answer to one message. The first message of a batch is answered with nothing.
func parseReceipt(m *nats.Msg) Receipt {
	if len(m.Data) == 0 {
		if m.Header.Get("Status") == "503" {
			return Receipt{Known: true, Err: fmt.Errorf("%w: no stream takes the subject", ErrNoResponders)}
		}
		return Receipt{Known: true}
	}
	var answer struct {
		Receipt
		Error *APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return Receipt{Known: true, Err: fmt.Errorf("%w: %w", ErrAnswer, err)}
	}
	answer.Known = true
	if answer.Error != nil {
		answer.Err = answer.Error
	} else if answer.Seq == 0 {
		answer.Err = fmt.Errorf("%w: a receipt without a sequence", ErrAnswer)
	}
	return answer.Receipt
}
