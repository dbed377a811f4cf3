package wallclock

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Clock is the time of day that one program after the other sees. Its methods are
// called from one goroutine.
type Clock struct {
	// Program is the path of the program that gets the clock. What is started may
	// be another that becomes it, by execve(2) in the same process.
	Program string

	offset time.Duration
	memory *os.File // of the process that was started last
	at     int64    // where in it the offset is
}

// Set sets the time for the programs that are started from now on.
func (c *Clock) Set(now time.Time) { c.offset = time.Until(now).Round(time.Second) }

// Step does so, and steps the clock of the program that was started last, which
// runs.
func (c *Clock) Step(now time.Time) error {
	c.Set(now)
	return c.show()
}

// show has the program see the offset.
func (c *Clock) show() error {
	_, err := c.memory.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(c.offset/time.Second)), c.at)
	return err
}

// Now returns the time that the program sees.
func (c *Clock) Now() time.Time { return time.Now().Add(c.offset) }

// Start starts a command whose program sees the clock from its first instruction
// on. It returns when that is about to run.
func (c *Clock) Start(cmd *exec.Cmd) error {
	if c.memory != nil {
		c.memory.Close()
		c.memory = nil
	}
	runtime.LockOSThread() // A process is traced by a thread.
	defer runtime.UnlockOSThread()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Ptrace = true
	if err := cmd.Start(); err != nil {
		return err
	}
	err := c.attach(cmd.Process.Pid)
	if err == nil {
		err = syscall.PtraceDetach(cmd.Process.Pid)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("wall clock: %w", err), cmd.Process.Kill(), cmd.Wait())
	}
	return nil
}

// attach gives a process that was stopped by execve(2) the clock, when it has
// become the program.
func (c *Clock) attach(pid int) error {
	if err := c.untilProgram(pid); err != nil {
		return err
	}
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	c.memory = memory
	if c.at, err = plant(pid, memory); err != nil {
		return err
	}
	if err := forbid(pid, memory); err != nil {
		return fmt.Errorf("adjtimex cannot be forbidden: %w", err)
	}
	return c.show()
}

// untilProgram lets the process run until it is the program.
func (c *Clock) untilProgram(pid int) error {
	want, err := os.Stat(c.Program)
	if err != nil {
		return err
	}
	for pass := 0; ; {
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
			return err
		}
		if !status.Stopped() {
			return fmt.Errorf("%s was never run: status %#x", c.Program, int(status))
		}
		is, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil {
			return err
		}
		if os.SameFile(is, want) {
			return nil
		}
		if pass = int(status.StopSignal()); status.StopSignal() == syscall.SIGTRAP {
			pass = 0 // Another program.
		}
		if err := syscall.PtraceCont(pid, pass); err != nil {
			return err
		}
	}
}

// function is machine code in place of the vDSO's clock_gettime; slotAt is where
// in it the offset in seconds lies, eight bytes.
func function() (code []byte, slotAt int64) {
	return []byte{
		0xb8, 0xe4, 0x00, 0x00, 0x00, // mov eax, 228 (clock_gettime)
		0x0f, 0x05, // syscall
		0x85, 0xff, // test edi, edi
		0x75, 0x0a, // jne done
		0x48, 0x8b, 0x0d, 0x0e, 0x00, 0x00, 0x00, // mov rcx, [rip+14]
		0x48, 0x01, 0x0e, // add [rsi], rcx
		0xc3,                                                       // done: ret
		0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, // up to 32
		0, 0, 0, 0, 0, 0, 0, 0,
	}, 32
}

// plant writes function into the process and returns where the offset is.
func plant(pid int, memory io.ReaderAt) (int64, error) {
	base, size, err := vdso(pid)
	if err != nil {
		return 0, err
	}
	image := make([]byte, size)
	if _, err := memory.ReadAt(image, base); err != nil {
		return 0, err
	}
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0, err
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return 0, err
	}
	for _, s := range symbols {
		if s.Name != "__vdso_clock_gettime" {
			continue
		}
		code, slotAt := function()
		if s.Size < uint64(len(code)) {
			return 0, fmt.Errorf("%s has %d bytes only", s.Name, s.Size)
		}
		return base + int64(s.Value) + slotAt, write(pid, base+int64(s.Value), code)
	}
	return 0, errors.New("the vDSO has no __vdso_clock_gettime")
}

// vdso returns where the vDSO of a process is.
func vdso(pid int) (base, size int64, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(line, "[vdso]\n") {
			var end int64
			_, err := fmt.Sscanf(line, "%x-%x", &base, &end)
			return base, end - base, err
		}
	}
	return 0, 0, errors.New("the process has no vDSO")
}

// write writes to memory of a stopped process that it may only execute.
func write(pid int, at int64, data []byte) error {
	_, err := syscall.PtracePokeData(pid, uintptr(at), data)
	return err
}
