package agent

import (
	"context"
	"runtime"
	"time"

	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/device"
	"github.com/kapetan-io/querator-edge/agent/metrics"
	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink"
)

// otherQueues is the label of all queues that have no series of their own. No
// queue can have that name.
const otherQueues = "~other"

// definitions is the label of the storage of the definitions, which has no name.
const definitions = "queues"

// collect writes all but the requests on a page of metrics, without the names of
// queues that shows does not report.
func (a *Agent) collect(ctx context.Context, p *metrics.Page, shows func(queue string) bool) {
	ctx, cancel := context.WithTimeout(ctx, collectTimeout)
	defer cancel()
	a.collectProcess(p)
	a.collectStorages(p)
	a.collectUplink(ctx, p)
	list, all, rest, err := a.collector.collect(ctx)
	if err != nil {
		p.Set(metrics.Healthy, 0)
		return
	}
	sum := sumFigures(p, list)
	p.Set(metrics.Healthy, truth(sum.failed == 0))
	writeSum(p, &sum, &all)
	writeQueues(p, list, &rest, shows)
}

// collectProcess writes what is known of the process.
func (a *Agent) collectProcess(p *metrics.Page) {
	p.Set(metrics.BuildInfo, 1, a.version)
	p.Set(metrics.StartTime, float64(a.started.UnixMilli())/1000)
	p.Set(metrics.Uptime, time.Since(a.started).Seconds())
	p.Set(metrics.CPUSeconds, cpuTime().Seconds())
	p.Set(metrics.OpenFiles, float64(openFiles()))
	p.Set(metrics.Goroutines, float64(runtime.NumGoroutine()))
	p.Set(metrics.MemoryLimit, float64(a.cfg.MemoryLimit))
	p.Set(metrics.MemoryRuntime, float64(runtimeMemory()))
	p.Set(metrics.MemoryAnonymous, float64(anonymous()))
	p.Set(metrics.Connections, float64(a.conns.Load()))
	p.Set(metrics.ConnectionsLimit, float64(a.maxConns()))
	p.Set(metrics.ClockTrusted, truth(a.clock.Trusted()))
	p.Set(metrics.ClockSynchronised, truth(device.Synchronised()))
	p.Set(metrics.DeviceWritten, float64(deviceWritten()))
}

// collectUplink writes what the uplink does, if there is one.
func (a *Agent) collectUplink(ctx context.Context, p *metrics.Page) {
	if a.uplink == nil {
		return
	}
	s := a.uplink.Status(ctx)
	p.Set(metrics.UplinkConnected, truth(s.State == uplink.StateConnected))
	p.Set(metrics.UplinkPending, float64(s.Pending))
	p.Set(metrics.UplinkOldest, s.Oldest.Seconds())
	p.Set(metrics.UplinkBytes, float64(s.Bytes))
	p.Set(metrics.UplinkBlocked, float64(s.Blocked))
	p.Set(metrics.UplinkDelivered, float64(s.Delivered))
	p.Set(metrics.UplinkResent, float64(s.Resent))
	p.Set(metrics.UplinkLost, float64(s.Lost))
	p.Set(metrics.UplinkNetwork, float64(s.BytesOut), "out")
	p.Set(metrics.UplinkNetwork, float64(s.BytesIn), "in")
	collectDownlinks(p, s.Downlinks)
}

// collectStorages writes what the file systems have.
func (a *Agent) collectStorages(p *metrics.Page) {
	places := []struct{ name, driver, dir string }{{"", a.cfg.QueueStorage.Driver, a.cfg.QueueStorage.StorageDir}}
	for i := range a.cfg.PartitionStorages {
		s := &a.cfg.PartitionStorages[i]
		places = append(places, struct{ name, driver, dir string }{s.Name, s.Driver, s.StorageDir})
	}
	for _, s := range places {
		if s.driver == config.DriverMemory {
			continue
		}
		d, err := device.FileSystemOf(s.dir)
		if err != nil {
			continue
		}
		label := s.name
		if label == "" {
			label = definitions
		} else {
			p.Set(metrics.StorageFloor, float64(a.stores.floors[s.name]), label)
		}
		p.Set(metrics.StorageFree, float64(d.Free), label)
		p.Set(metrics.StorageTotal, float64(d.Total), label)
		if d.HasInodes {
			p.Set(metrics.StorageFreeInodes, float64(d.FreeInodes), label)
		}
	}
}

// sumFigures writes how many queues and partitions there are, and returns the
// sums of the queues' figures.
func sumFigures(p *metrics.Page, list []queueFigures) queueFigures {
	var sum queueFigures
	paused, partitions := 0, 0
	for i := range list {
		f := &list[i]
		if f.paused {
			paused++
		}
		partitions += len(f.stats.Partitions)
		sum.merge(f)
	}
	p.Set(metrics.Queues, float64(len(list)))
	p.Set(metrics.QueuesPaused, float64(paused))
	p.Set(metrics.Partitions, float64(partitions))
	p.Set(metrics.PartitionsFailed, float64(sum.failed))
	return sum
}

// merge adds the figures of another queue.
func (f *queueFigures) merge(o *queueFigures) {
	f.add(&o.sum)
	f.age += o.age
	f.failed += o.failed
	f.stats.LeaseWaiting += o.stats.LeaseWaiting
	f.stats.InFlight += o.stats.InFlight
}

// writeSum writes the sums over all queues.
func writeSum(p *metrics.Page, f *queueFigures, all *counts) {
	p.Set(metrics.Items, float64(f.sum.Ready), "ready")
	p.Set(metrics.Items, float64(f.sum.Leased), "leased")
	p.Set(metrics.Items, float64(f.sum.Scheduled), "scheduled")
	p.Set(metrics.Items, float64(f.sum.Moving), "moving")
	p.Set(metrics.ItemBytes, float64(f.sum.Bytes))
	p.Set(metrics.HeldForClock, float64(f.sum.HeldForClock))
	p.Set(metrics.LeaseWaiting, float64(f.stats.LeaseWaiting))
	p.Set(metrics.RequestsInside, float64(f.stats.InFlight))
	p.Set(metrics.DiskBytes, float64(f.sum.Usage.DiskBytes))
	p.Set(metrics.Segments, float64(f.sum.Usage.Segments))
	p.Set(metrics.SegmentsOpen, float64(f.sum.Usage.Open))
	writeLedger(p, &all.ledger)
	p.Set(metrics.PayloadBytes, float64(all.payload))
	p.Set(metrics.WrittenBytes, float64(all.written))
	p.Set(metrics.Syncs, float64(all.synced))
}

func writeLedger(p *metrics.Page, l *queue.Ledger) {
	p.Set(metrics.ItemsIn, float64(l.Produced), "produced")
	p.Set(metrics.ItemsIn, float64(l.Imported), "imported")
	p.Set(metrics.ItemsIn, float64(l.MovedIn), "moved_in")
	p.Set(metrics.ItemsOut, float64(l.Completed), "completed")
	p.Set(metrics.ItemsOut, float64(l.Dead), "dead")
	p.Set(metrics.ItemsOut, float64(l.Expired), "expired")
	p.Set(metrics.ItemsOut, float64(l.Cleared), "cleared")
	p.Set(metrics.ItemsOut, float64(l.Deleted), "deleted")
	p.Set(metrics.ItemsOut, float64(l.Dropped), "dropped")
	p.Set(metrics.ItemsOut, float64(l.Quarantined), "quarantined")
	p.Set(metrics.ItemsOut, float64(l.MovedOut), "moved_out")
	p.Set(metrics.Leases, float64(l.Leases))
	p.Set(metrics.Retries, float64(l.Retries))
	p.Set(metrics.Lapsed, float64(l.Lapsed))
}

// writeQueues writes the queues that have series of their own, and the sums of
// all others. One that whoever asks may not read is left out, and not counted
// as another: a counter of the others would fall when it is deleted.
func writeQueues(p *metrics.Page, list []queueFigures, rest *counts, shows func(queue string) bool) {
	var other queueFigures
	others := false
	for i := range list {
		if list[i].own {
			if shows(list[i].name) {
				writeQueue(p, list[i].name, &list[i])
			}
			continue
		}
		others = true
		other.merge(&list[i])
	}
	if other.counted = *rest; others || rest.ledger.In() > 0 {
		writeQueue(p, otherQueues, &other)
	}
}

func writeQueue(p *metrics.Page, name string, f *queueFigures) {
	p.Set(metrics.QueueItems, float64(f.sum.Ready), name, "ready")
	p.Set(metrics.QueueItems, float64(f.sum.Leased), name, "leased")
	p.Set(metrics.QueueItems, float64(f.sum.Scheduled), name, "scheduled")
	p.Set(metrics.QueueBytes, float64(f.sum.Bytes), name)
	p.Set(metrics.QueueAge, f.averageAge(), name)
	l := &f.counted.ledger
	p.Set(metrics.QueueIn, float64(l.In()), name)
	p.Set(metrics.QueueCompleted, float64(l.Completed), name)
	p.Set(metrics.QueueGone, float64(l.Out()-l.Completed), name)
	p.Set(metrics.QueueWaiting, float64(f.stats.LeaseWaiting), name)
	p.Set(metrics.QueueFailed, float64(f.failed), name)
}

// truth is how the format writes yes and no.
func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
