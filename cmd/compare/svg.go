package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
)

// canvas is an SVG that is being drawn. Lengths are in pixels, from the upper left corner.
type canvas struct{ body bytes.Buffer }

const (
	ink   = "#1f2933"
	faint = "#6b7680"
	grid  = "#dde2e7"
)

// bytes returns the whole picture.
func (c *canvas) bytes(width, height float64) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" `+
		`font-family="DejaVu Sans, Verdana, sans-serif">`+"\n", width, height, width, height)
	fmt.Fprintf(&out, `<rect width="%.0f" height="%.0f" fill="#ffffff"/>`+"\n", width, height)
	out.Write(c.body.Bytes())
	out.WriteString("</svg>\n")
	return out.Bytes()
}

func (c *canvas) rect(x, y, w, h float64, fill string, opacity float64) {
	fmt.Fprintf(&c.body, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s" fill-opacity="%.2f"/>`+"\n", x, y, w, h, fill, opacity)
}

func (c *canvas) line(x1, y1, x2, y2 float64, colour string, width float64) {
	fmt.Fprintf(&c.body, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%.1f"/>`+"\n", x1, y1, x2, y2, colour, width)
}

// text writes at the base line y; anchor is start, middle or end, at x.
func (c *canvas) text(x, y, size float64, anchor, colour, weight, text string) {
	fmt.Fprintf(&c.body, `<text x="%.1f" y="%.1f" font-size="%.0f" text-anchor="%s" fill="%s" font-weight="%s">`, x, y, size, anchor, colour, weight)
	_ = xml.EscapeText(&c.body, []byte(text)) // A buffer takes everything.
	c.body.WriteString("</text>\n")
}

func (c *canvas) dot(x, y float64, colour string) {
	fmt.Fprintf(&c.body, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x, y, colour)
}
