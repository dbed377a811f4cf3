package badgerstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/kapetan-io/querator-edge/queue"
	"golang.org/x/sys/unix"
)

// lockName is the file in a storage's directory that is locked while a process
// uses it. It holds that process's number and program, for people; the kernel's
// lock decides, so that a file left by a process that was killed locks nothing.
const lockName = "LOCK"

// lockDir takes the lock of dir. The error Is queue.ErrLocked when another
// process, or another Storage of this one, has it.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, unavailable(err, "cannot write to the directory %s", dir)
	}
	err = ignoreInterrupt(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, unavailable(err, "cannot lock %s", path)
		}
		return nil, &queue.Error{
			Kind: queue.ErrLocked,
			Msg:  fmt.Sprintf("the directory %s is in use by %s", dir, lockHolder(f)),
			Hint: "only one process can use a storage directory; stop the other one or name another directory",
		}
	}
	if err := writeHolder(f); err != nil {
		f.Close()
		return nil, unavailable(err, "cannot write %s", path)
	}
	return f, nil
}

func writeHolder(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt(fmt.Appendf(nil, "%d %s\n", os.Getpid(), filepath.Base(os.Args[0])), 0)
	return err
}

// lockHolder says who holds the lock, as far as the file tells.
func lockHolder(f *os.File) string {
	text, err := io.ReadAll(io.LimitReader(f, 256))
	pid, program, ok := strings.Cut(strings.TrimSpace(string(text)), " ")
	if err != nil || !ok {
		return "another process"
	}
	return fmt.Sprintf("process %s (%s)", pid, program)
}

// unlockDir releases the lock. The file stays: removing it would let two
// processes lock two different files of one name.
func unlockDir(f *os.File) error { return f.Close() }
