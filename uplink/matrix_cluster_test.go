package uplink_test

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/uplink"
)

// cluster is three servers that keep a stream together.
type cluster struct {
	t      testing.TB
	stands []*stand
	admin  *nats.Conn
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	ports := make([]int, 3)
	for i := range ports {
		ports[i] = freePort(t)
	}
	var routes []*url.URL
	for _, p := range ports {
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", p)})
	}
	c := &cluster{t: t, stands: make([]*stand, 3)}
	for i := range c.stands {
		c.stands[i] = newStand(t, func(o *server.Options) {
			o.ServerName = fmt.Sprint("s", i)
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i]}
			o.Routes = routes
		})
	}
	c.admin = dialAdmin(t, strings.Join(c.urls(), ","))
	c.eventually("the cluster has a leader", func() bool {
		m, err := c.admin.Request("$JS.API.INFO", nil, time.Second)
		return err == nil && len(m.Data) > 0
	})
	createStream(t, c.admin, map[string]any{"num_replicas": 3})
	return c
}

func (c *cluster) urls() (list []string) {
	for _, s := range c.stands {
		list = append(list, "nats://"+s.addr())
	}
	return list
}

// asks asks JetStream, and reports whether it did what was asked for.
func (c *cluster) asks(subject string) bool {
	m, err := c.admin.Request("$JS.API."+subject, nil, time.Second)
	return err == nil && !strings.Contains(string(m.Data), `"error"`)
}

// eventually waits as the function of that name does. Servers that have elected no leader for half a minute, as happens
// where they get hardly any time to run, are restarted, as somebody would do who looks after them.
func (c *cluster) eventually(what string, ok func() bool) {
	c.t.Helper()
	deadline, led := time.Now().Add(5*time.Minute), time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		<-tick.C
		switch now := time.Now(); {
		case now.After(deadline):
			c.t.Fatalf("never came: %s", what)
		case c.asks("STREAM.INFO.QUERATOR"):
			led = now
		case now.Sub(led) > 30*time.Second:
			c.t.Log("no leader: the servers are restarted")
			for _, s := range c.stands {
				s.stop()
			}
			for _, s := range c.stands {
				s.start()
			}
			led = time.Now()
		}
	}
}

// agreed reports whether all replicas of the stream have the same: one that was restarted is behind for a while, and
// readers are served by any of them.
func (c *cluster) agreed() bool {
	var first *server.StreamState
	n := 0
	for _, s := range c.stands {
		all, err := s.srv.Jsz(&server.JSzOptions{Streams: true, Accounts: true})
		if err != nil {
			return false
		}
		for _, account := range all.AccountDetails {
			for i := range account.Streams {
				st := &account.Streams[i].State
				if n++; first == nil {
					first = st
				}
				if st.LastSeq != first.LastSeq || st.Msgs != first.Msgs || st.Bytes != first.Bytes {
					return false
				}
			}
		}
	}
	return n == len(c.stands)
}

// Test20LeaderChanges steps the leader of the stream down again and again, and restarts servers, while events
// go out.
func Test20LeaderChanges(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Log("three servers are for the long form")
		return
	}
	c, tr := newCluster(t), newTruth()
	for _, mode := range []string{uplink.ModeAuto, uplink.ModeWindow, uplink.ModeSingle} {
		t.Run(mode, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			c.changeLeaders(t, mode, tr, rand.New(rand.NewPCG(seed, 20)))
		})
	}
}

func (c *cluster) changeLeaders(t *testing.T, mode string, tr *truth, rng *rand.Rand) {
	c.t = t
	src := newSource(tr, partName{mode, 0}, partName{mode, 1})
	cfg := configFor("")
	cfg.Hub.URLs, cfg.Mode, cfg.Hub.Device = c.urls(), mode, "dev-"+mode
	cfg.Timing.Reply, cfg.Timing.Lookup = 2*time.Second, 2*time.Second
	cfg.Timing.Verify = time.Second
	r := run(t, cfg, src, nil)
	for range 6 {
		for _, box := range src.boxes {
			box.produce(100)
		}
		c.asks("STREAM.LEADER.STEPDOWN.QUERATOR") // There may be no leader at this moment; then it is changing already.
		if rng.IntN(3) == 0 {
			s := c.stands[rng.IntN(3)]
			s.stop()
			s.start()
		}
		for _, box := range src.boxes {
			box.produce(20 + rng.IntN(50))
		}
		c.eventually("all events are delivered", src.drained)
	}
	c.eventually("all replicas have the same", c.agreed)
	// A cluster can lose what it acknowledged; then the uplink finds out while it is idle.
	c.eventually("every event is there", func() bool { return check(tr, readStream(t, c.admin)).lost == 0 })
	r.stop()
	mustBeExact(t, tr, c.admin)
	t.Logf("%d events were sent again", r.Status(t.Context()).Resent)
}
