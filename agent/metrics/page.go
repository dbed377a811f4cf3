package metrics

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Page collects the samples of one answer. It is made by NewPage and used by one
// goroutine. Samples may come in any order; they are written in that of the
// table, the families whole, as the format wants it.
type Page struct {
	rows [families][]row
}

// row is one line: what stands between the name and the value, and the value.
type row struct {
	suffix string // of the name: _sum and _count of a summary
	labels string // with braces, or empty
	value  float64
}

// NewPage returns an empty page.
func NewPage() *Page { return &Page{} }

// Set adds the sample of a family for these values of its labels. A family that
// has other labels is a mistake of the program.
func (p *Page) Set(f Family, value float64, labels ...string) {
	p.add(f, "", value, labels)
}

func (p *Page) add(f Family, suffix string, value float64, labels []string) {
	names := table[f].labels
	if suffix != "" {
		names = names[:len(labels)]
	}
	if len(labels) != len(names) {
		panic(fmt.Sprintf("BUG: %s has %d labels, got %d", table[f].name, len(names), len(labels)))
	}
	var b strings.Builder
	for i, name := range names {
		if i == 0 {
			b.WriteByte('{')
		} else {
			b.WriteByte(',')
		}
		b.WriteString(name)
		b.WriteString(`="`)
		escape(&b, labels[i])
		b.WriteByte('"')
	}
	if len(names) > 0 {
		b.WriteByte('}')
	}
	p.rows[f] = append(p.rows[f], row{suffix, b.String(), value})
}

// escape writes the value of a label.
func escape(b *strings.Builder, s string) {
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		switch r {
		case '\\':
			b.WriteString(`\\`)
		case '"':
			b.WriteString(`\"`)
		case '\n':
			b.WriteString(`\n`)
		default:
			b.WriteRune(r)
		}
	}
}

// Series returns how many samples the page has.
func (p *Page) Series() int {
	n := 0
	for f := range p.rows {
		n += len(p.rows[f])
	}
	return n
}

// Append appends the page to b, in the text format.
func (p *Page) Append(b []byte) []byte {
	for f := range p.rows {
		rows, d := p.rows[f], table[f]
		if len(rows) == 0 {
			continue
		}
		b = fmt.Appendf(b, "# HELP %s %s\n# TYPE %s %s\n", d.name, d.help, d.name, d.kind)
		for i := range rows {
			b = append(b, d.name...)
			b = append(b, rows[i].suffix...)
			b = append(b, rows[i].labels...)
			b = append(b, ' ')
			b = appendValue(b, rows[i].value)
			b = append(b, '\n')
		}
	}
	return b
}

// appendValue writes whole numbers without an exponent, which people read better.
func appendValue(b []byte, v float64) []byte {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return strconv.AppendInt(b, int64(v), 10)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}
