package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
)

// The kinds of error. Every *Error is of exactly one of them.
var (
	// ErrInvalid: the request is malformed or out of bounds. Nothing was done.
	ErrInvalid = errors.New("invalid request")
	// ErrNotFound: there is no such queue. Nothing was done.
	ErrNotFound = errors.New("not found")
	// ErrLeaseLost: the item is not leased under this id any more: the lease ended, or the item was completed
	// already. Nothing was done, for no item of the request.
	ErrLeaseLost = errors.New("lease lost")
	// ErrDuplicate: a queue of that name, or a waiting lease request of that client id, exists.
	ErrDuplicate = errors.New("duplicate")
	// ErrEmpty: no item became ready in the time that the lease request waited.
	ErrEmpty = errors.New("no items")
	// ErrFull: the agent takes no more items until some are completed or the disk has room.
	ErrFull = errors.New("full")
	// ErrTryAgain: the agent is busy, or a partition is failing; the same request can succeed later.
	ErrTryAgain = errors.New("try again")
	// ErrShutdown: the agent or the queue is being stopped.
	ErrShutdown = errors.New("shutting down")
	// ErrUnavailable: the agent cannot be reached, or the connection broke. In the second case the request may
	// have taken effect.
	ErrUnavailable = errors.New("agent unavailable")
	// ErrDenied: the caller may not do this.
	ErrDenied = errors.New("denied")
	// ErrUnsupported: the agent does not know the call.
	ErrUnsupported = errors.New("not supported")
	// ErrInternal: the agent failed, or its answer makes no sense; its log says why.
	ErrInternal = errors.New("internal error")
)

// Error is what a call returns when it failed.
type Error struct {
	// Code is the status of the agent's answer, or 0 if there was none.
	Code int
	// Message says what is wrong, with values, for people.
	Message string

	kind  error
	cause error
	sent  bool // the request may have reached the agent
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Is reports whether target is the error's kind.
func (e *Error) Is(target error) bool { return e.kind == target }

// Unwrap returns the cause, if one is known.
func (e *Error) Unwrap() error { return e.cause }

// kindOf derives the kind from an answer. The API has few codes, so the texts that it fixes tell the rest.
func kindOf(code int, message string) error {
	switch code {
	case 400:
		return kindOfRefusal(message)
	case 401, 403:
		return ErrDenied
	case 404:
		return ErrNotFound
	case 409:
		return ErrLeaseLost
	case 429:
		return ErrTryAgain
	case 453:
		if strings.Contains(message, "shutting down") {
			return ErrShutdown
		}
		return ErrInvalid
	case codeTryAgain:
		switch {
		case strings.Contains(message, "no items are in the queue"):
			return ErrEmpty
		case strings.HasPrefix(message, "the request is too large"):
			return ErrInvalid // It is too large at any time.
		case isFull(message):
			return ErrFull
		}
		return ErrTryAgain
	case 455:
		return ErrInvalid
	case 501:
		return ErrUnsupported
	}
	return ErrInternal
}

// isFull reports whether an answer with code 454 says that there is no room for items. It has to know the message of
// every error of kind queue.ErrFull; a test of the command line enumerates them.
func isFull(message string) bool {
	for _, begin := range []string{"the disk is full", "the memory store is full", "queue is full", "outbox is full", "too many "} {
		if strings.HasPrefix(message, begin) {
			return true
		}
	}
	return false
}

// kindOfRefusal tells the kinds apart that share code 400.
func kindOfRefusal(message string) error {
	missing := strings.Contains(message, "does not exist")
	switch {
	case missing && strings.HasPrefix(message, "invalid storage id;"),
		strings.Contains(message, "is not marked as leased"):
		return ErrLeaseLost
	case missing:
		return ErrNotFound
	case strings.Contains(message, "already exists"), strings.HasPrefix(message, "duplicate client id"):
		return ErrDuplicate
	}
	return ErrInvalid
}

// transportError says what happened when there is no answer.
func (c *Client) transportError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		text := "no answer from the agent in time"
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			text = "the call was given up before the agent answered"
		}
		return fmt.Errorf("%s: %w", text, context.Cause(ctx))
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return &Error{kind: ErrUnavailable, cause: err,
			Message: fmt.Sprintf("the agent cannot be reached at %s: %v", c.place, op.Err)}
	}
	return &Error{kind: ErrUnavailable, cause: err, sent: true,
		Message: fmt.Sprintf("the connection to the agent at %s broke, the request may have taken effect: %v", c.place, rootCause(err))}
}

// rootCause drops the method and the URL that net/http puts before an error, which say nothing here.
func rootCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
