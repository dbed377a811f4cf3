package badgerstore

import (
	"fmt"

	"github.com/kapetan-io/querator-edge/queue"
)

// errCorrupt returns the error of a stored value of that kind ("block") that is
// damaged. The caller adds where the value lies.
func errCorrupt(kind, format string, args ...any) error {
	return &queue.Error{Kind: queue.ErrCorrupt, Msg: kind + ": " + fmt.Sprintf(format, args...)}
}

// errNewer returns the error of a stored value that a newer version wrote.
func errNewer(kind, format string, args ...any) error {
	return &queue.Error{Kind: queue.ErrFormat, Msg: kind + ": " + fmt.Sprintf(format, args...),
		Hint: "install the version of querator that wrote it, or a newer one"}
}
