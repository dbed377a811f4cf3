package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/device"
)

// place is a directory that the agent keeps data in.
type place struct {
	check string // what its findings are called
	dir   string
	items bool // items are kept there, so the floor counts
}

// places returns the directories of a configuration, each file system once as
// far as the paths tell.
func places(cfg *config.Config) []place {
	var list []place
	for i := range cfg.PartitionStorages {
		p := &cfg.PartitionStorages[i]
		if p.Driver == config.DriverBadger {
			list = append(list, place{"storage " + p.Name, p.StorageDir, true})
		}
	}
	if cfg.QueueStorage.Driver == config.DriverBadger {
		list = append(list, place{"storage of definitions", cfg.QueueStorage.StorageDir, false})
	}
	return list
}

// checkPlace looks at the file system, the space, the device and its syncs.
func (x *examination) checkPlace(ctx context.Context, p place) {
	there := device.Existing(p.dir)
	f, err := device.FileSystemOf(there)
	if errors.Is(err, fs.ErrPermission) {
		x.note(p.check, Unknown, "run it as root or as the agent's user", "%v", err)
		return
	}
	if err != nil {
		x.note(p.check, Failing, "make the directory, or choose another with data-dir or storage-dir", "%v", err)
		return
	}
	mount := device.MountOf(there)
	x.checkKind(p, &f, &mount)
	if !p.items {
		return // The rest is of what items wear and fill.
	}
	x.checkSpace(p, &f)
	var block device.Block
	if fi, err := os.Stat(there); err == nil {
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			block = x.Host.BlockOf(uint64(st.Dev))
		}
	}
	x.checkWear(p, &block)
	x.checkSyncs(ctx, p, there, &f, &mount, &block)
}

func (x *examination) checkKind(p place, f *device.FileSystem, m *device.Mount) {
	move := "choose a directory on a local ext4 or f2fs with data-dir or storage-dir"
	switch {
	case f.ReadOnly:
		x.note(p.check, Failing, "look for errors of the disk with: dmesg; check it with fsck, then remount it", "%s is mounted read-only at %s", p.dir, m.Point)
	case f.Kind == "overlay":
		x.note(p.check, Failing, "mount a data partition, and choose a directory on it with data-dir",
			"%s is on an overlay: with a read-only root, all that is written is in memory and gone when the power goes", p.dir)
	case f.IsVolatile():
		x.note(p.check, Failing, move, "%s is on %s: everything is gone when the power goes", p.dir, f.Kind)
	case f.IsRemote():
		x.note(p.check, Failing, move, "%s is on %s: locks and syncs over the network do not hold what they promise", p.dir, f.Kind)
	case f.HasNoOwners():
		x.note(p.check, Failing, move, "%s is on %s, which keeps no owners and no journal", p.dir, f.Kind)
	case f.Kind == "fuse":
		x.note(p.check, Warning, move, "%s is on a file system of a program (fuse): its syncs are only as good as the program", p.dir)
	default:
		x.note(p.check, OK, "", "%s is on %s, mounted at %s from %s", p.dir, f.Kind, m.Point, m.Source)
	}
	if m.Has("nobarrier", "barrier=0") {
		x.note(p.check, Failing, "take nobarrier out of /etc/fstab and remount", "%s is mounted without barriers: a sync does not reach the flash", m.Point)
	}
}

func (x *examination) checkSpace(p place, f *device.FileSystem) {
	floor := x.Config.Storage.Floor(f.Total)
	switch {
	case f.Free < floor:
		x.note(p.check, Failing, "remove files from the disk, complete items, or clear queues", "full: %s of %s are free, %s have to be; produce is refused",
			size(f.Free), size(f.Total), size(floor))
	case f.Free < 2*floor:
		x.note(p.check, Warning, "make room before it is full", "%s of %s are free; below %s produce is refused", size(f.Free), size(f.Total), size(floor))
	default:
		x.note(p.check, OK, "", "%s of %s are free", size(f.Free), size(f.Total))
	}
	if least := int64(x.Config.Storage.MinFreeInodes); f.HasInodes {
		switch {
		case f.FreeInodes < least:
			x.note(p.check, Failing, "remove small files from the disk", "%d inodes are free, %d have to be; produce is refused", f.FreeInodes, least)
		case f.FreeInodes < 2*least:
			x.note(p.check, Warning, "remove small files from the disk", "%d inodes are free; below %d produce is refused", f.FreeInodes, least)
		default:
			x.note(p.check, OK, "", "%d inodes are free", f.FreeInodes)
		}
	}
}

func (x *examination) checkWear(p place, b *device.Block) {
	switch {
	case b.NearEnd:
		x.note(p.check, Failing, "replace the card now; move the data with: querator items export, or a copy while the agent is stopped", "%s says that its spare blocks run out", blockText(b))
	case b.Worn >= 90:
		x.note(p.check, Warning, "plan to replace it", "%s says that %d to %d %% of its life are used", blockText(b), b.Worn-10, b.Worn)
	case b.Worn > 0:
		x.note(p.check, OK, "", "%s says that %d to %d %% of its life are used", blockText(b), b.Worn-10, b.Worn)
	}
}

// blockText names a device.
func blockText(b *device.Block) string {
	if b.Model == "" {
		return b.Name
	}
	return fmt.Sprintf("%s (%s)", b.Name, b.Model)
}

// checkSyncs measures syncs, and judges whether they can be true.
func (x *examination) checkSyncs(ctx context.Context, p place, dir string, f *device.FileSystem, m *device.Mount, b *device.Block) {
	if x.SyncTime == 0 || f.ReadOnly {
		return
	}
	s, err := measure(ctx, dir, x.SyncTime)
	switch {
	case errors.Is(err, fs.ErrPermission):
		x.note(p.check, Unknown, "run it as root or as the agent's user: sudo -u querator querator doctor", "syncs cannot be measured: %v", err)
		return
	case err != nil:
		x.note(p.check, Failing, "look for errors of the disk with: dmesg", "syncs cannot be measured: %v", err)
		return
	}
	text := fmt.Sprintf("a sync takes %s (p50), %s (p99), %s at most, of %d", short(s.p50), short(s.p99), short(s.most), s.count)
	switch {
	case s.p50 > 200*time.Millisecond || s.p99 > 5*time.Second:
		x.note(p.check, Warning, "produce in batches, raise [durability] commit-delay, or take a better card (class A1 or A2)", "%s: slow", text)
	default:
		x.note(p.check, OK, "", "%s", text)
	}
	x.judgeFlush(p, f, b, &s)
}

// leastFlush is less than any card, stick or disk needs to make a write durable.
const leastFlush = 100 * time.Microsecond

// judgeFlush says whether the device can have done what it says. Only pulling
// the power can prove it.
func (x *examination) judgeFlush(p place, f *device.FileSystem, b *device.Block, s *syncs) {
	if f.IsVolatile() || f.IsRemote() {
		return
	}
	isCard := b.Type != "" || b.USB || b.Rotational
	proof := "pull the power under load on a device of this make, and look with: querator audit"
	switch {
	case b.Name == "":
		x.note(p.check, Unknown, "", "the device below %s is not known, so nothing can be said about its flushes", f.Kind)
	case isCard && s.p50 < leastFlush:
		x.note(p.check, Warning, proof, "%s answers flushes in %s, faster than it can write: it seems to lie", blockText(b), short(s.p50))
	case b.USB && b.HasCache && !b.WriteBack:
		x.note(p.check, Warning, proof, "%s says that it has no cache, so the kernel never flushes it; bridges to USB often say so wrongly", blockText(b))
	case s.p50 < 2*s.write:
		x.note(p.check, Warning, proof, "a write to %s takes %s, and with its sync no more than %s: the sync seems to do nothing", blockText(b), short(s.write), short(s.p50))
	default:
		x.note(p.check, OK, "", "%s flushes, as far as can be told without pulling the power", blockText(b))
	}
}

// checkQuarantine looks for damage that was set aside.
func (x *examination) checkQuarantine() {
	found, first := 0, ""
	for _, p := range places(x.Config) {
		for _, pattern := range []string{"*/quarantine/*", "quarantine/*"} {
			list, err := filepath.Glob(filepath.Join(p.dir, pattern))
			if err != nil {
				continue // The directory has a name that is a bad pattern.
			}
			if found += len(list); first == "" && len(list) > 0 {
				first = list[0]
			}
		}
	}
	if found > 0 {
		x.note("damage", Warning, "read what can be read with: querator salvage "+first+", then remove it", "%d damaged directories were set aside, the first is %s", found, first)
		return
	}
	if _, err := os.ReadDir(x.Config.DataDir); errors.Is(err, fs.ErrPermission) {
		x.note("damage", Unknown, "run it as root or as the agent's user", "%s may not be looked into", x.Config.DataDir)
		return
	}
	x.note("damage", OK, "", "nothing was set aside")
}
