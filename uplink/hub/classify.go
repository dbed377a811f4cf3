package hub

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// Kinds of errors of this package.
var (
	// ErrNoResponders: nobody listens, so there is no stream, or no JetStream.
	ErrNoResponders = errors.New("no responders")
	// ErrBatch: a receipt does not count what the batch had.
	ErrBatch = errors.New("the batch was not stored as one")
	// ErrAnswer: the server said something that is not an answer.
	ErrAnswer = errors.New("not an answer of JetStream")
)

// APIError is an error that JetStream answered with.
type APIError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

// Error implements error.
func (e *APIError) Error() string {
	return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode)
}

// Class says what is to be done about an error.
type Class string

// Classes of errors, in the order of doc.go of package uplink.
const (
	ClassNone      Class = ""
	ClassTransport Class = "disconnected"  // Dial again, read back.
	ClassUnknown   Class = "no_reply"      // Read back.
	ClassNoStream  Class = "no_stream"     // Back off, read back.
	ClassFence     Class = "fence"         // Read back at once.
	ClassDuplicate Class = "duplicate"     // In a batch: read back, then singly.
	ClassFull      Class = "remote_full"   // Back off, keep everything.
	ClassBusy      Class = "busy"          // Back off shortly.
	ClassTooLarge  Class = "too_large"     // Say less of that item.
	ClassNoBatch   Class = "no_batch"      // The server has batches switched off.
	ClassBroken    Class = "batch_broken"  // Read back, send again.
	ClassConfig    Class = "misconfigured" // Back off long.
	ClassDenied    Class = "denied"        // Back off long.
	ClassAuth      Class = "auth"          // Dial again, back off long.
)

// Classify tells what kind of error it is. An error that nobody knows is of ClassUnknown: reading back decides.
func Classify(err error) Class {
	var api *APIError
	switch {
	case err == nil:
		return ClassNone
	case errors.As(err, &api):
		return classOf(api)
	case errors.Is(err, nats.ErrPermissionViolation):
		return ClassDenied
	case errors.Is(err, nats.ErrMaxPayload):
		return ClassTooLarge
	case errors.Is(err, ErrNoResponders), errors.Is(err, nats.ErrNoResponders):
		return ClassNoStream
	case errors.Is(err, ErrBatch):
		return ClassBroken
	case isAuth(err):
		return ClassAuth
	case errors.Is(err, ErrClosed), errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrDisconnected),
		errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrConnectionReconnecting):
		return ClassTransport
	case errors.Is(err, ErrNoReply), errors.Is(err, ErrAnswer), errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return ClassUnknown
	}
	return ClassUnknown
}

// ClassifyDial is Classify for what Dial returns: there, what is not about who we are is the network.
func ClassifyDial(err error) Class {
	if isAuth(err) {
		return ClassAuth
	}
	return ClassTransport
}

// isAuth reports whether the server or we refused the other.
func isAuth(err error) bool {
	for _, kind := range []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired,
		nats.ErrSecureConnRequired, nats.ErrSecureConnWanted, nats.ErrTLS, ErrSecret,
	} {
		if errors.Is(err, kind) {
			return true
		}
	}
	text := err.Error()
	return strings.Contains(text, "tls: ") || strings.Contains(text, "x509: ")
}

// classOf is the table of JetStream's errors.
func classOf(e *APIError) Class {
	switch e.ErrCode {
	case 10070, 10071, 10164: // Another message is last.
		return ClassFence
	case 10201: // A batch has an identity that the stream knows.
		return ClassDuplicate
	case 10077, 10002, 10047, 10023, 10028: // Limits of the stream, the account, the disk, resources, the server's memory.
		return ClassFull
	case 10008, 10009, 10118, 10194, 10210, 10158: // Unavailable for now; too many batches open; identity just being stored.
		return ClassBusy
	case 10054, 10097: // The message, or its headers, are too large.
		return ClassTooLarge
	case 10174, 10205: // Atomic publish is switched off.
		return ClassNoBatch
	case 10175, 10176, 10179, 10199, 10200: // The batch did not arrive whole.
		return ClassBroken
	case 10059, 10076, 10039: // No such stream; JetStream is off, here or for the account.
		return ClassNoStream
	case 10060, 10109, 10177: // Another stream; sealed; a header that batches cannot have.
		return ClassConfig
	}
	switch {
	case e.Code == 429 || e.Code == 503:
		return ClassBusy
	case e.Code == 400 || e.Code == 403 || e.Code == 404:
		return ClassConfig
	}
	return ClassUnknown
}
