package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/queue/backup"
)

// backupFlags are the flags of backup.
type backupFlags struct {
	queue     string
	partition int
	since     string
	manifest  string
}

func (e *env) backupCommand() *cobra.Command {
	var f backupFlags
	cmd := &cobra.Command{
		Use:   "backup FILE|-",
		Short: "Back up queues to a file or stdout while they are in use",
		Long: `Take a back-up of all queues, or of one, while the agent serves them, and write it to FILE or, with -, to
stdout. Each partition is in it as it was at one moment, with all that was acknowledged before. FILE appears, or
is replaced, only when the back-up is whole.

With --since, what an earlier back-up has is left out: blocks of items are never changed on flash, so that only
new ones are sent. Restoring takes the full back-up and all incremental ones after it. --manifest writes what
--since needs to a small file of its own, for when the back-up itself goes elsewhere; --since takes either.

The agent keeps what is still to be read, although it may be completed meanwhile. If the disk gets full for it,
or nothing is read for [limits] read-timeout, the back-up is given up. Exits with 1 when something could not be
read; the file is there all the same, and has the rest. Queues of a memory storage are in it without items.`,
		Example: `  querator backup /media/usb/querator.backup
  querator backup --since monday.backup tuesday.backup
  querator backup --manifest last.manifest - | ssh host 'cat > querator.backup'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.partition >= 0 && f.queue == "" || f.partition < -1 {
				return usagef("--partition needs --queue, and is 0 or more")
			}
			return e.backup(cmd.Context(), &f, args[0])
		},
	}
	cmd.Flags().StringVar(&f.queue, "queue", "", "the only queue to back up")
	cmd.Flags().IntVarP(&f.partition, "partition", "p", -1, "the only partition of the queue to back up")
	cmd.Flags().StringVar(&f.since, "since", "", "a back-up or manifest of which nothing is written again")
	cmd.Flags().StringVar(&f.manifest, "manifest", "", "write a manifest of the back-up to this file")
	return cmd
}

// backup takes a back-up and reports it.
func (e *env) backup(ctx context.Context, f *backupFlags, file string) error {
	since, err := e.readSince(f.since)
	if err != nil {
		return err
	}
	o := client.BackupOptions{Queue: f.queue}
	if f.partition >= 0 {
		o.Partition = &f.partition
	}
	if since != nil {
		if o.Since, err = since.Encode(); err != nil {
			return err
		}
	}
	out, err := e.openOutput(file)
	if err != nil {
		return err
	}
	defer out.discard()
	stream, err := e.client().Backup(ctx, o)
	if err != nil {
		return err
	}
	defer stream.Close()
	shown := e.progress()
	r, written, err := e.copyBackup(stream, out, since, shown)
	took := shown.done()
	if err == nil {
		err = out.commit()
	}
	if err == nil && f.manifest != "" {
		err = e.writeManifest(f.manifest, r.Head)
	}
	if err != nil {
		return fmt.Errorf("no back-up was written: %w", err)
	}
	return e.reportBackup(file, r, written, took.Seconds())
}

// readSince reads the head of the back-up to go on from, all of which must be
// sound; nil if there is none.
func (e *env) readSince(path string) (*backup.Head, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := backup.NewReader(f)
	if err == nil {
		err = r.ReadAll(nil)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r.Head, nil
}

// copyBackup writes the stream to out, and reads it at the same time to see
// whether it is sound.
func (e *env) copyBackup(stream io.Reader, out io.Writer, since *backup.Head, shown *progress) (*backup.Reader, int64, error) {
	count := &counter{w: out}
	r, err := backup.NewReader(io.TeeReader(stream, count))
	if err != nil {
		return nil, 0, err
	}
	total := r.Head.Sections(since)
	err = nil
	for err == nil {
		if _, _, err = r.Next(); err == nil {
			shown.bar(max(0, r.Sections()-1), total, count.n)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return r, count.n, err
}

// writeManifest writes the manifest of a back-up.
func (e *env) writeManifest(path string, h *backup.Head) error {
	out, err := e.openOutput(path)
	if err != nil {
		return err
	}
	defer out.discard()
	m := *h
	m.Kind = backup.Manifest
	w, err := backup.NewWriter(out, &m)
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = out.commit()
	}
	return err
}

// reportBackup says what was backed up, and fails if something is missing.
func (e *env) reportBackup(file string, r *backup.Reader, written int64, seconds float64) error {
	h := r.Head
	missing := append(h.Failures(), r.Lost...)
	partitions := 0
	for i := range h.Queues {
		partitions += len(h.Queues[i].Partitions)
	}
	v := map[string]any{"file": file, "id": h.ID, "kind": h.Kind, "created_at": h.CreatedAt, "queues": len(h.Queues),
		"partitions": partitions, "items": h.Items(), "bytes": written, "seconds": seconds, "missing": append([]string{}, missing...), "memory_only": append([]string{}, h.Volatile()...)}
	if h.Parent != "" {
		v["parent"] = h.Parent
	}
	note := func() error {
		for _, name := range h.Volatile() {
			e.note("Queue '%s' is kept in memory; its items are not in the back-up", name)
		}
		for _, m := range missing {
			e.note("Missing: %s", m)
		}
		e.note("Backed up %d queue(s), %d partition(s), %d item(s): %s in %.1f s, %s", len(h.Queues), partitions, h.Items(),
			bytesText(written), seconds, h.Kind)
		return nil
	}
	var err error
	switch {
	case e.output == outputTable:
		err = note()
	case file == "-": // Stdout has the back-up.
	default:
		err = e.print(v, nil, nil)
	}
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("%d part(s) are missing in the back-up", len(missing))
	}
	return err
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// output is a file that appears when it is whole, or a stream.
type output struct {
	*bufio.Writer
	file *os.File // nil for a stream
	path string
}

// openOutput opens a file for writing under a name of its own, or stdout for -.
// What is there and is no file, such as a device, is written as it is.
func (e *env) openOutput(path string) (*output, error) {
	const size = 256 << 10
	if path == "-" {
		if f, ok := e.stdout.(*os.File); ok && isTerminal(f) {
			return nil, usagef("a back-up is not for a terminal; name a file, or write it to a pipe")
		}
		return &output{Writer: bufio.NewWriterSize(e.stdout, size)}, nil
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		if info.IsDir() {
			return nil, usagef("%s is a directory; name a file in it", path)
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		return &output{Writer: bufio.NewWriterSize(f, size), file: f}, nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.partial")
	if err != nil {
		return nil, err
	}
	return &output{Writer: bufio.NewWriterSize(f, size), file: f, path: path}, nil
}

// commit puts everything on flash, and the file under its name.
func (o *output) commit() error {
	err := o.Flush()
	if o.file == nil || err != nil {
		return err
	}
	temp, path := o.file.Name(), o.path
	if path != "" {
		err = o.file.Sync()
	}
	err = errors.Join(err, o.file.Close())
	if err == nil && path != "" {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, o.remove(temp))
	}
	o.file = nil
	if path == "" {
		return nil
	}
	return syncDir(filepath.Dir(path))
}

func (o *output) remove(temp string) error {
	o.file = nil
	if o.path == "" {
		return nil
	}
	return os.Remove(temp)
}

// discard gives up what was not committed.
func (o *output) discard() {
	if o.file == nil {
		return
	}
	_ = o.file.Close() // What it holds is not wanted.
	_ = o.remove(o.file.Name())
}

// bar shows how far long work is, as a bar: done of so many parts, and how many
// bytes.
func (p *progress) bar(done, of int, bytes int64) {
	const width = 30
	of = max(of, done, 1)
	n := done * width / of
	p.show("[%s%s] %3d %%  %s", strings.Repeat("#", n), strings.Repeat("-", width-n), done*100/of, bytesText(bytes))
}
