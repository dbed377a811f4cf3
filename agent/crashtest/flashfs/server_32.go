//go:build 386 || arm

package flashfs

import "io"

// Serve fails: the FUSE library does not compile where addresses have 32 bits.
func Serve(io.Reader, io.Writer) error { return ErrWordSize }
