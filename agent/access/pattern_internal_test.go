package access

import (
	"regexp"
	"strings"
	"testing"
)

// FuzzMatch compares with regular expressions, in which a pattern is easily written.
func FuzzMatch(f *testing.F) {
	for _, s := range []string{"*", "", "a", "a*", "*a", "a*b", "a*b*c", "**", "camera-*", "a*a", "%2a", "A*", "a\x00*", "[a]*", "é*"} {
		for _, name := range []string{"", "a", "aa", "ab", "abc", "camera-1", "xcamera-1", "a*", "*", "é", "[a]"} {
			f.Add(s, name)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		// Byte by byte: each byte becomes a letter of its own.
		wide := func(s string) string {
			var b strings.Builder
			for i := range len(s) {
				b.WriteRune(rune(s[i]) + 0x100)
			}
			return b.String()
		}
		parts := strings.Split(pattern, "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(wide(parts[i]))
		}
		want, err := regexp.MatchString(`^`+strings.Join(parts, ".*")+`$`, wide(name))
		if err != nil {
			t.Skip(err) // Too large for a regular expression.
		}
		if got := match(pattern, name); got != want {
			t.Errorf("match(%q, %q) is %t", pattern, name, got)
		}
	})
}
