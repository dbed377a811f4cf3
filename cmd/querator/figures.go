package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// sample is the state of the agent at a moment of this process's clock.
type sample struct {
	*client.Status
	uplink *client.UplinkStatus // nil if it is not known
	at     time.Time
}

// rates are what happened in a second, between two samples.
type rates struct {
	in, done float64 // items
	written  float64 // bytes
	known    bool
}

// queueSum is a queue with the sums over its partitions.
type queueSum struct {
	*client.QueueStatus
	client.PartitionStatus // AverageAge is of the ready and leased items of all partitions
	rates
	state string
}

// sumQueue sums up the partitions of a queue.
func sumQueue(q *client.QueueStatus) queueSum {
	s := queueSum{QueueStatus: q, state: "ok"}
	if q.Paused {
		s.state = "paused"
	}
	age := 0.0
	for i := range q.Partitions {
		p := &q.Partitions[i]
		s.Ready += p.Ready
		s.Leased += p.Leased
		s.Scheduled += p.Scheduled
		s.HeldForClock += p.HeldForClock
		s.Moving += p.Moving
		s.Bytes += p.Bytes
		addLedger(&s.PartitionStatus.Ledger, &p.Ledger)
		addUsage(&s.Usage, &p.Usage)
		age += p.AverageAge.Seconds() * float64(p.Ready+p.Leased)
		if p.Failure != "" {
			s.state = "FAILING"
		}
	}
	s.AverageAge = time.Duration(age / float64(max(s.Ready+s.Leased, 1)) * float64(time.Second))
	if q.Failure != "" {
		s.state = "FAILING"
	}
	return s
}

func addLedger(to, l *client.Ledger) {
	to.Produced += l.Produced
	to.Imported += l.Imported
	to.MovedIn += l.MovedIn
	to.Completed += l.Completed
	to.Dead += l.Dead
	to.Expired += l.Expired
	to.Cleared += l.Cleared
	to.Deleted += l.Deleted
	to.Dropped += l.Dropped
	to.Quarantined += l.Quarantined
	to.MovedOut += l.MovedOut
	to.Leases += l.Leases
	to.Retries += l.Retries
	to.Lapsed += l.Lapsed
}

func addUsage(to, u *client.Usage) {
	to.Disk += u.Disk
	to.Written += u.Written
	to.Syncs += u.Syncs
	to.Segments += u.Segments
	to.OpenSegments += u.OpenSegments
	to.Payload += u.Payload
}

// entered returns how many items came into a queue, by whatever way.
func (s *queueSum) entered() uint64 {
	l := &s.PartitionStatus.Ledger
	return l.Produced + l.Imported + l.MovedIn
}

// sums returns the queues of a sample with their sums and, if there was a sample before it, their rates; and the
// sum over all queues.
func sums(now, before *sample) (list []queueSum, all queueSum) {
	last := make(map[string]queueSum)
	seconds := 0.0
	if before != nil {
		seconds = now.at.Sub(before.at).Seconds()
		for i := range before.Queues {
			s := sumQueue(&before.Queues[i])
			last[s.Info.Name] = s
		}
	}
	all.QueueStatus = &client.QueueStatus{}
	for i := range now.Queues {
		s := sumQueue(&now.Queues[i])
		if old, ok := last[s.Info.Name]; ok && seconds > 0 {
			s.rates = rates{
				in: rise(old.entered(), s.entered()) / seconds, known: true,
				done:    rise(old.PartitionStatus.Ledger.Completed, s.PartitionStatus.Ledger.Completed) / seconds,
				written: rise(uint64(old.Usage.Written), uint64(s.Usage.Written)) / seconds,
			}
		}
		all.add(&s)
		list = append(list, s)
	}
	all.known = seconds > 0
	return list, all
}

// rise returns how much a counter rose; one that fell has begun anew.
func rise(before, now uint64) float64 {
	if now < before {
		return float64(now)
	}
	return float64(now - before)
}

// add adds another queue.
func (s *queueSum) add(o *queueSum) {
	s.Ready += o.Ready
	s.Leased += o.Leased
	s.Scheduled += o.Scheduled
	s.HeldForClock += o.HeldForClock
	s.Moving += o.Moving
	s.Bytes += o.Bytes
	addLedger(&s.PartitionStatus.Ledger, &o.PartitionStatus.Ledger)
	addUsage(&s.Usage, &o.Usage)
	s.QueueStatus.LeaseWaiting += o.QueueStatus.LeaseWaiting
	s.in += o.in
	s.done += o.done
	s.written += o.written
}

// rateText returns a rate as people read it, "-" if it is not known.
func rateText(v float64, known bool) string {
	switch {
	case !known:
		return "-"
	case v == 0:
		return "0"
	case v < 9.95:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// ageText returns the age of the items, "-" if there are none.
func (s *queueSum) ageText() string {
	if s.Ready+s.Leased == 0 {
		return "-"
	}
	return ageText(s.AverageAge)
}

// ageText returns an age in its two largest units.
func ageText(d time.Duration) string {
	switch {
	case d < time.Second:
		return "0s"
	case d < time.Hour:
		return durationText(d.Truncate(time.Second))
	case d < 48*time.Hour:
		return durationText(d.Truncate(time.Minute))
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}

// memoryText says how much of its budget the agent uses.
func memoryText(m client.MemoryStatus) string {
	text := bytesText(m.Anonymous)
	if m.Limit > 0 {
		text += fmt.Sprintf(" of %s (%d %%)", bytesText(m.Limit), 100*m.Anonymous/m.Limit)
	}
	return text
}

// flashText says what the queues have cost the flash since the agent started.
func flashText(s *client.Status, all *queueSum) string {
	text := fmt.Sprintf("%s written for %s of payloads", bytesText(all.Usage.Written), bytesText(all.Usage.Payload))
	if all.Usage.Payload > 0 {
		text += fmt.Sprintf(" (%.2f bytes a byte)", float64(all.Usage.Written)/float64(all.Usage.Payload))
	}
	text += fmt.Sprintf(", %d syncs", all.Usage.Syncs)
	if s.DeviceWritten > 0 {
		text += fmt.Sprintf("; the kernel counts %s", bytesText(s.DeviceWritten))
	}
	return text
}

// clockText says whether the clock is believed and why.
func clockText(c client.ClockStatus) string {
	text := "trusted"
	if !c.Trusted {
		text = "NOT trusted, scheduled items wait until it is"
	}
	if c.Reason != "" {
		text += ": " + c.Reason
	}
	return text
}

// problemText returns a problem as one line.
func problemText(p *client.Problem) string {
	text := p.About + ": " + p.Text
	if p.Hint != "" {
		text += "; " + p.Hint
	}
	if p.Failing {
		return "FAILING  " + text
	}
	return "warning  " + text
}

// storageText tells of a storage in one line.
func storageText(s client.StorageStatus) string {
	var parts []string
	kind := s.Driver
	if s.Dir != "" {
		kind += " in " + s.Dir
	}
	if s.FileSystem != "" {
		kind += " (" + s.FileSystem + ")"
	}
	parts = append(parts, kind)
	if s.Total > 0 {
		free := fmt.Sprintf("%s of %s free", bytesText(s.Free), bytesText(s.Total))
		if s.Floor > 0 {
			free += fmt.Sprintf(", %s kept free", bytesText(s.Floor))
		}
		parts = append(parts, free)
	}
	if s.Floor > 0 && s.Free < s.Floor {
		parts = append(parts, "FULL: produce is refused")
	}
	if s.FreeInodes < s.FloorInodes {
		parts = append(parts, fmt.Sprintf("FULL: %d inodes are free, %d have to be", s.FreeInodes, s.FloorInodes))
	}
	if s.Failure != "" {
		parts = append(parts, "FAILING: "+s.Failure)
	}
	return strings.Join(parts, "; ")
}

// storageName is what a storage is called.
func storageName(s *client.StorageStatus) string {
	if s.Name == "" {
		return "definitions"
	}
	return s.Name
}
