package hub

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Options say how to reach a server.
type Options struct {
	// URLs are nats://, tls://, ws:// or wss:// addresses; each connect tries them in random order. Required.
	URLs []string
	// Device is the name of this device: the prefix of its inbox, and part of the connection's name. Required.
	Device string
	// Name is what the server lists the connection as.
	Name string

	// At most one of the following groups. All name files, which must not be readable by others, or systemd
	// credentials as "credential:NAME"; they are read at each connect.
	CredsFile    string // A user's JWT and seed.
	NKeyFile     string // A seed.
	TokenFile    string
	User         string // With PasswordFile.
	PasswordFile string

	TLS TLSOptions

	// Compress asks for compressed frames, which only ws:// and wss:// have.
	Compress bool
	// ProxyPath is the path of a websocket behind a proxy.
	ProxyPath string

	// DialTimeout bounds a connect to one address with all of its handshakes; 0: 10 s.
	DialTimeout time.Duration
	// WriteTimeout is how long the network may take nothing before the connection is given up; 0: 10 s.
	WriteTimeout time.Duration
	// PingInterval is the time between pings while nothing is under way; a dead connection is known after three
	// of them. 0: 2 min.
	PingInterval time.Duration
	// Count is told of every byte that goes out or comes in, those of TLS included; may be nil. It is called by
	// several goroutines at once.
	Count func(out, in int)
}

// TLSOptions say whom to believe, and who we are.
type TLSOptions struct {
	// CAFile replaces the certificate authorities of the system.
	CAFile string
	// CertFile and KeyFile are the device's certificate.
	CertFile, KeyFile string
	// ServerName is the name that the server's certificate must have; empty: that of the URL.
	ServerName string
	// HandshakeFirst starts TLS before the server says anything, as it may be configured to ask for.
	HandshakeFirst bool
	// ClockFloor is a time that it must be by now: a device whose clock shows an earlier one judges
	// certificates by this. May be nil.
	ClockFloor func() time.Time
}

// Defaults.
const (
	defaultDialTimeout  = 10 * time.Second
	defaultWriteTimeout = 10 * time.Second
	defaultPing         = 2 * time.Minute
	maxPingsOut         = 2
)

// ErrOptions says that options contradict each other or name nothing that can be dialled.
var ErrOptions = errors.New("not a way to a server")

// Check returns ErrOptions with the reason if the options cannot work. It looks at no file.
func (o *Options) Check() error {
	if len(o.URLs) == 0 {
		return fmt.Errorf("%w: no url", ErrOptions)
	}
	for _, u := range o.URLs {
		p, err := url.Parse(u)
		switch {
		case err != nil || p.Hostname() == "":
			return fmt.Errorf("%w: %q has no host; write nats://host:4222", ErrOptions, redact(u))
		case !slices.Contains([]string{"nats", "tls", "ws", "wss"}, p.Scheme):
			return fmt.Errorf("%w: %q; the scheme is one of nats, tls, ws, wss", ErrOptions, redact(u))
		case p.User != nil:
			return fmt.Errorf("%w: %q has a password in it; put it into a file", ErrOptions, redact(u))
		}
	}
	if n := websockets(o.URLs); n != 0 && n != len(o.URLs) {
		return fmt.Errorf("%w: websocket and other urls cannot be mixed", ErrOptions)
	}
	groups := 0
	for _, set := range []bool{o.CredsFile != "", o.NKeyFile != "", o.TokenFile != "", o.User != "" || o.PasswordFile != ""} {
		if set {
			groups++
		}
	}
	switch {
	case groups > 1:
		return fmt.Errorf("%w: only one of credentials, nkey, token and user can be used", ErrOptions)
	case (o.User == "") != (o.PasswordFile == ""):
		return fmt.Errorf("%w: user and password-file go together", ErrOptions)
	case (o.TLS.CertFile == "") != (o.TLS.KeyFile == ""):
		return fmt.Errorf("%w: certificate and key go together", ErrOptions)
	}
	return nil
}

func websockets(urls []string) int {
	n := 0
	for _, u := range urls {
		if strings.HasPrefix(u, "ws://") || strings.HasPrefix(u, "wss://") {
			n++
		}
	}
	return n
}

// redact hides what may be a password in an URL.
func redact(u string) string {
	if p, err := url.Parse(u); err == nil {
		return p.Redacted()
	}
	if i := strings.LastIndexByte(u, '@'); i >= 0 {
		return "..." + u[i:]
	}
	return u
}
