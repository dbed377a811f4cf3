package main

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/listen"
	"github.com/kapetan-io/querator-edge/cmd/internal/measure"
)

// memoryEvery is how often the agent's memory is looked at. Each time costs the kernel a walk over its pages.
const memoryEvery = 500 * time.Millisecond

// agentWatch looks at the agent's process while a measurement runs.
type agentWatch struct {
	c   *client.Client
	pid int // 0: not known, or not on this machine

	end  chan struct{}
	done sync.WaitGroup
	once sync.Once
	most int64 // greatest anonymous memory; read after done
}

// agentCosts is what the agent had spent at one moment.
type agentCosts struct {
	store  int64 // bytes given to the device by the queue's partitions
	syncs  int64
	disk   int64
	kernel int64 // bytes that the kernel counts as written by the process; -1 is not known
	anon   int64 // anonymous memory; 0 is not known
}

// watchAgent begins to watch the agent. The caller stops it.
func (b *bench) watchAgent(ctx context.Context) *agentWatch {
	w := &agentWatch{c: b.c, pid: agentPID(ctx, b.c), end: make(chan struct{})}
	w.done.Go(func() {
		tick := time.NewTicker(memoryEvery)
		defer tick.Stop()
		for {
			w.most = max(w.most, w.anonymous())
			select {
			case <-tick.C:
			case <-w.end:
				return
			}
		}
	})
	return w
}

// stop ends the watch and returns the most anonymous memory that was seen.
func (w *agentWatch) stop() int64 {
	w.once.Do(func() { close(w.end) })
	w.done.Wait()
	return w.most
}

// agentPID asks the kernel who listens on the socket.
func agentPID(ctx context.Context, c *client.Client) int {
	address, err := c.Address()
	path, isUnix := strings.CutPrefix(address, "unix://")
	if err != nil || !isUnix {
		return 0
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return 0
	}
	defer conn.Close()
	cred, err := listen.PeerCred(conn)
	if err != nil {
		return 0
	}
	return int(cred.PID)
}

// costs returns what the agent has spent on a queue.
func (w *agentWatch) costs(ctx context.Context, queue string) (agentCosts, error) {
	s, err := w.c.Status(ctx)
	if err != nil {
		return agentCosts{}, err
	}
	costs := agentCosts{kernel: -1, anon: w.anonymous()}
	if costs.anon == 0 {
		costs.anon = s.Memory.Anonymous
	}
	for _, q := range s.Queues {
		if q.Info.Name != queue {
			continue
		}
		for _, p := range q.Partitions {
			costs.store += p.Usage.Written
			costs.syncs += p.Usage.Syncs
			costs.disk += p.Usage.Disk
		}
	}
	if v, ok := measure.Written(w.pid); ok {
		costs.kernel = v
	}
	return costs, nil
}

// anonymous returns the agent's anonymous memory, or 0 if this process may not see it.
func (w *agentWatch) anonymous() int64 { return measure.Anonymous(w.pid) }
