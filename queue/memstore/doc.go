// Package memstore keeps queues in memory: the driver `memory`. What it holds
// lives as long as the Storage and Meta objects and goes with the process, so
// it suits items that are worth nothing after a power cut, and tests.
//
// It keeps a pointer for each sequence number, in slices of one span each, and
// an item goes from memory in the commit that removes it. A span begins every
// 65,536 items and after each opening of a partition, as on flash.
//
// Memory is bounded by Options.MaxBytes over all partitions of a Storage:
// Reserve answers an error of kind queue.ErrFull beyond it.
package memstore
