package uplink_test

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/uplink"
)

// newCluster starts three servers that keep a stream together.
func newCluster(t testing.TB) []*stand {
	t.Helper()
	ports := make([]int, 3)
	for i := range ports {
		ports[i] = freePort(t)
	}
	var routes []*url.URL
	for _, p := range ports {
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", p)})
	}
	stands := make([]*stand, 3)
	for i := range stands {
		stands[i] = newStand(t, func(o *server.Options) {
			o.ServerName = fmt.Sprint("s", i)
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i]}
			o.Routes = routes
		})
	}
	return stands
}

// Test20LeaderChanges steps the leader of the stream down again and again, and restarts servers, while events
// go out.
func Test20LeaderChanges(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Log("three servers are for the long form")
		return
	}
	stands := newCluster(t)
	admin := dialAdmin(t, "nats://"+stands[0].addr()+",nats://"+stands[1].addr()+",nats://"+stands[2].addr())
	eventually(t, "the cluster has a leader", func() bool {
		m, err := admin.Request("$JS.API.INFO", nil, time.Second)
		return err == nil && len(m.Data) > 0
	})
	createStream(t, admin, map[string]any{"num_replicas": 3})
	t.Cleanup(func() {
		if t.Failed() {
			for _, s := range stands {
				all, err := s.srv.Jsz(&server.JSzOptions{Streams: true, Accounts: true, RaftGroups: true})
				t.Logf("%s: %+v, %v", s.opts.ServerName, all, err)
			}
		}
	})
	for _, mode := range []string{uplink.ModeAuto, uplink.ModeWindow, uplink.ModeSingle} {
		t.Run(mode, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 20))
			api(t, admin, "STREAM.PURGE.QUERATOR", nil)
			tr := newTruth()
			src := newSource(tr, partName{"alpha", 0}, partName{mode, 1})
			cfg := configFor("nats://" + stands[0].addr())
			cfg.Hub.URLs = nil
			for _, s := range stands {
				cfg.Hub.URLs = append(cfg.Hub.URLs, "nats://"+s.addr())
			}
			cfg.Mode, cfg.Hub.Device = mode, "dev-"+mode
			cfg.Timing.Reply, cfg.Timing.Lookup = 2*time.Second, 2*time.Second
			cfg.Timing.Verify = time.Second
			r := run(t, cfg, src, nil)
			for range 6 {
				for _, box := range src.boxes {
					box.produce(100)
				}
				stepDown(admin)
				if rng.IntN(3) == 0 {
					s := stands[rng.IntN(3)]
					s.stop()
					s.start()
				}
				for _, box := range src.boxes {
					box.produce(20 + rng.IntN(50))
				}
				r.drained(src)
			}
			agree(t, stands)
			// A cluster can lose what it acknowledged; then the uplink finds out while it is idle.
			eventually(t, "every event is there", func() bool { return check(tr, readStream(t, admin)).lost == 0 })
			r.stop()
			mustBeExact(t, tr, admin)
			t.Logf("%d events were sent again", r.Status(t.Context()).Resent)
		})
	}
}

// agree waits until all replicas of the stream have the same: one that was restarted is behind for a while, and
// readers are served by any of them.
func agree(t testing.TB, stands []*stand) {
	t.Helper()
	var states []server.StreamState
	defer func() {
		if t.Failed() {
			t.Logf("replicas: %+v", states)
		}
	}()
	eventually(t, "all replicas have the same", func() bool {
		states = states[:0]
		for _, s := range stands {
			states = append(states, streamStates(s)...)
		}
		for _, st := range states {
			if st.LastSeq != states[0].LastSeq || st.Msgs != states[0].Msgs || st.Bytes != states[0].Bytes {
				return false
			}
		}
		return len(states) == len(stands)
	})
}

// streamStates is what a server itself has of the streams of the test.
func streamStates(s *stand) []server.StreamState {
	all, err := s.srv.Jsz(&server.JSzOptions{Streams: true, Accounts: true})
	if err != nil {
		return nil
	}
	var states []server.StreamState
	for _, account := range all.AccountDetails {
		for _, stream := range account.Streams {
			states = append(states, stream.State)
		}
	}
	return states
}

func stepDown(nc *nats.Conn) {
	// There may be no leader at this moment; then it is changing already.
	_, _ = nc.Request("$JS.API.STREAM.LEADER.STEPDOWN.QUERATOR", nil, time.Second)
}
