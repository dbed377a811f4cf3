package doctor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/device"
)

// Level says how bad a finding is.
type Level string

// The levels, from good to bad.
const (
	OK      Level = "ok"
	Unknown Level = "unknown" // The check could not be made.
	Warning Level = "warning"
	Failing Level = "failing"
)

// Finding is what one check found.
type Finding struct {
	Check string `json:"check"`
	Level Level  `json:"level"`
	Text  string `json:"text"`
	// Hint is what to do; empty if there is nothing to be done.
	Hint string `json:"hint,omitempty"`
}

// Options are what is looked at.
type Options struct {
	// Config is the agent's configuration. Required.
	Config *config.Config
	// Client reaches the agent. Required.
	Client *client.Client
	// Version is that of this program.
	Version string
	// SyncTime is how long syncs are measured; 0: not at all.
	SyncTime time.Duration
	// Host is the machine; its zero value is this one.
	Host device.Host
}

// examination is one run over all checks.
type examination struct {
	Options
	status  *client.Status // of the agent; nil if it does not answer
	process string         // the agent's, as a name below /proc; "self" if it is not known
	list    []Finding
}

// Run makes all checks. It takes SyncTime, and a few seconds more if the agent
// does not answer.
func Run(ctx context.Context, o Options) []Finding {
	x := &examination{Options: o, process: "self"}
	x.checkAgent(ctx)
	x.checkDirectories()
	x.checkSocket()
	for _, p := range places(o.Config) {
		x.checkPlace(ctx, p)
	}
	x.checkQuarantine()
	x.checkMemory()
	x.checkClock()
	x.checkUplink(ctx)
	x.checkProcess()
	x.checkMachine()
	return x.list
}

// note adds a finding.
func (x *examination) note(check string, level Level, hint, format string, args ...any) {
	x.list = append(x.list, Finding{Check: check, Level: level, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// agentTimeout bounds how long the agent may take to answer.
const agentTimeout = 10 * time.Second

func (x *examination) checkAgent(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	s, err := x.Client.Status(ctx)
	if err != nil {
		x.note("agent", Failing, "start it with: systemctl start querator, and look at: journalctl -u querator", "the agent does not answer: %v", err)
		return
	}
	x.status = s
	if s.PID > 0 {
		x.process = fmt.Sprint(s.PID)
	}
	switch {
	case s.Version != x.Version:
		x.note("agent", Warning, "restart the agent with: systemctl restart querator", "the agent is version %s, this program is %s", s.Version, x.Version)
	default:
		x.note("agent", OK, "", "version %s, up %s", s.Version, s.Uptime.Truncate(time.Second))
	}
	for i := range s.Problems {
		p := &s.Problems[i]
		level := Warning
		if p.Failing {
			level = Failing
		}
		x.note("agent", level, p.Hint, "%s: %s", p.About, p.Text)
	}
}

// checkDirectories makes the directories that the agent uses those that are
// looked at: it may run with another configuration than the one that was read.
func (x *examination) checkDirectories() {
	if x.status == nil {
		return
	}
	cfg := *x.Config
	cfg.PartitionStorages = slices.Clone(cfg.PartitionStorages)
	for i := range x.status.Storages {
		s := &x.status.Storages[i]
		dir := &cfg.QueueStorage.StorageDir
		for j := range cfg.PartitionStorages {
			if p := &cfg.PartitionStorages[j]; p.Name == s.Name {
				dir = &p.StorageDir
			}
		}
		if s.Dir == "" || s.Dir == *dir || s.Name != "" && dir == &cfg.QueueStorage.StorageDir {
			continue
		}
		x.note("configuration", Warning, "name the agent's configuration with --config or --data-dir",
			"the agent keeps its data in %s, and not in %s, as the configuration that was read says", s.Dir, *dir)
		*dir = s.Dir
	}
	x.Config = &cfg
}

// size returns a size as people read it.
func size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", n)
}
