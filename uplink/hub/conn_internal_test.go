package hub

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// forbidden is what the client library makes of the server's refusal of a subject.
func forbidden(subject string) error {
	return fmt.Errorf("%w: Permissions Violation for Publish to %q", nats.ErrPermissionViolation, subject)
}

// TestLateRefusal: that the server forbids a request which was given up says nothing of what is published after it.
func TestLateRefusal(t *testing.T) {
	t.Parallel()
	for subject, want := range map[string]Class{
		"$JS.API.STREAM.INFO.QUERATOR": ClassNone, "querator.dev.alpha.0": ClassDenied, "_INBOX_dev.p.x.1": ClassUnknown,
	} {
		c := &Conn{
			inbox: "_INBOX_dev.", nonce: "x", replies: make(chan *nats.Msg, 1), denied: make(chan error), closed: make(chan struct{}),
		}
		go func() {
			c.denied <- forbidden(subject) // Taken before there is a receipt.
			c.replies <- &nats.Msg{Subject: "_INBOX_dev.p.x.1", Data: []byte(`{"stream":"S","seq":7}`)}
		}()
		receipts := make([]Receipt, 1)
		c.await(t.Context(), receipts, 1, time.Minute)
		if got := Classify(receipts[0].Err); got != want {
			t.Errorf("%s: the receipt is of class %q, not %q: %v", subject, got, want, receipts[0].Err)
		}
	}
}

// TestReaderBounded: a reader that opens one consumer after the other keeps nothing of them.
func TestReaderBounded(t *testing.T) {
	t.Parallel()
	r := &Reader{
		c: &Conn{inbox: "_INBOX_dev."}, refusal: make(chan struct{}, 1), own: map[string]bool{}, refused: map[string]error{},
	}
	for range 100 {
		c := Consumer{Stream: "S", Subject: "a.b", Name: "dev"}.Named()
		subject := c.createSubject(c.Name)
		r.owns(subject)
		if !r.refuse(forbidden(subject)) || r.denied(subject) == nil {
			t.Fatalf("%s is not the reader's", subject)
		}
		r.forget(subject)
	}
	if r.refuse(forbidden("querator.dev.alpha.0")) {
		t.Error("a subject of somebody else is the reader's")
	}
	if n := len(r.own) + len(r.refused); n > 0 {
		t.Errorf("%d subjects are kept", n)
	}
}
