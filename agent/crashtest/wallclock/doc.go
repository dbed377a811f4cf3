// Package wallclock runs a program that sees another time of day, which a test
// sets and steps while the program runs. The machine's own clock stays as it is.
//
// A Go program asks for the time without the kernel's help: it calls a function
// that the kernel has mapped into every process, the vDSO. Clock stops the program
// before its first instruction and writes another function in its place, which
// asks the kernel and adds an offset to what it says of CLOCK_REALTIME. All other
// clocks stay right, and so does what the kernel does by the time of day.
//
// The program may not ask either whether the time is synchronised, as a service
// that is kept from the clock: adjtimex(2) fails with EPERM.
//
// It works on amd64 only, since the function is machine code, for programs that
// were linked statically.
package wallclock
