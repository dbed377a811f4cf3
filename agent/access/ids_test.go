//go:build !386 && !arm

package access_test

import "syscall"

const (
	setgroups = syscall.SYS_SETGROUPS
	setresgid = syscall.SYS_SETRESGID
	setresuid = syscall.SYS_SETRESUID
)
