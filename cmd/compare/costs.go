package main

import (
	"time"

	"github.com/kapetan-io/querator-edge/cmd/internal/measure"
)

// meter reads what a peer has cost, as far as the kernel tells.
type meter struct {
	pid   int
	disk  *measure.Disk  // nil: the kernel does not count it
	syncs *measure.Syncs // nil: the kernel does not count them
}

// costs are what was spent up to a moment, or between two.
type costs struct {
	disk      int64 // bytes written to the disk by anybody
	flushes   int64 // of the disk by anybody
	process   int64 // bytes that the process made the kernel write
	syncs     int64 // syncs of files by the process
	processor time.Duration
}

// newMeter begins to count for a process with its files in dir; pid 0 is none.
func newMeter(pid int, dir string, disk *measure.Disk) *meter {
	m := &meter{pid: pid, disk: disk}
	if pid != 0 {
		m.syncs, _ = measure.CountSyncs(pid, dir) // Without it the disk's flushes say how many there were.
	}
	return m
}

func (m *meter) close() {
	if m.syncs != nil {
		m.syncs.Close()
	}
}

// read returns the costs up to now.
func (m *meter) read() (costs, error) {
	var c costs
	if m.disk != nil {
		counts, err := m.disk.Counts()
		if err != nil {
			return c, err
		}
		c.disk, c.flushes = counts.Written, counts.Flushes
	}
	if m.syncs != nil {
		var err error
		if c.syncs, err = m.syncs.Count(); err != nil {
			return c, err
		}
	}
	if m.pid != 0 {
		c.process, _ = measure.Written(m.pid) // Zero is shown as not known.
		c.processor = measure.Processor(m.pid)
	}
	return c, nil
}

// addBetween adds what was spent from a to b.
func (c *costs) addBetween(a, b costs) {
	c.disk += b.disk - a.disk
	c.flushes += b.flushes - a.flushes
	c.process += b.process - a.process
	c.syncs += b.syncs - a.syncs
	c.processor += b.processor - a.processor
}
