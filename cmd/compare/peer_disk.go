package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// rawDisk is the limit that the disk sets to anybody who syncs each request by itself: overwriting a file that is
// allocated, and fdatasync. Several clients take turns. It only produces.
type rawDisk struct {
	mu   sync.Mutex
	file *os.File
	at   int64
}

var _ peer = (*rawDisk)(nil)

const rawSize = 64 << 20

func (d *rawDisk) name() string                 { return "raw disk" }
func (d *rawDisk) durable() bool                { return true }
func (d *rawDisk) create(context.Context) error { return nil }
func (d *rawDisk) pid() int                     { return 0 }
func (d *rawDisk) dial() (conn, error)          { return d, nil }
func (d *rawDisk) close()                       {}

func (d *rawDisk) start(_ context.Context, dir string, _ bool) error {
	f, err := os.Create(filepath.Join(dir, "raw"))
	if err != nil {
		return err
	}
	d.file, d.at = f, 0
	if _, err := f.Write(make([]byte, rawSize)); err != nil {
		return err
	}
	return f.Sync()
}

func (d *rawDisk) produce(batch [][]byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []byte
	for _, payload := range batch {
		all = append(all, payload...)
	}
	if d.at+int64(len(all)) > rawSize {
		d.at = 0
	}
	if _, err := d.file.WriteAt(all, d.at); err != nil {
		return err
	}
	d.at += int64(len(all))
	return syscall.Fdatasync(int(d.file.Fd()))
}

func (d *rawDisk) lease(int, time.Duration) (int, error) { return 0, errNotAQueue }
func (d *rawDisk) complete() error                       { return errNotAQueue }

var errNotAQueue = errors.New("the raw disk is no queue")

func (d *rawDisk) kill() {
	if d.file != nil {
		_ = d.file.Close() // What is in it is of no interest.
		d.file = nil
	}
}
