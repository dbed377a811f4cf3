package agent_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// hubServer is a NATS server with a stream for events.
func hubServer(t *testing.T) (url string, js nats.JetStreamContext) {
	t.Helper()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(30 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	nc, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err = nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	stream := `{"name":"QUERATOR","subjects":["querator.>"],"retention":"limits","storage":"file","num_replicas":1,` +
		`"discard":"new","duplicate_window":900000000000,"allow_direct":true,"allow_atomic":true}`
	if m, err := nc.Request("$JS.API.STREAM.CREATE.QUERATOR", []byte(stream), 20*time.Second); err != nil || strings.Contains(string(m.Data), `"error"`) {
		t.Fatalf("the stream is not created: %v %s", err, m.Data)
	}
	return srv.ClientURL(), js
}

// Without [uplink] there is none, and the calls say so.
func TestUplinkOff(t *testing.T) {
	a := runAgent(t, "")
	s, err := a.Uplink(t.Context())
	if err != nil || s.State != "off" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := a.ControlUplink(t.Context(), "flush", time.Second); err == nil {
		t.Error("an uplink that is not there was flushed")
	}
}

// TestUplinkControls has an agent connect, pause, go on, flush, and test itself.
func TestUplinkControls(t *testing.T) {
	url, _ := hubServer(t)
	a := runAgent(t, fmt.Sprintf("[uplink]\nurl = [%q]\ndevice = \"dev\"\nlinger = \"1ms\"\n", url))
	until := func(state string) {
		t.Helper()
		a.eventually("the uplink is "+state, func(ctx context.Context) bool {
			s, err := a.Uplink(ctx)
			return err == nil && s.State == state
		})
	}
	until("connected")
	s, err := a.ControlUplink(t.Context(), "test", 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range s.Findings {
		if !f.OK {
			t.Errorf("finding %+v", f)
		}
	}
	if len(s.Findings) < 8 {
		t.Errorf("only %d findings", len(s.Findings))
	}
	if _, err := a.ControlUplink(t.Context(), "pause", 0); err != nil {
		t.Fatal(err)
	}
	until("paused")
	if _, err := a.ControlUplink(t.Context(), "resume", 0); err != nil {
		t.Fatal(err)
	}
	until("connected")
	if s, err := a.ControlUplink(t.Context(), "flush", 20*time.Second); err != nil || s.Left != 0 {
		t.Errorf("flush: %+v, %v", s, err)
	}
	if _, err := a.ControlUplink(t.Context(), "explode", 0); err == nil {
		t.Error("an unknown action was taken")
	}
}

// eventually waits until something is so.
func (r *running) eventually(what string, ok func(ctx context.Context) bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			r.t.Fatalf("never came: %s", what)
		}
	}
}
