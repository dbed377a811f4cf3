package doctor

// An internal test: what the agent says is made up, since each state takes a server that behaves so.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/pb"
)

// saying returns an examination of an agent that answers all calls of the uplink with one status.
func saying(t *testing.T, s *pb.UplinkStatusResponse) *examination {
	t.Helper()
	dir, err := os.MkdirTemp("", "q") // Short: a socket's path is.
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	body, err := proto.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.Device == "refuses" && strings.HasSuffix(r.URL.Path, "control") {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/protobuf")
		_, _ = w.Write(body)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	x := newExamination()
	x.Client = &client.Client{Socket: path}
	t.Cleanup(func() {
		x.Client.Close()
		_ = server.Close()
		<-done
		_ = os.RemoveAll(dir)
	})
	x.status = &client.Status{Clock: client.ClockStatus{Trusted: true, Reason: "made up"}}
	x.Config.Uplink.URL = []string{"tls://hub.example.com:4222"}
	return x
}

// worst returns the worst level of the findings of a check.
func (x *examination) worst(check string) Level {
	worst := Level("")
	for _, level := range []Level{OK, Unknown, Warning, Failing} {
		for i := range x.list {
			if x.list[i].Check == check && x.list[i].Level == level {
				worst = level
			}
		}
	}
	return worst
}

func TestUplink(t *testing.T) {
	good := []*pb.UplinkFinding{{Name: "connection", Ok: true, Text: "there"}, {Name: "stream: discard", Ok: true}}
	denied := []*pb.UplinkFinding{{Name: "publish", Text: "denied", Fix: "allow it"}}
	offline := []*pb.UplinkFinding{{Name: "connection", Text: "no route", Fix: "check the network"}}
	const none = Level("")
	for name, c := range map[string]struct {
		says             *pb.UplinkStatusResponse
		state, lag, test Level
	}{
		"all well":       {&pb.UplinkStatusResponse{State: "connected", Findings: good}, OK, OK, OK},
		"denied":         {&pb.UplinkStatusResponse{State: "connected", Error: "denied", Findings: denied, Pending: 3}, Warning, OK, Failing},
		"no network":     {&pb.UplinkStatusResponse{State: "connecting", Error: "no route", Findings: offline, Pending: 3, Oldest: "2m"}, Warning, OK, Warning},
		"a wrong login":  {&pb.UplinkStatusResponse{State: "connecting", Error: "no", Class: "auth", Findings: offline}, Warning, OK, Failing},
		"for days":       {&pb.UplinkStatusResponse{State: "connecting", Pending: 3, Oldest: "72h", Findings: offline}, Warning, Warning, Warning},
		"nearly full":    {&pb.UplinkStatusResponse{State: "connected", Pending: 3, Oldest: "1s", Bytes: 60 << 20, Findings: good}, OK, Warning, OK},
		"full":           {&pb.UplinkStatusResponse{State: "connected", Pending: 3, Blocked: 1, Findings: good}, OK, Failing, OK},
		"lost":           {&pb.UplinkStatusResponse{State: "connected", Lost: 3, Gaps: 1, Findings: good}, OK, Warning, OK},
		"paused":         {&pb.UplinkStatusResponse{State: "paused", Pending: 3}, Warning, OK, none},
		"out of budget":  {&pb.UplinkStatusResponse{State: "budget", Pending: 3}, OK, OK, none},
		"two of a name":  {&pb.UplinkStatusResponse{State: "stopped", Error: "two"}, Failing, OK, none},
		"not restarted":  {&pb.UplinkStatusResponse{State: "off"}, Warning, none, none},
		"without rights": {&pb.UplinkStatusResponse{State: "connected", Device: "refuses"}, OK, OK, Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			x := saying(t, c.says)
			x.checkUplink(t.Context())
			for check, want := range map[string]Level{"uplink": c.state, "uplink lag": c.lag, "uplink test": c.test} {
				if got := x.worst(check); got != want {
					t.Errorf("%s: %q, want %q: %+v", check, got, want, x.list)
				}
			}
			for _, f := range x.list {
				if f.Level == Warning || f.Level == Failing {
					if f.Hint == "" {
						t.Errorf("nobody is told what to do: %+v", f)
					}
				}
			}
		})
	}
}

func TestUplinkThatIsNotAsked(t *testing.T) {
	x := newExamination()
	if x.checkUplink(t.Context()); x.only(t) != OK {
		t.Errorf("none: %+v", x.list)
	}
	x = newExamination()
	x.Config.Uplink.URL = []string{"tls://hub.example.com:4222"}
	if x.checkUplink(t.Context()); x.only(t) != Unknown {
		t.Errorf("no agent: %+v", x.list)
	}
	x = saying(t, &pb.UplinkStatusResponse{State: "connected"})
	x.Config.Uplink.Profile = config.ProfileMetered
	if x.checkUplink(t.Context()); x.worst("uplink") != Unknown || x.worst("uplink test") != "" {
		t.Errorf("metered: %+v", x.list)
	}
}

func TestUplinkTLS(t *testing.T) {
	x := newExamination()
	x.status = &client.Status{Clock: client.ClockStatus{Reason: "made up"}}
	x.checkUplinkTLS(&config.Uplink{URL: []string{"wss://hub.example.com"}})
	if x.only(t) != Warning {
		t.Errorf("a clock that is not believed: %+v", x.list)
	}
	for url, want := range map[string]Level{
		"nats://127.0.0.1:4222": "", "nats://localhost:4222": "", "nats://[::1]:4222": "", "nats://hub.example.com:4222": Warning,
		"ws://hub.example.com": Warning, "tls://hub.example.com": "",
	} {
		x := newExamination()
		if x.checkUplinkTLS(&config.Uplink{URL: []string{url}}); x.worst("uplink TLS") != want {
			t.Errorf("%s: %+v", url, x.list)
		}
	}
	for name, c := range map[string]struct {
		begins, ends time.Duration
		want         Level
	}{
		"good": {-time.Hour, 1000 * time.Hour, OK}, "soon": {-time.Hour, 100 * time.Hour, Warning},
		"ended": {-2 * time.Hour, -time.Hour, Failing}, "early": {time.Hour, 1000 * time.Hour, Warning},
	} {
		x := newExamination()
		if x.checkCertificate("tls-ca-file", certificate(t, c.begins, c.ends)); x.only(t) != c.want {
			t.Errorf("%s: %+v", name, x.list)
		}
	}
	x = newExamination()
	if x.checkCertificate("tls-ca-file", filepath.Join(t.TempDir(), "none")); x.only(t) != Failing {
		t.Errorf("none: %+v", x.list)
	}
}

// certificate writes one that holds between two times from now.
func certificate(t *testing.T, begins, ends time.Duration) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(begins), NotAfter: time.Now().Add(ends)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "c.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
