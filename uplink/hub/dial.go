package hub

import (
	"context"
	"crypto/rand"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Dial connects. It tries every URL once and returns the error of the last, of any kind that Classify knows.
// What it waits for ends with ctx.
func Dial(ctx context.Context, o Options) (*Conn, error) {
	c := &Conn{
		inbox:   "_INBOX_" + o.Device + ".",
		nonce:   rand.Text(),
		replies: make(chan *nats.Msg, replyRoom), answers: make(chan *nats.Msg, answerRoom),
		denied: make(chan error, deniedRoom), closed: make(chan struct{}),
	}
	d := &dialer{o: &o, dial: func(network, address string) (net.Conn, error) {
		plain := net.Dialer{Timeout: or(o.DialTimeout, defaultDialTimeout)}
		conn, err := plain.DialContext(ctx, network, address)
		if err == nil {
			// Whatever handshake follows ends with ctx too.
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer func() { c.stops = append(c.stops, stop) }()
		}
		return conn, err
	}}
	count := o.Count
	o.Count = func(out, in int) {
		c.in.Add(int64(in))
		if count != nil {
			count(out, in)
		}
	}
	options, err := c.options(d, &o)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(strings.Join(o.URLs, ","), options...)
	for _, stop := range c.stops {
		stop()
	}
	c.stops = nil
	if err != nil {
		return nil, err
	}
	c.nc = nc
	if err := c.listen(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// options are those of nats.go. Each of its defaults that is changed here would lose or repeat events, or hide
// that the server is gone.
func (c *Conn) options(d *dialer, o *Options) ([]nats.Option, error) {
	list := []nats.Option{
		nats.Name(o.Name),
		nats.NoReconnect(),        // See the package comment.
		nats.ReconnectBufSize(-1), // Nothing is published later than asked for.
		nats.IgnoreAuthErrorAbort(),
		nats.IgnoreDiscoveredServers(), // Private addresses behind a router only cost dial timeouts.
		nats.NoEcho(), nats.NoCallbacksAfterClientClose(),
		nats.CustomInboxPrefix(strings.TrimSuffix(c.inbox, ".")),
		nats.Timeout(or(o.DialTimeout, defaultDialTimeout)),
		nats.FlusherTimeout(or(o.WriteTimeout, defaultWriteTimeout)),
		nats.ReconnectOnFlusherError(),
		nats.PingInterval(or(o.PingInterval, defaultPing)), nats.MaxPingsOutstanding(maxPingsOut),
		nats.SetCustomDialer(d),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.deny(err) }),
		nats.ClosedHandler(func(*nats.Conn) { c.hasEnded() }),
	}
	if o.Compress {
		list = append(list, nats.Compression(true))
	}
	if o.ProxyPath != "" {
		list = append(list, nats.ProxyPath(o.ProxyPath))
	}
	if o.TLS.used() || secure(o.URLs) {
		conf, err := o.TLS.config()
		if err != nil {
			return nil, err
		}
		list = append(list, nats.Secure(conf))
		if o.TLS.HandshakeFirst {
			list = append(list, nats.TLSHandshakeFirst())
		}
	}
	login, err := o.login()
	if err != nil {
		return nil, err
	}
	if login != nil {
		list = append(list, login)
	}
	return list, nil
}

func secure(urls []string) bool {
	for _, u := range urls {
		if strings.HasPrefix(u, "tls://") || strings.HasPrefix(u, "wss://") {
			return true
		}
	}
	return false
}

// login reads the secret; nil without one.
func (o *Options) login() (nats.Option, error) {
	switch {
	case o.CredsFile != "":
		text, err := readSecret(o.CredsFile)
		if err != nil {
			return nil, err
		}
		return nats.UserCredentialBytes(text), nil
	case o.NKeyFile != "":
		if _, err := readSecret(o.NKeyFile); err != nil {
			return nil, err
		}
		path, _, err := secretPath(o.NKeyFile)
		if err != nil {
			return nil, err
		}
		return nats.NkeyOptionFromSeed(path)
	case o.TokenFile != "":
		text, err := readSecret(o.TokenFile)
		if err != nil {
			return nil, err
		}
		return nats.Token(string(text)), nil
	case o.User != "":
		text, err := readSecret(o.PasswordFile)
		if err != nil {
			return nil, err
		}
		return nats.UserInfo(o.User, string(text)), nil
	}
	return nil, nil
}

// dialer makes TCP connections whose bytes are counted, and whose writes end in bounded time.
type dialer struct {
	o    *Options
	dial func(network, address string) (net.Conn, error)
}

// sendBuffer is what the kernel may hold of what was written, in bytes; it takes twice that, and lets go on when
// a third is free, which even a link of 2 kB/s gets done within the timeout. What the kernel holds looks sent, and
// is memory of ours.
const sendBuffer = 64 << 10

// Dial implements nats.CustomDialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	conn, err := d.dial(network, address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(sendBuffer) // Without it the kernel takes megabytes, which is only worse.
	}
	return &wire{Conn: conn, count: d.o.Count, timeout: or(d.o.WriteTimeout, defaultWriteTimeout)}, nil
}

// wire is one TCP connection.
type wire struct {
	net.Conn
	count   func(out, in int)
	timeout time.Duration
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if w.count != nil && n > 0 {
		w.count(0, n)
	}
	return n, err
}

// Write gives the network WriteTimeout for each few KiB, so that a slow link has its time, and closes the
// connection when nothing is taken: a part of the bytes may be out, so that nothing more can be written, and the
// reader must learn of it.
func (w *wire) Write(p []byte) (int, error) {
	done := 0
	for {
		if err := w.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
			return done, err
		}
		n, err := w.Conn.Write(p[done:min(len(p), done+writeChunk)])
		done += n
		if w.count != nil && n > 0 {
			w.count(n, 0)
		}
		if err != nil {
			_ = w.Close() // The error of the write is the one to report.
			return done, err
		}
		if done == len(p) {
			return done, nil
		}
	}
}

// writeChunk is how many bytes have WriteTimeout to go out.
const writeChunk = 4 << 10

func or(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}
