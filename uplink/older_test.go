//go:build olderservers

package uplink_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/uplink"
)

// TestOlderServers runs real servers of older versions (row 33). QUERATOR_NATS_SERVERS lists the programs,
// separated by colons; .ci/run builds them.
func TestOlderServers(t *testing.T) {
	list := os.Getenv("QUERATOR_NATS_SERVERS")
	if list == "" {
		t.Fatal("QUERATOR_NATS_SERVERS names no servers")
	}
	for _, program := range strings.Split(list, ":") {
		t.Run(filepath.Base(filepath.Dir(program)), func(t *testing.T) {
			t.Parallel()
			port := freePort(t)
			url := fmt.Sprintf("nats://127.0.0.1:%d", port)
			dir := t.TempDir()
			start := func() *exec.Cmd {
				cmd := exec.Command(program, "-js", "-sd", dir, "-a", "127.0.0.1", "-p", fmt.Sprint(port))
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				return cmd
			}
			kill := func(cmd *exec.Cmd) {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				_ = cmd.Wait() // It was killed.
			}
			cmd := start()
			t.Cleanup(func() { kill(cmd) })
			admin := dialAdmin(t, url, nats.RetryOnFailedConnect(true))
			eventually(t, "the server runs", admin.IsConnected)
			createStream(t, admin, nil) // Settings that it does not know are dropped in silence.
			tr := newTruth()
			src := newSource(tr, partName{"alpha", 0}, partName{"beta", 1})
			p := newProxy(t, fmt.Sprintf("127.0.0.1:%d", port))
			r := run(t, configFor(p.url()), src, nil)
			for i := range 4 {
				for _, box := range src.boxes {
					box.produce(150)
				}
				p.cut()
				if i == 2 {
					kill(cmd)
					cmd = start()
				}
				r.drained(src)
			}
			if s := r.Status(t.Context()); s.Mode != uplink.ModeWindow {
				t.Errorf("server %s: mode %s, but it has no batches", s.ServerVersion, s.Mode)
			}
			eventually(t, "the test is connected", admin.IsConnected)
			v := mustBeExact(t, tr, admin)
			t.Logf("server %s: %d events", r.Status(t.Context()).ServerVersion, v.messages)
			takesFrom(t, port, admin)
		})
	}
}

// takesFrom has a downlink take items from a server, which is cut off now and then.
func takesFrom(t *testing.T, port int, admin *nats.Conn) {
	t.Helper()
	b := newDownBenchOn(t, &stand{opts: &server.Options{Port: port}}, admin)
	b.createDown(nil)
	b.start()
	for range 4 {
		b.send(100)
		b.proxy.cut()
		b.exact(1)
	}
	b.stopDevice()
	b.send(20)
	b.start()
	b.exact(1)
}
