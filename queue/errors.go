package queue

import (
	"errors"
	"fmt"
)

// The kinds of error. Every error that this package and its stores return Is
// exactly one of them; what it says is for people and may change, except where
// the wire contract fixes it.
var (
	// ErrInvalid: the request is malformed or out of bounds. Nothing was done.
	ErrInvalid = errors.New("invalid request")
	// ErrNotFound: no such queue or no such item. Nothing was done.
	ErrNotFound = errors.New("not found")
	// ErrNotLeased: the item exists but is not leased. Nothing was done.
	ErrNotLeased = errors.New("not leased")
	// ErrDuplicate: a queue of that name or a waiting client of that id exists, or
	// the mark of a feed was moved by somebody else. Nothing was done.
	ErrDuplicate = errors.New("duplicate")

	// ErrEmpty: no item became ready before the request timeout.
	ErrEmpty = errors.New("no items")
	// ErrOverloaded: a bound on waiting requests or bytes is reached; try again.
	ErrOverloaded = errors.New("overloaded")
	// ErrFull: there is no room for more items; what is there can still be
	// leased and completed.
	ErrFull = errors.New("full")
	// ErrUnavailable: the partition's store failed or is being recovered; what
	// became of the request is unknown until it is back.
	ErrUnavailable = errors.New("unavailable")
	// ErrClosed: the queue or the service is shutting down.
	ErrClosed = errors.New("shutting down")

	// ErrCorrupt: stored data is damaged.
	ErrCorrupt = errors.New("corrupt")
	// ErrFormat: stored data was written by a newer version, or is not ours.
	ErrFormat = errors.New("unknown format")
	// ErrLocked: another process uses the directory.
	ErrLocked = errors.New("in use")
)

// Error is an error of a kind with its place. Its text is Msg, which for kinds
// that reach clients is the text of the wire contract.
type Error struct {
	Kind      error  // one of the sentinels above
	Op        string // what was being done, for example "produce"
	Queue     string
	Partition int
	Msg       string // what is wrong, with the values
	Hint      string // what the operator or caller can do, may be empty
	Err       error  // the cause, may be nil
}

// Error returns Msg, followed by the cause if there is one.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Msg, e.Err)
	}
	return e.Msg
}

// Is reports whether target is the error's kind.
func (e *Error) Is(target error) bool { return e.Kind == target }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func invalid(format string, args ...any) *Error {
	return &Error{Kind: ErrInvalid, Msg: fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) *Error {
	return &Error{Kind: ErrNotFound, Msg: fmt.Sprintf(format, args...)}
}

// The errors that carry no values of their own.
func errQueueClosed() *Error {
	return &Error{Kind: ErrClosed, Msg: "queue is shutting down"}
}

func errServiceClosed() *Error {
	return &Error{Kind: ErrClosed, Msg: "service is shutting down"}
}

func errOverloaded() *Error {
	return &Error{Kind: ErrOverloaded, Msg: "queue is overloaded; try again later"}
}

func errNoItems() *Error {
	return &Error{Kind: ErrEmpty, Msg: "request timeout; no items are in the queue, try again"}
}

func errFailing(partition int, cause error) *Error {
	return &Error{Kind: ErrUnavailable, Partition: partition, Err: cause,
		Msg: fmt.Sprintf("partition not available; partition '%d' is failing, retry again", partition)}
}
