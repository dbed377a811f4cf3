package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/backup"
)

// Restore restores all that a full back-up has, or nothing, into the directories
// of an agent that does not run; built is that of Options. The error Is queue.ErrLocked when it does run,
// else it is one of backup.NewReader, backup.Put or of opening the stores.
func Restore(ctx context.Context, loaded *config.Loaded, built time.Time, stream io.Reader, stderr io.Writer) (*backup.Restored, error) {
	cfg := loaded.Config
	a := &Agent{cfg: &cfg}
	a.log = newLog(&cfg, stderr, true, false, &a.level)
	a.memory = sharesOf(int64(cfg.MemoryLimit))
	a.memory.apply()
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, &queue.Error{Kind: queue.ErrUnavailable, Op: "open", Err: err,
			Msg:  fmt.Sprintf("the data directory %s cannot be made", cfg.DataDir),
			Hint: "choose another with --data-dir, or run the command as its owner"}
	}
	a.trust = newTrust(cfg.Clock.Trust, built, newLastSeen(cfg.DataDir).at)
	a.clock = queue.SystemClock(a.trust.holds)
	stores, err := openStores(&cfg, a.memory, a.clock, a.storeEvents())
	if err != nil {
		return nil, err
	}
	a.stores = stores
	done, err := a.restore(ctx, stream)
	return done, errors.Join(err, stores.close())
}

// restoreStop bounds the time for closing what was restored, on a slow card.
const restoreStop = 5 * time.Minute

// restore restores into open stores.
func (a *Agent) restore(ctx context.Context, stream io.Reader) (*backup.Restored, error) {
	r, err := backup.NewReader(stream)
	if err != nil {
		return nil, err
	}
	a.service, err = queue.Open(ctx, queue.Config{
		Meta: a.stores.meta, Storages: a.stores.named, Clock: a.clock,
		Limits: engineLimits(a.cfg, a.memory), Events: a.engineEvents(),
	})
	if err != nil {
		return nil, err
	}
	done, err := backup.Put(ctx, a.service, r)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreStop)
	defer cancel()
	return done, errors.Join(err, a.service.Shutdown(stop))
}
