package doctor

// An internal test: devices and machines are made up.

import (
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/device"
)

func newExamination() *examination {
	cfg := config.Default()
	return &examination{Options: Options{Config: &cfg}, process: "self"}
}

// only returns the level of the one finding.
func (x *examination) only(t *testing.T) Level {
	t.Helper()
	if len(x.list) != 1 {
		t.Fatalf("%d findings: %+v", len(x.list), x.list)
	}
	return x.list[0].Level
}

func TestFlushes(t *testing.T) {
	ext4, card := device.FileSystem{Kind: "ext4"}, device.Block{Name: "mmcblk0", Type: "SD", HasCache: true, WriteBack: true}
	for name, c := range map[string]struct {
		b    device.Block
		s    syncs
		want Level
	}{
		"honest card":  {card, syncs{p50: 8 * time.Millisecond, write: 10 * time.Microsecond}, OK},
		"lying card":   {card, syncs{p50: 40 * time.Microsecond, write: 10 * time.Microsecond}, Warning},
		"USB bridge":   {device.Block{Name: "sda", USB: true, HasCache: true}, syncs{p50: time.Millisecond, write: 10 * time.Microsecond}, Warning},
		"no flush":     {device.Block{Name: "nvme0n1"}, syncs{p50: 11 * time.Microsecond, write: 10 * time.Microsecond}, Warning},
		"NVMe":         {device.Block{Name: "nvme0n1"}, syncs{p50: 40 * time.Microsecond, write: 5 * time.Microsecond}, OK},
		"not a device": {device.Block{}, syncs{p50: time.Millisecond}, Unknown},
	} {
		x := newExamination()
		x.judgeFlush(place{check: "storage"}, &ext4, &c.b, &c.s)
		if got := x.only(t); got != c.want {
			t.Errorf("%s: %s, want %s: %+v", name, got, c.want, x.list)
		}
	}
}

func TestFileSystems(t *testing.T) {
	for _, c := range []struct {
		f    device.FileSystem
		want Level
	}{
		{device.FileSystem{Kind: "ext4"}, OK}, {device.FileSystem{Kind: "f2fs"}, OK}, {device.FileSystem{Kind: "overlay"}, Failing},
		{device.FileSystem{Kind: "tmpfs"}, Failing}, {device.FileSystem{Kind: "nfs"}, Failing}, {device.FileSystem{Kind: "vfat"}, Failing},
		{device.FileSystem{Kind: "ext4", ReadOnly: true}, Failing}, {device.FileSystem{Kind: "fuse"}, Warning},
	} {
		x := newExamination()
		x.checkKind(place{check: "storage", dir: "/d"}, &c.f, &device.Mount{Point: "/"})
		if got := x.only(t); got != c.want {
			t.Errorf("%+v: %s, want %s", c.f, got, c.want)
		}
	}
	x := newExamination()
	x.checkKind(place{}, &device.FileSystem{Kind: "ext4"}, &device.Mount{Options: []string{"rw", "nobarrier"}})
	if len(x.list) != 2 || x.list[1].Level != Failing {
		t.Errorf("without barriers: %+v", x.list)
	}
}

// TestDirectories checks that those of the running agent are looked at.
func TestDirectories(t *testing.T) {
	x := newExamination()
	own := x.Config.PartitionStorages[0].StorageDir
	x.status = &client.Status{Storages: []client.StorageStatus{
		{Dir: x.Config.QueueStorage.StorageDir}, {Name: x.Config.PartitionStorages[0].Name, Dir: "/data/items"}, {Name: "unknown", Dir: "/x"},
	}}
	cfg := x.Config
	x.checkDirectories()
	if got := x.only(t); got != Warning {
		t.Errorf("another directory is %s: %+v", got, x.list)
	}
	if got := places(x.Config); got[0].dir != "/data/items" || got[1].dir != cfg.QueueStorage.StorageDir || cfg.PartitionStorages[0].StorageDir != own {
		t.Errorf("looked at: %+v; the configuration was changed to %+v", got, cfg.PartitionStorages)
	}
}

func TestSpace(t *testing.T) {
	for _, c := range []struct {
		free, inodes int64
		want         Level
	}{{1 << 30, 1 << 20, OK}, {60 << 20, 1 << 20, Warning}, {30 << 20, 1 << 20, Failing}, {1 << 30, 999, Failing}, {1 << 30, 1999, Warning}} {
		x := newExamination()
		x.checkSpace(place{}, &device.FileSystem{Total: 4 << 30, Free: c.free, FreeInodes: c.inodes, HasInodes: true})
		worst := OK
		for _, f := range x.list {
			if f.Level != OK {
				worst = f.Level
			}
		}
		if worst != c.want {
			t.Errorf("%+v: %+v", c, x.list)
		}
	}
}

func TestMeasure(t *testing.T) {
	s, err := measure(t.Context(), t.TempDir(), 20*time.Millisecond)
	if err != nil || s.count < 1 || s.p50 <= 0 || s.p99 < s.p50 || s.most < s.p99 || s.write > s.p50 {
		t.Errorf("%+v, %v", s, err)
	}
}
