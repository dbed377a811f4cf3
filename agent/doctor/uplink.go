package doctor

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/config"
)

const (
	// uplinkTestTimeout bounds the test of the uplink, which asks the server several times.
	uplinkTestTimeout = 30 * time.Second
	// lagging is how old the oldest event may be before somebody should look after it.
	lagging = time.Hour
	// expiring is how long before its end a certificate should be replaced.
	expiring = 30 * 24 * time.Hour
)

// checkUplink looks at the way to the server: whether it is there, TLS and the clock that judges it, what waits, and
// by a test of the agent's, the login, the rights and the stream.
func (x *examination) checkUplink(ctx context.Context) {
	c := &x.Config.Uplink
	if !c.On() {
		x.note("uplink", OK, "", "none is configured")
		return
	}
	x.checkUplinkTLS(c)
	if x.status == nil {
		x.note("uplink", Unknown, "", "the agent does not answer, so nothing is known of the connection")
		return
	}
	asked, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	s, err := x.Client.Uplink(asked)
	switch {
	case err != nil:
		x.note("uplink", Unknown, "run it as root or as the agent's user", "the agent does not tell of it: %v", err)
		return
	case s.State == "off":
		x.note("uplink", Warning, "restart the agent with: systemctl restart querator", "it is configured, and the agent that runs has none")
		return
	}
	x.checkUplinkState(s)
	x.checkLag(s)
	switch {
	case s.State != "connected" && s.State != "connecting":
	case c.Metered():
		x.note("uplink", Unknown, "to have login, rights and stream looked at: querator uplink test", "not tested, since each byte costs (profile \"metered\")")
	default:
		x.testUplink(ctx, s)
	}
}

// checkUplinkState says whether the server is reached.
func (x *examination) checkUplinkState(s *client.UplinkStatus) {
	const test = "querator uplink test says what to change; events are kept until then"
	switch s.State {
	case "connected":
		if s.Error != "" {
			x.note("uplink", Warning, test, "connected to %s as %s, but: %s", s.URL, s.Device, s.Error)
			return
		}
		x.note("uplink", OK, "", "connected to %s (nats-server %s) as %s for %s", s.URL, s.Server, s.Device, s.Since)
	case "connecting":
		why := "trying"
		if s.Error != "" {
			why = s.Error
		}
		x.note("uplink", Warning, "look after the network, the url and the server; events are kept until then", "no connection for %s: %s", s.Since, why)
	case "paused":
		x.note("uplink", Warning, "querator uplink resume", "paused by an operator for %s", s.Since)
	case "budget", "closed":
		x.note("uplink", OK, "", "disconnected for %s, as max-per-day, max-per-month or hours of [uplink] have it (%s)", s.Since, s.State)
	case "stopped":
		x.note("uplink", Failing, "give each device a name of its own, then: querator uplink resume", "stopped: %s", s.Error)
	default:
		x.note("uplink", Failing, "look at: journalctl -u querator, and restart the agent", "%s: %s", s.State, s.Error)
	}
}

// checkLag looks at the events that wait.
func (x *examination) checkLag(s *client.UplinkStatus) {
	room := int64(x.Config.Uplink.OutboxMaxBytes) * int64(max(s.Partitions, 1))
	const hint = "bring the connection back; raise outbox-max-bytes of [uplink], or send less with payload and queues"
	waits := fmt.Sprintf("%d events wait, the oldest for %s, and occupy %s", s.Pending, s.Oldest, size(s.Bytes))
	switch {
	case s.Blocked > 0:
		x.note("uplink lag", Failing, hint+"; or set on-full to drop-oldest", "%s: %d partitions are full and refuse completes", waits, s.Blocked)
	case s.Bytes > room/5*4:
		x.note("uplink lag", Warning, hint, "%s of %s: soon it is full", waits, size(room))
	case s.Pending > 0 && s.Oldest > lagging:
		x.note("uplink lag", Warning, hint, "%s", waits)
	case s.Pending > 0:
		x.note("uplink lag", OK, "", "%s", waits)
	default:
		x.note("uplink lag", OK, "", "nothing waits, %d events were delivered since the agent started", s.Delivered)
	}
	if s.Lost > 0 {
		x.note("uplink lag", Warning, hint, "%d events were given up since the agent started, and reported in %d gap events", s.Lost, s.Gaps)
	}
}

// testUplink has the agent connect beside its uplink, which stores nothing.
func (x *examination) testUplink(ctx context.Context, before *client.UplinkStatus) {
	ctx, cancel := context.WithTimeout(ctx, uplinkTestTimeout+agentTimeout)
	defer cancel()
	s, err := x.Client.ControlUplink(ctx, "test", uplinkTestTimeout)
	if err != nil {
		x.note("uplink test", Unknown, "run it as root or as the agent's user", "the agent does not test it: %v", err)
		return
	}
	good := 0
	for i := range s.Findings {
		f := &s.Findings[i]
		switch {
		case f.OK && strings.HasPrefix(f.Name, "stream: "):
			good++
		case f.OK:
			x.note("uplink test", OK, "", "%s: %s", f.Name, f.Text)
		case f.Unknown:
			x.note("uplink test", Unknown, f.Fix, "%s: %s", f.Name, f.Text)
		case f.Name == "connection" && before.Class != "auth": // To have no network is normal.
			x.note("uplink test", Warning, f.Fix, "%s: %s", f.Name, f.Text)
		default:
			x.note("uplink test", Failing, f.Fix, "%s: %s", f.Name, f.Text)
		}
	}
	if good > 0 {
		x.note("uplink test", OK, "", "stream: %d settings are as they should be", good)
	}
}

// checkUplinkTLS looks at what is encrypted, at certificates, and at the clock that they are judged by.
func (x *examination) checkUplinkTLS(c *config.Uplink) {
	encrypted := c.TLSCAFile != "" || c.TLSCertFile != "" || c.TLSServerName != "" || c.TLSFirst
	for _, text := range c.URL {
		u, err := url.Parse(text)
		switch {
		case err != nil:
			continue // The configuration says so itself.
		case u.Scheme == "tls" || u.Scheme == "wss":
			encrypted = true
		case !encrypted && !isLoopback(u.Hostname()):
			x.note("uplink TLS", Warning, "use a tls:// or wss:// url", "unless the server insists on TLS, login and events can be read on the way to %s", u.Host)
		}
	}
	for _, f := range []struct{ key, path string }{{"tls-ca-file", c.TLSCAFile}, {"tls-cert-file", c.TLSCertFile}} {
		if f.path != "" && !strings.HasPrefix(f.path, "credential:") {
			x.checkCertificate(f.key, f.path)
		}
	}
	if !encrypted || x.status == nil {
		return
	}
	if clock := &x.status.Clock; !clock.Trusted {
		x.note("uplink TLS", Warning, "set the clock, or let NTP do it", "certificates are judged by the last time known, since the clock is not believed (%s): "+
			"one that is newer, or has ended since, is judged wrongly", clock.Reason)
		return
	}
	x.note("uplink TLS", OK, "", "certificates are judged by the clock, which is believed: %s", x.status.Clock.Reason)
}

// isLoopback reports whether a host is this one.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkCertificate looks at the first certificate of a file in PEM form.
func (x *examination) checkCertificate(key, path string) {
	cert, err := readCertificate(path)
	if errors.Is(err, os.ErrPermission) {
		x.note("uplink TLS", Unknown, "run it as root or as the agent's user", "%s: %v", key, err)
		return
	}
	if err != nil {
		x.note("uplink TLS", Failing, "put a certificate in PEM form there", "%s: %v", key, err)
		return
	}
	end, now := cert.NotAfter.UTC().Format(time.RFC3339), time.Now()
	switch {
	case now.After(cert.NotAfter):
		x.note("uplink TLS", Failing, "replace it, then: querator uplink reconnect", "%s: %s has ended at %s", key, path, end)
	case now.Before(cert.NotBefore):
		x.note("uplink TLS", Warning, "look at the clock", "%s: %s begins only at %s", key, path, cert.NotBefore.UTC().Format(time.RFC3339))
	case now.After(cert.NotAfter.Add(-expiring)):
		x.note("uplink TLS", Warning, "replace it, then: querator uplink reconnect", "%s: %s ends at %s", key, path, end)
	default:
		x.note("uplink TLS", OK, "", "%s: %s holds until %s", key, path, end)
	}
}

func readCertificate(path string) (*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s has no certificate in PEM form", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cert, nil
}
