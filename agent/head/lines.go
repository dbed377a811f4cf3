package head

import (
	"bytes"
	"strings"
)

// maxLines is how many header lines a plain head has at most.
const maxLines = 24

// maxDigits is how many digits a plain Content-Length has at most.
const maxDigits = 15

// end returns where the head at the beginning of b ends, with its empty line; 0
// when it is not there whole.
func end(b []byte) int {
	i := bytes.Index(b, []byte("\r\n\r\n"))
	if i < 0 {
		return 0
	}
	return i + 4
}

// cutLine returns the first line of s and what follows it. ok is false when it
// does not end with CR LF.
func cutLine(s string) (line, rest string, ok bool) {
	return strings.Cut(s, "\r\n")
}

// cutHeader splits a header line. ok is false when it is not plain.
func cutHeader(line string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(line, ":")
	if !ok || name == "" {
		return "", "", false
	}
	for i := range len(name) {
		if !isAlnum(name[i]) && name[i] != '-' {
			return "", "", false
		}
	}
	value = trim(value)
	return name, value, isText(value)
}

// trim removes space and tabs on both sides.
func trim(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// isText reports whether s is visible ASCII, space and tab.
func isText(s string) bool {
	for i := range len(s) {
		if (s[i] < ' ' || s[i] > '~') && s[i] != '\t' {
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// number reads a Content-Length.
func number(s string) (n int64, ok bool) {
	if s == "" || len(s) > maxDigits {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}
