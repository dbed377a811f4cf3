package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// topView is what querator top shows; draw makes the lines of it.
type topView struct {
	now, before *sample
	err         error // why there is no newer sample; nil if there is
	interval    time.Duration
	paused      bool
	sort        int // index of topColumns
	reversed    bool
	first       int // row at the top
	rows        int // how many fit, as of the last draw
	total       int
}

// topColumn is a column of the table of queues.
type topColumn struct {
	title string
	key   string // that sorts by it
	width int
	least int // columns of a terminal on which it is shown
	text  func(s *queueSum) string
	by    func(s *queueSum) float64 // what is sorted by, the most on top; nil is the name
}

// topColumns are all columns; that of the name gets what the others leave.
func topColumns() []topColumn {
	return []topColumn{
		{"QUEUE", "n", 0, 0, nil, nil},
		{"READY", "r", 7, 0, func(s *queueSum) string { return countText(s.Ready) }, func(s *queueSum) float64 { return float64(s.Ready) }},
		{"LEASED", "l", 7, 0, func(s *queueSum) string { return countText(s.Leased) }, func(s *queueSum) float64 { return float64(s.Leased) }},
		{"SCHED", "c", 6, 0, func(s *queueSum) string { return countText(s.Scheduled) }, func(s *queueSum) float64 { return float64(s.Scheduled) }},
		{"IN/S", "i", 6, 0, func(s *queueSum) string { return rateText(s.in, s.known) }, func(s *queueSum) float64 { return s.in }},
		{"DONE/S", "d", 6, 0, func(s *queueSum) string { return rateText(s.done, s.known) }, func(s *queueSum) float64 { return s.done }},
		{"AGE", "a", 6, 0, (*queueSum).ageText, func(s *queueSum) float64 { return s.AverageAge.Seconds() }},
		{"WAIT", "w", 5, 0, func(s *queueSum) string { return countText(int64(s.LeaseWaiting)) }, func(s *queueSum) float64 { return float64(s.LeaseWaiting) }},
		{"DEAD", "x", 6, 96, func(s *queueSum) string {
			return countText(int64(s.PartitionStatus.Ledger.Dead + s.PartitionStatus.Ledger.Expired))
		}, func(s *queueSum) float64 {
			return float64(s.PartitionStatus.Ledger.Dead + s.PartitionStatus.Ledger.Expired)
		}},
		{"FULL", "f", 6, 104, func(s *queueSum) string { return fullText(&s.Info, &s.PartitionStatus) }, func(s *queueSum) float64 { return float64(s.Bytes) }},
		{"DISK", "b", 10, 112, func(s *queueSum) string { return bytesText(s.Usage.Disk) }, func(s *queueSum) float64 { return float64(s.Usage.Disk) }},
	}
}

// Lines around the table: the head and the title above it, the keys below.
const (
	topHead = 5
	topFoot = 1
)

// draw returns at most height lines, none wider than width. It has no line breaks in it; a title line is marked.
func (v *topView) draw(width, height int) []string {
	if v.now == nil {
		return []string{cut(v.errText("asking the agent"), width), "", cut("q quits", width)}
	}
	list, all := sums(v.now, v.before)
	v.total, v.rows = len(list), max(height-topHead-topFoot, 1)
	v.first = max(min(v.first, v.total-v.rows), 0)
	lines := v.head(&all, width)
	lines = append(lines, v.table(list, width)...)
	if len(lines) > height-topFoot {
		lines = lines[:max(height-topFoot, 0)]
	}
	for len(lines) < height-topFoot {
		lines = append(lines, "")
	}
	return append(lines, cut(v.foot(), width))
}

func (v *topView) errText(none string) string {
	if v.err != nil {
		return "! " + v.err.Error()
	}
	return none
}

// head returns the lines above the table.
func (v *topView) head(all *queueSum, width int) []string {
	s := v.now.Status
	clock := "clock trusted"
	if !s.Clock.Trusted {
		clock = "clock NOT trusted"
	}
	state := fmt.Sprintf("every %s", durationText(v.interval))
	if v.paused {
		state = "PAUSED"
	}
	disk := "no disk"
	for _, st := range s.Storages {
		if st.Name != "" && st.Total > 0 {
			disk = fmt.Sprintf("%s: %s of %s free", st.Name, bytesText(st.Free), bytesText(st.Total))
			break
		}
	}
	problem := "no problems"
	switch {
	case v.err != nil:
		problem = v.errText("")
	case len(s.Problems) > 0:
		problem = fmt.Sprintf("! %s", problemText(&s.Problems[0]))
		if n := len(s.Problems); n > 1 {
			problem = fmt.Sprintf("! (1 of %d) %s", n, problemText(&s.Problems[0]))
		}
	}
	return []string{
		fill(fmt.Sprintf("querator %s  up %s  %s  connections %d of %d", s.Version, ageText(s.Uptime), clock, s.Connections, s.MaxConnections),
			v.now.at.Format(time.TimeOnly)+" "+state, width),
		cut(fmt.Sprintf("memory %s   disk %s", memoryText(s.Memory), disk), width),
		cut(fmt.Sprintf("items %s ready, %s leased, %s scheduled   %s/s in, %s/s done   %s/s written", countText(all.Ready),
			countText(all.Leased), countText(all.Scheduled), rateText(all.in, all.known), rateText(all.done, all.known),
			bytesText(int64(all.written))), width),
		cut(problem, width),
	}
}

// table returns the title and the rows that fit.
func (v *topView) table(list []queueSum, width int) []string {
	columns := slices.DeleteFunc(topColumns(), func(c topColumn) bool { return c.least > width })
	left := width - 2
	for _, c := range columns[1:] {
		left -= c.width + 1
	}
	left = max(left, 8)
	v.order(list)
	var b strings.Builder
	b.WriteString(pad("  QUEUE", left+2))
	for _, c := range columns[1:] {
		fmt.Fprintf(&b, " %*s", c.width, c.title)
	}
	lines := []string{ansiTitle + pad(cut(b.String(), width), width) + ansiPlain}
	for i := range list[v.first:min(v.first+v.rows, len(list))] {
		s := &list[v.first+i]
		b.Reset()
		b.WriteString(s.mark())
		b.WriteString(pad(cut(printable(s.Info.Name), left), left))
		for _, c := range columns[1:] {
			fmt.Fprintf(&b, " %*s", c.width, c.text(s))
		}
		lines = append(lines, cut(b.String(), width))
	}
	if len(list) == 0 {
		lines = append(lines, cut("  no queues; create one with: querator queues create NAME", width))
	}
	return lines
}

// mark is what stands before the name of a queue.
func (s *queueSum) mark() string {
	switch s.state {
	case "FAILING":
		return "! "
	case "paused":
		return "P "
	}
	return "  "
}

// order sorts the queues: those that fail on top, then by the column, then by name.
func (v *topView) order(list []queueSum) {
	by := topColumns()[v.sort].by
	sign := 1
	if v.reversed {
		sign = -1
	}
	slices.SortStableFunc(list, func(a, b queueSum) int {
		fails := func(s *queueSum) int { return map[bool]int{true: 0, false: 1}[s.state == "FAILING"] }
		if c := cmp.Compare(fails(&a), fails(&b)); c != 0 {
			return c
		}
		if by != nil {
			if c := cmp.Compare(by(&b), by(&a)); c != 0 {
				return sign * c
			}
			return cmp.Compare(a.Info.Name, b.Info.Name)
		}
		return sign * cmp.Compare(a.Info.Name, b.Info.Name)
	})
}

func (v *topView) foot() string {
	keys := ""
	for _, c := range topColumns()[:8] {
		keys += c.key
	}
	text := fmt.Sprintf("q quit  p pause  +- speed  arrows scroll  R reverse  %s sort: %s", keys, strings.ToLower(topColumns()[v.sort].title))
	if v.total > v.rows {
		text = fmt.Sprintf("%d-%d of %d  ", v.first+1, min(v.first+v.rows, v.total), v.total) + text
	}
	return text
}

// Bounds of the time between two looks.
const (
	leastInterval = 500 * time.Millisecond
	mostInterval  = time.Minute
)

// typed does what the keys ask for that came together. It reports whether to go on, and whether to look at the
// agent now.
func (v *topView) typed(text string) (goOn, look bool) {
	goOn = true
	for goOn && text != "" {
		n := keyLen(text)
		again := false
		goOn, again = v.key(text[:n])
		look = look || again
		text = text[n:]
	}
	return goOn, look
}

// keyLen returns how many bytes the first key has: one, or those of a sequence such as ESC [ 5 ~.
func keyLen(text string) int {
	if len(text) < 3 || text[0] != '\x1b' || text[1] != '[' && text[1] != 'O' {
		return 1
	}
	for i := 2; i < len(text); i++ {
		if text[i] >= '@' && text[i] <= '~' {
			return i + 1
		}
	}
	return len(text)
}

// key does what a key asks for. It reports whether to go on, and whether to look at the agent now.
func (v *topView) key(k string) (goOn, look bool) {
	switch k {
	case "q", "Q":
		return false, false
	case "p", " ":
		v.paused = !v.paused
		return true, !v.paused
	case "R":
		v.reversed = !v.reversed
	case "+":
		v.interval = max(v.interval/2, leastInterval)
		return true, !v.paused
	case "-":
		v.interval = min(v.interval*2, mostInterval)
	case "\x1b[A", "\x1bOA", "k":
		v.first--
	case "\x1b[B", "\x1bOB", "j":
		v.first++
	case "\x1b[5~":
		v.first -= v.rows
	case "\x1b[6~":
		v.first += v.rows
	case "\x1b[H", "\x1b[1~", "g":
		v.first = 0
	case "\x1b[F", "\x1b[4~", "G":
		v.first = v.total
	default:
		for i, c := range topColumns() {
			if c.key == k {
				v.sort, v.first = i, 0
			}
		}
	}
	return true, false
}

// countText returns a count in at most six characters.
func countText(n int64) string {
	switch {
	case n < 100_000:
		return fmt.Sprint(n)
	case n < 10_000_000:
		return fmt.Sprintf("%dk", n/1000)
	case n < 10_000_000_000:
		return fmt.Sprintf("%dM", n/1_000_000)
	}
	return fmt.Sprintf("%dG", n/1_000_000_000)
}

// runeWidth returns how many columns a rune takes on a terminal.
func runeWidth(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3, r >= 0xf900 && r <= 0xfaff,
		r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60, r >= 0xffe0 && r <= 0xffe6, r >= 0x1f300 && r <= 0x1faff,
		r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}

// textWidth returns how many columns a text takes.
func textWidth(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// cut returns as much of a text as fits, with a mark if something is missing.
func cut(s string, width int) string {
	if textWidth(s) <= width {
		return s
	}
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n+runeWidth(r) > width-1 {
			break
		}
		n += runeWidth(r)
		b.WriteRune(r)
	}
	if width > 0 {
		b.WriteRune('…')
	}
	return b.String()
}

// pad fills a text up with blanks.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(width-textWidth(s), 0))
}

// fill puts one text at the left and one at the right end of a line; the left one gives way.
func fill(left, right string, width int) string {
	room := max(width-textWidth(right)-1, 0)
	return cut(pad(cut(left, room), room)+" "+right, width)
}
