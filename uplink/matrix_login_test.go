package uplink_test

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/kapetan-io/querator-edge/uplink"
)

// Every way to log in and every transport, against servers that ask for them. Users with passwords are in
// matrix_rights_test.go, certificates too.

// newKey makes a key pair and its seed.
func newKey(t *testing.T, make func() (nkeys.KeyPair, error)) (key nkeys.KeyPair, public string, seed []byte) {
	t.Helper()
	key, err := make()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = key.PublicKey(); err != nil {
		t.Fatal(err)
	}
	if seed, err = key.Seed(); err != nil {
		t.Fatal(err)
	}
	return key, public, seed
}

// newLoginBench has a server with options for logging in; boss is how the test itself does.
func newLoginBench(t *testing.T, change func(o *server.Options), boss nats.Option) *bench {
	b := &bench{truth: newTruth()}
	b.stand = newStand(t, change)
	createStream(t, b.admin(boss), nil)
	b.proxy = newProxy(t, b.addr())
	b.src = newSource(b.truth, partName{"alpha", 0})
	return b
}

// deliversOverCuts has events delivered on two connections, and checks them.
func (b *bench) deliversOverCuts(cfg uplink.Config, boss nats.Option) {
	b.t.Helper()
	r := run(b.t, cfg, b.src, nil)
	b.produce(60)
	r.drained(b.src)
	b.proxy.cut()
	b.produce(60)
	r.drained(b.src)
	if v := mustBeExact(b.t, b.truth, b.admin(boss)); v.messages != 120 {
		b.t.Errorf("%d messages, not 120", v.messages)
	}
	r.stop()
}

func TestLoginWithToken(t *testing.T) {
	t.Parallel()
	boss := nats.Token("t0ken")
	b := newLoginBench(t, func(o *server.Options) { o.Authorization = "t0ken" }, boss)
	cfg := b.config()
	cfg.Hub.TokenFile = secretFile(t, "t0ken\n")
	b.deliversOverCuts(cfg, boss)
	// A token that is replaced is read at the next connect; so is the mode of its file.
	if err := os.WriteFile(cfg.Hub.TokenFile, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, cfg, b.src, nil)
	eventually(t, "it is refused", func() bool { return r.class() == "auth" })
	if err := os.WriteFile(cfg.Hub.TokenFile, []byte("t0ken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(cfg.Hub.TokenFile, 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the mode is refused", func() bool {
		return strings.Contains(r.Status(t.Context()).Error, "chmod it to 0600")
	})
	if err := os.Chmod(cfg.Hub.TokenFile, 0o600); err != nil {
		t.Fatal(err)
	}
	b.produce(1)
	r.drained(b.src)
}

func TestLoginWithNKey(t *testing.T) {
	t.Parallel()
	_, device, seed := newKey(t, nkeys.CreateUser)
	boss, bossName, _ := newKey(t, nkeys.CreateUser)
	login := nats.Nkey(bossName, boss.Sign)
	b := newLoginBench(t, func(o *server.Options) {
		o.Nkeys = []*server.NkeyUser{{Nkey: device, Permissions: deviceUser(nil).Permissions}, {Nkey: bossName}}
	}, login)
	cfg := b.config()
	cfg.Hub.NKeyFile = secretFile(t, string(seed)+"\n")
	b.deliversOverCuts(cfg, login)
}

// operator is the owner of a server that knows users by what an account has signed.
type operator struct {
	t       *testing.T
	account nkeys.KeyPair
}

// newOperator returns one, and the options of its server.
func newOperator(t *testing.T) (*operator, func(o *server.Options)) {
	root, rootName, _ := newKey(t, nkeys.CreateOperator)
	account, accountName, _ := newKey(t, nkeys.CreateAccount)
	_, sysName, _ := newKey(t, nkeys.CreateAccount)
	claims := jwt.NewAccountClaims(accountName)
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	signed, err := claims.Encode(root)
	if err != nil {
		t.Fatal(err)
	}
	sysSigned, err := jwt.NewAccountClaims(sysName).Encode(root)
	if err != nil {
		t.Fatal(err)
	}
	accounts := &server.MemAccResolver{}
	if err := accounts.Store(accountName, signed); err != nil {
		t.Fatal(err)
	}
	if err := accounts.Store(sysName, sysSigned); err != nil {
		t.Fatal(err)
	}
	own := jwt.NewOperatorClaims(rootName)
	return &operator{t: t, account: account}, func(o *server.Options) {
		o.TrustedOperators, o.AccountResolver, o.SystemAccount = []*jwt.OperatorClaims{own}, accounts, sysName
	}
}

// creds are the credentials of a new user.
func (o *operator) creds(allow ...string) string {
	o.t.Helper()
	_, name, seed := newKey(o.t, nkeys.CreateUser)
	user := jwt.NewUserClaims(name)
	if len(allow) > 0 {
		user.Pub.Allow = allow
		user.Sub.Allow = []string{"_INBOX_dev.>"}
	}
	signed, err := user.Encode(o.account)
	if err != nil {
		o.t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(signed, seed)
	if err != nil {
		o.t.Fatal(err)
	}
	return string(text)
}

// TestLoginWithCredentials has a JWT and a seed in a file, as a path and as a systemd credential.
func TestLoginWithCredentials(t *testing.T) {
	op, options := newOperator(t)
	boss := nats.UserCredentialBytes([]byte(op.creds()))
	text := op.creds("querator.dev.>", "$JS.API.DIRECT.GET.QUERATOR.querator.dev.>")
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if err := os.WriteFile(filepath.Join(dir, "nats"), []byte(text), 0o444); err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{secretFile(t, text), "credential:nats"} {
		b := newLoginBench(t, options, boss)
		cfg := b.config()
		cfg.Hub.CredsFile = setting
		b.deliversOverCuts(cfg, boss)
	}
}

// TestWebsockets has events go over websockets, with TLS and without. Compressed they are fewer bytes.
func TestWebsockets(t *testing.T) {
	t.Parallel()
	used := map[string]uint64{}
	for _, transport := range []string{"ws", "wss", "ws compressed", "wss compressed"} {
		scheme, _, compressed := strings.Cut(transport, " ")
		port := freePort(t)
		a, dir := newAuthority(t), t.TempDir()
		b := newLoginBench(t, func(o *server.Options) {
			o.Websocket = server.WebsocketOpts{Host: "127.0.0.1", Port: port, Compression: true, NoTLS: scheme == "ws"}
			if scheme == "wss" {
				pair := a.issue(dir, "server", a.cert.NotBefore, a.cert.NotAfter)
				o.Websocket.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
			}
		}, nats.Name("boss"))
		b.proxy = newProxy(t, fmt.Sprintf("127.0.0.1:%d", port))
		cfg := b.config()
		cfg.Hub.URLs = []string{strings.Replace(b.proxy.url(), "nats", scheme, 1)}
		cfg.Hub.Compress = compressed
		if scheme == "wss" {
			cfg.Hub.TLS.CAFile = a.file
		}
		r := run(t, cfg, b.src, nil)
		b.produce(400)
		r.drained(b.src)
		b.proxy.cut()
		b.produce(400)
		r.drained(b.src)
		b.exact()
		s := r.Status(t.Context())
		used[transport] = s.BytesOut + s.BytesIn
		r.stop()
	}
	for _, scheme := range []string{"ws", "wss"} {
		if plain, small := used[scheme], used[scheme+" compressed"]; small*2 > plain {
			t.Errorf("%s: %d bytes, compressed %d", scheme, plain, small)
		}
	}
	t.Logf("bytes of 800 events: %v", used)
}
