package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/kapetan-io/querator-edge/cmd/internal/measure"
)

// sweep is one thing that grows while everything else stays as it is.
type sweep struct {
	name    string // what grows
	points  []point
	columns []column
}

// point is one step of a sweep.
type point struct {
	x      int64
	stage  stage
	queues int
}

// column is a figure that is shown: of one work of the shape with that number in the stage, or of the start.
type column struct {
	head  string
	shape int
	work  work
	name  metric
	form  func(float64) string
}

// figure returns a column's figure at a point; false if it was not measured.
func (c *column) figure(p *point, all map[caseKey]map[metric]spread) (spread, bool) {
	key := caseKey{Size: p.stage.Size, Backlog: p.stage.Backlog, Work: c.work}
	if c.work != starting {
		key.Clients = p.stage.Shapes[c.shape].Name
	}
	s, ok := all[key][c.name]
	return s, ok
}

// wantedSweeps returns what is let grow, one after the other.
func (o *options) wantedSweeps() []sweep {
	all := []sweep{o.backlogSweep(), o.queueSweep(), o.clientSweep(false), o.clientSweep(true), o.payloadSweep()}
	return slices.DeleteFunc(all, func(s sweep) bool { return !wanted(o.sweeps, s.name) })
}

func (o *options) stage(size int, backlog int64, shapes ...shape) stage {
	return stage{Size: size, Backlog: backlog, Shapes: shapes, Rounds: o.rounds, Length: o.length, Random: o.random}
}

// small is the payload of the sweeps in which payloads do not matter.
const small = 64

func (o *options) backlogSweep() sweep {
	s := sweep{name: "items waiting", columns: []column{
		{"lease p50 ms", 0, drainOnly, latencyMetric("lease", "p50"), short},
		{"lease p99 ms", 0, drainOnly, latencyMetric("lease", "p99"), short},
		{"produce p50 ms", 0, produceOnly, latencyMetric("produce", "p50"), short},
		{"drained/s, batches", 1, drainOnly, itemsPerSecond, count},
		{"both/s, batches", 1, both, itemsPerSecond, count},
		{"cpu us/item drained", 1, drainOnly, processorPerItem, short},
		{"memory at most", 1, both, memoryMost, mebibytes},
		{"start s", 0, starting, startSeconds, short},
		{"memory then", 0, starting, memoryStart, mebibytes},
		{"on disk", 0, starting, storedBytes, mebibytes},
	}}
	backlogs := []int64{1000, 10_000, 100_000, 1_000_000}
	if o.full {
		backlogs = append(backlogs, 10_000_000)
	}
	for _, n := range backlogs {
		s.points = append(s.points, point{x: n, stage: o.stage(small, n, shapes[alone], shapes[batches])})
	}
	return s
}

func (o *options) queueSweep() sweep {
	const each = 20 // items that wait in a queue
	s := sweep{name: "queues", columns: []column{
		{"first item ms/queue", 0, starting, firstRound, short},
		{"produced/s", 0, produceOnly, itemsPerSecond, count},
		{"produce p50 ms", 0, produceOnly, latencyMetric("produce", "p50"), short},
		{"both/s", 0, both, itemsPerSecond, count},
		{"complete p50 ms", 0, both, latencyMetric("complete", "p50"), short},
		{"cpu us/item, both", 0, both, processorPerItem, short},
		{"memory at most", 0, both, memoryMost, mebibytes},
		{"start s", 0, starting, startSeconds, short},
		{"memory then", 0, starting, memoryStart, mebibytes},
		{"on disk", 0, starting, storedBytes, mebibytes},
	}}
	for _, n := range []int{1, 10, 100, 1000} {
		st := o.stage(small, int64(n*each), shapes[apart])
		st.FillBatch = each
		s.points = append(s.points, point{x: int64(n), queues: n, stage: st})
	}
	return s
}

// clientSweep has clients with a connection each, or shared ones (shape).
func (o *options) clientSweep(shared bool) sweep {
	name := "clients, one item a call"
	if shared {
		name = "clients in one program, one item a call"
	}
	s := sweep{name: name, columns: []column{
		{"produced/s", 0, produceOnly, itemsPerSecond, count},
		{"produce p50 ms", 0, produceOnly, latencyMetric("produce", "p50"), short},
		{"produce p99 ms", 0, produceOnly, latencyMetric("produce", "p99"), short},
		{"both/s", 0, both, itemsPerSecond, count},
		{"complete p99 ms", 0, both, latencyMetric("complete", "p99"), short},
		{"cpu us/item, both", 0, both, processorPerItem, short},
		{"syncs/item, both", 0, both, syncsPerItem, short},
		{"memory at most", 0, both, memoryMost, mebibytes},
	}}
	for _, n := range []int{1, 4, 16, 64, 250, 500} {
		sh := shape{Name: fmt.Sprintf("%d clients", n), Alone: n, Together: n, Batch: 1, Shared: shared}
		s.points = append(s.points, point{x: int64(n), stage: o.stage(small, 1000, sh)})
	}
	return s
}

func (o *options) payloadSweep() sweep {
	s := sweep{name: "bytes of a payload", columns: []column{
		{"produce p50 ms", 0, produceOnly, latencyMetric("produce", "p50"), short},
		{"lease p50 ms", 0, drainOnly, latencyMetric("lease", "p50"), short},
		{"produced MB/s, batches", 1, produceOnly, payloadPerSecond, short},
		{"both MB/s, batches", 1, both, payloadPerSecond, short},
		{"cpu us/item, both", 1, both, processorPerItem, short},
		{"own B/B, produced", 1, produceOnly, processPerPayload, short},
		{"memory at most", 1, both, memoryMost, mebibytes},
	}}
	for _, n := range []int{16, 256, 4 << 10, 64 << 10, 1 << 20} {
		batch := max(1, min(100, 1<<20/n))
		sh := shape{Name: fmt.Sprintf("4 + 4 clients, batches of %d", batch), Alone: 4, Together: 8, Batch: batch}
		s.points = append(s.points, point{x: int64(n), stage: o.stage(n, 200, shapes[alone], sh)})
	}
	return s
}

// growthReport is one sweep with its figures.
type growthReport struct {
	sweep
	figures []map[caseKey]map[metric]spread // by point
}

// grow measures all sweeps and prints and writes them.
func (o *options) grow(ctx context.Context, base, sockets string, m machine, disk *measure.Disk) error {
	var all []growthReport
	for _, s := range o.wantedSweeps() {
		samples := make([]map[caseKey][]sample, len(s.points))
		for round := range o.rounds {
			for i := range s.points {
				p := &s.points[i]
				if samples[i] == nil {
					samples[i] = make(map[caseKey][]sample)
				}
				fmt.Fprintf(os.Stderr, "%s: %s: %d, round %d of %d\n", time.Now().Format(time.TimeOnly), s.name, p.x, round+1, o.rounds)
				one := &session{
					peer: &agentPeer{program: o.agent, socket: filepath.Join(sockets, "q"), queues: p.queues},
					dir:  filepath.Join(base, "store"), disk: disk, stage: p.stage,
				}
				err := one.run(ctx, func(key cellKey, m sample) {
					samples[i][key.caseKey] = append(samples[i][key.caseKey], m)
				})
				if err != nil {
					return fmt.Errorf("%s: %d: %w", s.name, p.x, err)
				}
			}
		}
		r := growthReport{sweep: s}
		for i := range samples {
			figures := make(map[caseKey]map[metric]spread)
			for key, v := range samples[i] {
				figures[key] = spreads(v)
			}
			r.figures = append(r.figures, figures)
		}
		all = append(all, r)
	}
	return o.writeGrowth(&m, all)
}

func (o *options) writeGrowth(m *machine, all []growthReport) error {
	if o.json != "" {
		if err := writeJSON(o.json, growthJSON(m, all)); err != nil {
			return err
		}
	}
	if o.svg != "" {
		if err := os.WriteFile(o.svg, drawGrowth(m, all), 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("%s\n", m.text())
	for i := range all {
		if err := all[i].table(os.Stdout); err != nil {
			return err
		}
	}
	return nil
}

// table prints a row for each point, and one that divides the last by the first.
func (r *growthReport) table(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\n%s\t", r.name)
	for _, c := range r.columns {
		fmt.Fprintf(t, "%s\t", c.head)
	}
	fmt.Fprintln(t)
	for i := range r.points {
		fmt.Fprintf(t, "%s\t", count(float64(r.points[i].x)))
		for _, c := range r.columns {
			text := "-"
			if s, ok := c.figure(&r.points[i], r.figures[i]); ok {
				text = c.form(s.Median)
			}
			fmt.Fprintf(t, "%s\t", text)
		}
		fmt.Fprintln(t)
	}
	fmt.Fprint(t, "last : first\t")
	last := len(r.points) - 1
	for _, c := range r.columns {
		a, ok := c.figure(&r.points[0], r.figures[0])
		b, there := c.figure(&r.points[last], r.figures[last])
		if !ok || !there || a.Median == 0 {
			fmt.Fprint(t, "-\t")
			continue
		}
		fmt.Fprintf(t, "%s\t", short(b.Median/a.Median))
	}
	fmt.Fprintln(t)
	return t.Flush()
}

// growthCase is one measurement at one point.
type growthCase struct {
	Sweep   string            `json:"what_grows"`
	X       int64             `json:"x"`
	Clients string            `json:"clients,omitempty"`
	Work    work              `json:"work"`
	Figures map[metric]spread `json:"figures"`
}

func growthJSON(m *machine, all []growthReport) any {
	var cases []growthCase
	for _, r := range all {
		for i := range r.points {
			p := &r.points[i]
			for _, shape := range append([]shape{{}}, p.stage.Shapes...) {
				for _, w := range append([]work{starting}, works...) {
					f := r.figures[i][caseKey{p.stage.Size, p.stage.Backlog, shape.Name, w}]
					if len(f) > 0 {
						cases = append(cases, growthCase{r.name, p.x, shape.Name, w, f})
					}
				}
			}
		}
	}
	return struct {
		Machine *machine     `json:"machine"`
		Cases   []growthCase `json:"cases"`
	}{m, cases}
}
