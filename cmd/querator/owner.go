package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// becomeOwner makes root, for the rest of the process, the user that a directory
// belongs to, so that an agent of that user can use what is written there. A
// directory that is not there yet is root's business, and that of the service
// manager.
func becomeOwner(dir string) error {
	info, err := os.Stat(dir)
	if err != nil || os.Geteuid() != 0 {
		return nil //nolint:nilerr // Whoever uses the directory reports what is wrong with it.
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Uid == 0 {
		return nil
	}
	err = errors.Join(syscall.Setgroups([]int{int(st.Gid)}), syscall.Setgid(int(st.Gid)), syscall.Setuid(int(st.Uid)))
	if err != nil {
		return fmt.Errorf("cannot become the owner of %s (user %d): %w", dir, st.Uid, err)
	}
	return nil
}
