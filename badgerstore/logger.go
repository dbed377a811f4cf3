package badgerstore

import (
	"fmt"
	"strings"
	"sync"

	"github.com/kapetan-io/querator-edge/queue"
)

// logger is the badger.Logger of one database. Badger reports some failures of
// the disk, and tables that it leaves out, only in its log; so a line of level
// error counts as a failure of the database. Safe for use by any goroutine.
type logger struct {
	dir string

	mu  sync.Mutex // guards err
	err error
}

func newLogger(dir string) *logger { return &logger{dir: dir} }

// Errorf keeps the first error.
func (l *logger) Errorf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.err = &queue.Error{
		Kind: queue.ErrUnavailable,
		Msg:  fmt.Sprintf("the database %s failed: %s", l.dir, strings.TrimSpace(fmt.Sprintf(format, args...))),
		Hint: "look for errors of the disk in the kernel's log",
	}
}

// Warningf drops the line: what Badger warns of is tuning.
func (l *logger) Warningf(string, ...any) {}

// Infof drops the line.
func (l *logger) Infof(string, ...any) {}

// Debugf drops the line.
func (l *logger) Debugf(string, ...any) {}

// check returns the first error that was logged.
func (l *logger) check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
