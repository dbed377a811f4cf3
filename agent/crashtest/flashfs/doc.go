// Package flashfs is a file system in memory that knows what a power cut would
// leave of it. It is served through FUSE by a process of its own (a mapping into
// one's own FUSE file system deadlocks), and a Device controls that process.
//
// # What is on flash
//
// Written data and synced data are kept apart. Of every page of 4096 bytes there
// is the version that is on flash and up to three later ones that were written
// and not synced; of the size of a file likewise; and the changes of directories
// that are not on flash are in a list.
//
//   - fsync and fdatasync of a file put its pages and its size on flash. msync and
//     writes through a mapping get there by the kernel's writeback first.
//   - fsync of a directory puts its entries on flash.
//
// What else a sync puts on flash is the Model:
//
//   - Journal is how ext4 and its like do it: changes of directories are in one
//     order, and syncing a file or directory puts the last change that it was part
//     of on flash and all before that. A new file that is synced is there with its
//     name. A cut keeps the changes up to any point beyond what was synced.
//   - Strict is what POSIX warrants and no more: a change is on flash when all
//     directories it is about were synced after it; a synced file whose directory
//     was not synced may have no name. A cut keeps any of the other changes, in any
//     combination in which each name goes through its states in order. A rename is
//     done or not done, never half.
//
// # A cut
//
// Device.Cut makes of all this what a device may hold after a power cut: what was
// synced, and of what was not none, all, or any part, page by page and, torn,
// sector by sector of 512 bytes. The order is: Freeze, at a random moment, from
// which on nobody gets an answer; the process under test is killed; Die, after
// which writes are taken (the kernel writes back what the dead process had mapped)
// and everything else fails; when the process is gone, Cut, which mounts the
// result anew.
//
// # Faults
//
// Rules make calls fail with an error such as EIO or EROFS, or make syncs that
// say that they have succeeded and have not. As with Linux, a sync that failed
// leaves the pages of the file neither on flash nor to be written by the next
// sync.
package flashfs
