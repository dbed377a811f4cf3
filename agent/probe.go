package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kapetan-io/querator-edge/agent/config"
)

const (
	// probeFile is the file that a sync is tried on, in each directory that items
	// are kept in.
	probeFile = "watchdog-probe"
	// syncEvery is how often. It writes one block in its place, 24 times a day: no
	// file grows and the flash does not notice.
	syncEvery = time.Hour
)

// prober looks whether what the agent acknowledges still gets to flash. It
// belongs to one goroutine.
//
// Asking the loops (queue.Service.Probe) writes nothing, so that is done each
// time. It shows a commit that hangs as soon as there is one. What it cannot show
// is a disk that has died while nobody asked for a commit; that is what the sync
// is for, now and then.
type prober struct {
	loops func(ctx context.Context) error
	dirs  []string
	last  time.Time // when the disks were tried with success; zero is never
}

func newProber(cfg *config.Config, loops func(ctx context.Context) error) *prober {
	p := &prober{loops: loops}
	for i := range cfg.PartitionStorages {
		if s := &cfg.PartitionStorages[i]; s.Driver == config.DriverBadger {
			p.dirs = append(p.dirs, s.StorageDir)
		}
	}
	return p
}

// probe waits for commits under way, and for syncs of its own.
func (p *prober) probe(ctx context.Context) error {
	if err := p.loops(ctx); err != nil {
		return err
	}
	if !p.last.IsZero() && time.Since(p.last) < syncEvery {
		return nil
	}
	for _, dir := range p.dirs {
		if err := trySync(dir); err != nil {
			return fmt.Errorf("the disk takes no sync: %w", err)
		}
	}
	p.last = time.Now()
	return nil
}

// trySync writes a block to the probe file of a directory and syncs it. A full
// disk is no failure: it has answered.
func trySync(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, probeFile), os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		_, err = f.WriteAt([]byte("The agent writes this now and then to see whether the disk still takes a sync.\n"), 0)
		if err == nil {
			err = os.NewSyscallError("fdatasync", unix.Fdatasync(int(f.Fd())))
		}
		err = errors.Join(err, f.Close())
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return nil
	}
	return err
}
