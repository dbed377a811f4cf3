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
	"syscall"

	"golang.org/x/sys/unix"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = "dev-build"

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
		runAgent: runAgent,
	}
	code := e.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// isTerminal reports whether a person looks at f.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
