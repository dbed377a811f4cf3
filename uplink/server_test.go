package uplink_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// stand is a server with a stream for events.
type stand struct {
	t    testing.TB
	opts *server.Options
	srv  *server.Server
	dir  string
}

// newStand starts a server; change may change its options.
func newStand(t testing.TB, change func(o *server.Options)) *stand {
	s := &stand{t: t, dir: t.TempDir()}
	s.opts = &server.Options{
		Host: "127.0.0.1", Port: freePort(t), JetStream: true, StoreDir: s.dir, NoLog: true, NoSigs: true,
		JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 1 << 30,
	}
	if change != nil {
		change(s.opts)
	}
	s.start()
	t.Cleanup(s.stop)
	return s
}

// freePort returns a port that nobody listens on, and that the kernel gives to nobody who dials: so it is still free
// when a server comes back.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		if ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			ln.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// start starts it, on the port that it had before.
func (s *stand) start() {
	s.t.Helper()
	srv, err := server.NewServer(s.opts)
	if err != nil {
		s.t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(30 * time.Second) {
		s.t.Fatal("the server does not start")
	}
	s.srv = srv
}

func (s *stand) stop() {
	if s.srv != nil {
		s.srv.Shutdown()
		s.srv.WaitForShutdown()
		s.srv = nil
	}
}

func (s *stand) addr() string { return fmt.Sprintf("127.0.0.1:%d", s.opts.Port) }

// admin returns a connection for the test itself.
func (s *stand) admin(options ...nats.Option) *nats.Conn {
	s.t.Helper()
	return dialAdmin(s.t, "nats://"+s.addr(), options...)
}

func dialAdmin(t testing.TB, url string, options ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, append([]nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond), nats.Timeout(time.Minute),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// streamConfig is the stream that the documentation asks for.
func streamConfig() map[string]any {
	return map[string]any{
		"name": "QUERATOR", "subjects": []string{"querator.>"}, "retention": "limits", "storage": "file",
		"num_replicas": 1, "discard": "new", "duplicate_window": (15 * time.Minute).Nanoseconds(),
		"allow_direct": true, "allow_atomic": true,
	}
}

// api asks JetStream, and fails the test on an error.
func api(t testing.TB, nc *nats.Conn, subject string, ask any) map[string]any {
	t.Helper()
	var data []byte
	if ask != nil {
		data, _ = json.Marshal(ask)
	}
	m, err := nc.Request("$JS.API."+subject, data, 20*time.Second)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	var answer map[string]any
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		t.Fatal(err)
	}
	if answer["error"] != nil {
		t.Fatalf("%s: %v", subject, answer["error"])
	}
	return answer
}

// createStream makes the stream, with changes: a value nil removes a setting.
func createStream(t testing.TB, nc *nats.Conn, changes map[string]any) {
	t.Helper()
	c := streamConfig()
	for k, v := range changes {
		if v == nil {
			delete(c, k)
		} else {
			c[k] = v
		}
	}
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	// Right after a delete, the server may still be clearing the directory away.
	eventually(t, "the stream is created", func() bool {
		m, err := nc.Request("$JS.API.STREAM.CREATE.QUERATOR", data, 20*time.Second)
		return err == nil && !strings.Contains(string(m.Data), `"error"`)
	})
}

func updateStream(t testing.TB, nc *nats.Conn, changes map[string]any) {
	t.Helper()
	c := streamConfig()
	for k, v := range changes {
		c[k] = v
	}
	api(t, nc, "STREAM.UPDATE.QUERATOR", c)
}

// TestMain lets the test binary be a server, so that one can be killed, or an uplink that is measured.
func TestMain(m *testing.M) {
	if dir := os.Getenv("QUERATOR_TEST_SERVER_DIR"); dir != "" {
		serveForEver(dir, os.Getenv("QUERATOR_TEST_SERVER_PORT"))
		return
	}
	if url := os.Getenv("QUERATOR_TEST_COST_URL"); url != "" {
		events, _ := strconv.ParseUint(os.Getenv("QUERATOR_TEST_COST_EVENTS"), 10, 64)
		measureCost(url, events)
		return
	}
	os.Exit(m.Run())
}

func serveForEver(dir, port string) {
	n, _ := strconv.Atoi(port)
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: n, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	srv.Start()
	srv.WaitForShutdown()
}

func streamInfo(t testing.TB, nc *nats.Conn) map[string]any {
	t.Helper()
	return api(t, nc, "STREAM.INFO.QUERATOR", nil)
}

// streamSeq is the last sequence of the stream.
func streamSeq(t testing.TB, nc *nats.Conn) uint64 {
	t.Helper()
	state := streamInfo(t, nc)["state"].(map[string]any)
	return uint64(state["last_seq"].(float64))
}

// streamMessages is how many the stream has.
func streamMessages(t testing.TB, nc *nats.Conn) int {
	t.Helper()
	return int(streamInfo(t, nc)["state"].(map[string]any)["messages"].(float64))
}
