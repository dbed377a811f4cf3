package access

import "strings"

// Match reports whether a pattern fits a name, as in rules: "*" stands for any
// text.
func Match(pattern, name string) bool { return match(pattern, name) }

// match reports whether a name fits a pattern, in which "*" stands for any bytes. It takes time in proportion to
// the product of the two lengths at most, and allocates nothing.
func match(pattern, name string) bool {
	first, rest, stars := strings.Cut(pattern, "*")
	if !stars {
		return pattern == name
	}
	if !strings.HasPrefix(name, first) {
		return false
	}
	name = name[len(first):]
	for {
		part, more, found := strings.Cut(rest, "*")
		if !found {
			return strings.HasSuffix(name, part)
		}
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name, rest = name[i+len(part):], more
	}
}
