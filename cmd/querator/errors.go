package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/listen"
	"github.com/kapetan-io/querator-edge/agent/systemd"
	"github.com/kapetan-io/querator-edge/queue"
)

// The exit codes. Scripts depend on them.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitEmpty       = 3   // lease found nothing
	exitLost        = 4   // the lease has ended
	exitFull        = 5   // the agent takes no more items
	exitAgentUsage  = 64  // exitUsage of the agent: a Go program that is killed for a crash exits with 2
	exitUnavailable = 69  // the agent cannot be reached, or its place is taken
	exitTryAgain    = 75  // the same command can succeed later
	exitConfig      = 78  // the configuration has to be changed
	exitInterrupted = 130 // SIGINT or SIGTERM before the end
)

// errUsage is the kind of what is wrong with a command line.
var errUsage = errors.New("usage")

// exits says what each kind of error makes the command exit with; the first that fits counts. What is not in it
// is a failure.
var exits = [...]struct {
	kind error
	code int
}{
	{errUsage, exitUsage},
	{client.ErrInvalid, exitFailure},
	{client.ErrNotFound, exitFailure},
	{client.ErrDuplicate, exitFailure},
	{client.ErrDenied, exitFailure},
	{client.ErrUnsupported, exitFailure},
	{client.ErrInternal, exitFailure},
	{client.ErrEmpty, exitEmpty},
	{client.ErrLeaseLost, exitLost},
	{client.ErrFull, exitFull},
	{client.ErrUnavailable, exitUnavailable},
	{client.ErrTryAgain, exitTryAgain},
	{client.ErrShutdown, exitTryAgain},
	{config.ErrConfig, exitConfig},
	{listen.ErrInUse, exitUnavailable},
	{listen.ErrPath, exitConfig},
	{systemd.ErrSockets, exitConfig},
	// What ends the agent before it has begun.
	{queue.ErrLocked, exitUnavailable},
	{queue.ErrFull, exitUnavailable},
	{fs.ErrPermission, exitConfig},
	{queue.ErrUnavailable, exitConfig},
	{queue.ErrFormat, exitConfig},
	{queue.ErrCorrupt, exitFailure},
	{context.DeadlineExceeded, exitTryAgain},
	{context.Canceled, exitInterrupted},
}

// usageError is a mistake in the command line.
type usageError struct{ text string }

func (u *usageError) Error() string        { return u.text }
func (u *usageError) Is(target error) bool { return target == errUsage }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// exitCode returns what err makes the command exit with.
func (e *env) exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	for _, x := range exits {
		if !errors.Is(err, x.kind) {
			continue
		}
		if x.code == exitUsage && e.usage != 0 {
			return e.usage
		}
		return x.code
	}
	return exitFailure
}

// hint returns what to do about err, if there is something to say.
func (e *env) hint(cmd *cobra.Command, err error) string {
	var refused *client.Error
	var store *queue.Error
	switch {
	case errors.As(err, &store) && store.Hint != "":
		return store.Hint
	case errors.Is(err, fs.ErrPermission) && cmd.Name() == "agent":
		return "let the agent's user write there, or choose another directory with --data-dir"
	case errors.Is(err, errUsage):
		return fmt.Sprintf("see: %s --help", cmd.CommandPath())
	case errors.Is(err, client.ErrUnavailable) && errors.Is(err, fs.ErrPermission):
		return "the socket is not open to this user: the owner of the device can add it to the socket's group"
	case errors.Is(err, client.ErrDenied):
		return "to see why: querator access check --running --do produce|consume|read|admin --queue QUEUE"
	case errors.Is(err, client.ErrUnavailable) && errors.As(err, &refused) && refused.Code == 0:
		return "start the agent with: querator agent (or: systemctl start querator), or name its socket with --socket"
	case errors.Is(err, client.ErrDuplicate) && cmd.Name() == "restore":
		return "delete it with: querator queues delete NAME; or restore under another name with --as"
	case errors.Is(err, client.ErrNotFound):
		return "see the queues with: querator queues list; create one with: querator queues create NAME"
	case errors.Is(err, client.ErrLeaseLost):
		return "the lease has ended or the item is done; an item that came back to its queue has a new id"
	case errors.Is(err, client.ErrFull):
		return "complete or clear items, raise the limit that the message names, or make room on the disk"
	}
	return ""
}
