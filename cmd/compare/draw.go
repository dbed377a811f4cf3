package main

import (
	"fmt"
	"strings"
)

// What a plot of a comparison looks like: for each payload and backlog a heading and rows of three panels, each with
// a bar for each peer.
const (
	margin, panelWidth, panelGap = 24.0, 400.0, 20.0
	columns                      = 3
	barHeight, barGap            = 15.0, 5.0
	nameWidth, numberWidth       = 112.0, 78.0
	headHeight                   = 40.0
)

// bar is one peer in a panel.
type bar struct {
	name   string
	value  float64
	text   string
	colour string
	synced bool
}

// panel is one figure of all peers.
type panel struct {
	title, unit string
	bars        []bar
}

// drawCases returns the plot.
func drawCases(m *machine, cases []caseReport) []byte {
	var c canvas
	y := margin + 16
	c.text(margin, y, 20, "start", ink, "bold", "querator beside others, on the same machine and disk")
	y += 20
	c.text(margin, y, 11, "start", faint, "normal", fmt.Sprintf("%s, %d processors (%s), Linux %s, %s. Medians. Strong bars: an answer means that the item is on flash; pale: not.",
		m.Arch, m.Processors, m.Model, m.Kernel, m.At.Format("2 January 2006")))
	y += 10
	for i := 0; i < len(cases); {
		first, panels := &cases[i], []panel(nil)
		for ; i < len(cases) && cases[i].PayloadSize == first.PayloadSize && cases[i].Backlog == first.Backlog; i++ {
			panels = append(panels, panelsOf(&cases[i])...)
		}
		y += 34
		c.text(margin, y, 15, "start", ink, "bold", fmt.Sprintf("%s-byte %s payloads, %s items waiting", count(float64(first.PayloadSize)), m.Payloads, count(float64(first.Backlog))))
		c.line(margin, y+8, margin+columns*panelWidth+(columns-1)*panelGap, y+8, grid, 1)
		y = c.panels(panels, y+16)
	}
	return c.bytes(2*margin+columns*panelWidth+(columns-1)*panelGap, y+margin)
}

// panels draws rows of panels from y down and returns where they end.
func (c *canvas) panels(panels []panel, y float64) float64 {
	for len(panels) > 0 {
		row := panels[:min(columns, len(panels))]
		panels = panels[len(row):]
		lowest := y
		for i := range row {
			x := margin + float64(i)*(panelWidth+panelGap)
			lowest = max(lowest, c.panel(&row[i], x, y))
		}
		y = lowest + 14
	}
	return y
}

// panel draws one panel and returns where it ends.
func (c *canvas) panel(p *panel, x, y float64) float64 {
	c.text(x, y+18, 12, "start", ink, "bold", p.title)
	c.text(x, y+32, 10, "start", faint, "normal", p.unit)
	y += headHeight
	most := 0.0
	for _, b := range p.bars {
		most = max(most, b.value)
	}
	room := panelWidth - nameWidth - numberWidth
	c.line(x+nameWidth, y, x+nameWidth, y+float64(len(p.bars))*(barHeight+barGap), grid, 1)
	for _, b := range p.bars {
		weight := "normal"
		if b.name == ownName {
			weight = "bold"
		}
		opacity := 1.0
		if !b.synced {
			opacity = 0.35
		}
		c.text(x+nameWidth-6, y+12, 11, "end", ink, weight, b.name)
		length := 0.0
		if most > 0 {
			length = max(b.value/most*room, 1)
		}
		c.rect(x+nameWidth, y+1, length, barHeight, b.colour, opacity)
		c.text(x+nameWidth+length+5, y+12, 11, "start", ink, weight, b.text)
		y += barHeight + barGap
	}
	return y
}

// panelsOf returns the panels of a case.
func panelsOf(c *caseReport) []panel {
	if c.Work == starting {
		return []panel{
			panelOf(c, "Start after SIGKILL", "seconds to the first item", startSeconds, func(v float64) string { return short(v) + " s" }),
			panelOf(c, "Memory after the start", "anonymous", memoryStart, mebibytes),
			panelOf(c, "Disk", "space that the backlog takes", storedBytes, mebibytes),
		}
	}
	title := string(c.Work) + ": " + c.Clients
	panels := []panel{panelOf(c, title, "items a second; more is better", itemsPerSecond, count)}
	if c.Work == both {
		panels = append(panels,
			panelOf(c, title, "p99 of a produce call, ms", latencyMetric("produce", "p99"), short),
			panelOf(c, title, "bytes that the process wrote for a byte of payload", processPerPayload, short),
			panelOf(c, title, "anonymous memory at most", memoryMost, mebibytes))
	}
	return panels
}

// panelOf returns the panel of one figure. Peers of which it is not known are left out.
func panelOf(c *caseReport, title, unit string, name metric, form func(float64) string) panel {
	p := panel{title: title, unit: unit}
	for i := range c.Peers {
		one := &c.Peers[i]
		if s, ok := one.Figures[name]; ok {
			p.bars = append(p.bars, bar{one.Peer, s.Median, form(s.Median), colourOf(one.Peer), one.Synced})
		}
	}
	return p
}

// colourOf returns the colour of a peer: the same for both ways of syncing.
func colourOf(peer string) string {
	first, _, _ := strings.Cut(peer, " ")
	switch first {
	case ownName:
		return "#1864ab"
	case "beanstalkd":
		return "#5c940d"
	case "redis":
		return "#c92a2a"
	case "nats":
		return "#e67700"
	}
	return faint
}
