package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/queue"
)

// The codes of the contract beside those of HTTP. They are HTTP statuses too:
// for any status that is not in its list a client does not read the body.
const (
	codeFailed  = 453 // Request Failed
	codeRetry   = 454 // Retry Request
	codeContent = 455 // Client Content Error
)

// codeGone stands in the metrics for calls whose client went away, and for
// lists that were cut off; it is never sent.
const codeGone = 499

// internalError is all that a client is told of an error that is not its own.
const internalError = "Internal Error"

// kinds says what becomes of each kind of error. What is not in it answers 500,
// with the cause in the log only.
var kinds = [...]struct {
	kind error
	code int
}{
	{queue.ErrInvalid, http.StatusBadRequest},
	{queue.ErrNotFound, http.StatusBadRequest},
	{queue.ErrNotLeased, http.StatusBadRequest},
	{queue.ErrDuplicate, http.StatusBadRequest},
	{queue.ErrEmpty, codeRetry},
	{queue.ErrOverloaded, codeRetry},
	{queue.ErrFull, codeRetry},
	{queue.ErrUnavailable, codeRetry},
	{queue.ErrClosed, codeFailed},
	{queue.ErrCorrupt, http.StatusInternalServerError},
	{queue.ErrFormat, http.StatusInternalServerError},
	{queue.ErrLocked, http.StatusInternalServerError},
}

// wireError is an error that exists on the wire only.
type wireError struct {
	code int
	msg  string
}

func (e *wireError) Error() string { return e.msg }

func badRequest(format string, args ...any) error {
	return &wireError{code: http.StatusBadRequest, msg: fmt.Sprintf(format, args...)}
}

func contentError(format string, args ...any) error {
	return &wireError{code: codeContent, msg: fmt.Sprintf(format, args...)}
}

// parseError is contentError with the text of a parser. Package proto puts a
// non-breaking space behind its prefix at random, so that nobody compares its
// texts; people only wonder about it.
func parseError(err error) error {
	return &wireError{code: codeContent, msg: strings.Replace(err.Error(), "proto:\u00a0", "proto: ", 1)}
}

// answer returns the code and the text that an error has on the wire. The code
// 500 means that the error is for the log.
func answer(err error) (code int, msg string) {
	var wire *wireError
	if errors.As(err, &wire) {
		return wire.code, wire.msg
	}
	if denied := (*access.Denied)(nil); errors.As(err, &denied) {
		return http.StatusForbidden, denied.Error()
	}
	for _, k := range kinds {
		if !errors.Is(err, k.kind) {
			continue
		}
		if k.code == http.StatusInternalServerError {
			return k.code, internalError
		}
		return k.code, textOf(err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return codeRetry, "request timeout; try again"
	}
	return http.StatusInternalServerError, internalError
}

// textOf returns the text without the cause, which is not for clients.
func textOf(err error) string {
	var e *queue.Error
	if errors.As(err, &e) {
		return e.Msg
	}
	return err.Error()
}

// codeText returns the words that stand for a code.
func codeText(code int) string {
	switch code {
	case http.StatusOK:
		return ""
	case codeFailed:
		return "Request Failed"
	case codeRetry:
		return "Retry Request"
	case codeContent:
		return "Client Content Error"
	case http.StatusInternalServerError:
		return "Internal Service Error"
	}
	return http.StatusText(code)
}
