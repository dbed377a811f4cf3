package uplink_test

import (
	"context"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/uplink"
)

// Each TestNN is of row NN of the failure matrix. What the row says happens, and in the end every event is on the
// server once, in order, with its own payload, unless the row says otherwise.
//
//	 1 never connected                     matrix_test.go; the log over weeks in report_internal_test.go
//	 2 connection reset in a window        matrix_test.go
//	 3 receipt swallowed, then cut         matrix_test.go
//	 4 the same, and all restarted         matrix_server_test.go
//	 5 half open, idle                     matrix_test.go
//	 6 half open, buffers full             matrix_network_test.go
//	 7 bytes arrive after the resend       matrix_network_test.go
//	 8 slow link                           matrix_network_test.go
//	 9 server killed                       matrix_server_test.go
//	10 server lost acknowledged events     matrix_regress_test.go
//	11 server wiped                        matrix_server_test.go
//	12 stream missing                      matrix_server_test.go
//	13 JetStream off, account limit        matrix_server_test.go
//	14 stream full, then room              matrix_server_test.go, window_test.go
//	15 event too large                     matrix_server_test.go
//	16 right to publish revoked            matrix_rights_test.go
//	17 credentials revoked, restored       matrix_rights_test.go
//	18 certificates expire, change         matrix_rights_test.go
//	19 clock far behind                    matrix_rights_test.go
//	20 other leader, servers restarted     matrix_cluster_test.go
//	21 a replica lags                      matrix_network_test.go
//	22 last event aged out                 matrix_server_test.go
//	23 card restored                       matrix_device_test.go
//	24 two devices, one name               matrix_device_test.go
//	25 killed between receipt and note     matrix_device_test.go
//	26 power cut before the local sync     matrix_device_test.go; the engine's part is in agent/crashtest
//	27 outbox full, oldest dropped         matrix_device_test.go
//	28 outbox full, completes refused      matrix_engine_test.go
//	29 outbox cannot be read, disk full    matrix_device_test.go; TestFullDiskWithEvents in agent/crashtest
//	30 restart with a million events       agent/uplink_backlog_test.go
//	31 link flaps                          matrix_network_test.go
//	32 all devices come back at once       matrix_device_test.go
//	33 older server, batches off           matrix_network_test.go, older_test.go
//	34 receipts cannot be heard            matrix_rights_test.go
//	35 a lone event                        matrix_device_test.go
//	36 stopped with a window open          matrix_device_test.go
//
// Logins and transports are in matrix_login_test.go, the byte budget in matrix_budget_test.go, all faults at random
// in chaos_test.go.

func TestDeliversInOrder(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{uplink.ModeAuto, uplink.ModeBatch, uplink.ModeWindow, uplink.ModeSingle} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			cfg := b.config()
			cfg.Mode = mode
			b.produce(300)
			r := run(t, cfg, b.src, nil)
			r.drained(b.src)
			b.produce(7)
			r.drained(b.src)
			if v := b.exact(); v.messages != 614 {
				t.Errorf("%d messages, not 614", v.messages)
			}
			want := map[string]string{uplink.ModeAuto: uplink.ModeBatch}[mode]
			if want == "" {
				want = mode
			}
			if s := r.Status(context.Background()); s.Mode != want || s.Delivered != 614 || s.Resent != 0 || s.Pending != 0 {
				t.Errorf("status %+v", s)
			}
		})
	}
}

func Test01NeverConnected(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.proxy.set(func() { b.proxy.refuse = true })
	b.produce(50)
	r := run(t, b.config(), b.src, nil)
	eventually(t, "many tries", func() bool { return b.proxy.connects() > 20 })
	r.mu.Lock()
	lines := len(r.seen)
	r.mu.Unlock()
	if lines > 1 {
		t.Errorf("%d lines about being offline, not 1", lines)
	}
	b.proxy.set(func() { b.proxy.refuse = false })
	r.drained(b.src)
	b.exact()
}

func Test02ResetInMidWindow(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{uplink.ModeAuto, uplink.ModeWindow} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			cfg := b.config()
			cfg.Mode = mode
			cuts := 0
			b.proxy.set(func() {
				b.proxy.up.after = func(total int) bool {
					// Inside of the first windows, ever later.
					if cuts < 6 && total > 3000+cuts*9000 {
						cuts++
						return true
					}
					return false
				}
			})
			b.produce(400)
			r := run(t, cfg, b.src, nil)
			r.drained(b.src)
			b.exact()
		})
	}
}

func Test03ReceiptSwallowedThenCut(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	r := run(t, b.config(), b.src, nil)
	b.produce(1)
	r.drained(b.src)
	b.proxy.set(func() { b.proxy.down.swallow = true })
	b.src.boxes[0].produce(20)
	admin := b.admin()
	eventually(t, "the server has them", func() bool { return streamSeq(t, admin) == 22 })
	b.proxy.cut()
	b.proxy.set(func() { b.proxy.down.swallow = false })
	r.drained(b.src)
	if v := b.exact(); v.messages != 22 {
		t.Errorf("%d messages", v.messages)
	}
	if seq := streamSeq(t, admin); seq != 22 {
		t.Errorf("something was published again: the stream is at %d, not 22", seq)
	}
}

func Test05HalfOpenIdle(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	cfg := b.config()
	cfg.Hub.PingInterval = 50 * time.Millisecond
	r := run(t, cfg, b.src, nil)
	b.produce(1)
	r.drained(b.src)
	before := b.proxy.connects()
	b.proxy.set(func() { b.proxy.up.hold, b.proxy.down.hold = true, true })
	eventually(t, "a new connect", func() bool { return b.proxy.connects() > before })
	b.proxy.set(func() { b.proxy.up.hold, b.proxy.down.hold = false, false })
	b.proxy.cut()
	b.produce(5)
	r.drained(b.src)
	b.exact()
}
