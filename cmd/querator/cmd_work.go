package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// killAfter is how long a command whose lease is lost, or that outlived the drain timeout, has between SIGTERM
// and SIGKILL.
const killAfter = 2 * time.Second

func (e *env) workCommand() *cobra.Command {
	var w client.Worker
	var once bool
	cmd := &cobra.Command{
		Use:   "work QUEUE -- COMMAND [ARG...]",
		Short: "Run a command for each item",
		Long: `Run a command for each item, with the payload on stdin and the item's fields in the environment:
QUERATOR_QUEUE, QUERATOR_PARTITION, QUERATOR_ID, QUERATOR_ATTEMPTS, QUERATOR_KIND, QUERATOR_ENCODING,
QUERATOR_REFERENCE and QUERATOR_LEASE_DEADLINE.

Exit code 0 completes the item; anything else gives it back, for later with each attempt. The lease is extended
while the command runs; if it is lost all the same, the command and what it has started get SIGTERM, then SIGKILL.
If querator itself is killed, its items are offered again at once; a command that runs then is not stopped.
On SIGINT or SIGTERM nothing new is begun, commands that run may finish within --drain-timeout, and what was not
begun goes back.`,
		Example: `  querator work photos --concurrency 2 -- ./upload.sh
  querator work mails --drain -- sendmail -t`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 || cmd.ArgsLenAtDash() != 1 {
				return errors.New("give a queue, then --, then the command")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			w.StopWhenEmpty = w.StopWhenEmpty || once
			return e.work(cmd.Context(), &w, args[0], args[1:])
		},
	}
	f := cmd.Flags()
	f.IntVar(&w.Concurrency, "concurrency", 1, "how many commands run at once")
	f.IntVarP(&w.BatchSize, "batch-size", "b", 0, "how many items are leased at a time (default the concurrency)")
	f.BoolVar(&w.StopWhenEmpty, "drain", false, "end when the queue has nothing ready")
	f.BoolVar(&once, "once", false, "the same as --drain")
	f.DurationVar(&w.LeaseTimeout, "lease-timeout", 0, "how long a lease lasts before it is extended (default the queue's)")
	f.DurationVar(&w.RetryMin, "retry-min", time.Second, "how long a failed item is held back the first time")
	f.DurationVar(&w.RetryMax, "retry-max", 5*time.Minute, "how long a failed item is held back at most")
	f.DurationVar(&w.DrainTimeout, "drain-timeout", 30*time.Second, "how long commands may go on after SIGINT or SIGTERM")
	cmd.Flags().Lookup("once").Hidden = true
	return cmd
}

func (e *env) work(ctx context.Context, w *client.Worker, queue string, command []string) error {
	if w.Concurrency < 1 || w.BatchSize < 0 || w.LeaseTimeout < 0 || w.RetryMin < 0 || w.DrainTimeout < 0 {
		return usagef("--concurrency must be at least 1, and no other number negative")
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return usagef("the command cannot be run: %v", err)
	}
	// Asked once before the work, so that a wrong name or a missing agent is an error and not a wait.
	call, cancel := e.limited(ctx)
	_, err = e.client().QueueInfo(call, queue)
	cancel()
	if err != nil && !errors.Is(err, client.ErrDenied) { // Who may consume need not be allowed to read.
		return err
	}
	out, errs := &sharedWriter{w: e.stdout}, &sharedWriter{w: e.stderr}
	w.Client, w.Queue, w.ReleaseOnExit = e.client(), queue, true
	w.Handler = func(ctx context.Context, item *client.Item) error {
		cmd := exec.CommandContext(ctx, path, command[1:]...)
		cmd.Args[0] = command[0]
		return runFor(ctx, cmd, item, out, errs)
	}
	w.OnError = func(item *client.Item, err error) {
		text := fmt.Sprintf("querator: %v\n", err)
		if item != nil {
			text = fmt.Sprintf("querator: item %s (attempt %d): %v\n", item.ID, item.Attempts, err)
		}
		_, _ = errs.Write([]byte(text))
	}
	return w.Run(ctx)
}

// runFor runs a command for an item, in a process group of its own, which ends with the context.
func runFor(ctx context.Context, cmd *exec.Cmd, item *client.Item, out, errs *sharedWriter) error {
	cmd.Stdin = bytes.NewReader(item.Payload)
	cmd.Stdout, cmd.Stderr = out.direct(), errs.direct()
	cmd.Env = append(os.Environ(),
		"QUERATOR_QUEUE="+item.Queue,
		"QUERATOR_PARTITION="+strconv.Itoa(item.Partition),
		"QUERATOR_ID="+item.ID,
		"QUERATOR_ATTEMPTS="+strconv.Itoa(item.Attempts),
		"QUERATOR_KIND="+item.Kind,
		"QUERATOR_ENCODING="+item.Encoding,
		"QUERATOR_REFERENCE="+item.Reference,
		"QUERATOR_LEASE_DEADLINE="+item.LeaseDeadline.Format(time.RFC3339Nano),
	)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = killAfter
	err := cmd.Run()
	if ctx.Err() != nil && cmd.Process != nil {
		// Those of the group that did not mind SIGTERM. It is no error that there are none.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	if cause := context.Cause(ctx); cause != nil && err != nil {
		return fmt.Errorf("the command was stopped: %w", cause)
	}
	if cmd.ProcessState != nil && cmd.ProcessState.Success() {
		// It has not read all of its stdin, or left something running that holds its stdout: its own affair.
		return nil
	}
	return err
}

// sharedWriter lets several commands and the worker write to one place.
type sharedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *sharedWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

// direct returns what a command writes to: the file itself, so that no copying stands between, or s.
func (s *sharedWriter) direct() io.Writer {
	if f, ok := s.w.(*os.File); ok {
		return f
	}
	return s
}
