package main

import (
	"fmt"

	"github.com/kapetan-io/querator-edge/agent/config"
)

// sizeFlag is a flag that takes a size as the configuration does, in bytes.
type sizeFlag int64

func (s *sizeFlag) String() string { return fmt.Sprint(int64(*s)) }

// Type is what the help calls the value.
func (s *sizeFlag) Type() string { return "size" }

// Set takes the text of the flag.
func (s *sizeFlag) Set(text string) error {
	size, ok := config.ParseSize(text)
	if !ok {
		return fmt.Errorf("'%s' is not a size; use a number of bytes, or 64MiB, 5MB, 512KiB and the like", text)
	}
	*s = sizeFlag(size)
	return nil
}
