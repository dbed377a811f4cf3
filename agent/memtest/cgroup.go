package memtest

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ErrNoCgroup is returned where no memory cgroup can be made, for want of
// rights or of the controller.
var ErrNoCgroup = errors.New("no memory cgroup can be made here")

// Cgroup is a memory control group that the caller has made, of version 1 or 2.
type Cgroup struct {
	dir     string
	unified bool // version 2
}

// Memory is what a group holds, in bytes, and what has happened to it.
type Memory struct {
	Total     int64 // all that is charged
	Peak      int64 // the greatest Total; 0 where the kernel does not keep it
	Anonymous int64
	File      int64 // pages of files, Dirty among them
	Dirty     int64 // not yet written, or being written
	Kernel    int64
	Held      int64 // Anonymous and Kernel together, nearly all of which cannot be given back
	Squeezed  int64 // how often the limit was met, and something had to be reclaimed
	Killed    int64 // processes killed for want of memory
}

// NewCgroup makes a group with a hard limit in bytes and without swap. The error
// Is ErrNoCgroup where that is not possible. The caller removes it.
func NewCgroup(name string, limit int64) (*Cgroup, error) {
	parents, err := memoryParents()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoCgroup, err)
	}
	err = errors.New("no memory controller is mounted")
	for _, p := range parents {
		g := &Cgroup{dir: filepath.Join(p.dir, name), unified: p.unified}
		if err = g.create(limit); err == nil {
			return g, nil
		}
	}
	return nil, fmt.Errorf("%w: %w", ErrNoCgroup, err)
}

// memoryParents returns the directories that a group may be made in, the best
// first: version 1 where it has the memory controller, else the nearest group
// above this process that gives the controller to its children.
func memoryParents() (parents []Cgroup, err error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		before, after, _ := strings.Cut(sc.Text(), " - ")
		mount, kind := strings.Fields(before), strings.Fields(after)
		if len(mount) < 5 || len(kind) < 3 {
			continue
		}
		dir := mount[4]
		switch {
		case kind[0] == "cgroup" && strings.Contains(","+kind[2]+",", ",memory,"):
			parents = append(parents, Cgroup{dir: dir})
		case kind[0] == "cgroup2":
			for _, d := range above(dir, ownGroup()) {
				if has(filepath.Join(d, "cgroup.controllers"), "memory") {
					parents = append(parents, Cgroup{dir: d, unified: true})
				}
			}
		}
	}
	return parents, nil
}

// above returns the directories from root/group up to root.
func above(root, group string) []string {
	dirs := []string{filepath.Join(root, group)}
	for d := dirs[0]; d != root && strings.HasPrefix(d, root); {
		d = filepath.Dir(d)
		dirs = append(dirs, d)
	}
	return dirs
}

// ownGroup returns the group of this process in the unified hierarchy.
func ownGroup() string {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "/"
	}
	for line := range strings.Lines(string(text)) {
		if group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return group
		}
	}
	return "/"
}

// has reports whether one of the words in the file is that one.
func has(path, word string) bool {
	text, err := os.ReadFile(path)
	return err == nil && strings.Contains(" "+strings.TrimSpace(string(text))+" ", " "+word+" ")
}

func (g *Cgroup) create(limit int64) error {
	if g.unified {
		// Fails where processes are in the parent itself; then another one may do.
		control := filepath.Join(filepath.Dir(g.dir), "cgroup.subtree_control")
		if !has(control, "memory") {
			if err := os.WriteFile(control, []byte("+memory"), 0o644); err != nil {
				return err
			}
		}
	}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return err
	}
	file, swap := "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
	without := strconv.FormatInt(limit, 10)
	if g.unified {
		file, swap, without = "memory.max", "memory.swap.max", "0"
	}
	if err := g.write(file, strconv.FormatInt(limit, 10)); err != nil {
		return errors.Join(err, g.Remove())
	}
	// Kernels without swap accounting do not have the file.
	if err := g.write(swap, without); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return errors.Join(err, g.Remove())
	}
	return nil
}

func (g *Cgroup) write(file, text string) error {
	f, err := os.OpenFile(filepath.Join(g.dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

// Wrap writes a program to path that enters the group and becomes the binary.
func (g *Cgroup) Wrap(path, binary string) error {
	text := fmt.Sprintf("#!/bin/sh\necho $$ >'%s/cgroup.procs' && exec '%s' \"$@\"\n", g.dir, binary)
	return os.WriteFile(path, []byte(text), 0o755)
}

// Remove removes the group. Its processes have ended; the kernel may need a
// moment to notice.
func (g *Cgroup) Remove() error {
	var err error
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = os.Remove(g.dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	return err
}

// String returns the version and the directory.
func (g *Cgroup) String() string {
	if g.unified {
		return "v2 " + g.dir
	}
	return "v1 " + g.dir
}

// Memory returns what the group holds now.
func (g *Cgroup) Memory() (Memory, error) {
	if g.unified {
		return g.unifiedMemory()
	}
	stat, err := g.table("memory.stat")
	oom, err2 := g.table("memory.oom_control")
	m := Memory{
		Total: g.number("memory.usage_in_bytes"), Peak: g.number("memory.max_usage_in_bytes"),
		Anonymous: stat["rss"], File: stat["cache"], Dirty: stat["dirty"] + stat["writeback"],
		Kernel: g.number("memory.kmem.usage_in_bytes"), Squeezed: g.number("memory.failcnt"), Killed: oom["oom_kill"],
	}
	m.Held = m.Anonymous + m.Kernel
	return m, errors.Join(err, err2)
}

func (g *Cgroup) unifiedMemory() (Memory, error) {
	stat, err := g.table("memory.stat")
	events, err2 := g.table("memory.events")
	m := Memory{
		Total: g.number("memory.current"), Peak: g.number("memory.peak"),
		Anonymous: stat["anon"], File: stat["file"], Dirty: stat["file_dirty"] + stat["file_writeback"],
		Kernel: stat["kernel"], Squeezed: events["max"], Killed: events["oom_kill"],
	}
	if m.Kernel == 0 { // Before Linux 5.18 there is no sum.
		m.Kernel = stat["kernel_stack"] + stat["pagetables"] + stat["percpu"] + stat["slab"] + stat["sock"]
	}
	m.Held = m.Anonymous + m.Kernel
	return m, errors.Join(err, err2)
}

// number reads a file that holds one number; 0 if it cannot be read.
func (g *Cgroup) number(file string) int64 {
	text, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n
}

// table reads a file with a name and a number on each line.
func (g *Cgroup) table(file string) (map[string]int64, error) {
	text, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		return nil, err
	}
	m := make(map[string]int64)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		m[name], _ = strconv.ParseInt(value, 10, 64)
	}
	return m, nil
}
