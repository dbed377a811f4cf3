package config

import (
	"strconv"
	"strings"
)

// places finds the line of every key of a TOML text, by dotted key as in Error.Key: tables, values, and the
// elements of arrays as key[index]. The text has been read by the TOML library before, which reports syntax
// errors but not where the keys are; so this only has to find its way in what is right. Whatever the text, it
// ends, and it looks at each byte a bounded number of times.
func places(text string) map[string]int {
	p := placer{text: text, line: 1, lines: map[string]int{}, elements: map[string]int{}}
	p.advance(len(text) - len(strings.TrimPrefix(text, "\uFEFF")))
	table := ""
	for p.skipBlank(); p.pos < len(p.text); p.skipBlank() {
		before := p.pos
		if p.text[p.pos] == '[' {
			table = p.header()
		} else {
			p.pair(table)
		}
		p.atLeast(before + 1)
	}
	return p.lines
}

// placer is the state of one pass over a text.
type placer struct {
	text      string
	pos, line int
	lines     map[string]int // The first line of each key.
	elements  map[string]int // How many elements of each array of tables have begun.
}

// header reads [a.b] or [[a.b]] and returns the dotted key of the table that begins.
func (p *placer) header() string {
	line := p.line
	array := strings.HasPrefix(p.text[p.pos:], "[[")
	p.advance(1)
	if array {
		p.advance(1)
	}
	key := ""
	parts := p.key()
	for i, part := range parts {
		key = joinKey(key, part)
		p.mark(key, line)
		if array && i == len(parts)-1 {
			p.elements[key]++
		}
		if n := p.elements[key]; n > 0 {
			key = indexKey(key, n-1)
			p.mark(key, line)
		}
	}
	for p.pos < len(p.text) && p.text[p.pos] == ']' {
		p.advance(1)
	}
	return key
}

// pair reads key = value of a table.
func (p *placer) pair(table string) {
	line := p.line
	for _, part := range p.key() {
		table = joinKey(table, part)
		p.mark(table, line)
	}
	if p.pos < len(p.text) && p.text[p.pos] == '=' {
		p.advance(1)
	}
	p.skipSpace()
	p.value(table)
}

// key reads a dotted key and the space around it.
func (p *placer) key() []string {
	var parts []string
	for {
		p.skipSpace()
		part := p.keyPart()
		if part == "" {
			return parts
		}
		parts = append(parts, part)
		p.skipSpace()
		if p.pos >= len(p.text) || p.text[p.pos] != '.' {
			return parts
		}
		p.advance(1)
	}
}

// keyPart reads one bare or quoted part of a key.
func (p *placer) keyPart() string {
	start := p.pos
	if p.pos < len(p.text) && (p.text[p.pos] == '"' || p.text[p.pos] == '\'') {
		p.quoted()
		part := p.text[start:p.pos]
		if plain, err := strconv.Unquote(part); err == nil && part[0] == '"' {
			return plain
		}
		return strings.Trim(part, part[:1])
	}
	for p.pos < len(p.text) && isBare(p.text[p.pos]) {
		p.advance(1)
	}
	return p.text[start:p.pos]
}

// value passes over a value and marks the keys inside it. The nesting is bounded before (see guard).
func (p *placer) value(key string) {
	if p.pos >= len(p.text) {
		return
	}
	switch p.text[p.pos] {
	case '"', '\'':
		p.quoted()
	case '[':
		p.group(']', func(i int) {
			element := indexKey(key, i)
			p.mark(element, p.line)
			p.value(element)
		})
	case '{':
		p.group('}', func(int) { p.pair(key) })
	default:
		end := strings.IndexAny(p.text[p.pos:], ",]}#\n")
		if end < 0 {
			end = len(p.text) - p.pos
		}
		p.advance(end)
	}
}

// group passes over an array or an inline table and calls one for each member.
func (p *placer) group(end byte, one func(index int)) {
	p.advance(1)
	for i := 0; ; i++ {
		p.skipBlank()
		if p.pos < len(p.text) && p.text[p.pos] == ',' {
			p.advance(1)
			p.skipBlank()
		}
		if p.pos >= len(p.text) || p.text[p.pos] == end {
			p.advance(1)
			return
		}
		before := p.pos
		one(i)
		p.atLeast(before + 1)
	}
}

// quoted passes over a string of any of the four kinds.
func (p *placer) quoted() {
	quote := p.text[p.pos : p.pos+1]
	long := strings.Repeat(quote, 3)
	end := quote
	if strings.HasPrefix(p.text[p.pos:], long) {
		end = long
	}
	p.advance(len(end))
	for p.pos < len(p.text) {
		rest := p.text[p.pos:]
		switch {
		case quote == `"` && rest[0] == '\\':
			p.advance(2)
		case strings.HasPrefix(rest, end):
			p.advance(len(end))
			// Up to two more quotes belong to a long string.
			for end == long && p.pos < len(p.text) && p.text[p.pos] == quote[0] {
				p.advance(1)
			}
			return
		default:
			p.advance(1)
		}
	}
}

// skipBlank passes over space, line ends and comments.
func (p *placer) skipBlank() {
	for p.pos < len(p.text) {
		switch p.text[p.pos] {
		case ' ', '\t', '\r', '\n':
			p.advance(1)
		case '#':
			end := strings.IndexByte(p.text[p.pos:], '\n')
			if end < 0 {
				end = len(p.text) - p.pos
			}
			p.advance(end)
		default:
			return
		}
	}
}

func (p *placer) skipSpace() {
	for p.pos < len(p.text) && (p.text[p.pos] == ' ' || p.text[p.pos] == '\t') {
		p.advance(1)
	}
}

// advance moves by n bytes, not beyond the end, and counts lines.
func (p *placer) advance(n int) {
	end := min(p.pos+n, len(p.text))
	p.line += strings.Count(p.text[p.pos:end], "\n")
	p.pos = end
}

// atLeast makes sure that a loop moves on.
func (p *placer) atLeast(pos int) { p.advance(max(0, pos-p.pos)) }

// mark notes the first line of a key.
func (p *placer) mark(key string, line int) {
	if p.lines[key] == 0 {
		p.lines[key] = line
	}
}

// joinKey adds a part to a dotted key, quoted if it has to be.
func joinKey(table, part string) string {
	for i := range len(part) {
		if !isBare(part[i]) {
			part = strconv.Quote(part)
			break
		}
	}
	if part == "" {
		part = `""`
	}
	if table == "" {
		return part
	}
	return table + "." + part
}

// indexKey is the key of an element of an array.
func indexKey(key string, i int) string { return key + "[" + strconv.Itoa(i) + "]" }

// parentKey returns the key of the table or array that holds key, "" at the top.
func parentKey(key string) string { return key[:max(0, strings.LastIndexAny(key, ".["))] }

func isBare(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}
