package device_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kapetan-io/querator-edge/agent/device"
)

// tree makes files below a new root.
func tree(t *testing.T, files map[string]string) device.Host {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return device.Host{Root: root}
}

func TestMemoryCgroup(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  device.MemoryCgroup
	}{
		"version 2": {map[string]string{
			"/proc/7/cgroup": "0::/system.slice/querator.service\n", "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
			"/sys/fs/cgroup/system.slice/querator.service/memory.max": "100663296\n", "/sys/fs/cgroup/system.slice/memory.max": "max\n",
			"/proc/cmdline": "console=tty1 cgroup_disable=memory root=/dev/mmcblk0p2 cgroup_enable=memory\n",
		}, device.MemoryCgroup{Present: true, Limit: 100663296}},
		"limit above": {map[string]string{
			"/proc/7/cgroup": "0::/a/b\n", "/sys/fs/cgroup/cgroup.controllers": "memory\n",
			"/sys/fs/cgroup/a/b/memory.max": "max\n", "/sys/fs/cgroup/a/memory.max": "4096\n",
		}, device.MemoryCgroup{Present: true, Limit: 4096}},
		"no limit": {map[string]string{
			"/proc/7/cgroup": "0::/a\n", "/sys/fs/cgroup/cgroup.controllers": "memory\n", "/sys/fs/cgroup/a/memory.max": "max\n",
		}, device.MemoryCgroup{Present: true}},
		"Raspberry Pi OS": {map[string]string{
			"/proc/7/cgroup": "0::/system.slice/querator.service\n", "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io pids\n",
			"/proc/cmdline": "coherent_pool=1M cgroup_disable=memory\n",
		}, device.MemoryCgroup{SwitchedOff: true}},
		"version 1": {map[string]string{
			"/proc/7/cgroup": "5:cpu,cpuacct:/\n4:memory:/q\n0::/\n",
			"/sys/fs/cgroup/memory/q/memory.limit_in_bytes": "67108864\n",
			"/sys/fs/cgroup/memory/memory.limit_in_bytes":   "9223372036854771712\n",
		}, device.MemoryCgroup{Present: true, Limit: 64 << 20}},
		"nothing": {nil, device.MemoryCgroup{}},
	} {
		if got := tree(t, c.files).MemoryCgroupOf("7"); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestHost(t *testing.T) {
	h := tree(t, map[string]string{
		"/proc/meminfo": "MemTotal:         437468 kB\nMemFree:  1 kB\nMemAvailable:     300000 kB\n",
		"/proc/7/limits": "Limit                     Soft Limit           Hard Limit           Units     \n" +
			"Max open files            1024                 4096                 files     \n",
		"/proc/7/oom_score_adj":                                "-500\n",
		"/sys/class/rtc/rtc0/name":                             "rtc-ds1307 1-0068\n",
		"/sys/devices/platform/soc/soc:firmware/get_throttled": "50000\n",
	})
	if total, available := h.Memory(); total != 437468<<10 || available != 300000<<10 {
		t.Errorf("memory %d, %d", total, available)
	}
	if n := h.MaxFiles("7"); n != 1024 {
		t.Errorf("%d files", n)
	}
	if s := h.OOMScoreAdj("7"); s != "-500" {
		t.Errorf("oom_score_adj %q", s)
	}
	if got := h.RTCs(); !slices.Equal(got, []string{"rtc0 rtc-ds1307 1-0068"}) {
		t.Errorf("clocks %q", got)
	}
	if seen, known := h.UnderVoltage(); !seen || !known {
		t.Error("0x50000 is under-voltage and throttling that were seen")
	}
	if seen, known := tree(t, nil).UnderVoltage(); seen || known {
		t.Error("under-voltage on a machine that does not tell")
	}
	if release, machine := device.Kernel(); release == "" || machine == "" {
		t.Errorf("kernel %q on %q", release, machine)
	}
}

func TestBlock(t *testing.T) {
	h := tree(t, map[string]string{
		"/sys/devices/mmc0/block/mmcblk0/mmcblk0p2/partition":     "2\n",
		"/sys/devices/mmc0/block/mmcblk0/queue/rotational":        "0\n",
		"/sys/devices/mmc0/block/mmcblk0/queue/write_cache":       "write back\n",
		"/sys/devices/mmc0/block/mmcblk0/device/type":             "MMC\n",
		"/sys/devices/mmc0/block/mmcblk0/device/name":             "SC16G\n",
		"/sys/devices/mmc0/block/mmcblk0/device/life_time":        "0x02 0x09\n",
		"/sys/devices/mmc0/block/mmcblk0/device/pre_eol_info":     "0x02\n",
		"/sys/devices/pci/usb1/host0/block/sda/sda1/partition":    "1\n",
		"/sys/devices/pci/usb1/host0/block/sda/queue/write_cache": "write through\n",
		"/sys/devices/pci/usb1/host0/block/sda/removable":         "1\n",
		"/sys/dev/block/none":                                     "",
	})
	for from, to := range map[string]string{"179:2": "mmc0/block/mmcblk0/mmcblk0p2", "8:1": "pci/usb1/host0/block/sda/sda1"} {
		if err := os.Symlink(filepath.Join(h.Root, "/sys/devices", to), filepath.Join(h.Root, "/sys/dev/block", from)); err != nil {
			t.Fatal(err)
		}
	}
	want := device.Block{Name: "mmcblk0", Model: "SC16G", Type: "MMC", WriteBack: true, HasCache: true, Worn: 90, NearEnd: true}
	if got := h.BlockOf(unix.Mkdev(179, 2)); got != want {
		t.Errorf("the card is %+v", got)
	}
	want = device.Block{Name: "sda", Removable: true, USB: true, HasCache: true}
	if got := h.BlockOf(unix.Mkdev(8, 1)); got != want {
		t.Errorf("the stick is %+v", got)
	}
	if got := h.BlockOf(unix.Mkdev(0, 42)); got != (device.Block{}) {
		t.Errorf("no device is %+v", got)
	}
}
