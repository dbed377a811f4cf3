package agent

import (
	"time"

	"github.com/kapetan-io/querator-edge/agent/api"
	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/metrics"
	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/uplink"
	"github.com/kapetan-io/querator-edge/uplink/downlink"
)

// What the profile of an uplink gives its downlinks.
const (
	standardPoll = 5 * time.Minute
	meteredPoll  = time.Hour
)

// itemShare is the part of the memory limit that an item of a downlink may have: it is there a few times while it
// is stored.
const itemShare = 32

// addDownlinks puts the downlinks of a configuration into that of the uplink.
func (a *Agent) addDownlinks(c *uplink.Config, all *config.Config) {
	c.Sink = downlink.Into(a.service)
	c.MaxItem = int(min(a.cfg.Limits.MaxProduceBody, a.cfg.MemoryLimit/itemShare))
	for _, d := range all.Downlinks {
		poll := d.Poll
		switch {
		case poll == 0 && all.Uplink.Metered():
			poll = meteredPoll
		case poll == 0:
			poll = standardPoll
		}
		c.Downlinks = append(c.Downlinks, downlink.Config{
			Queue: d.Queue, Stream: d.Stream, Subject: d.Subject, Doorbell: d.Doorbell, Poll: poll, Start: d.Start,
		})
	}
}

// downlinksToWire writes the state of the downlinks.
func downlinksToWire(list []downlink.Status) []*pb.UplinkDownlink {
	var all []*pb.UplinkDownlink
	for i := range list {
		d := &list[i]
		all = append(all, &pb.UplinkDownlink{
			Queue: d.Queue, Stream: d.Stream, Subject: d.Subject, State: d.State, Class: d.Class, Error: d.Error, LastError: d.LastError,
			Doorbell: d.Doorbell, Sequence: d.Seq, Taken: d.Taken, Skipped: d.Skipped, Missed: d.Missed, Waiting: d.Waiting,
			LastSkipped: d.LastSkipped,
		})
	}
	return all
}

// collectDownlinks writes what the downlinks do. Before a mark was read nothing is known of it, and counters would
// seem to begin anew.
func collectDownlinks(p *metrics.Page, list []downlink.Status) {
	for i := range list {
		d := &list[i]
		p.Set(metrics.DownlinkWell, truth(d.State != downlink.StateOffline && d.State != downlink.StateTrouble), d.Queue)
		if !d.Known {
			continue
		}
		p.Set(metrics.DownlinkTaken, float64(d.Taken), d.Queue)
		p.Set(metrics.DownlinkSkipped, float64(d.Skipped), d.Queue)
		p.Set(metrics.DownlinkMissed, float64(d.Missed), d.Queue)
		p.Set(metrics.DownlinkWaiting, float64(d.Waiting), d.Queue)
	}
}

// downlinkProblems returns what a person should look after.
func downlinkProblems(list []downlink.Status) []api.Problem {
	var problems []api.Problem
	for i := range list {
		if d := &list[i]; d.State == downlink.StateTrouble {
			problems = append(problems, api.Problem{
				About: "downlink " + d.Queue, Text: d.Error, Hint: "querator uplink test says what to change; nothing is lost until the stream forgets it",
			})
		}
	}
	return problems
}
