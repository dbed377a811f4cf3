package device

// An internal test: the text of /proc/self/mountinfo is not the test's to choose.

import (
	"path/filepath"
	"testing"
)

const mountinfo = `22 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw,commit=600
26 22 0:24 / /tmp rw,nosuid - tmpfs tmpfs rw,size=100k
30 22 8:1 / /media/usb\040stick rw,relatime shared:5 - vfat /dev/sda1 rw,fmask=0022
31 22 8:2 / /data rw - ext4 /dev/sdb1 rw
32 31 8:3 / /data ro,noatime - ext4 /dev/sdb2 rw,nobarrier
garbage
`

func TestMountIn(t *testing.T) {
	for _, c := range []struct{ dir, point, kind, source string }{
		{"/var/lib/querator", "/", "ext4", "/dev/root"},
		{"/tmp/x", "/tmp", "tmpfs", "tmpfs"},
		{"/tmpx", "/", "ext4", "/dev/root"},
		{"/media/usb stick/q", "/media/usb stick", "vfat", "/dev/sda1"},
		{"/data/q", "/data", "ext4", "/dev/sdb2"},
	} {
		m := mountIn([]byte(mountinfo), c.dir)
		if m.Point != c.point || m.Kind != c.kind || m.Source != c.source {
			t.Errorf("%s is on %+v", c.dir, m)
		}
	}
	m := mountIn([]byte(mountinfo), "/data")
	if !m.Has("ro") || !m.Has("barrier=0", "nobarrier") || m.Has("rw,nobarrier") {
		t.Errorf("the options of /data are %q", m.Options)
	}
}

func TestFileSystemOf(t *testing.T) {
	dir := t.TempDir()
	if got := Existing(filepath.Join(dir, "a", "b")); got != dir {
		t.Errorf("above what is not there is %s, want %s", got, dir)
	}
	f, err := FileSystemOf(dir)
	if err != nil || f.Total <= 0 || f.Free <= 0 || f.Free > f.Total || f.ReadOnly || f.Kind == "" {
		t.Errorf("%+v, %v", f, err)
	}
	f, err = FileSystemOf("/proc/self")
	if err != nil || f.Kind != "0x9fa0" {
		t.Errorf("/proc is %+v, %v", f, err)
	}
	if _, err := FileSystemOf(filepath.Join(dir, "a")); err == nil {
		t.Error("a directory that is not there has a file system")
	}
	if m := MountOf(dir); m.Point == "" {
		t.Errorf("%s is on no mount", dir)
	}
}
