package uplink_test

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/kapetan-io/querator-edge/uplink"
)

// Row 10 of the failure matrix: servers that lose what they acknowledged. A server acknowledges before its disk has
// the event, so a power cut there takes the last two minutes.

// image restarts the server and returns a copy of what it had.
func (s *stand) image() string {
	s.t.Helper()
	dir := s.t.TempDir()
	s.stop()
	if err := os.CopyFS(dir, os.DirFS(s.dir)); err != nil {
		s.t.Fatal(err)
	}
	s.start()
	return dir
}

// setBack restarts the server with what it had earlier.
func (s *stand) setBack(image string) {
	s.t.Helper()
	s.stop()
	if err := os.RemoveAll(s.dir); err != nil {
		s.t.Fatal(err)
	}
	if err := os.CopyFS(s.dir, os.DirFS(image)); err != nil {
		s.t.Fatal(err)
	}
	s.start()
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
	eventually(t, "they are there again", func() bool { return streamSeq(t, admin) == 35 })
	b.exact()
	eventually(t, "there is an alarm", func() bool { return r.reports(uplink.AlarmRegressed) == 1 })
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
	done := false
	b.proxy.set(func() {
		b.proxy.down.change = func(data []byte) []byte {
			if !done && bytes.Contains(data, []byte("Nats-Sequence: ")) {
				done = true // The answer is on its way, and says that all is there.
				for seq := uint64(26); seq <= 30; seq++ {
					if _, err := admin.Request("$JS.API.STREAM.MSG.DELETE.QUERATOR", fmt.Appendf(nil, `{"seq":%d}`, seq), time.Minute); err != nil {
						t.Error(err)
					}
				}
			}
			return data
		}
	})
	eventually(t, "they are there again", func() bool { return streamSeq(t, admin) == 35 })
	b.exact()
	eventually(t, "there is an alarm", func() bool { return r.reports(uplink.AlarmRegressed) == 1 })
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
