// Package flashfs is a file system in memory that knows what a power cut would
// leave of it. It is served through FUSE by a process of its own (a mapping into
// one's own FUSE file system deadlocks), and a Device controls that process.
//
// # What is on flash
//
// Written data and synced data are kept apart. Of every page of 4096 bytes there
// is the version that is on flash and some later ones that were written and not
// synced; of the size of a file likewise. The changes of directories (a name that
// comes, goes, or moves) and of the extent of files (a truncation, a hole) that
// are not on flash are in a list, in order.
//
//   - fsync and fdatasync of a file put its pages, its size and its extent on
//     flash. msync and writes through a mapping get there by the kernel's writeback
//     first.
//   - fsync of a directory puts its names on flash.
//
// What else a sync puts on flash is the Model:
//
//   - Journal is ext4, XFS and the like: changes are in one order, and syncing a
//     file or directory puts the last change that it was part of on flash, and all
//     before that.
//   - Log is Btrfs, F2FS and the like: syncing a file or directory puts its name on
//     flash, and those of the directories above it if they are new, and no other
//     changes.
//   - Strict is what POSIX warrants: a file that was synced has no name on flash
//     until its directory was synced; what moves from one directory to another is
//     in the new one when both were synced.
//
// A cut keeps the changes that are left in the list up to any point, since file
// systems write them back in order. A change is made or not made, never half.
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
