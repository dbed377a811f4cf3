package crashtest

import (
	"context"
	"syscall"
	"time"

	"github.com/kapetan-io/querator-edge/agent/crashtest/flashfs"
)

// fail makes some calls of the device fail from now on: so many of them, or all
// when times is 0.
func (c *PowerCuts) fail(times int) error {
	syncs := []string{flashfs.CallFsync, flashfs.CallFdatasync, flashfs.CallFsyncDir}
	names := []string{flashfs.CallCreate, flashfs.CallMkdir, flashfs.CallRename, flashfs.CallRemove, flashfs.CallLink}
	files := []string{flashfs.CallFallocate, flashfs.CallTruncate}
	reads := []string{flashfs.CallOpen, flashfs.CallRead}
	rule := &flashfs.Rule{Error: syscall.EIO, Skip: c.Rand.IntN(40), Times: times}
	switch c.Rand.IntN(7) {
	case 0, 1:
		rule.Calls = syncs
	case 2:
		rule.Calls = names
	case 3:
		rule.Calls = files
	case 4:
		rule.Calls = []string{flashfs.CallWrite}
	case 6: // For a moment: what cannot be read for long is lost.
		rule.Calls, rule.Times = reads, 1+times%3
	case 5: // Mounted read-only, or a device that is gone.
		rule.Calls, rule.Times = flashfs.Changes(), 0
		if c.Rand.IntN(2) == 0 {
			rule.Error = syscall.EROFS
		}
	}
	rule.Under = []string{"", "/data/partitions", "/data/queues", "/data/partitions/single-000000-partition"}[c.Rand.IntN(4)]
	c.isFailing = true
	return c.Device.SetRules(rule)
}

// failUnder has calls fail under load, for a while; then the power is cut, or the
// agent killed or told to end. It reports whether the power is to be cut.
func (c *PowerCuts) failUnder(ctx context.Context, p *Process, load *Load) bool {
	load.Failing()
	if err := c.fail(c.Rand.IntN(4)); err != nil {
		c.Book.Problem("the device: %v", err)
	}
	c.Failed++
	rest(ctx, time.Duration(50+c.Rand.IntN(600))*time.Millisecond)
	switch c.Rand.IntN(4) {
	case 0:
		return true
	case 1: // It may take its time when it cannot write.
		load.Ending()
		_ = p.Signal(syscall.SIGTERM)
		rest(ctx, time.Duration(c.Rand.IntN(3000))*time.Millisecond)
	}
	c.kill(p)
	return false
}

// heal ends all failures. The agent has ended.
func (c *PowerCuts) heal() error {
	if !c.isFailing {
		return nil
	}
	c.isFailing = false
	c.Book.DeviceFailed()
	return c.Device.SetRules()
}
