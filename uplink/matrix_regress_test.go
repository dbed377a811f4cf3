package uplink_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/uplink"
)

// Row 10 of the failure matrix: servers that lose what they acknowledged. A server acknowledges before its disk has
// the event, so a power cut there takes the last two minutes.

// image restarts the server and returns a copy of what it had.
func (s *stand) image() string {
	s.t.Helper()
	s.stop()
	dir := s.copyOf(s.dir)
	s.start()
	return dir
}

// setBack restarts the server with what it had earlier.
func (s *stand) setBack(image string) {
	s.t.Helper()
	s.stop()
	old := s.dir
	s.dir = s.copyOf(image) // Not where the one that was stopped may still be clearing away.
	s.opts.StoreDir = s.dir
	s.start()
	eventually(s.t, "the store that it had is removed", func() bool { return os.RemoveAll(old) == nil })
}

// copyOf copies the directory of a server that was stopped. It may still be removing batches that nobody has committed.
func (s *stand) copyOf(dir string) string {
	s.t.Helper()
	parent := s.t.TempDir()
	n := 0
	var to string
	eventually(s.t, "the store is copied", func() bool {
		n++
		to = filepath.Join(parent, strconv.Itoa(n))
		err := os.CopyFS(to, os.DirFS(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.t.Fatal(err)
		}
		return err == nil
	})
	return to
}

func Test10ServerLostAcknowledgedEvents(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	r := run(t, b.config(), b.src, nil)
	b.produce(40)
	r.drained(b.src)
	image := b.image()
	b.produce(60)
	r.drained(b.src)
	b.setBack(image)
	admin := b.admin()
	eventually(t, "what was lost is there again", func() bool { return streamSeq(t, admin) == 200 })
	b.produce(10)
	r.drained(b.src)
	b.exact()
	if r.reports(uplink.AlarmRegressed) == 0 {
		t.Error("no alarm")
	}
}

// Test10NumbersGivenAgain has a server that was set back give the numbers of what it lost to events of another device
// before this one is connected again: that the stream is as long as it was says nothing then.
func Test10NumbersGivenAgain(t *testing.T) {
	t.Parallel()
	for _, deleted := range []bool{false, true} {
		t.Run(fmt.Sprint("and deleted ", deleted), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, map[string]any{"duplicate_window": (100 * time.Millisecond).Nanoseconds()})
			r := run(t, b.config(), b.src, nil)
			b.src.boxes[0].produce(10)
			r.drained(b.src)
			image := b.image()
			b.src.boxes[1].produce(3) // All that there is on this subject is lost.
			r.drained(b.src)
			b.proxy.set(func() { b.proxy.refuse = true })
			b.proxy.cut()
			b.setBack(image)
			admin := b.admin()
			other := newTruth()
			src := newSource(other, partName{"gamma", 0})
			src.boxes[0].produce(20)
			cfg := configFor("nats://" + b.addr())
			cfg.Hub.Device = "another"
			run(t, cfg, src, nil).drained(src)
			want := 33
			if deleted { // Somebody removes what is in the place of the event that was last.
				api(t, admin, "STREAM.MSG.DELETE.QUERATOR", map[string]any{"seq": 13})
				want--
			}
			b.proxy.set(func() { b.proxy.refuse = false })
			eventually(t, "what was lost is there again", func() bool { return streamMessages(t, admin) == want })
			b.src.boxes[1].produce(1)
			r.drained(b.src)
			var ours []stored
			for _, s := range readStream(t, admin) {
				if s.device == "dev" {
					ours = append(ours, s)
				}
			}
			if v := check(b.truth, ours); v.messages != 14 || v.lost+v.dup+v.inverted+v.wrong+v.gapped > 0 {
				t.Errorf("%+v", v)
			}
			if n := r.reports(uplink.AlarmRegressed); n != 1 {
				t.Errorf("%d alarms, not 1", n)
			}
		})
	}
}

// Test10LostBehindTheMarker has a server lose an event whose predecessors it had forgotten, so that a marker is all that
// is left of them. What the marker says is not sent again.
func Test10LostBehindTheMarker(t *testing.T) {
	t.Parallel()
	b := newBench(t, map[string]any{
		"duplicate_window": (100 * time.Millisecond).Nanoseconds(), "allow_rollup_hdrs": true, "allow_msg_ttl": true,
	})
	cfg := b.config()
	cfg.Marker = true
	r := run(t, cfg, b.src, nil)
	box := b.src.boxes[0]
	box.produce(5)
	r.drained(b.src)
	admin := b.admin()
	// By hand: servers that forget messages for their age forget the marker too when they start.
	api(t, admin, "STREAM.PURGE.QUERATOR", map[string]any{"filter": "querator.dev.alpha.0"})
	if n := streamMessages(t, admin); n != 1 {
		t.Fatalf("%d messages are left, not the marker alone", n)
	}
	image := b.image()
	before := streamSeq(t, admin)
	box.produce(1)
	r.drained(b.src)
	b.setBack(image)
	admin = b.admin()
	eventually(t, "the event and its marker are stored again", func() bool { return streamSeq(t, admin) == before+2 })
	r.drained(b.src)
	b.proxy.cut()
	eventually(t, "it looks again", func() bool { return r.Status(t.Context()).Connects > 2 })
	box.produce(1)
	r.drained(b.src)
	// The marker follows the event.
	eventually(t, "the next event and its marker are stored, once", func() bool { return streamSeq(t, admin) == before+4 })
}

// foundAgain waits until the last five of 30 events, which the server has lost, are there again, each once.
func (b *bench) foundAgain(r *running, admin *nats.Conn) {
	b.t.Helper()
	eventually(b.t, "they are there again", func() bool { return streamSeq(b.t, admin) == 35 })
	b.exact()
	eventually(b.t, "there is an alarm", func() bool { return r.reports(uplink.AlarmRegressed) == 1 })
}

// Test10FoundWhileIdle has the server lose the last events without any error or reconnect that would tell.
func Test10FoundWhileIdle(t *testing.T) {
	t.Parallel()
	b := newBench(t, map[string]any{"duplicate_window": (100 * time.Millisecond).Nanoseconds()})
	cfg := b.config()
	cfg.Timing.Verify = 500 * time.Millisecond
	r := run(t, cfg, b.src, nil)
	box := b.src.boxes[0]
	box.produce(30)
	r.drained(b.src)
	admin := b.admin()
	for seq := streamSeq(t, admin) - 4; seq <= 30; seq++ {
		api(t, admin, "STREAM.MSG.DELETE.QUERATOR", map[string]any{"seq": seq})
	}
	b.foundAgain(r, admin)
}

// Test10FoundByALastLook has the server lose the last events after the first look.
func Test10FoundByALastLook(t *testing.T) {
	t.Parallel()
	b := newBench(t, map[string]any{"duplicate_window": (100 * time.Millisecond).Nanoseconds()})
	cfg := b.config()
	cfg.Timing.Verify, cfg.Timing.VerifyLast = 200*time.Millisecond, time.Second
	r := run(t, cfg, b.src, nil)
	box := b.src.boxes[0]
	box.produce(30)
	r.drained(b.src)
	admin := b.admin()
	b.loseAfterLook(admin)
	b.foundAgain(r, admin)
}

// loseAfterLook has the server lose events 26 to 30 of the stream once it has answered a look.
func (b *bench) loseAfterLook(admin *nats.Conn) {
	done := false
	b.proxy.set(func() {
		b.proxy.down.change = func(data []byte) []byte {
			if !done && bytes.Contains(data, []byte("Nats-Sequence: ")) {
				done = true // The answer is on its way, and says that all is there.
				for seq := uint64(26); seq <= 30; seq++ {
					if _, err := admin.Request("$JS.API.STREAM.MSG.DELETE.QUERATOR", fmt.Appendf(nil, `{"seq":%d}`, seq), time.Minute); err != nil {
						b.t.Error(err)
					}
				}
			}
			return data
		}
	})
}

// Test10FoundAfterRestart has the server lose the last events after a device that was started again has looked for them.
func Test10FoundAfterRestart(t *testing.T) {
	t.Parallel()
	b := newBench(t, map[string]any{"duplicate_window": (100 * time.Millisecond).Nanoseconds()})
	cfg := b.config()
	cfg.Timing.Verify = 500 * time.Millisecond
	r := run(t, cfg, b.src, nil)
	box := b.src.boxes[0]
	box.produce(30)
	r.drained(b.src)
	r.stop()
	box.saveDelivered()
	box.restart()
	admin := b.admin()
	b.loseAfterLook(admin)
	r = run(t, cfg, b.src, nil)
	b.foundAgain(r, admin)
}

// Test10LostBehindAnotherServer has an uplink whose connection is to a server that passes on to the one with the
// stream. So when that one loses events, no connection ends that would tell; the trouble on one subject has the
// others looked at.
func Test10LostBehindAnotherServer(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.stop()
	all := map[string]string{"$G": ""} // What is asked of JetStream goes through.
	b.opts.JsAccDefaultDomain = all
	b.opts.LeafNode = server.LeafNodeOpts{Host: "127.0.0.1", Port: freePort(t)}
	b.start()
	front := newStand(t, func(o *server.Options) {
		o.JetStream, o.JsAccDefaultDomain = false, all
		hub := &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", b.opts.LeafNode.Port)}
		o.LeafNode = server.LeafNodeOpts{
			Remotes: []*server.RemoteLeafOpts{{URLs: []*url.URL{hub}}}, ReconnectInterval: 20 * time.Millisecond,
		}
	})
	cfg := configFor("nats://" + front.addr())
	cfg.Timing.Verify = time.Hour // Only the trouble can tell.
	r := run(t, cfg, b.src, nil)
	b.produce(40)
	r.drained(b.src)
	image := b.image()
	b.produce(60)
	r.drained(b.src)
	b.setBack(image)
	b.src.boxes[1].produce(1)
	r.drained(b.src)
	admin := b.admin()
	eventually(t, "what was lost is there again", func() bool { return streamSeq(t, admin) == 201 })
	b.exact()
	s := r.Status(t.Context())
	t.Logf("%d connections, %d receipts of what was sent again", s.Connects, s.Resent)
}
