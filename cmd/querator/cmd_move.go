package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// moveFlags are the flags of move.
type moveFlags struct {
	to, toQueue  string
	create       bool
	follow       bool
	noScheduled  bool
	batch        int
	leaseTimeout time.Duration
	journal      string
}

func (e *env) moveCommand() *cobra.Command {
	var f moveFlags
	cmd := &cobra.Command{
		Use:   "move QUEUE --to URL|SOCKET",
		Short: "Move all items of a queue to another server, as a consumer of it would",
		Long: `Move the items of a queue to a queue of another server, such as a larger Querator server, over HTTP: lease them
here, produce them there, and complete them here when the other server has acknowledged them. Leases are extended
meanwhile, errors of either side are waited out. The queue stays in use. It ends when nothing is ready here.

An item that may have arrived is never given up: its id is in a journal (--journal) before it is sent. After an
interruption the same command goes on where it was, as long as the leases last (--lease-timeout). When the other
server is a Querator Edge agent, items are sent with a source id, so that one that is sent again is not stored
twice while it is there. On ctrl-c what was not sent is given back.

Payload, encoding, kind, reference and source id are carried over, and the time of scheduled items, which come
last. Not carried over: ids, attempts, times of creation and expire deadlines; at the other server they begin
anew.`,
		Example: `  querator move readings --to http://server:2319
  querator move readings --to http://server:2319 --to-queue device-7 --create
  querator move readings --to /run/other/querator.sock --follow`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case f.to == "":
				return usagef("--to is missing: the URL or the socket of the other server")
			case f.batch < 1 || f.batch > maxMoveBatch:
				return usagef("--batch-size %d is invalid; it must be 1 to %d", f.batch, maxMoveBatch)
			case f.leaseTimeout < leastMoveLease:
				return usagef("--lease-timeout %s is invalid; it must be at least %s", f.leaseTimeout, leastMoveLease)
			}
			return e.move(cmd.Context(), &f, args[0])
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.to, "to", "", "the other server: http://host:port, unix:///path, or the path of a socket")
	fl.StringVar(&f.toQueue, "to-queue", "", "the queue there (default the same name)")
	fl.BoolVar(&f.create, "create", false, "create the queue there, with the options of this one, if it is not there")
	fl.BoolVar(&f.follow, "follow", false, "go on with items as they come, until ctrl-c")
	fl.BoolVar(&f.noScheduled, "no-scheduled", false, "leave scheduled items here")
	fl.IntVarP(&f.batch, "batch-size", "b", 500, "how many items are leased at a time")
	fl.DurationVar(&f.leaseTimeout, "lease-timeout", 5*time.Minute, "how long a lease lasts before it is extended, and an interrupted move can go on")
	fl.StringVar(&f.journal, "journal", "", "file that remembers what is on its way (default in the user's state directory)")
	return cmd
}

// Bounds of what one batch may be.
const (
	maxMoveBatch   = 1000 // what servers take by default
	leastMoveLease = time.Second
)

// move moves a queue and says what was done.
func (e *env) move(ctx context.Context, f *moveFlags, queue string) error {
	m := &mover{e: e, from: e.client(), to: targetClient(f.to), queue: queue, toQueue: f.toQueue, flags: f}
	defer m.to.Close()
	if m.toQueue == "" {
		m.toQueue = queue
	}
	here, err := m.from.Address()
	if err != nil {
		return err
	}
	there, err := m.to.Address()
	if err != nil {
		return usagef("%v", err)
	}
	if here == there && m.queue == m.toQueue {
		return usagef("the queue cannot be moved to itself")
	}
	if err := m.prepare(ctx); err != nil {
		return err
	}
	path := f.journal
	if path == "" {
		if path, err = e.journalPath(here, queue, there, m.toQueue); err != nil {
			return err
		}
	}
	if m.journal, err = openMoveJournal(path); err != nil {
		return err
	}
	m.shown = e.progress()
	err = m.run(ctx)
	took := m.shown.done()
	err = errors.Join(err, m.journal.close(!m.onTheWay))
	return m.report(ctx, err, took)
}

// targetClient returns a client of the other server.
func targetClient(to string) *client.Client {
	if strings.Contains(to, "://") {
		return &client.Client{Endpoint: to}
	}
	return &client.Client{Socket: to}
}

// journalPath returns where the journal of a move is by default.
func (e *env) journalPath(parts ...string) (string, error) {
	dir, err := e.paths().DataDir()
	if err != nil {
		return "", usagef("there is no place for the journal (%v); name a file with --journal", err)
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return filepath.Join(dir, "moves", hex.EncodeToString(sum[:8])+".journal"), nil
}

// prepare sees whether both queues are there, and what the other server can do.
func (m *mover) prepare(ctx context.Context) error {
	call, cancel := m.e.limited(ctx)
	defer cancel()
	info, err := m.from.QueueInfo(call, m.queue)
	if err != nil {
		return err
	}
	err = m.ask(call, func() error { _, err := m.to.QueueInfo(call, m.toQueue); return err })
	switch {
	case errors.Is(err, client.ErrNotFound) && m.flags.create:
		err = m.createThere(call, info)
	case errors.Is(err, client.ErrNotFound):
		return fmt.Errorf("the other server has no queue '%s'; create it there, or give --create: %w", m.toQueue, err)
	case errors.Is(err, client.ErrDenied):
		err = nil // Who may produce need not read.
	}
	if err != nil {
		return fmt.Errorf("the other server: %w", err)
	}
	// The Querator server has no such call.
	err = m.ask(call, func() error { _, err := m.to.Status(call); return err })
	switch {
	case errors.Is(err, client.ErrUnsupported):
		m.e.note("The other server does not know source ids: an item whose acknowledgement is lost will be there twice")
	case err != nil && !errors.Is(err, client.ErrDenied):
		return fmt.Errorf("the other server: %w", err)
	default:
		m.knowsSources = true
	}
	return nil
}

// askTries is how often a question is asked again when the connection breaks.
const askTries = 5

// ask asks the other server something that does no harm to ask again. A server
// that is not there is an error at once: the address may be wrong.
func (m *mover) ask(ctx context.Context, fn func() error) (err error) {
	for range askTries {
		if err = fn(); err == nil || !mayHaveArrived(err) || ctx.Err() != nil {
			return err
		}
		pause(ctx, moveWaitMin)
	}
	return err
}

// createThere creates the queue at the other server.
func (m *mover) createThere(ctx context.Context, info client.QueueInfo) error {
	info.Name = m.toQueue
	create := func() error { return m.to.CreateQueue(ctx, info) }
	err := m.ask(ctx, create)
	if err != nil && info.DeadQueue != "" && errors.Is(err, client.ErrNotFound) {
		m.e.note("The other server has no dead queue '%s'; '%s' is created without one", info.DeadQueue, m.toQueue)
		info.DeadQueue = ""
		err = m.ask(ctx, create)
	}
	if errors.Is(err, client.ErrDuplicate) {
		return nil // By a try whose answer was lost.
	}
	if err == nil {
		m.e.note("Created queue '%s' at the other server", m.toQueue)
	}
	return err
}

// moved is the summary as JSON.
type moved struct {
	Queue     string  `json:"queue_name"`
	To        string  `json:"to"`
	ToQueue   string  `json:"to_queue_name"`
	Items     int64   `json:"items"`
	Scheduled int64   `json:"scheduled"`
	Bytes     int64   `json:"bytes"`
	Resumed   int64   `json:"resumed"`
	Doubtful  int64   `json:"doubtful"`
	OnTheWay  int     `json:"on_the_way"`
	Left      *int    `json:"left,omitempty"`
	Seconds   float64 `json:"seconds"`
}

// report says what was done and what was not.
func (m *mover) report(ctx context.Context, err error, took time.Duration) error {
	v := moved{Queue: m.queue, To: m.flags.to, ToQueue: m.toQueue, Items: m.items, Scheduled: m.scheduled, Bytes: m.bytes,
		Resumed: m.resumed, Doubtful: m.doubtful, Seconds: took.Seconds(), Left: m.left(ctx)}
	if m.onTheWay {
		v.OnTheWay = m.onTheWayItems
	}
	if m.e.output != outputTable {
		return errors.Join(err, m.e.print(v, nil, nil))
	}
	if v.Resumed > 0 {
		m.e.note("%d item(s) were on their way since an earlier move; they are there now", v.Resumed)
	}
	if v.Doubtful > 0 {
		m.e.note("%d item(s) may be there twice: their leases had ended, so that they are here again", v.Doubtful)
	}
	if v.OnTheWay > 0 {
		m.e.note("%d item(s) may have arrived, and are still leased here: the same command within %s goes on with them",
			v.OnTheWay, m.flags.leaseTimeout)
	}
	text := ""
	if v.Left != nil {
		text = fmt.Sprintf("; %d are left here, leased or scheduled or new", *v.Left)
	}
	m.e.note("Moved %d item(s), %d of them scheduled, %s in %.1f s%s", v.Items, v.Scheduled, bytesText(v.Bytes), v.Seconds, text)
	return err
}

// left returns how many items the queue still has, nil if that cannot be told.
func (m *mover) left(ctx context.Context) *int {
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	s, err := m.from.Stats(call, m.queue)
	if err != nil {
		return nil
	}
	n := 0
	for _, p := range s.Partitions {
		n += p.Total + p.Scheduled
	}
	return &n
}

// isInterrupted reports whether the user ended the command, which is no failure.
func isInterrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, os.ErrDeadlineExceeded))
}
