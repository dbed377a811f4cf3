package api

import (
	"context"
	"strings"
	"time"
	"unicode"

	"github.com/kapetan-io/querator-edge/queue"
)

// systemNamespace is the only namespace there is.
const systemNamespace = "_system"

// Bounds of what exists on the wire only.
const (
	maxNameBytes      = 512
	maxNamespaceBytes = 256
	maxDurationText   = 15
)

// maxQueuesList is how many queues can be listed at a time.
const maxQueuesList = 65536

// validateName judges a queue name that is to be created, updated or deleted.
// A name that is looked up is judged by the look-up.
func validateName(name string) error {
	switch {
	case len(name) > maxNameBytes:
		return badRequest("queue name is invalid; cannot be greater than '%d' characters", maxNameBytes)
	case strings.TrimSpace(name) == "":
		return badRequest("queue name is invalid; queue name cannot be empty")
	case strings.ContainsFunc(name, unicode.IsSpace):
		return badRequest("queue name is invalid; '%s' cannot contain whitespace", name)
	case strings.Contains(name, "~"):
		return badRequest("queue name is invalid; '%s' cannot contain '~' character", name)
	}
	return nil
}

// validateNamespace judges the form of a namespace; empty is the default one.
func validateNamespace(name string) error {
	switch {
	case name == "":
		return nil
	case len(name) > maxNamespaceBytes:
		return badRequest("namespace name is invalid; cannot be greater than '%d' characters", maxNamespaceBytes)
	case strings.TrimSpace(name) == "":
		return badRequest("namespace name is invalid; cannot be empty")
	case strings.ContainsFunc(name, unicode.IsSpace):
		return badRequest("namespace name is invalid; '%s' cannot contain whitespace", name)
	case strings.Contains(name, "~"):
		return badRequest("namespace name is invalid; '%s' cannot contain '~' character", name)
	case strings.Contains(name, ":"):
		return badRequest("namespace name is invalid; '%s' cannot contain ':' character", name)
	}
	return nil
}

// parseTimeouts reads the two timeouts of a queue's options.
func parseTimeouts(lease, expire string) (leaseTimeout, expireTimeout time.Duration, err error) {
	if len(lease) > maxDurationText {
		return 0, 0, badRequest("lease timeout is invalid; cannot be greater than '%d' characters", maxDurationText)
	}
	if len(expire) > maxDurationText {
		return 0, 0, badRequest("expire timeout is invalid; cannot be greater than '%d' characters", maxDurationText)
	}
	if expireTimeout, err = parseDuration(expire); err != nil {
		return 0, 0, badRequest("expire timeout is invalid; %s - expected format: 60m, 2h or 24h", err)
	}
	leaseTimeout, err = parseLeaseTimeout(lease)
	return leaseTimeout, expireTimeout, err
}

func parseLeaseTimeout(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err != nil {
		return 0, badRequest("lease timeout is invalid; %s - expected format: 8m, 15m or 1h", err)
	}
	return d, nil
}

// parseRequestTimeout reads the request timeout; that it is there and within
// its bounds is judged by the queue.
func parseRequestTimeout(s string) (time.Duration, error) {
	d, err := parseDuration(s)
	if err != nil {
		return 0, badRequest("request timeout is invalid; %s - expected format: 900ms, 5m or 15m", err)
	}
	return d, nil
}

// parseDuration reads a duration; absent is 0.
func parseDuration(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	return time.ParseDuration(s)
}

// optionalTimeout bounds ctx by the request timeout of a call that can do
// without one; then nothing but the client bounds it.
func optionalTimeout(ctx context.Context, s string) (context.Context, context.CancelFunc, error) {
	d, err := parseRequestTimeout(s)
	switch {
	case err != nil:
		return nil, nil, err
	case d < 0:
		return nil, nil, badRequest("request timeout is invalid; cannot be negative")
	case d > queue.MaxRequestTimeout:
		return nil, nil, badRequest("request timeout is invalid; maximum timeout is '15m' but '%s' was requested", d)
	case d == 0:
		d = queue.MaxRequestTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	return ctx, cancel, nil
}
