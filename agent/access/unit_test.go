package access_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kapetan-io/querator-edge/agent/access"
)

// realUnit makes a control group as systemd does for a unit, outside of every slice.
func realUnit(t *testing.T) (name, dir string) {
	t.Helper()
	name = fmt.Sprintf("querator-test-%d.service", os.Getpid())
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		dir = filepath.Join(root, name)
		if unix.Statfs(root, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC && os.Mkdir(dir, 0o755) == nil {
			t.Cleanup(func() {
				if err := os.Remove(dir); err != nil {
					t.Error(err)
				}
			})
			return name, dir
		}
	}
	t.Skip("NOT RUN: control groups of version 2 cannot be made here; TestFindUnit has the rules")
	return "", ""
}

func TestUnitOfAPeer(t *testing.T) {
	needRoot(t)
	name, dir := realUnit(t)
	path, l := socket(t)
	rules := compile(t, lines(
		`[[access]]`, `unit = "other.service"`, `queues = ["*"]`, `deny = ["admin"]`,
		`[[access]]`, `unit = "`+name+`"`, `queues = ["frames"]`, `allow = ["produce"]`,
	))
	g := access.New(access.Options{Rules: rules})
	if err := g.KnowsUnits(); err != nil {
		t.Fatal(err)
	}
	attr := credential(5001)
	inside, _ := helper(t, "connect "+path, attr)
	p := accept(t, g, l)
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(inside.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	outside, _ := helper(t, "connect "+path, attr)
	o := accept(t, g, l)
	if d := g.Decide(p, access.Produce, "frames"); !d.Allowed || g.Caller(p).Unit != name {
		t.Errorf("inside: %s; known: %+v", d, g.Caller(p))
	}
	if d := g.Decide(p, access.Produce, "other"); d.Allowed {
		t.Errorf("inside, another queue: %s", d)
	}
	if d := g.Decide(o, access.Produce, "frames"); d.Allowed || !g.Caller(o).UnitKnown {
		t.Errorf("outside: %s; known: %+v", d, g.Caller(o))
	}
	// Nobody can tell of a process that has ended, not even if its number is listed again.
	for _, cmd := range []interface{ Kill() error }{inside.Process, outside.Process} {
		if err := cmd.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	_ = inside.Wait()
	g.Reload(compile(t, lines(`[[access]]`, `unit = "`+name+`"`, `queues = ["*"]`, allOps)))
	if d := g.Decide(p, access.Produce, "frames"); d.Allowed || g.Caller(p).UnitKnown {
		t.Errorf("after its end: %s; known: %+v", d, g.Caller(p))
	}
}
