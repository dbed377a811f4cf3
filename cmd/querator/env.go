package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/kapetan-io/querator-edge/agent"
	"github.com/kapetan-io/querator-edge/agent/client"
)

// env is what a command knows of the world: the process and the global flags. It serves one command line.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(name string) string
	watched        bool // a person looks at stderr
	version        string
	built          time.Time // zero for what Go's build noted
	// runAgent is the agent itself; it returns when the context ends or the agent cannot go on. The options have what
	// is of the command line and the build.
	runAgent func(ctx context.Context, o agent.Options) error

	// The global flags.
	socket, endpoint, output string
	quiet                    bool
	timeout                  time.Duration

	started bool // the command line was understood
	usage   int  // exit code for one that was not
	shared  *client.Client
}

// grace is how long a command waits for the agent beyond the time that it gives the agent.
const grace = 5 * time.Second

// client returns the client of the agent that the flags and the environment name.
func (e *env) client() *client.Client {
	if e.shared == nil {
		e.shared = &client.Client{Socket: e.socket, Endpoint: e.endpoint}
		if e.socket == "" && e.endpoint == "" && e.getenv("QUERATOR_SOCKET") == "" {
			e.shared.Endpoint = e.getenv("QUERATOR_ENDPOINT")
		}
	}
	return e.shared
}

// limited returns a context for one call to the agent.
func (e *env) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, e.timeout)
}

// note tells people on stderr what was done.
func (e *env) note(format string, args ...any) {
	if !e.quiet {
		fmt.Fprintf(e.stderr, format+"\n", args...)
	}
}

// progress tells people how far long work is: in place on a terminal, else by a line every 10 s.
type progress struct {
	e     *env
	begin time.Time
	last  time.Time
	shown bool
}

func (e *env) progress() *progress {
	now := time.Now()
	return &progress{e: e, begin: now, last: now}
}

// show shows a text if it is time to.
func (p *progress) show(format string, args ...any) {
	every := 10 * time.Second
	if p.e.watched {
		every = 200 * time.Millisecond
	}
	if p.e.quiet || time.Since(p.last) < every {
		return
	}
	p.last = time.Now()
	if p.e.watched {
		fmt.Fprintf(p.e.stderr, "\r\x1b[K"+format, args...)
		p.shown = true
		return
	}
	fmt.Fprintf(p.e.stderr, format+"\n", args...)
}

// done removes what show left on the terminal, and returns how long the work took.
func (p *progress) done() time.Duration {
	if p.shown {
		fmt.Fprint(p.e.stderr, "\r\x1b[K")
		p.shown = false
	}
	return time.Since(p.begin)
}
