package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"
)

// writeTables prints the cases for people.
func writeTables(out io.Writer, m *machine, cases []caseReport) error {
	fmt.Fprintf(out, "%s\n", m.text())
	for i := range cases {
		c := &cases[i]
		if i == 0 || cases[i-1].PayloadSize != c.PayloadSize || cases[i-1].Backlog != c.Backlog {
			fmt.Fprintf(out, "\n== %s-byte %s payloads, %s items waiting\n", count(float64(c.PayloadSize)), m.Payloads, count(float64(c.Backlog)))
		}
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		if c.Work == starting {
			startTable(t, c)
		} else {
			loadTable(t, c)
		}
		if err := t.Flush(); err != nil {
			return err
		}
		if best := c.best(); best != nil {
			fmt.Fprintf(out, "querator is %s times as fast as %s, the fastest other that syncs before it answers\n", ratioText(best.Querator), best.Peer)
		}
	}
	fmt.Fprint(out, notes)
	return nil
}

const notes = `
querator is:   querator's rate by this one's, the median of the rounds (in brackets least and most).
*              answers before the item is on flash.
disk B/B:      bytes that the disk wrote for each byte of payload, whoever wrote them; a sync of the file system before
               and after.
own B/B:       the same by the kernel's count for the process alone, without the file system's own writes.
syncs/item:    syncs of files by the process, O_SYNC included, by a trace point of the file system (root only).
flushes/item:  flushes of the whole disk, whoever asked for them.
memory:        anonymous memory of the process, at most.
`

// startTable is about the start with the backlog.
func startTable(t io.Writer, c *caseReport) {
	fmt.Fprint(t, "\nstart after SIGKILL\tfirst item after\tmemory then\tmemory while filling\ton disk\t\n")
	for i := range c.Peers {
		p := &c.Peers[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t\n", p.label(), p.text(startSeconds, secondsText), p.text(memoryStart, mebibytes),
			p.text(memoryFilling, mebibytes), p.text(storedBytes, mebibytes))
	}
}

// loadTable is about one load.
func loadTable(t io.Writer, c *caseReport) {
	calls := map[work][]string{produceOnly: {"produce"}, drainOnly: {"lease", "complete"}, both: {"produce", "lease", "complete"}}[c.Work]
	fmt.Fprintf(t, "\n%s: %s\titems/s\tleast-most\tquerator is\t", c.Clients, c.Work)
	for _, call := range calls {
		fmt.Fprintf(t, "%s p50/p99/p99.9 ms\t", call)
	}
	fmt.Fprint(t, "memory\tdisk B/B\town B/B\tsyncs/item\tflushes/item\tcpu us/item\t\n")
	for i := range c.Peers {
		p := &c.Peers[i]
		rate := p.Figures[itemsPerSecond]
		fmt.Fprintf(t, "%s\t%s\t%s-%s\t%s\t", p.label(), count(rate.Median), count(rate.Min), count(rate.Max), ratioText(p.Querator))
		for _, call := range calls {
			var parts []string
			for _, q := range quantiles {
				parts = append(parts, p.text(latencyMetric(call, q.name), short))
			}
			fmt.Fprintf(t, "%s\t", strings.Join(parts, "/"))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t\n", p.text(memoryMost, mebibytes), p.text(diskPerPayload, short),
			p.text(processPerPayload, short), p.text(syncsPerItem, short), p.text(flushesPerItem, short), p.text(processorPerItem, short))
	}
}

// label is the peer's name with its mark.
func (p *cell) label() string {
	if p.Synced {
		return p.Peer
	}
	return p.Peer + " *"
}

// text returns the median of a figure; "-" if it is not known.
func (p *cell) text(name metric, form func(float64) string) string {
	s, ok := p.Figures[name]
	if !ok {
		return "-"
	}
	return form(s.Median)
}

func ratioText(s *spread) string {
	switch {
	case s == nil:
		return "-"
	case s.Min == s.Max:
		return fmt.Sprintf("%.2f x", s.Median)
	}
	return fmt.Sprintf("%.2f x (%.2f-%.2f)", s.Median, s.Min, s.Max)
}

// short writes a number with about three digits.
func short(v float64) string {
	switch {
	case v == 0:
		return "0"
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	case math.Abs(v) >= 0.1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.4f", v)
}

// count writes a whole number with commas.
func count(v float64) string {
	text := fmt.Sprintf("%.0f", v)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func mebibytes(v float64) string { return short(v/(1<<20)) + " MiB" }

func secondsText(v float64) string {
	return time.Duration(v * float64(time.Second)).Round(time.Millisecond).String()
}
