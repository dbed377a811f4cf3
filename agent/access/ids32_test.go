//go:build 386 || arm

package access_test

import "syscall"

// The calls without this number know users up to 65535 only.
const (
	setgroups = syscall.SYS_SETGROUPS32
	setresgid = syscall.SYS_SETRESGID32
	setresuid = syscall.SYS_SETRESUID32
)
