package uplink_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/uplink"
	"github.com/kapetan-io/querator-edge/uplink/downlink"
)

// Consumers that are not needed any more are removed from the server, whatever is lost on the way.

// cutAt has the connection end whenever the device sends what has a text in it, which does not arrive, so many times.
func (b *downBench) cutAt(text string, times int) {
	b.proxy.set(func() {
		b.proxy.up.change = func(data []byte) []byte {
			if times > 0 && bytes.Contains(data, []byte(text)) {
				times--
				go b.proxy.cut()
				return nil
			}
			return data
		}
	})
}

// TestDownlinkLeftByPull has the connection end in the middle of a pull.
func TestDownlinkLeftByPull(t *testing.T) {
	t.Parallel()
	b := newDownBench(t, nil)
	b.start()
	b.send(3)
	b.exact(1)
	b.until("all is taken", func(s downlink.Status) bool { return s.State == downlink.StateWaiting })
	pulled := make(chan struct{})
	b.proxy.set(func() {
		b.proxy.up.change = func(data []byte) []byte {
			if bytes.Contains(data, []byte("CONSUMER.MSG.NEXT")) && !b.proxy.down.hold {
				b.proxy.down.hold = true // From now on nothing is heard.
				close(pulled)
			}
			return data
		}
	})
	b.send(1)
	b.device.Flush(t.Context()) // It looks.
	<-pulled
	b.proxy.cut()
	b.proxy.set(func() { b.proxy.up.change, b.proxy.down.hold = nil, false })
	b.exact(1)
	eventually(t, "the consumer of the connection that has ended is gone", func() bool { return b.consumers() == 1 })
	b.stopDevice()
	if n := b.consumers(); n != 0 {
		t.Errorf("a device that was stopped has %d consumers", n)
	}
}

// TestDownlinkLeftUnmade has the server make a consumer without the device hearing of it.
func TestDownlinkLeftUnmade(t *testing.T) {
	t.Parallel()
	b := newDownBench(t, nil)
	lost := false
	b.proxy.set(func() {
		b.proxy.down.change = func(data []byte) []byte {
			if !lost && bytes.Contains(data, []byte("consumer_create_response")) {
				lost = true
				go b.proxy.cut()
				return nil
			}
			return data
		}
	})
	b.start()
	b.send(3)
	b.exact(1)
	eventually(t, "the consumer that nobody heard of is gone", func() bool { return b.consumers() == 1 })
}

// TestDownlinkLeftByReload has the removal not arrive, again and again.
func TestDownlinkLeftByReload(t *testing.T) {
	t.Parallel()
	b := newDownBench(t, nil)
	parcels := b.parcels()
	b.config = func(c *uplink.Config) { c.Downlinks = b.settings("orders", "parcels").Downlinks }
	b.start()
	b.send(3)
	b.sendParcel()
	b.exact(1)
	eventually(t, "the parcel is taken", func() bool { return parcels() == 1 })
	b.cutAt("CONSUMER.DELETE", 6)
	b.reload(b.settings("parcels"))
	eventually(t, "the consumers that are not needed are gone", func() bool { return b.consumers() == 1 })
	b.sendParcel()
	eventually(t, "another parcel is taken", func() bool { return parcels() == 2 })
	b.cutAt("CONSUMER.DELETE", 3)
	b.reload(b.settings()) // Nothing but what is left needs the connection.
	eventually(t, "all consumers are gone", func() bool { return b.consumers() == 0 })
}

// TestDownlinkLeftForbidden: a device that may not remove its consumers says so, and goes on.
func TestDownlinkLeftForbidden(t *testing.T) {
	t.Parallel()
	b := newDownBench(t, nil)
	b.stop()
	b.opts.Users = []*server.User{adminUser(), deviceUser(func(p *server.Permissions) {
		p.Publish.Allow = append(p.Publish.Allow, "$JS.API.STREAM.INFO.QUERATOR-DOWN",
			"$JS.API.CONSUMER.CREATE.QUERATOR-DOWN.*.querator-down.dev.>", "$JS.API.CONSUMER.MSG.NEXT.QUERATOR-DOWN.*")
		p.Subscribe.Allow = append(p.Subscribe.Allow, "querator-bell.dev.>")
	})}
	b.stand.start()
	b.boss = b.admin(nats.UserInfo("admin", "admin"))
	b.parcels()
	secret := secretFile(t, "secret")
	b.config = func(c *uplink.Config) {
		c.Downlinks = b.settings("orders", "parcels").Downlinks
		c.Hub.User, c.Hub.PasswordFile = "device", secret
	}
	b.start()
	b.send(3)
	b.exact(1)
	cfg := b.settings("orders")
	cfg.Hub.User, cfg.Hub.PasswordFile = "device", secret
	b.reload(cfg)
	eventually(t, "it says so", func() bool { return b.device.reports(downlink.AlarmLeft) > 0 })
	b.send(3)
	b.exact(1)
	begin := time.Now()
	b.stopDevice()
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %s to stop", took)
	}
}
