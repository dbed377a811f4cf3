package memtest

import (
	"context"
	"sync"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// callers is how many goroutines of a program produce, as many consume, and as many
// wait where there is nothing.
const callers = 12

// programConnections is how many connections a program has at most: its stream, which
// counts as four, and one for each goroutine, as at the beginning.
const programConnections = 4 + 3*callers

// runProgram makes the calls of a program with many goroutines, which share a client: it
// makes them on a stream.
func (l *Load) runProgram(ctx context.Context, c *client.Client, i int) {
	var wg sync.WaitGroup
	for k := range callers {
		queue := i*callers + k // Goroutines of a program are at different queues, too.
		wg.Go(func() { l.produce(ctx, c, queue%l.Queues) })
		wg.Go(func() { l.consumeSome(ctx, c, queue%l.Queues, 10) }) // A large lease does not go on a stream.
		wg.Go(func() { l.wait(ctx, c, 0) })
	}
	wg.Wait()
}
