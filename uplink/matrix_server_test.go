package uplink_test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/uplink"
)

// Rows of the failure matrix about the server.

func Test04ReceiptsLostServerAndAgentRestarted(t *testing.T) {
	t.Parallel()
	window := 200 * time.Millisecond
	b := newBench(t, map[string]any{"duplicate_window": window.Nanoseconds()})
	r := run(t, b.config(), b.src, nil)
	b.proxy.set(func() { b.proxy.down.swallow = true })
	b.proxy.cut()
	box := b.src.boxes[0]
	r.stop()
	b.proxy.set(func() { b.proxy.down.swallow = false })
	cfg := b.config()
	cfg.Timing.Reply, cfg.Timing.Drain = time.Minute, time.Millisecond
	r = run(t, cfg, b.src, nil)
	box.produce(1)
	r.drained(b.src)
	b.proxy.set(func() { b.proxy.down.swallow = true })
	box.produce(25)
	admin := b.admin()
	eventually(t, "the server has them", func() bool { return streamSeq(t, admin) == 26 })
	r.stop()
	b.stop()
	b.start()
	<-time.After(2 * window) // Until the server has forgotten the identities.
	box.restart()
	b.proxy.set(func() { b.proxy.down.swallow = false })
	r = run(t, b.config(), b.src, nil)
	r.drained(b.src)
	b.produce(3)
	r.drained(b.src)
	b.exact()
}

func Test09ServerKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	port := freePort(t)
	start := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "QUERATOR_TEST_SERVER_DIR="+dir, "QUERATOR_TEST_SERVER_PORT="+strconv.Itoa(port))
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
	url := fmt.Sprintf("nats://127.0.0.1:%d", port)
	admin := dialAdmin(t, url, nats.RetryOnFailedConnect(true))
	eventually(t, "the server runs", admin.IsConnected)
	createStream(t, admin, nil)
	tr := newTruth()
	src := newSource(tr, partName{"alpha", 0})
	r := run(t, configFor(url), src, nil)
	for range 3 {
		src.boxes[0].produce(200)
		eventually(t, "some are delivered", func() bool { return src.boxes[0].delivered() > src.boxes[0].head()-150 })
		kill(cmd)
		src.boxes[0].produce(50)
		cmd = start()
		r.drained(src)
	}
	eventually(t, "the test is connected", admin.IsConnected)
	mustBeExact(t, tr, admin)
}

func Test11ServerWiped(t *testing.T) {
	t.Parallel()
	for _, retain := range []uint64{1 << 30, 20} {
		t.Run(fmt.Sprint("retained ", retain), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			for _, box := range b.src.boxes {
				box.retain = retain
			}
			r := run(t, b.config(), b.src, nil)
			b.produce(70)
			r.drained(b.src)
			admin := b.admin()
			api(t, admin, "STREAM.DELETE.QUERATOR", nil)
			createStream(t, admin, nil)
			b.produce(5)
			r.drained(b.src)
			v := b.exact()
			if want := 2 * max(0, 70-int(min(retain, 70))); v.gapped != want {
				t.Errorf("%d events in gaps, not %d", v.gapped, want)
			}
			if r.reports(uplink.AlarmRegressed) == 0 {
				t.Error("no alarm")
			}
		})
	}
}

func Test12StreamMissing(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	r := run(t, b.config(), b.src, nil)
	b.produce(30)
	r.drained(b.src)
	admin := b.admin()
	b.produce(3000) // In the middle of what goes out.
	eventually(t, "some are delivered", func() bool { return b.src.boxes[0].delivered() > 30 })
	api(t, admin, "STREAM.DELETE.QUERATOR", nil)
	if b.src.drained() {
		t.Error("all was sent before the stream was gone")
	}
	b.produce(30)
	eventually(t, "it is known", func() bool { return r.class() == "no_stream" })
	createStream(t, admin, nil)
	r.drained(b.src)
	b.exact()
	eventually(t, "all is well", func() bool { return r.class() == "" })
}

func Test13JetStreamOff(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.stop()
	b.opts.JetStream = false
	b.start()
	b.produce(30)
	r := run(t, b.config(), b.src, nil)
	eventually(t, "it is known", func() bool { return r.class() == "no_stream" })
	b.stop()
	b.opts.JetStream = true
	b.start()
	r.drained(b.src)
	b.exact()
}

func Test13ServerStorageUsedUp(t *testing.T) {
	t.Parallel()
	b := &bench{truth: newTruth()}
	b.stand = newStand(t, func(o *server.Options) { o.JetStreamMaxStore = 100 << 10 })
	createStream(t, b.admin(), nil)
	b.proxy = newProxy(t, b.addr())
	b.src = newSource(b.truth, partName{"alpha", 0})
	b.src.boxes[0].size = 2000
	b.produce(100)
	r := run(t, b.config(), b.src, nil)
	eventually(t, "it is full", func() bool { return r.class() == "remote_full" })
	b.stop()
	b.opts.JetStreamMaxStore = 1 << 30
	b.start()
	r.drained(b.src)
	b.exact()
}

// Test13AccountLimit has the account use up what it may have, and get more.
func Test13AccountLimit(t *testing.T) {
	t.Parallel()
	b := &bench{truth: newTruth()}
	account := server.NewAccount("A")
	b.stand = newStand(t, func(o *server.Options) {
		o.Accounts = []*server.Account{account}
		o.Users = []*server.User{{Username: "device", Password: "secret", Account: account}}
	})
	allow := func(bytes int64) {
		t.Helper()
		a, err := b.srv.LookupAccount("A")
		if err != nil {
			t.Fatal(err)
		}
		limits := map[string]server.JetStreamAccountLimits{"": {MaxMemory: -1, MaxStore: bytes, MaxStreams: -1, MaxConsumers: -1}}
		if a.JetStreamEnabled() {
			err = a.UpdateJetStreamLimits(limits)
		} else {
			err = a.EnableJetStream(limits, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	allow(100 << 10)
	boss := b.admin(nats.UserInfo("device", "secret"))
	createStream(t, boss, nil)
	b.proxy = newProxy(t, b.addr())
	b.src = newSource(b.truth, partName{"alpha", 0})
	b.src.boxes[0].size = 2000
	b.produce(100)
	cfg := b.config()
	cfg.Hub.User, cfg.Hub.PasswordFile = "device", secretFile(t, "secret")
	r := run(t, cfg, b.src, nil)
	eventually(t, "it is full", func() bool { return r.class() == "remote_full" })
	if !strings.Contains(r.Status(t.Context()).Error, "10002") {
		t.Errorf("status %+v", r.Status(t.Context()))
	}
	allow(1 << 30)
	r.drained(b.src)
	mustBeExact(t, b.truth, boss)
}

func Test14StreamFullThenRoom(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{uplink.ModeAuto, uplink.ModeWindow} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, map[string]any{"max_msgs": 30})
			cfg := b.config()
			cfg.Mode = mode
			b.produce(200)
			r := run(t, cfg, b.src, nil)
			for _, room := range []int{47, 90, 91, 250} {
				eventually(t, "it is full", func() bool { return r.class() == "remote_full" })
				updateStream(t, b.admin(), map[string]any{"max_msgs": room})
			}
			eventually(t, "it is full", func() bool { return r.class() == "remote_full" })
			updateStream(t, b.admin(), map[string]any{"max_msgs": -1})
			r.drained(b.src)
			b.exact()
		})
	}
}

func Test15EventTooLarge(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{uplink.ModeAuto, uplink.ModeWindow} {
		t.Run("stream, "+mode, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, map[string]any{"max_msg_size": 3000})
			cfg := b.config()
			cfg.Mode = mode
			cfg.Frugal = mode == uplink.ModeAuto // It learns the limit from being refused.
			box := b.src.boxes[0]
			box.produce(10)
			box.size = 5000
			box.produce(3)
			box.size = 0
			box.produce(10)
			r := run(t, cfg, b.src, nil)
			r.drained(b.src)
			b.exact()
			omitted := 0
			for _, s := range readStream(t, b.admin()) {
				if s.omitted {
					omitted++
				}
			}
			if s := r.Status(t.Context()); omitted != 3 || s.Gaps != 0 {
				t.Errorf("%d without their payload, not 3; %d gaps", omitted, s.Gaps)
			}
		})
	}
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, nil)
		r := run(t, b.config(), b.src, nil)
		b.produce(5)
		r.drained(b.src)
		b.stop()
		b.opts.MaxPayload = 8 << 10
		b.start()
		box := b.src.boxes[0]
		box.size = 10_000
		box.produce(3)
		box.size = 0
		box.produce(3)
		r.drained(b.src)
		b.exact()
	})
	t.Run("gap", func(t *testing.T) {
		t.Parallel()
		// Labels alone are too much: the reference of an item may have 2000 bytes.
		b := newBench(t, map[string]any{"max_msg_size": 750})
		box := b.src.boxes[0]
		box.produce(1)
		r := run(t, b.config(), b.src, nil)
		r.drained(b.src)
		box.size = 5000
		box.produce(1)
		box.size = 0
		box.produce(1)
		eventually(t, "it goes on, or says why not", func() bool {
			return box.delivered() == 3 || r.class() == "misconfigured"
		})
		updateStream(t, b.admin(), map[string]any{"max_msg_size": -1})
		r.drained(b.src)
		b.exact()
	})
}

func Test22LastMessageAgedOut(t *testing.T) {
	t.Parallel()
	for _, marker := range []bool{false, true} {
		t.Run(fmt.Sprint("marker ", marker), func(t *testing.T) {
			t.Parallel()
			age := 300 * time.Millisecond
			b := newBench(t, map[string]any{
				"max_age": age.Nanoseconds(), "duplicate_window": (100 * time.Millisecond).Nanoseconds(),
				"allow_rollup_hdrs": true, "allow_msg_ttl": true,
			})
			cfg := b.config()
			cfg.Marker = marker
			r := run(t, cfg, b.src, nil)
			b.produce(40)
			r.drained(b.src)
			admin := b.admin()
			left := map[bool]float64{false: 0, true: 2}[marker]
			eventually(t, "the events are gone", func() bool {
				return streamInfo(t, admin)["state"].(map[string]any)["messages"].(float64) == left
			})
			before := streamSeq(t, admin)
			if marker { // The receipts of the last events were lost.
				r.stop()
				for _, box := range b.src.boxes {
					box.restart()
				}
				r = run(t, cfg, b.src, nil)
			} else {
				b.proxy.cut()
			}
			b.src.boxes[0].produce(3)
			r.drained(b.src)
			if now := streamSeq(t, admin); now > before+5 {
				t.Errorf("events were published again: the stream went from %d to %d", before, now)
			}
		})
	}
}

// Test22DeleteMarker has a server that puts a message of its own in the place of the last event of a subject when that
// goes for its age.
func Test22DeleteMarker(t *testing.T) {
	t.Parallel()
	age := 300 * time.Millisecond
	b := newBench(t, map[string]any{
		"max_age": age.Nanoseconds(), "duplicate_window": (100 * time.Millisecond).Nanoseconds(),
		"allow_rollup_hdrs": true, "allow_msg_ttl": true, "subject_delete_marker_ttl": time.Minute.Nanoseconds(),
	})
	r := run(t, b.config(), b.src, nil)
	admin := b.admin()
	for n := uint64(1); n <= 3; n++ {
		b.produce(10)
		r.drained(b.src)
		// 20 events and 2 messages of the server's a round; the two of the round before go for their age like the events.
		eventually(t, "the events are gone", func() bool {
			return streamMessages(t, admin) == 2 && streamSeq(t, admin) == 22*n
		})
		b.proxy.cut()
		eventually(t, "it is connected again", func() bool { return r.Status(t.Context()).Connects == n+1 })
	}
	b.produce(1)
	r.drained(b.src)
	for _, rep := range r.all() {
		if rep.Alarm {
			t.Errorf("%+v", rep)
		}
	}
}
