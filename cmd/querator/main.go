// Command querator keeps durable queues on this device (querator agent) and uses them: it produces, leases and
// completes items, and looks after the queues.
//
// Every subcommand is in a file of its own, cmd_NAME.go. They get at the world through env, so that tests run
// them in their own process.
package main

import (
	"context"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = "dev-build"

// built is set by builds that Go notes no commit for: the seconds from 1970 to the commit, or SOURCE_DATE_EPOCH.
var built = ""

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process in the usual way.
	context.AfterFunc(ctx, stop)
	e := &env{
		stdin:    os.Stdin,
		stdout:   os.Stdout,
		stderr:   os.Stderr,
		getenv:   os.Getenv,
		watched:  isTerminal(os.Stderr),
		version:  version,
		built:    builtTime(built),
		runAgent: runAgent,
	}
	code := e.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// builtTime returns the time that the build has set, zero if it has set none.
func builtTime(seconds string) time.Time {
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(n, 0)
}

// isTerminal reports whether a person looks at f.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
