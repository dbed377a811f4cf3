package agent_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent"
	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/paths"
)

// running is an agent in this process.
type running struct {
	*client.Client
	t    *testing.T
	http *http.Client
}

// runAgent runs an agent with a configuration until the test ends.
func runAgent(t *testing.T, toml string) *running {
	t.Helper()
	dir, err := os.MkdirTemp("", "q") // Short: a socket's path is.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "c.toml")
	if err := os.WriteFile(file, []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	env := paths.Env{Getenv: func(string) string { return "" }, EUID: 1, Exists: func(string) bool { return false }}
	loaded, err := config.LoadAgent(config.Flags{Config: file, DataDir: filepath.Join(dir, "data"), Socket: socket}, env)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(ctx, agent.Options{Config: loaded, Version: "1.2.3", Stderr: t.Output()}) }()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	r := &running{Client: &client.Client{Socket: socket}, t: t, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
	t.Cleanup(func() {
		r.Close()
		r.http.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the agent ended with: %v", err)
		}
	})
	r.await(func() bool {
		resp, err := r.http.Get("http://agent/health")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return true
	})
	return r
}

// await polls until what is waited for is so.
func (r *running) await(is func() bool) {
	r.t.Helper()
	late := time.After(30 * time.Second)
	every := time.NewTicker(5 * time.Millisecond)
	defer every.Stop()
	for !is() {
		select {
		case <-every.C:
		case <-late:
			r.t.Fatal("waited 30 s in vain")
		}
	}
}

// get returns the body of an answer.
func (r *running) get(path string) string {
	r.t.Helper()
	resp, err := r.http.Get("http://agent" + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("%s: %s, %v\n%s", path, resp.Status, err, text)
	}
	return string(text)
}

// queue creates a queue and produces so many items of 100 bytes.
func (r *running) queue(name string, items int) {
	r.t.Helper()
	ctx := r.t.Context()
	err := r.CreateQueue(ctx, client.QueueInfo{Name: name, LeaseTimeout: time.Minute, ExpireTimeout: time.Hour, Partitions: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	for i := range items {
		if err := r.Produce(ctx, name, client.ProduceItem{Payload: fmt.Appendf(nil, "%100d", i)}); err != nil {
			r.t.Fatal(err)
		}
	}
}
