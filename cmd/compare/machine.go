package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kapetan-io/querator-edge/cmd/internal/measure"
)

// machine says where and what was measured.
type machine struct {
	At         time.Time         `json:"at"`
	Arch       string            `json:"arch"`
	Processors int               `json:"processors"`
	Model      string            `json:"model,omitempty"`
	Memory     int64             `json:"memory_bytes"`
	Kernel     string            `json:"kernel"`
	Disk       string            `json:"disk,omitempty"`
	Programs   map[string]string `json:"programs"`
	// Payloads is what they are made of, JSON or random.
	Payloads string `json:"payloads"`
	// LoadBefore is the load average of the minute before. Above 0.5 or so others were at work.
	LoadBefore string `json:"load_before"`
}

func newMachine(dir string) (machine, *measure.Disk) {
	m := machine{At: time.Now().UTC().Truncate(time.Second), Arch: runtime.GOARCH, Processors: runtime.NumCPU(), Programs: make(map[string]string)}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	m.Memory, _ = measure.ProcValue("/proc/meminfo", "MemTotal:")
	m.Memory <<= 10 // The file has KiB.
	cpu, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(cpu)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			m.Model = strings.TrimSpace(v)
			break
		}
	}
	average, _ := os.ReadFile("/proc/loadavg")
	m.LoadBefore, _, _ = strings.Cut(string(average), " ")
	disk, err := measure.DiskOf(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "what the disk writes is not known:", err)
		return m, nil
	}
	m.Disk = disk.Name
	return m, disk
}

// program notes the version of a program.
func (m *machine) program(ctx context.Context, name, path string, args ...string) {
	out, err := exec.CommandContext(ctx, path, args...).Output()
	if err != nil {
		out = []byte("version not known")
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	m.Programs[name] = first
}

func (m *machine) text() string {
	text := fmt.Sprintf("%s, %d processors (%s), %s of memory, Linux %s, disk %s, load %s before", m.Arch, m.Processors, m.Model,
		mebibytes(float64(m.Memory)), m.Kernel, m.Disk, m.LoadBefore)
	for _, name := range []string{"querator", "beanstalkd", "redis", "nats"} {
		if v, ok := m.Programs[name]; ok {
			text += "\n" + name + ": " + v
		}
	}
	return text
}
