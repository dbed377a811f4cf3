// Package memtest runs the real program in a memory cgroup, under a load that
// asks for everything at once, and reports what the kernel says of its memory.
//
// A Cgroup is a control group with a hard limit, of either version. A Load is
// the clients; they run outside of the group, so that only what the agent holds
// is counted. A Sampler watches the group while they run.
//
// What counts in such a group, and what of it can be given back:
//
//   - anonymous memory: the heap and the stacks of Go. It cannot be reclaimed.
//   - memory of the kernel: page tables, stacks of threads, sockets with what was
//     written into them and not read, names and inodes in caches. The last two
//     can be reclaimed.
//   - file pages: the program's text and read-only data, and the store's files.
//     They can be reclaimed, when they are clean; the group's figure is therefore
//     at its limit in the end whatever the program does, and proves nothing.
//
// The limit is memory-limit with the size of the program added, so that all of
// its text can stay in memory.
package memtest
