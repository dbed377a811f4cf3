package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"
)

// The values of --output.
const (
	outputTable = "table"
	outputJSON  = "json"
	outputLines = "jsonl"
)

func outputs() []string { return []string{outputTable, outputJSON, outputLines} }

// print writes a result to stdout: table for people, whole as one JSON document, or each of rows as one line of
// JSON. Without rows, whole is the only line.
func (e *env) print(whole any, rows []any, table func(t *columns)) error {
	switch e.output {
	case outputJSON:
		return e.printJSON(whole, "  ")
	case outputLines:
		if rows == nil {
			rows = []any{whole}
		}
		for _, row := range rows {
			if err := e.printJSON(row, ""); err != nil {
				return err
			}
		}
		return nil
	}
	var t columns
	table(&t)
	return t.flush(e)
}

// printJSON writes one value with a newline after it. Text is not escaped for HTML.
func (e *env) printJSON(v any, indent string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := e.stdout.Write(b.Bytes())
	return err
}

// report prints the result of a command that changes something: a note for people, v for programs.
func (e *env) report(v any, format string, args ...any) error {
	if e.output == outputTable {
		e.note(format, args...)
		return nil
	}
	return e.print(v, nil, nil)
}

// anys returns the elements for print.
func anys[T any](list []T) []any {
	rows := make([]any, len(list))
	for i := range list {
		rows[i] = list[i]
	}
	return rows
}

// columns collects rows of cells; each column gets as wide as its widest cell.
type columns struct{ b bytes.Buffer }

// row adds a row. Text cells are made printable.
func (t *columns) row(cells ...any) {
	for i, cell := range cells {
		if i > 0 {
			t.b.WriteByte('\t')
		}
		t.b.WriteString(printable(fmt.Sprint(cell)))
	}
	t.b.WriteByte('\n')
}

// gap ends the columns; the next row begins new ones.
func (t *columns) gap() { t.b.WriteByte('\n') }

// flush aligns the columns and writes everything, without blanks at the ends of lines.
func (t *columns) flush(e *env) error {
	var aligned bytes.Buffer
	w := tabwriter.NewWriter(&aligned, 0, 0, 2, ' ', 0)
	// A bytes.Buffer takes everything.
	_, _ = w.Write(t.b.Bytes())
	_ = w.Flush()
	var out strings.Builder
	for line := range strings.Lines(aligned.String()) {
		out.WriteString(strings.TrimRight(line, " \n"))
		out.WriteByte('\n')
	}
	_, err := fmt.Fprint(e.stdout, out.String())
	return err
}

// printable replaces what would move the cursor or break the columns.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, strings.ToValidUTF8(s, "·"))
}

// previewRunes is how much of a payload a table shows.
const previewRunes = 60

// preview returns the beginning of a payload, or its size if it is not text.
func preview(payload []byte) string {
	head := payload[:min(len(payload), 4*previewRunes)]
	for len(head) > 0 && len(head) < len(payload) && !utf8.Valid(head) && len(head) > 4*previewRunes-utf8.UTFMax {
		head = head[:len(head)-1] // A rune may have been cut.
	}
	if !utf8.Valid(head) {
		return fmt.Sprintf("(%s)", bytesText(int64(len(payload))))
	}
	text := strings.TrimRight(string(head), "\r\n")
	if runes := []rune(text); len(runes) > previewRunes {
		return string(runes[:previewRunes-1]) + "…"
	}
	return text
}

// dash returns "-" for an empty text, so that no column looks forgotten.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// bytesText returns a size as people read it.
func bytesText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/unit, 0
	for v >= unit && i < 3 {
		v /= unit
		i++
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGT"[i])
}

// durationText returns a duration without the parts that are 0, and without digits that nobody reads.
func durationText(d time.Duration) string {
	switch {
	case d >= time.Minute || d <= -time.Minute:
		d = d.Round(time.Second)
	case d >= time.Second || d <= -time.Second:
		d = d.Round(100 * time.Millisecond)
	case d >= time.Millisecond:
		d = d.Round(10 * time.Microsecond)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// timeText returns a time in the local zone to the second, or "-".
func timeText(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
