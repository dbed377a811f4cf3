package badgerstore

import (
	"io/fs"
	"syscall"
	"testing"

	"github.com/dgraph-io/badger/v4/y"
)

// What the machine lacks for the moment costs no segment; what the card cannot
// read any more does.
func TestPassingErrors(t *testing.T) {
	for err, passing := range map[error]bool{
		syscall.EMFILE: true, syscall.ENFILE: true, syscall.ENOMEM: true, syscall.EROFS: true, syscall.EACCES: true,
		syscall.EIO: false, syscall.EUCLEAN: false, syscall.ENOENT: false, y.ErrChecksumMismatch: false,
	} {
		for _, err := range []error{&fs.PathError{Op: "open", Path: "x", Err: err}, y.Wrap(&fs.PathError{Op: "open", Path: "x", Err: err}, "while opening")} {
			if isPassing(err) != passing {
				t.Errorf("%v: passing is %t, want %t", err, !passing, passing)
			}
		}
	}
}
