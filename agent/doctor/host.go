package doctor

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/device"
)

// checkSocket looks at who may use the socket.
func (x *examination) checkSocket() {
	path := x.Config.Socket.Path
	fi, err := os.Lstat(path)
	switch {
	case err != nil && x.status == nil:
		x.note("socket", Failing, "start the agent, or name its socket with --socket", "%v", err)
		return
	case err != nil:
		x.note("socket", Unknown, "", "the agent answers, but the socket of the configuration is not there: %v", err)
		return
	case fi.Mode().Type() != fs.ModeSocket:
		x.note("socket", Failing, "remove it, or choose another path with [socket] path", "%s is no socket", path)
		return
	}
	owner, group := owners(fi)
	switch mode := fi.Mode().Perm(); {
	case mode&0o007 != 0:
		x.note("socket", Failing, "chmod o= "+path, "%s may be used by every user of the device (mode %#o)", path, mode)
	default:
		x.note("socket", OK, "", "%s belongs to %s and group %s, mode %#o", path, owner, group, mode)
	}
	if dir, err := os.Stat(filepath.Dir(path)); err == nil && dir.Mode().Perm()&0o002 != 0 && dir.Mode()&fs.ModeSticky == 0 {
		x.note("socket", Failing, "chmod o-w "+filepath.Dir(path), "every user may replace the socket: %s has mode %#o", filepath.Dir(path), dir.Mode().Perm())
	}
}

// owners returns the names of user and group, or their numbers.
func owners(fi fs.FileInfo) (owner, group string) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return "?", "?"
	}
	owner, group = fmt.Sprint(st.Uid), fmt.Sprint(st.Gid)
	if u, err := user.LookupId(owner); err == nil {
		owner = u.Username
	}
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	return owner, group
}

// checkMemory compares the limits with the machine.
func (x *examination) checkMemory() {
	limit := int64(x.Config.MemoryLimit)
	total, available := x.Host.Memory()
	switch {
	case total == 0:
		x.note("memory", Unknown, "", "the machine's memory is not known")
	case limit > total/2:
		x.note("memory", Warning, "lower memory-limit", "memory-limit is %s, more than half of the machine's %s", size(limit), size(total))
	case x.status == nil && available > 0 && limit > available:
		x.note("memory", Warning, "lower memory-limit, or stop other programs", "memory-limit is %s, only %s are available", size(limit), size(available))
	default:
		x.note("memory", OK, "", "memory-limit is %s of %s", size(limit), size(total))
	}
	c := x.Host.MemoryCgroupOf(x.process)
	const enable = "to have a second fence, add cgroup_enable=memory to /boot/firmware/cmdline.txt and reboot"
	switch {
	case c.Limit > 0 && c.Limit < limit:
		x.note("memory cgroup", Failing, "raise MemoryMax of the unit, or lower memory-limit", "the kernel kills the agent at %s, below memory-limit (%s)", size(c.Limit), size(limit))
	case c.Limit > 0:
		x.note("memory cgroup", OK, "", "the kernel holds the agent to %s", size(c.Limit))
	case c.Present:
		x.note("memory cgroup", OK, "", "the kernel could bound the agent's memory and does not; memory-limit does")
	case c.SwitchedOff:
		x.note("memory cgroup", Warning, enable, "the kernel was started with cgroup_disable=memory: MemoryMax of the unit does nothing, only memory-limit holds")
	default:
		x.note("memory cgroup", Warning, enable, "the kernel bounds no memory: MemoryMax of the unit does nothing, only memory-limit holds")
	}
}

// checkClock looks at what tells the time.
func (x *examination) checkClock() {
	rtcs := x.Host.RTCs()
	clocks := "no clock of its own"
	if len(rtcs) > 0 {
		clocks = "the clock " + strings.Join(rtcs, ", ")
	}
	synchronised := device.Synchronised()
	switch trust := x.Config.Clock.Trust; {
	case x.status != nil && !x.status.Clock.Trusted:
		x.note("clock", Warning, "set the clock, or let NTP do it; scheduled items wait until then", "the agent does not believe the wall clock: %s; the board has %s", x.status.Clock.Reason, clocks)
	case trust == config.TrustAlways && len(rtcs) == 0 && !synchronised:
		x.note("clock", Warning, `set [clock] trust to "auto"`, `trust is "always", but the board has no clock of its own and NTP does not keep it right`)
	case !synchronised && len(rtcs) == 0:
		x.note("clock", Warning, "run an NTP client, such as systemd-timesyncd", "NTP does not keep the clock right, and the board has no clock of its own")
	case !synchronised:
		x.note("clock", OK, "", "NTP does not keep the clock right; the board has %s", clocks)
	default:
		x.note("clock", OK, "", "NTP keeps the clock right; the board has %s", clocks)
	}
	if now := time.Now(); now.Year() < 2026 {
		x.note("clock", Warning, "set the clock", "it shows %s", now.UTC().Format(time.RFC3339))
	}
}

// checkProcess looks at what the system allows the agent.
func (x *examination) checkProcess() {
	if x.status == nil {
		return
	}
	// Stores have up to some 12 files a MiB of memory, those of partitions that give way to others included; and the rest.
	need := int64(x.Config.Limits.MaxConnections) + int64(x.Config.MemoryLimit>>16) + 200
	switch have := x.Host.MaxFiles(x.process); {
	case have == 0:
		x.note("limits", Unknown, "run it as root or as the agent's user", "the limits of process %s are not known", x.process)
	case have < need:
		x.note("limits", Warning, "raise LimitNOFILE of the unit, or lower max-connections", "the agent may open %d files, %d connections and the stores need %d", have, x.Config.Limits.MaxConnections, need)
	default:
		x.note("limits", OK, "", "the agent may open %d files; oom_score_adj is %s", have, x.Host.OOMScoreAdj(x.process))
	}
}

// checkMachine looks at the kernel and the power supply.
func (x *examination) checkMachine() {
	release, machine := device.Kernel()
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		x.note("kernel", Unknown, "", "the kernel calls itself %q", release)
	} else if major < 5 || major == 5 && minor < 4 {
		x.note("kernel", Warning, "use a kernel of 5.4 or later", "Linux %s on %s: leases cannot be tied to their process (pidfd)", release, machine)
	} else {
		x.note("kernel", OK, "", "Linux %s on %s", release, machine)
	}
	if seen, known := x.Host.UnderVoltage(); seen {
		x.note("power", Warning, "use a better power supply or cable", "the voltage was too low since the board was started, which damages what a card is writing")
	} else if known {
		x.note("power", OK, "", "no under-voltage was seen")
	}
}
