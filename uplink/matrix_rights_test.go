package uplink_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/uplink"
)

// Rows of the failure matrix about rights, credentials, certificates and clocks.

// adminUser may do everything, deviceUser what uplink/README.md says.
func adminUser() *server.User { return &server.User{Username: "admin", Password: "admin"} }

func deviceUser(change func(p *server.Permissions)) *server.User {
	p := &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			"querator.dev.>", "querator-hb.dev", "$JS.API.DIRECT.GET.QUERATOR.querator.dev.>",
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_dev.>"}},
	}
	if change != nil {
		change(p)
	}
	return &server.User{Username: "device", Password: "secret", Permissions: p}
}

// newUserBench has a server with users, and an uplink that logs in as the device.
func newUserBench(t *testing.T, users ...*server.User) (*bench, uplink.Config) {
	b := &bench{truth: newTruth()}
	b.stand = newStand(t, func(o *server.Options) { o.Users = users })
	createStream(t, b.boss(), nil)
	b.proxy = newProxy(t, b.addr())
	b.src = newSource(b.truth, partName{"alpha", 0}, partName{"beta", 3})
	cfg := b.config()
	cfg.Hub.User, cfg.Hub.PasswordFile = "device", secretFile(t, "secret\n")
	return b, cfg
}

func (b *bench) boss() *nats.Conn { return b.admin(nats.UserInfo("admin", "admin")) }

func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// reload changes the users of the running server.
func (b *bench) reload(users ...*server.User) {
	b.t.Helper()
	opts := b.opts.Clone()
	opts.Users = users
	if err := b.srv.ReloadOptions(opts); err != nil {
		b.t.Fatal(err)
	}
}

func TestLeastRights(t *testing.T) {
	t.Parallel()
	b, cfg := newUserBench(t, adminUser(), deviceUser(nil))
	cfg.Heartbeat = 10 * time.Millisecond
	b.produce(100)
	r := run(t, cfg, b.src, nil)
	r.drained(b.src)
	b.proxy.cut()
	b.produce(100)
	r.drained(b.src)
	if s := r.Status(t.Context()); s.Class != "" || s.Mode != uplink.ModeBatch {
		t.Errorf("status %+v", s)
	}
	mustBeExact(t, b.truth, b.boss())
	for _, f := range r.Test(t.Context()) {
		if !f.OK && !f.Unknown {
			t.Errorf("finding %+v", f)
		}
	}
	// What another device has is none of its business.
	nc := b.admin(nats.UserInfo("device", "secret"), nats.CustomInboxPrefix("_INBOX_dev"))
	if _, err := nc.Request("$JS.API.DIRECT.GET.QUERATOR.querator.other.alpha.0", nil, 100*time.Millisecond); err == nil {
		t.Error("the events of another device can be read")
	}
}

func Test16PublishRightRevoked(t *testing.T) {
	t.Parallel()
	b, cfg := newUserBench(t, adminUser(), deviceUser(nil))
	cfg.Timing.Reply = time.Hour // Only the refusal itself tells.
	cfg.Timing.HoldMax = time.Hour
	r := run(t, cfg, b.src, nil)
	b.produce(30)
	r.drained(b.src)
	b.reload(adminUser(), deviceUser(func(p *server.Permissions) { p.Publish.Deny = []string{"querator.dev.>"} }))
	b.produce(30)
	eventually(t, "it is known", func() bool { return r.class() == "denied" })
	out := r.Status(t.Context()).BytesOut
	<-time.After(200 * time.Millisecond)
	if more := r.Status(t.Context()).BytesOut - out; more > 4000 { // The one try of the other partition, at most.
		t.Errorf("it tries again and again: %d bytes went out", more)
	}
	b.reload(adminUser(), deviceUser(nil))
	b.proxy.cut()
	r.drained(b.src)
	mustBeExact(t, b.truth, b.boss())
}

func Test17CredentialsRevoked(t *testing.T) {
	t.Parallel()
	b, cfg := newUserBench(t, adminUser(), deviceUser(nil))
	r := run(t, cfg, b.src, nil)
	b.produce(30)
	r.drained(b.src)
	b.reload(adminUser())
	b.proxy.cut()
	b.produce(30)
	before := b.proxy.connects()
	eventually(t, "it tries again and again", func() bool { return b.proxy.connects() > before+8 })
	if r.class() != "auth" {
		t.Errorf("class %q", r.class())
	}
	b.reload(adminUser(), deviceUser(nil))
	r.drained(b.src)
	mustBeExact(t, b.truth, b.boss())
}

func Test34ReceiptsCannotBeHeard(t *testing.T) {
	t.Parallel()
	b, cfg := newUserBench(t, adminUser(), deviceUser(func(p *server.Permissions) {
		p.Subscribe.Allow = []string{"_INBOX_dev.q.>"}
	}))
	cfg.Timing.Reply = time.Hour
	b.produce(40)
	r := run(t, cfg, b.src, nil)
	r.drained(b.src)
	if c := r.class(); c != uplink.ClassNoReceipts {
		t.Errorf("class %q", c)
	}
	mustBeExact(t, b.truth, b.boss())
}

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its certificate
	n    int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().AddDate(100, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.file = filepath.Join(t.TempDir(), "ca.pem")
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue writes a certificate and its key to dir/name.pem and dir/name.key.
func (a *authority) issue(dir, name string, from, to time.Time) tls.Certificate {
	a.t.Helper()
	a.n++
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(100 + a.n), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	writePEM(a.t, filepath.Join(dir, name+".pem"), "CERTIFICATE", der)
	writePEM(a.t, filepath.Join(dir, name+".key"), "EC PRIVATE KEY", keyDER)
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
	if err != nil {
		a.t.Fatal(err)
	}
	return pair
}

// newTLSBench has a server that wants certificates of clients. Its own is valid in a span of time.
func newTLSBench(t *testing.T, from, to time.Time) (*bench, *authority, string, uplink.Config) {
	a, dir := newAuthority(t), t.TempDir()
	b := &bench{truth: newTruth()}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	serverTLS := func(pair tls.Certificate) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
	}
	b.stand = newStand(t, func(o *server.Options) {
		o.TLSConfig, o.TLSVerify, o.TLSTimeout = serverTLS(a.issue(dir, "server", from, to)), true, 10
	})
	b.proxy = newProxy(t, b.addr())
	b.src = newSource(b.truth, partName{"alpha", 0})
	a.issue(dir, "device", time.Unix(0, 0), time.Now().AddDate(50, 0, 0))
	cfg := b.config()
	cfg.Hub.URLs = []string{strings.Replace(b.proxy.url(), "nats://", "tls://", 1)}
	cfg.Hub.TLS.CAFile = a.file
	cfg.Hub.TLS.CertFile, cfg.Hub.TLS.KeyFile = filepath.Join(dir, "device.pem"), filepath.Join(dir, "device.key")
	return b, a, dir, cfg
}

// tlsBoss is a connection for the test that checks no certificates.
func (b *bench) tlsBoss(dir string) *nats.Conn {
	b.t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "device.pem"), filepath.Join(dir, "device.key"))
	if err != nil {
		b.t.Fatal(err)
	}
	return b.admin(nats.Secure(&tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}))
}

func Test18Certificates(t *testing.T) {
	t.Parallel()
	now := time.Now()
	b, a, dir, cfg := newTLSBench(t, now.AddDate(0, 0, -2), now.AddDate(0, 0, -1)) // It has expired.
	boss := b.tlsBoss(dir)
	createStream(t, boss, nil)
	b.produce(20)
	r := run(t, cfg, b.src, nil)
	eventually(t, "it tries again and again", func() bool { return b.proxy.connects() > 5 })
	if r.class() != "auth" {
		t.Errorf("class %q", r.class())
	}
	// The server gets a new one.
	pair := a.issue(dir, "server", now.AddDate(0, 0, -1), now.AddDate(1, 0, 0))
	b.stop()
	b.opts.TLSConfig.Certificates = []tls.Certificate{pair}
	b.start()
	r.drained(b.src)
	// The device's own becomes worthless, and is replaced by another, without a restart.
	a.issue(dir, "device", now.AddDate(-2, 0, 0), now.AddDate(-1, 0, 0))
	b.proxy.cut()
	b.produce(20)
	before := b.proxy.connects()
	eventually(t, "it tries again", func() bool { return b.proxy.connects() > before+3 })
	a.issue(dir, "device", now.AddDate(0, 0, -1), now.AddDate(1, 0, 0))
	r.drained(b.src)
	mustBeExact(t, b.truth, b.tlsBoss(dir))
}

// Test19ClockBehind has a server whose certificate is not valid yet by the clock of this machine, as every
// certificate is on a device that believes to be in 1970.
func Test19ClockBehind(t *testing.T) {
	t.Parallel()
	now := time.Now()
	b, _, dir, cfg := newTLSBench(t, now.AddDate(1, 0, 0), now.AddDate(2, 0, 0))
	createStream(t, b.tlsBoss(dir), nil)
	b.produce(20)
	r := run(t, cfg, b.src, nil)
	eventually(t, "it is refused", func() bool { return b.proxy.connects() > 3 && r.class() == "auth" })
	r.stop()
	cfg.Hub.TLS.ClockFloor = func() time.Time { return now.AddDate(1, 6, 0) }
	r = run(t, cfg, b.src, func() bool { return false })
	r.drained(b.src)
	mustBeExact(t, b.truth, b.tlsBoss(dir))
}
