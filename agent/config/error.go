package config

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// ErrConfig is what every error of this package is: the configuration has to be changed before the agent can
// start (exit code 78).
var ErrConfig = errors.New("configuration error")

// Error is one problem and its place. It prints as "file:line: key: what is wrong; what is allowed".
type Error struct {
	// File is the file as it was opened, or "flag" or "environment"; "" when the value is a default.
	File string
	// Line counts from 1; 0: the file as a whole, or no file.
	Line int
	// Key is the dotted key, such as limits.max-connections or queue[0].name; "" for the file as a whole.
	Key string
	// Msg says what is wrong, Hint what is allowed or what to do. Hint may be empty.
	Msg, Hint string

	also string // A second key that the problem depends on, for the place if Key is a default.
	rank int    // The position of File in reading order.
}

// Error returns the problem as one line.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			b.WriteString(":" + strconv.Itoa(e.Line))
		}
		b.WriteString(": ")
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Msg)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Is reports that every problem is ErrConfig.
func (e *Error) Is(target error) bool { return target == ErrConfig }

// Errors is every problem that was found, sorted by place; never empty. It prints one problem a line.
type Errors []*Error

// Error returns all problems, one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, problem := range e {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.Is and errors.As each problem.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, problem := range e {
		all[i] = problem
	}
	return all
}

// asError sorts the problems by place and returns nil if there are none.
func (e Errors) asError() error {
	if len(e) == 0 {
		return nil
	}
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.Line, b.Line))
	})
	return e
}
