// Command compare measures the agent beside what a user would pick instead, on the same machine, disk and run. It
// starts each peer that is there as a process of its own on a directory of its own, gives all of them the same work in
// turn, several times, and prints medians and ratios; with -json and -svg it writes them to files. It is a tool of the
// project, not part of the package.
//
// Peers: beanstalkd, redis-server (a stream with a consumer group) and nats-server (a work-queue stream with a pull
// consumer), each once so that an answer means that the item is on flash, as the agent does it, and once as it is by
// default. Beside them the raw disk: overwriting an allocated file with fdatasync after each call. The clients of the
// peers are as small as can be and send a batch in one go; the agent is driven with the public Go client.
//
// With -growth it measures the agent alone: what things cost as the backlog, the number of queues, the number of
// clients and the payloads grow.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kapetan-io/querator-edge/cmd/internal/measure"
)

const (
	ownName = "querator"
	rawName = "raw disk"
)

// options are the flags.
type options struct {
	dir, agent, nats, peers string
	sweeps                  string
	sizes, backlogs         string
	rounds                  int
	length                  time.Duration
	full, growth, random    bool
	json, svg               string
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", ".", "where the directories of the peers are made; it decides which disk is measured")
	flag.StringVar(&o.agent, "agent", "", "the querator program; empty builds it from this module")
	flag.StringVar(&o.nats, "nats", "", "the nats-server program; empty builds the version that go.mod names")
	flag.StringVar(&o.peers, "peers", "", "only peers that begin with one of these, with commas between, such as 'redis,beanstalkd -f'")
	flag.StringVar(&o.sizes, "sizes", "256", "bytes of a payload, with commas between")
	flag.StringVar(&o.backlogs, "backlogs", "1000,1000000", "items that wait, with commas between")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each peer is measured")
	flag.DurationVar(&o.length, "length", time.Second, "how long each measurement takes")
	flag.BoolVar(&o.full, "full", false, "all shapes and rounds with a large backlog, too")
	flag.BoolVar(&o.random, "random", false, "payloads that cannot be compressed, instead of JSON")
	flag.BoolVar(&o.growth, "growth", false, "measure how costs of the agent alone grow")
	flag.StringVar(&o.sweeps, "sweeps", "", "with -growth, only these: items, queues, clients, bytes")
	flag.StringVar(&o.json, "json", "", "a file for all figures")
	flag.StringVar(&o.svg, "svg", "", "a file for a plot")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func (o *options) run(ctx context.Context) error {
	stages, err := o.plan()
	if err != nil {
		return err
	}
	if o.rounds < 1 || o.length <= 0 {
		return errors.New("-rounds and -length have to be above 0")
	}
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	base, err := os.MkdirTemp(dir, "compare-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(base)
	sockets, err := os.MkdirTemp("", "q") // Paths of sockets are short.
	if err != nil {
		return err
	}
	defer os.RemoveAll(sockets)
	m, disk := newMachine(base)
	if m.Payloads = "JSON"; o.random {
		m.Payloads = "random"
	}
	if o.agent, err = build(ctx, o.agent, base, "github.com/kapetan-io/querator-edge/cmd/querator"); err != nil {
		return err
	}
	m.program(ctx, "querator", o.agent, "--version")
	if o.growth {
		return o.grow(ctx, base, sockets, m, disk)
	}
	peers, err := o.find(ctx, base, sockets, &m)
	if err != nil {
		return err
	}
	r := newReport(peers, m)
	for i := range stages {
		if err := r.measure(ctx, &stages[i], base, disk); err != nil {
			return err
		}
	}
	return o.write(r)
}

// write prints the tables and writes the files that were asked for.
func (o *options) write(r *report) error {
	cases := r.cases()
	if o.json != "" {
		err := writeJSON(o.json, struct {
			Machine machine      `json:"machine"`
			Cases   []caseReport `json:"cases"`
		}{r.machine, cases})
		if err != nil {
			return err
		}
	}
	if o.svg != "" {
		if err := os.WriteFile(o.svg, drawCases(&r.machine, cases), 0o644); err != nil {
			return err
		}
	}
	return writeTables(os.Stdout, &r.machine, cases)
}

// measure goes through a stage: in each round every peer has its turn, each round begins with another one.
func (r *report) measure(ctx context.Context, stage *stage, base string, disk *measure.Disk) error {
	r.expect(stage)
	for round := range stage.Rounds {
		for i := range r.peers {
			p := r.peers[(i+round)%len(r.peers)]
			fmt.Fprintf(os.Stderr, "%s: %d-byte payloads, %d waiting, round %d of %d: %s\n",
				time.Now().Format(time.TimeOnly), stage.Size, stage.Backlog, round+1, stage.Rounds, p.name())
			s := &session{peer: p, dir: filepath.Join(base, "store"), disk: disk, stage: *stage}
			if err := s.run(ctx, r.add); err != nil {
				return fmt.Errorf("%s: %w", p.name(), err)
			}
		}
	}
	return nil
}

// build returns program, or builds a package of this module or of one that go.mod names.
func build(ctx context.Context, program, base, path string) (string, error) {
	if program != "" {
		return filepath.Abs(program)
	}
	program = filepath.Join(base, filepath.Base(strings.TrimSuffix(path, "/v2")))
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, path)
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("building %s, which takes a working directory in this module: %w", path, err)
	}
	return program, nil
}

// find returns the peers that are there and wanted.
func (o *options) find(ctx context.Context, base, sockets string, m *machine) ([]peer, error) {
	peers := []peer{&rawDisk{}, &agentPeer{program: o.agent, socket: filepath.Join(sockets, "q")}}
	if path, err := exec.LookPath("beanstalkd"); err == nil {
		socket := filepath.Join(sockets, "b")
		peers = append(peers, &beanstalkd{program: path, socket: socket, always: true}, &beanstalkd{program: path, socket: socket})
		m.program(ctx, "beanstalkd", path, "-v")
	}
	if path, err := exec.LookPath("redis-server"); err == nil {
		socket := filepath.Join(sockets, "r")
		peers = append(peers, &redis{program: path, socket: socket, always: true}, &redis{program: path, socket: socket})
		m.program(ctx, "redis", path, "--version")
	}
	if wanted(o.peers, "nats") || wanted(o.peers, "nats always") {
		path, err := build(ctx, o.nats, base, "github.com/nats-io/nats-server/v2")
		if err != nil {
			return nil, err
		}
		peers = append(peers, &nats{program: path, always: true}, &nats{program: path})
		m.program(ctx, "nats", path, "--version")
	}
	for _, name := range []string{"beanstalkd", "redis"} {
		if _, ok := m.Programs[name]; !ok {
			fmt.Fprintf(os.Stderr, "%s is not installed: left out\n", name)
		}
	}
	return slices.DeleteFunc(peers, func(p peer) bool { return p.name() != ownName && !wanted(o.peers, p.name()) }), nil
}

// wanted reports whether a name begins with one of a list, or there is no list.
func wanted(list, name string) bool {
	return list == "" || slices.ContainsFunc(strings.Split(list, ","), func(s string) bool {
		return strings.HasPrefix(name, strings.TrimSpace(s))
	})
}
