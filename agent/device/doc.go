// Package device tells what the machine is like as far as a queue on flash
// depends on it: file systems, the device below them, clocks, memory. It reads
// /proc and /sys and changes nothing. What cannot be told is left empty.
package device
