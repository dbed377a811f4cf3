// Command compare measures the agent beside what a user would pick instead, on
// the same machine, disk and run: it starts each peer that is installed on
// directories of its own, gives all of them the same work in turn, several
// times, and prints medians and ratios. It is a tool of the project, not part of
// the package.
//
// Peers: beanstalkd, with every job synced before the answer (-b DIR -f 0), and
// the raw disk: overwriting an allocated file with fdatasync after each write.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", ".", "where the directories of the peers are made; it decides which disk is measured")
	flag.StringVar(&o.agent, "agent", "", "the querator program; empty builds it from this module")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each peer is measured")
	flag.DurationVar(&o.length, "length", 3*time.Second, "how long each measurement takes")
	flag.IntVar(&o.size, "size", 256, "bytes of a payload")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, &o); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

type options struct {
	dir    string
	agent  string
	rounds int
	length time.Duration
	size   int
}

// peer is something that takes items durably.
type peer interface {
	name() string
	// start starts it with an empty store below dir.
	start(ctx context.Context, dir string) error
	// client returns a function that produces one payload and returns when it is
	// on flash, and one that ends the client.
	client() (produce func(payload []byte) error, end func(), err error)
	stop()
}

func run(ctx context.Context, o *options) error {
	base, err := os.MkdirTemp(o.dir, "compare-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(base)
	if o.agent == "" {
		o.agent = filepath.Join(base, "querator")
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", o.agent,
			"github.com/kapetan-io/querator-edge/cmd/querator")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("building the agent: %w", err)
		}
	}
	peers := []peer{&rawDisk{}, &agentPeer{program: o.agent}}
	if path, err := exec.LookPath("beanstalkd"); err == nil {
		peers = append(peers, &beanstalkd{program: path})
	} else {
		fmt.Fprintln(os.Stderr, "beanstalkd is not installed: left out")
	}
	for _, clients := range []int{1, 16} {
		if err := measure(ctx, o, base, peers, clients); err != nil {
			return err
		}
	}
	return nil
}

// measure gives all peers the same work in turn and prints what came out.
func measure(ctx context.Context, o *options, base string, peers []peer, clients int) error {
	rates := make(map[string][]float64)
	for round := range o.rounds {
		for _, p := range peers {
			dir := filepath.Join(base, fmt.Sprintf("%s-%d-%d", p.name(), clients, round))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			rate, err := once(ctx, o, p, dir, clients)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name(), err)
			}
			rates[p.name()] = append(rates[p.name()], rate)
			_ = os.RemoveAll(dir) // The whole base is removed in the end.
		}
	}
	fmt.Printf("\nproduce, synced before the answer: %d client(s), one item of %d bytes each time, %d x %v\n",
		clients, o.size, o.rounds, o.length)
	fmt.Printf("%-22s %12s %12s %12s %10s\n", "", "min/s", "median/s", "max/s", "ratio")
	reference := median(rates[peers[len(peers)-1].name()])
	for _, p := range peers {
		r := rates[p.name()]
		fmt.Printf("%-22s %12.0f %12.0f %12.0f %10.2f\n", p.name(), slices.Min(r), median(r), slices.Max(r), median(r)/reference)
	}
	return nil
}

// once measures one peer once, in items a second.
func once(ctx context.Context, o *options, p peer, dir string, clients int) (float64, error) {
	if err := p.start(ctx, dir); err != nil {
		return 0, err
	}
	defer p.stop()
	ctx, cancel := context.WithTimeout(ctx, o.length)
	defer cancel()
	var done atomic.Int64
	var first atomic.Pointer[error]
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range clients {
		produce, end, err := p.client()
		if err != nil {
			cancel()
			wg.Wait()
			return 0, err
		}
		wg.Go(func() {
			defer end()
			payload := payloadOf(o.size, i)
			for ctx.Err() == nil {
				if err := produce(payload); err != nil {
					first.CompareAndSwap(nil, &err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	if err := first.Load(); err != nil {
		return 0, *err
	}
	return float64(done.Load()) / time.Since(begin).Seconds(), nil
}

// payloadOf returns a payload that looks like a sensor's.
func payloadOf(size, i int) []byte {
	p := fmt.Appendf(nil, `{"sensor":"temp-%04d","ts":%d,"value":21.%d,"unit":"celsius"`, i, 1790000000+i, i)
	for k := 0; len(p) < size; k++ {
		p = fmt.Appendf(p, `,"f%d":%d`, k, k*7919%10007)
	}
	return p[:size]
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}
