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

// Consumer is how messages are read: a consumer of the server's that acknowledges nothing, keeps nothing on disk
// and vanishes when it is not used.
type Consumer struct {
	Stream, Subject string
	// Name is its name on the server; see Named.
	Name string
	// From is the number of the first message wanted, at least 1; or, if it is 0, After the time that messages
	// must be later than, in nanoseconds since 1970.
	From  uint64
	After int64
	// Idle is how long the server keeps it unused.
	Idle time.Duration
	// HeadersOnly leaves the data of messages out.
	HeadersOnly bool
}

// Named returns the consumer with a new name, which begins with the one that it has. The rest is random, so that nobody
// else, not even a device of the same name, can have it or read from it.
func (c Consumer) Named() Consumer {
	c.Name += "=" + rand.Text()
	return c
}

// Subjects of requests.
func infoSubject(stream string) string { return "$JS.API.STREAM.INFO." + stream }

func (c *Consumer) createSubject(name string) string {
	return "$JS.API.CONSUMER.CREATE." + c.Stream + "." + name + "." + c.Subject
}

func (c *Consumer) nextSubject(name string) string {
	return "$JS.API.CONSUMER.MSG.NEXT." + c.Stream + "." + name
}

func (c *Consumer) deleteSubject(name string) string {
	return "$JS.API.CONSUMER.DELETE." + c.Stream + "." + name
}

// Tap reads from one consumer, in the order of its stream. It is for the goroutine of its Reader.
type Tap struct {
	r        *Reader
	consumer Consumer // with its whole name
	// What the consumer delivers comes on a subscription of its own, so that nothing late of another one is taken
	// for it.
	sub    *nats.Subscription
	pulled chan *nats.Msg // written by nats.go
	reply  string         // begins the subjects of that subscription
}

// Open makes a consumer, whose name has to be a new one, and returns how many messages it has to offer. Close ends the
// tap, and so does the end of the connection; neither removes the consumer. After an error it may be there all the same,
// or come yet, unless the error is the server's.
func (r *Reader) Open(ctx context.Context, c Consumer, timeout time.Duration) (tap *Tap, pending uint64, err error) {
	body, err := json.Marshal(map[string]any{"stream_name": c.Stream, "config": c.config()})
	if err != nil {
		return nil, 0, err
	}
	var info struct {
		Pending uint64    `json:"num_pending"`
		Error   *APIError `json:"error"`
	}
	if err := r.request(ctx, c.createSubject(c.Name), body, timeout, &info); err != nil {
		return nil, 0, err
	}
	if info.Error != nil {
		return nil, 0, info.Error
	}
	r.taps++
	tap = &Tap{
		r: r, consumer: c, reply: r.c.inbox + readerToken + r.c.nonce + "." + strconv.FormatUint(r.taps, 36) + ".",
		// What is late of a pull that was given up has room too, until it is looked at.
		pulled: make(chan *nats.Msg, 2*MaxPull+answerRoom),
	}
	if tap.sub, err = r.c.nc.ChanSubscribe(tap.reply+"*", tap.pulled); err != nil {
		return nil, 0, err
	}
	return tap, info.Pending, nil
}

// Remove removes a consumer, over whatever connection it was made. found says whether it was there; it is not any more
// if err is nil.
func (r *Reader) Remove(ctx context.Context, c Consumer, timeout time.Duration) (found bool, err error) {
	var answer struct {
		Error *APIError `json:"error"`
	}
	if err := r.request(ctx, c.deleteSubject(c.Name), nil, timeout, &answer); err != nil {
		return false, err
	}
	switch e := answer.Error; {
	case e == nil:
		return true, nil
	case e.ErrCode == 10014, e.ErrCode == 10059: // No such consumer, no such stream.
		return false, nil
	default:
		return false, e
	}
}

// config is what the server is told of the consumer.
func (c *Consumer) config() map[string]any {
	config := map[string]any{
		"name": c.Name, "ack_policy": "none", "filter_subject": c.Subject, "replay_policy": "instant",
		"inactive_threshold": c.Idle.Nanoseconds(), "mem_storage": true, "num_replicas": 1,
	}
	if c.From > 0 {
		config["deliver_policy"], config["opt_start_seq"] = "by_start_sequence", c.From
	} else {
		config["deliver_policy"] = "by_start_time"
		config["opt_start_time"] = time.Unix(0, c.After+1).UTC().Format(time.RFC3339Nano)
	}
	if c.HeadersOnly {
		config["headers_only"] = true
	}
	return config
}

// Close ends the tap; its consumer is still on the server.
func (t *Tap) Close() { _ = t.sub.Unsubscribe() } // It fails only on a connection that has ended.

// Consumer is what the tap reads from.
func (t *Tap) Consumer() Consumer { return t.consumer }

// Message is one message of a stream.
type Message struct {
	Header nats.Header
	Data   []byte
	// Seq is its number in the stream, Number that among what its consumer has delivered, At when the server stored
	// it, in nanoseconds since 1970; Pending is how many are behind it.
	Seq, Number uint64
	At          int64
	Pending     uint64
}

// IsPlaceholder reports whether the server put the message in the place of the last one of its subject, which was removed:
// nobody has published it.
func (m *Message) IsPlaceholder() bool { return m.Header.Get(headerReason) != "" }

// PullEnd says why a Pull has returned no more.
type PullEnd int

// Ends of a Pull.
const (
	PullEmpty PullEnd = iota // There is no more at the moment.
	PullMore                 // It got as much as it asked for.
	PullLarge                // The next message alone is larger than what was asked for.
)

// receiptPrefix begins the reply subject of every message of a consumer.
const receiptPrefix = "$JS.ACK."

// slowest is the rate in bytes a second at which a link may deliver a message, while anything is heard at all.
const slowest = 256

// Pull asks for up to n messages of up to maxBytes together (0: any), those that there are now. Messages that came
// before an error are returned with it. quiet is how long nothing may be heard. The error is ErrGone when
// there is no such consumer.
func (t *Tap) Pull(ctx context.Context, n, maxBytes int, quiet time.Duration) (got []Message, end PullEnd, err error) {
	ask := map[string]any{"batch": n, "no_wait": true}
	if maxBytes > 0 {
		ask["max_bytes"] = maxBytes
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return nil, PullEmpty, err
	}
	r, subject := t.r, t.consumer.nextSubject(t.consumer.Name)
	r.owns(subject)
	defer r.forget(subject)
	r.next++
	number := r.next
	reply := t.reply + strconv.FormatUint(number, 36)
	if err := r.c.nc.PublishMsg(&nats.Msg{Subject: subject, Reply: reply, Data: body}); err != nil {
		return nil, PullEmpty, err
	}
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	ctx, cancel := context.WithTimeout(ctx, quiet+time.Duration(max(maxBytes, MaxPull<<10)/slowest)*time.Second)
	defer cancel()
	heard := r.c.in.Load()
	for len(got) < n {
		m, err := r.wait(ctx, t.pulled, subject, timer)
		if errors.Is(err, ErrNoReply) && r.c.in.Load() != heard {
			heard = r.c.in.Load() // A part of a large message, it may be.
			timer.Reset(quiet)
			continue
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: %s", ErrNoReply, subject)
		}
		if err != nil {
			return got, PullEmpty, err
		}
		timer.Reset(quiet)
		if !strings.HasPrefix(m.Reply, receiptPrefix) {
			if r.c.number(m) != number {
				continue // The end of a pull that was given up.
			}
			end, err := pullEnd(m, len(got))
			return got, end, err
		}
		msg, err := messageOf(m)
		if err != nil {
			return got, PullEmpty, err
		}
		got = append(got, msg)
	}
	return got, PullMore, nil
}

// messageOf reads what the reply subject of a message says of it.
func messageOf(m *nats.Msg) (Message, error) {
	meta, err := m.Metadata()
	if err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return Message{
		Header: m.Header, Data: m.Data, Seq: meta.Sequence.Stream, Number: meta.Sequence.Consumer,
		At: meta.Timestamp.UnixNano(), Pending: meta.NumPending,
	}, nil
}

// pullEnd reads the word of the server that ends a pull.
func pullEnd(m *nats.Msg, got int) (PullEnd, error) {
	status, text := m.Header.Get("Status"), m.Header.Get("Description")
	switch {
	case status == "404", status == "408":
		return PullEmpty, nil
	case status == "503":
		return PullEmpty, fmt.Errorf("%w: %w", ErrGone, ErrNoResponders)
	case status == "409" && strings.Contains(text, "MaxBytes"):
		if got > 0 {
			return PullMore, nil
		}
		return PullLarge, nil
	case status == "409":
		return PullEmpty, fmt.Errorf("%w: %s", ErrGone, text)
	}
	return PullEmpty, fmt.Errorf("%w: status %s, %s", ErrAnswer, status, text)
}
