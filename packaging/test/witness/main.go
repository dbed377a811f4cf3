// Command witness uses the queue of an emulated machine whose power is cut, and tells what it does to somebody who stays:
// before each request and after each answer it writes a line to a port of the machine, which is on the other side when
// the write returns.
//
//	witness use PORT QUEUE FIRST    in the machine: produces items numbered from FIRST on and completes some, until it is killed
//	witness list PORT QUEUE         in the machine: tells which items there are
//	witness judge FILE              outside: whether what was told adds up
//
// The lines, each with a full stop at its end, since the last one before a cut may be torn: "produce 1 20" and
// "produced 1 20" for a request with the items 1 to 20, "complete 3 4 5" and "completed 3 4 5", "held 7" for each item
// that is there, then "listed" with their number. Whoever cuts the power writes "cut".
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"sync"

	"github.com/kapetan-io/querator-edge/agent/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "witness:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: witness use PORT QUEUE FIRST | list PORT QUEUE | judge FILE")

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "judge":
		f, err := os.Open(args[1])
		if err != nil {
			return err
		}
		defer f.Close()
		verdict, err := judge(f)
		if err != nil {
			return err
		}
		fmt.Println(verdict)
		return nil
	case len(args) == 3 && args[0] == "list" || len(args) == 4 && args[0] == "use":
		port, err := os.OpenFile(args[1], os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer port.Close()
		w := &witness{queue: args[2], port: port}
		if args[0] == "list" {
			return w.list(ctx)
		}
		first, err := strconv.ParseInt(args[3], 10, 64)
		if err != nil {
			return errUsage
		}
		return w.use(ctx, first)
	}
	return errUsage
}

// witness is the program in the machine. Its methods are safe for use by any goroutine.
type witness struct {
	client client.Client
	queue  string

	mu   sync.Mutex
	port io.Writer
	next int64 // number of the next item
}

// tell writes one line; it is on the other side when tell returns.
func (w *witness) tell(line []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.port.Write(append(line, " .\n"...))
	return err
}

// line makes a line of a word and numbers.
func line(word string, numbers ...int64) []byte {
	l := []byte(word)
	for _, n := range numbers {
		l = strconv.AppendInt(append(l, ' '), n, 10)
	}
	return l
}
