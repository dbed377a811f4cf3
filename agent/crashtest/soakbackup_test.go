package crashtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/crashtest"
)

// backups takes back-ups of an agent that ends at any moment and whose storages
// fail: each is whole, or there is none, with a reason.
type backups struct {
	t      *testing.T
	agent  *crashtest.Agent
	scraps string

	mu              sync.Mutex
	whole, restored int
	cut             map[string]int // those that are not, by reason
}

// backupTimeout is far beyond what one takes, or what noticing the end of the agent
// takes.
const backupTimeout = 30 * time.Second

// backupReasons are the reasons for which there may be no back-up, by what is said.
var backupReasons = []struct{ name, text string }{
	{"the agent was not there", "the agent cannot be reached"},
	{"the agent ended", "the connection to the agent at .* broke"},
	{"the agent was ending", "shutting down|shutdown"},
	{"the disk was full", "the disk is full"},
	{"a storage failed", "partition '[0-9]+' is failing|cannot (read|sync|write|open)"},
}

// take takes one of all queues, or of one that is on the device, and looks at it.
func (b *backups) take(all bool) {
	dir := filepath.Join(b.scraps, "backups")
	must(b.t, os.MkdirAll(dir, 0o700))
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "backup")
	args := []string{"--socket", b.agent.Socket, "backup", file}
	if !all {
		args = append(args, "--queue", "double")
	}
	out, err := b.run(dir, args...)
	_, gone := os.Lstat(file)
	switch {
	case errors.As(err, new(*exec.ExitError)):
		b.broken(dir, file, out, gone == nil)
	case err != nil:
		b.t.Errorf("a back-up: %v\n%s", err, out)
	case gone != nil:
		b.t.Errorf("a back-up that was taken is not there: %v\n%s", gone, out)
	default:
		b.check(dir, file)
	}
}

// run runs the program, for a bounded time.
func (b *backups) run(dir string, args ...string) (string, error) {
	cmd := command(b.t, dir, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	late := time.AfterFunc(backupTimeout, func() {
		b.t.Errorf("%q does not end", args)
		_ = cmd.Process.Kill()
	})
	defer late.Stop()
	err := cmd.Wait()
	return out.String(), err
}

// broken judges one that was not taken, or not in full.
func (b *backups) broken(dir, file, said string, there bool) {
	if there && !strings.Contains(said, "Missing:") {
		b.t.Errorf("a back-up is there that was said to have failed: %s", said)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) > 0 {
		b.t.Errorf("a back-up that failed has left %q, %v", left, err)
	}
	if there { // Parts are missing, which it says; the rest is sound.
		if out, err := b.run(dir, "verify", file); !strings.Contains(out, "Missing:") {
			b.t.Errorf("what a back-up lacks is not in it: %v\n%s\n%s", err, said, out)
		}
	}
	for _, reason := range backupReasons {
		if regexp.MustCompile("(?i)" + reason.text).MatchString(said) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.cut[reason.name]++
			return
		}
	}
	b.t.Errorf("a back-up failed without a reason that is known: %s", said)
}

// check checks one that was taken; every fifth is restored.
func (b *backups) check(dir, file string) {
	if out, err := b.run(dir, "verify", file); err != nil {
		b.t.Errorf("a back-up that was taken does not verify: %v\n%s", err, out)
	}
	b.mu.Lock()
	b.whole++
	isTurn := b.whole%5 == 1
	b.mu.Unlock()
	if !isTurn {
		return
	}
	data := filepath.Join(dir, "data")
	for _, args := range [][]string{{"restore", "--data-dir", data, file}, {"verify", data}} {
		if out, err := b.run(dir, args...); err != nil {
			b.t.Errorf("a back-up that was taken cannot be used: %q: %v\n%s", args, err, out)
			return
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.restored++
}

// String is the summary.
func (b *backups) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := fmt.Sprintf("%d back-ups whole (%d restored)", b.whole, b.restored)
	for _, name := range slices.Sorted(maps.Keys(b.cut)) {
		text += fmt.Sprintf(", %d none since %s", b.cut[name], name)
	}
	return text
}
