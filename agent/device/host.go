package device

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Host is where /proc and /sys are read.
type Host struct {
	// Root is put before their paths; empty is this machine.
	Root string
}

// text returns the content of a file without blanks around it, empty if it
// cannot be read.
func (h Host) text(path string) string {
	b, err := os.ReadFile(filepath.Join(h.Root, path))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// field returns the value of a line "key value" of a file.
func (h Host) field(path, key string) string {
	for line := range strings.Lines(h.text(path)) {
		if value, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Kernel returns the kernel's release, such as 6.1.21-v8+, and the machine.
func Kernel() (release, machine string) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", ""
	}
	return unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:])
}

// Memory returns the machine's memory and what of it could be used now, in
// bytes; 0 is not known.
func (h Host) Memory() (total, available int64) {
	return h.kib("/proc/meminfo", "MemTotal:"), h.kib("/proc/meminfo", "MemAvailable:")
}

func (h Host) kib(path, key string) int64 {
	n, err := strconv.ParseInt(strings.TrimSuffix(h.field(path, key), " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

// MemoryCgroup is what the kernel does about a process that takes too much
// memory.
type MemoryCgroup struct {
	// Present: the kernel has a memory controller that could bound the process.
	Present bool
	// Limit is the least limit of the process's group and those above it, in
	// bytes; 0 is none.
	Limit int64
	// SwitchedOff: the kernel was told at boot to do without, which is how
	// Raspberry Pi OS comes.
	SwitchedOff bool
}

// MemoryCgroupOf returns that of a process; "self" is this one.
func (h Host) MemoryCgroupOf(process string) MemoryCgroup {
	var c MemoryCgroup
	for line := range strings.Lines(h.text(filepath.Join("/proc", process, "cgroup"))) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(parts) < 3:
		case parts[0] == "0" && h.hasController():
			c.Present = true
			c.lower(h.leastLimit("/sys/fs/cgroup", parts[2], "memory.max"))
		case hasWord(parts[1], ",", "memory"):
			c.Present = true
			c.lower(h.leastLimit("/sys/fs/cgroup/memory", parts[2], "memory.limit_in_bytes"))
		}
	}
	for word := range strings.FieldsSeq(h.text("/proc/cmdline")) {
		switch list, isOff := strings.CutPrefix(word, "cgroup_disable="); {
		case isOff && hasWord(list, ",", "memory"):
			c.SwitchedOff = true
		case word == "cgroup_enable=memory":
			c.SwitchedOff = false
		}
	}
	c.SwitchedOff = c.SwitchedOff && !c.Present
	return c
}

func (c *MemoryCgroup) lower(limit int64) {
	if limit > 0 && (c.Limit == 0 || limit < c.Limit) {
		c.Limit = limit
	}
}

// hasController reports whether the one hierarchy of version 2 bounds memory.
func (h Host) hasController() bool {
	return hasWord(h.text("/sys/fs/cgroup/cgroup.controllers"), " ", "memory")
}

// leastLimit returns the least limit from a group up to the root, 0 if there is
// none.
func (h Host) leastLimit(mount, group, file string) int64 {
	var least int64
	for {
		n, err := strconv.ParseInt(h.text(filepath.Join(mount, group, file)), 10, 64)
		// Version 1 writes the greatest number for none.
		if err == nil && n > 0 && n < math.MaxInt64/2 && (least == 0 || n < least) {
			least = n
		}
		if group == "/" || group == "." || group == "" {
			return least
		}
		group = filepath.Dir(group)
	}
}

func hasWord(list, separator, word string) bool {
	for w := range strings.SplitSeq(list, separator) {
		if w == word {
			return true
		}
	}
	return false
}

// RTCs returns the names of the real-time clocks.
func (h Host) RTCs() []string {
	dirs, err := filepath.Glob(filepath.Join(h.Root, "/sys/class/rtc/rtc*"))
	if err != nil {
		return nil // The pattern is right.
	}
	var names []string
	for _, dir := range dirs {
		name := filepath.Base(dir)
		if text, err := os.ReadFile(filepath.Join(dir, "name")); err == nil {
			name += " " + strings.TrimSpace(string(text))
		}
		names = append(names, name)
	}
	return names
}

// UnderVoltage reports whether a Raspberry Pi has seen too low a voltage since
// it was started, which ruins what a card is writing; known is false on other
// machines.
func (h Host) UnderVoltage() (seen, known bool) {
	text := h.text("/sys/devices/platform/soc/soc:firmware/get_throttled")
	bits, err := strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, 32)
	const now, since = 1 << 0, 1 << 16
	return bits&(now|since) != 0, err == nil
}

// Limits of a process, as text; empty is not known.
func (h Host) OOMScoreAdj(process string) string {
	return h.text(filepath.Join("/proc", process, "oom_score_adj"))
}

// MaxFiles returns how many file descriptors a process may have, 0 if that is
// not known.
func (h Host) MaxFiles(process string) int64 {
	f := strings.Fields(h.field(filepath.Join("/proc", process, "limits"), "Max open files"))
	if len(f) == 0 {
		return 0
	}
	n, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Block is a block device.
type Block struct {
	Name  string // such as mmcblk0
	Model string
	// Type is SD or MMC for cards.
	Type       string
	Rotational bool
	Removable  bool
	USB        bool
	// WriteBack: the kernel believes that the device has a cache that loses what
	// is in it when the power goes, so that a sync has to flush it. HasCache says
	// whether the kernel tells at all.
	WriteBack, HasCache bool
	// Worn is the share of its life that the device says it has used, in per
	// cent, up to 10 too much; 0 is not known.
	Worn int
	// NearEnd: the device says that its spare blocks run out.
	NearEnd bool
}

// BlockOf returns the device with this number (st_dev), its zero value if there
// is none.
func (h Host) BlockOf(dev uint64) Block {
	link := filepath.Join(h.Root, "/sys/dev/block", strconv.FormatUint(uint64(unix.Major(dev)), 10)+":"+strconv.FormatUint(uint64(unix.Minor(dev)), 10))
	dir, err := filepath.EvalSymlinks(link)
	if err != nil {
		return Block{}
	}
	at := Host{dir}
	if at.text("partition") != "" {
		at.Root = filepath.Dir(dir)
	}
	b := Block{
		Name: filepath.Base(at.Root), Model: at.text("device/model"), Type: at.text("device/type"),
		Rotational: at.text("queue/rotational") == "1", Removable: at.text("removable") == "1",
		USB: strings.Contains(at.Root, "/usb"),
	}
	if b.Model == "" {
		b.Model = at.text("device/name")
	}
	if b.Type != "SD" && b.Type != "MMC" {
		b.Type = ""
	}
	cache := at.text("queue/write_cache")
	b.WriteBack, b.HasCache = cache == "write back", cache != ""
	for _, text := range strings.Fields(at.text("device/life_time")) {
		if n, err := strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, 8); err == nil && n <= 11 {
			b.Worn = max(b.Worn, int(n)*10)
		}
	}
	eol, err := strconv.ParseUint(strings.TrimPrefix(at.text("device/pre_eol_info"), "0x"), 16, 8)
	b.NearEnd = err == nil && eol >= 2
	return b
}
