package access

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// groups makes a tree of control groups as the kernel shows it: directories with lists of processes.
func groups(t *testing.T, lists map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for dir, pids := range lists {
		path := filepath.Join(root, dir)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(pids, " ", "\n") + "\n"
		if err := os.WriteFile(filepath.Join(path, "cgroup.procs"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFindUnit(t *testing.T) {
	root := groups(t, map[string]string{
		"":                            "1",
		"init.scope":                  "1",
		"system.slice":                "",
		"system.slice/camera.service": "100 2000 30",
		"system.slice/camera.service/workers/deep":                                                "777",
		"system.slice/sensor.service":                                                             "20",
		"system.slice/system-cam.slice/cam@1.service":                                             "41",
		"system.slice/_cgroup.service":                                                            "50",
		"user.slice/user-1000.slice/session-1.scope":                                              "60",
		"user.slice/user-1000.slice/user@1000.service":                                            "",
		"user.slice/user-1000.slice/user@1000.service/init.scope":                                 "70",
		"user.slice/user-1000.slice/user@1000.service/app.slice":                                  "",
		"user.slice/user-1000.slice/user@1000.service/app.slice/camera.service":                   "71",
		"user.slice/user-1000.slice/user@1000.service/app.slice/system.slice/sensor.service":      "72",
		"machine.slice/systemd-nspawn@box.service/payload/system.slice/camera.service":            "80",
		"machine.slice/systemd-nspawn@box.service/payload/machine.slice/sub.slice/sensor.service": "81",
		"camera.service": "90", // Not of systemd, but of root all the same.
		"plain":          "91",
	})
	for _, test := range []struct {
		pid    int32
		wanted string
		want   string
	}{
		{100, "camera.service", "camera.service"},
		{30, "camera.service", "camera.service"},
		{777, "camera.service", "camera.service"},
		{10, "camera.service", ""}, // Part of another number.
		{20, "camera.service", ""},
		{20, "*.service", "sensor.service"},
		{41, "cam@*.service", "cam@1.service"},
		{50, "cgroup.service", "cgroup.service"},
		{60, "session-*.scope", "session-1.scope"},
		// Units of a user, and in a container, are not the system's, whatever they are called.
		{71, "camera.service", ""},
		{72, "sensor.service", ""},
		{80, "camera.service", ""},
		{81, "*.service", "systemd-nspawn@box.service"},
		{71, "user@*", "user@1000.service"},
		{70, "user@1000.service", "user@1000.service"},
		{91, "*", ""},
		{12345, "*.service", ""},
	} {
		got, err := findUnit(root, test.pid, func(name string) bool { return match(test.wanted, name) })
		if got != test.want || err != nil {
			t.Errorf("process %d, looking for %s: %q, %v; want %q", test.pid, test.wanted, got, err, test.want)
		}
	}
	for _, pid := range []int32{0, -1} { // Of another pid namespace.
		if unit, err := findUnit(root, pid, func(string) bool { return true }); err == nil {
			t.Errorf("process %d is of unit %q", pid, unit)
		}
	}
	if _, err := findUnit("", 100, func(string) bool { return true }); err == nil {
		t.Error("without control groups a unit is known")
	}
}

// Who hides among many control groups is not known to be outside of the unit.
func TestFindUnitWithinBounds(t *testing.T) {
	lists := map[string]string{}
	for i := range 20 {
		lists["a.service/"+strings.Repeat("x", i+1)] = "1"
	}
	root := groups(t, lists)
	for left, want := range map[int]bool{10: false, 30: true} {
		s := &unitSearch{pid: "6", wants: func(string) bool { return true }, left: left}
		if unit, err := s.slice(root); unit != "" || (err == nil) != want {
			t.Errorf("with %d directories: %q, %v", left, unit, err)
		}
	}
	long := groups(t, map[string]string{"a.service": strings.Repeat("1000000 ", maxProcsText/8+1) + "5"})
	if unit, err := findUnit(long, 6, func(string) bool { return true }); err == nil {
		t.Errorf("with a long list the unit is %q", unit)
	}
}
