package main

import (
	"fmt"
	"math"
)

// plotHeight is the height of the lines in a panel of a growth plot.
const plotHeight = 130.0

// drawGrowth returns a plot with a row of panels for each sweep: each figure over what grows, which is spread evenly.
// A line that is level is a cost that does not grow; all begin at zero.
func drawGrowth(m *machine, all []growthReport) []byte {
	var c canvas
	y := margin + 16
	c.text(margin, y, 20, "start", ink, "bold", "what grows, and what does not")
	y += 20
	c.text(margin, y, 11, "start", faint, "normal", fmt.Sprintf("querator alone on %s, %d processors (%s), Linux %s, %s. Medians; every scale begins at zero.",
		m.Arch, m.Processors, m.Model, m.Kernel, m.At.Format("2 January 2006")))
	for i := range all {
		r := &all[i]
		y += 36
		c.text(margin, y, 15, "start", ink, "bold", r.name)
		c.line(margin, y+8, margin+columns*panelWidth+(columns-1)*panelGap, y+8, grid, 1)
		y += 16
		for k := range r.columns {
			x := margin + float64(k%columns)*(panelWidth+panelGap)
			if k > 0 && k%columns == 0 {
				y += plotHeight + headHeight + 30
			}
			c.curve(r, &r.columns[k], x, y)
		}
		y += plotHeight + headHeight + 20
	}
	return c.bytes(2*margin+columns*panelWidth+(columns-1)*panelGap, y+margin)
}

// curve draws one figure of a sweep.
func (c *canvas) curve(r *growthReport, col *column, x, y float64) {
	c.text(x, y+18, 12, "start", ink, "bold", col.head)
	base := y + headHeight + plotHeight - 12
	top := y + headHeight
	most := 0.0
	for i := range r.points {
		if s, ok := col.figure(&r.points[i], r.figures[i]); ok {
			most = max(most, s.Median)
		}
	}
	c.line(x, base, x+panelWidth, base, grid, 1)
	step := panelWidth / float64(len(r.points))
	lastX, lastY := math.NaN(), 0.0
	for i := range r.points {
		px := x + step*(float64(i)+0.5)
		c.text(px, base+14, 10, "middle", faint, "normal", count(float64(r.points[i].x)))
		s, ok := col.figure(&r.points[i], r.figures[i])
		if !ok || most == 0 {
			lastX = math.NaN()
			continue
		}
		py := base - s.Median/most*(base-top)
		if !math.IsNaN(lastX) {
			c.line(lastX, lastY, px, py, colourOf(ownName), 2)
		}
		c.dot(px, py, colourOf(ownName))
		c.text(px, py-7, 10, "middle", ink, "normal", col.form(s.Median))
		lastX, lastY = px, py
	}
}
