package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent"
	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/backup"
)

func (e *env) restoreCommand() *cobra.Command {
	sel := backup.Selection{Partition: -1}
	var flags config.Flags
	var offline bool
	cmd := &cobra.Command{
		Use:   "restore FILE... | -",
		Short: "Restore queues from back-ups",
		Long: `Restore all queues of a back-up, or one, or one partition. FILE is a full back-up, followed by all incremental
ones up to the one that is wanted; - is a full one on stdin. Everything is read and checked before anything counts:
all is restored, or nothing.

Without --offline the queues are restored into the agent that runs. With --offline, --data-dir or --config they are
restored into the directories of an agent that does not run, such as those of a new card: the whole device is as it
was. Run as root, it writes them as the owner of the data directory.

A queue that exists is refused, unless nothing was ever put into it, such as one that the configuration creates.
Restore it as another queue with --as, or delete it first. One partition can be restored into a queue of whose
other partitions are in use.

Restored items have the order, times, attempts and labels that they had, and new ids: those of the old device
may be given out there still. Leases are over, their items are at the end of the queue.`,
		Example: `  querator restore /media/usb/querator.backup --queue readings
  querator restore monday.backup tuesday.backup --queue readings --as readings-of-tuesday
  sudo querator restore /media/usb/querator.backup --offline`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if sel.Queue == "" && (sel.Partition >= 0 || sel.As != "") || sel.Partition < -1 {
				return usagef("--partition and --as need --queue, and a partition is 0 or more")
			}
			offline = offline || flags.Config != "" || flags.DataDir != ""
			if offline && (e.socket != "" || e.endpoint != "") {
				return usagef("--socket and --endpoint name an agent that runs; --offline, --data-dir and --config are for one that does not")
			}
			to := e.restoreOnline
			if offline {
				to = func(ctx context.Context, r io.Reader) (*client.Restored, error) {
					return e.restoreOffline(ctx, flags, r)
				}
			}
			return e.restore(cmd.Context(), sel, args, to)
		},
	}
	cmd.Flags().StringVar(&sel.Queue, "queue", "", "the only queue to restore")
	cmd.Flags().IntVarP(&sel.Partition, "partition", "p", -1, "the only partition of the queue to restore")
	cmd.Flags().StringVar(&sel.As, "as", "", "the name that the queue gets")
	cmd.Flags().BoolVar(&offline, "offline", false, "restore into the directories of an agent that does not run")
	agentFlags(cmd, &flags)
	return cmd
}

// errStopped ends a stream that nobody reads any more.
var errStopped = errors.New("the stream is not wanted any more")

// restore makes one full back-up of the files and hands it to to.
func (e *env) restore(ctx context.Context, sel backup.Selection, files []string, to func(context.Context, io.Reader) (*client.Restored, error)) error {
	write, lost, size, closeFiles, err := e.openBackups(sel, files)
	if err != nil {
		return err
	}
	defer closeFiles()
	shown := e.progress()
	pr, pw := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := write(&shownWriter{counter: counter{w: pw}, shown: shown, of: size})
		pw.CloseWithError(err) // A nil error is the end of the stream.
		written <- err
	}()
	done, err := to(ctx, pr)
	pr.CloseWithError(errStopped)
	failed := <-written
	if failed != nil && !errors.Is(failed, errStopped) && !errors.Is(failed, io.ErrClosedPipe) {
		err = failed // It is why the other end has failed.
	}
	took := shown.done()
	if err != nil {
		return fmt.Errorf("nothing was restored: %w", err)
	}
	done.Notes = append(done.Notes, lost...)
	if e.output != outputTable {
		return e.print(done, nil, nil)
	}
	for _, n := range done.Notes {
		e.note("Note: %s", n)
	}
	e.note("Restored %d queue(s), %d partition(s), %d item(s) in %.1f s", done.Queues, done.Partitions, done.Items, took.Seconds())
	return nil
}

// openBackups opens the files, and returns what writes the selected part as one
// back-up of about so many bytes.
func (e *env) openBackups(sel backup.Selection, files []string) (write func(io.Writer) error, lost []string, size int64, closeFiles func(), err error) {
	if len(files) == 1 && files[0] == "-" {
		return func(w io.Writer) error {
			r, err := backup.NewReader(e.stdin)
			if err != nil {
				return err
			}
			return backup.Copy(w, r, sel)
		}, nil, 0, func() {}, nil
	}
	chain, size, closeFiles, err := e.openChain(files)
	if err != nil {
		return nil, nil, 0, nil, err
	}
	return func(w io.Writer) error { return chain.Write(w, sel) }, chain.Lost, size, closeFiles, nil
}

// openChain opens and checks back-ups.
func (e *env) openChain(paths []string) (c *backup.Chain, size int64, closeFiles func(), err error) {
	var open []*os.File
	closeFiles = func() {
		for _, f := range open {
			_ = f.Close() // It was only read.
		}
	}
	var files []backup.File
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			closeFiles()
			return nil, 0, nil, err
		}
		open = append(open, f)
		info, err := f.Stat()
		if err != nil || !info.Mode().IsRegular() {
			closeFiles()
			return nil, 0, nil, usagef("%s is not a file; a back-up can be read from stdin with -, if it is the only one", path)
		}
		size += info.Size()
		files = append(files, backup.File{Name: path, ReadSeeker: f})
	}
	shown := e.progress()
	defer shown.done()
	var read int64
	c, err = backup.OpenChain(files, func(piece *queue.BackupPiece) error {
		read += int64(len(piece.Data))
		shown.bar(int(read*100/max(1, size)), 100, read)
		return badgerstore.CheckPiece(piece)
	})
	if err != nil {
		closeFiles()
		return nil, 0, nil, err
	}
	return c, size, closeFiles, nil
}

// shownWriter shows how much was written.
type shownWriter struct {
	counter
	shown *progress
	of    int64 // 0 if it is not known
}

func (w *shownWriter) Write(p []byte) (int, error) {
	n, err := w.counter.Write(p)
	if w.of > 0 {
		w.shown.bar(int(min(99, w.n*100/w.of)), 100, w.n)
	} else {
		w.shown.show("%s", bytesText(w.n))
	}
	return n, err
}

func (e *env) restoreOnline(ctx context.Context, r io.Reader) (*client.Restored, error) {
	return e.client().Restore(ctx, r)
}

// restoreOffline restores into the directories of an agent that does not run.
func (e *env) restoreOffline(ctx context.Context, flags config.Flags, r io.Reader) (*client.Restored, error) {
	loaded, err := config.LoadAgent(flags, e.paths())
	if err != nil {
		return nil, err
	}
	if err := becomeOwner(loaded.Config.DataDir); err != nil {
		return nil, err
	}
	done, err := agent.Restore(ctx, loaded, e.built, r, e.stderr)
	if err != nil {
		return nil, err
	}
	return &client.Restored{Queues: done.Queues, Partitions: done.Partitions, Items: done.Items, Notes: done.Notes}, nil
}
