package main

import (
	"context"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/api"
	"github.com/kapetan-io/querator-edge/agent/pb"
)

// fakeUplink answers what it is told to, and keeps what it was asked for.
type fakeUplink struct {
	status   *pb.UplinkStatusResponse
	left     uint64
	findings []*pb.UplinkFinding
	asked    []api.UplinkAction
}

func (f *fakeUplink) Status(_ context.Context, s *pb.UplinkStatusResponse) {
	s.State, s.Since, s.Device, s.Url, s.ServerVersion, s.Mode = f.status.State, f.status.Since, f.status.Device, f.status.Url, f.status.ServerVersion, f.status.Mode
	s.Pending, s.Partitions, s.Oldest, s.Lost, s.Error = f.status.Pending, f.status.Partitions, f.status.Oldest, f.status.Lost, f.status.Error
	s.Delivered, s.Connects, s.Downlinks = f.status.Delivered, f.status.Connects, f.status.Downlinks
}

func (f *fakeUplink) Control(_ context.Context, action api.UplinkAction, s *pb.UplinkStatusResponse) error {
	f.asked = append(f.asked, action)
	if action == api.UplinkFlush {
		s.Left = f.left
	}
	if action == api.UplinkTest {
		s.Findings = f.findings
	}
	return nil
}

// TestUplinkCommands runs every command of the uplink, with all well and with trouble.
func TestUplinkCommands(t *testing.T) {
	f := &fakeUplink{status: &pb.UplinkStatusResponse{
		State: "connected", Since: "3m0s", Device: "dev-1", Url: "nats://hub:4222", ServerVersion: "2.12.1", Mode: "batch",
		Pending: 7, Partitions: 2, Oldest: "5s", Lost: 3, Delivered: 40, Connects: 2, Error: "the stream is full",
		Downlinks: []*pb.UplinkDownlink{{Queue: "orders", State: "waiting", Taken: 12, Sequence: 34, Stream: "DOWN", Subject: "d.orders"}},
	}}
	socket := serveAgentWith(t, 1<<20, f)
	for _, test := range []struct {
		args, stdout, stderr string
		code                 int
		before               func()
	}{
		{args: "uplink", stdout: "connected, for 3m0s"},
		{args: "uplink status", stdout: "7 in 2 partition(s)"},
		{args: "uplink status", stdout: "the oldest 5s old"},
		{args: "uplink status", stdout: "the stream is full"},
		{args: "uplink status", stdout: "nats://hub:4222, nats-server 2.12.1"},
		{args: "uplink status", stdout: "3 lost"},
		{args: "uplink status", stdout: "orders: waiting, 12 taken; at 34 of DOWN, d.orders"},
		{args: "uplink status --output json", stdout: `"pending": 7`},
		{args: "uplink pause", stderr: "Paused"},
		{args: "uplink resume", stderr: "Resumed: 7 event(s) wait"},
		{args: "uplink reconnect", stderr: "Connecting anew"},
		{args: "uplink flush", stderr: "0 event(s) are left"},
		{args: "uplink flush", stderr: "5 event(s) were not delivered", code: 1, before: func() { f.left = 5 }},
		{args: "uplink test", stdout: "ok", before: func() {
			f.findings = []*pb.UplinkFinding{{Name: "publish", Ok: true, Text: "may"}, {Name: "stream", Unknown: true, Text: "cannot be seen"}}
		}},
		{args: "uplink test", stdout: "-> set allow_direct", stderr: "cannot work as it should", code: 1, before: func() {
			f.findings = append(f.findings, &pb.UplinkFinding{Name: "direct gets", Text: "false", Fix: "set allow_direct"})
		}},
		{args: "status", stdout: "connected for 3m"},
	} {
		if test.before != nil {
			test.before()
		}
		r := command(t.Context(), socket, "", strings.Fields(test.args)...)
		if r.code != test.code || !strings.Contains(r.stdout, test.stdout) || !strings.Contains(r.stderr, test.stderr) {
			t.Errorf("%s: exit %d\n%s\n%s\nwant exit %d, %q, %q", test.args, r.code, r.stdout, r.stderr, test.code, test.stdout, test.stderr)
		}
	}
	want := []api.UplinkAction{api.UplinkPause, api.UplinkResume, api.UplinkReconnect, api.UplinkFlush, api.UplinkFlush, api.UplinkTest, api.UplinkTest}
	if len(f.asked) != len(want) {
		t.Fatalf("asked for %v, want %v", f.asked, want)
	}
	for i := range want {
		if f.asked[i] != want[i] {
			t.Errorf("asked for %v, want %v", f.asked, want)
		}
	}
	if r := command(t.Context(), serveAgent(t, 1<<20), "", "uplink"); r.code != 0 || !strings.Contains(r.stdout, "off") {
		t.Errorf("without an uplink: %+v", r)
	}
}
