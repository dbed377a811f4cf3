package wallclock

import (
	"encoding/binary"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// forbid makes adjtimex(2) and clock_adjtime(2) fail with EPERM in a process that
// is stopped at its first instruction: it has the process put a filter of system
// calls on itself.
func forbid(pid int, memory *os.File) error {
	const clear = 4096 // below the stack pointer, where nothing lies yet
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(pid, &regs); err != nil {
		return err
	}
	program := int64(regs.Rsp) - clear
	head := int64(regs.Rsp) - clear/2
	code := filter()
	prog := binary.LittleEndian.AppendUint64(nil, uint64(len(code)/8)) // struct sock_fprog
	prog = binary.LittleEndian.AppendUint64(prog, uint64(program))
	for at, data := range map[int64][]byte{program: code, head: prog} {
		if _, err := memory.WriteAt(data, at); err != nil {
			return err
		}
	}
	if err := call(pid, memory, unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		return err
	}
	return call(pid, memory, unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uint64(head))
}

// filter is the filter, in the machine code of BPF.
func filter() []byte {
	const (
		load, equal, answer = 0x20, 0x15, 0x06 // BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
		number, arch        = 0, 4             // in struct seccomp_data
		refuse              = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	)
	var code []byte
	for _, f := range []unix.SockFilter{
		{Code: load, K: arch},
		{Code: equal, K: unix.AUDIT_ARCH_X86_64, Jf: 4},
		{Code: load, K: number},
		{Code: equal, K: unix.SYS_ADJTIMEX, Jt: 1},
		{Code: equal, K: unix.SYS_CLOCK_ADJTIME, Jf: 1},
		{Code: answer, K: refuse},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
	} {
		code = binary.LittleEndian.AppendUint16(code, f.Code)
		code = append(code, f.Jt, f.Jf)
		code = binary.LittleEndian.AppendUint32(code, f.K)
	}
	return code
}

// call has a stopped process make a system call, with a zero fourth and fifth
// argument, and leaves it as it was.
func call(pid int, memory *os.File, number, a, b, c uint64) error {
	var before syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(pid, &before); err != nil {
		return err
	}
	at := int64(before.Rip)
	gate := []byte{0x0f, 0x05, 0xcc} // syscall, int3
	kept := make([]byte, len(gate))
	if _, err := memory.ReadAt(kept, at); err != nil {
		return err
	}
	if err := write(pid, at, gate); err != nil {
		return err
	}
	regs := before
	regs.Rax, regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.R8 = number, a, b, c, 0, 0
	if err := run(pid, &regs); err != nil {
		return err
	}
	if err := write(pid, at, kept); err != nil {
		return err
	}
	if err := syscall.PtraceSetRegs(pid, &before); err != nil {
		return err
	}
	if got := int64(regs.Rax); got < 0 {
		return syscall.Errno(-got)
	}
	return nil
}

// run lets a stopped process run with these registers until it stops again.
func run(pid int, regs *syscall.PtraceRegs) error {
	if err := syscall.PtraceSetRegs(pid, regs); err != nil {
		return err
	}
	if err := syscall.PtraceCont(pid, 0); err != nil {
		return err
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		return err
	}
	if !status.Stopped() || status.StopSignal() != syscall.SIGTRAP {
		return fmt.Errorf("the process did not stop in order: status %#x", int(status))
	}
	return syscall.PtraceGetRegs(pid, regs)
}
