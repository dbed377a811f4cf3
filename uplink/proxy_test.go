package uplink_test

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy stands between an uplink and a server, and is the bad network.
type proxy struct {
	t      testing.TB
	ln     net.Listener
	wg     sync.WaitGroup
	target atomic.Pointer[string]

	mu       sync.Mutex
	pairs    map[*pair]bool
	refuse   bool
	up, down faults
	cond     *sync.Cond
	accepted int
	small    bool // take little of what was not read yet
}

// faults are those of one direction.
type faults struct {
	swallow bool          // read and forget
	hold    bool          // read and keep
	stop    bool          // do not read
	rate    int           // bytes a second; 0: any
	latency time.Duration // of connections that are made while it is set
	change  func([]byte) []byte
	after   func(total int) bool // cuts when it says so
}

type pair struct {
	client, server net.Conn
	held           []byte // bytes for the server, while they are held
	zombie         bool   // the client's side is closed, the server's is not
}

func newProxy(t testing.TB, target string) *proxy {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, ln: ln, pairs: map[*pair]bool{}}
	p.cond = sync.NewCond(&p.mu)
	p.target.Store(&target)
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) url() string { return "nats://" + p.ln.Addr().String() }

func (p *proxy) close() {
	p.ln.Close()
	p.set(func() { p.up, p.down, p.refuse = faults{}, faults{}, true })
	p.cut()
	p.mu.Lock()
	for pr := range p.pairs {
		pr.server.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// set changes the faults.
func (p *proxy) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.cond.Broadcast()
}

// cut resets all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pr := range p.pairs {
		if pr.zombie {
			continue
		}
		if tcp, ok := pr.client.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		pr.client.Close()
		if !p.up.hold {
			pr.server.Close()
		} else {
			pr.zombie = true
		}
	}
	p.cond.Broadcast()
}

// deliver hands the server what was held of connections that are gone for the client.
func (p *proxy) deliver() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pr := range p.pairs {
		if len(pr.held) > 0 {
			_, _ = pr.server.Write(pr.held)
			pr.held = nil
		}
		if pr.zombie {
			delete(p.pairs, pr)
			go func() {
				// The server reads what there is before it sees the end.
				if tcp, ok := pr.server.(*net.TCPConn); ok {
					_ = tcp.CloseWrite()
				}
				_ = pr.server.SetReadDeadline(time.Now().Add(5 * time.Second))
				buf := make([]byte, 4096)
				for {
					if _, err := pr.server.Read(buf); err != nil {
						pr.server.Close()
						return
					}
				}
			}()
		}
	}
}

func (p *proxy) heldBytes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for pr := range p.pairs {
		n += len(pr.held)
	}
	return n
}

func (p *proxy) connects() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

func (p *proxy) accept() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.accepted++
		refuse := p.refuse
		if tcp, ok := c.(*net.TCPConn); ok && p.small {
			_ = tcp.SetReadBuffer(4096)
		}
		p.mu.Unlock()
		if refuse {
			c.Close()
			continue
		}
		s, err := net.Dial("tcp", *p.target.Load())
		if err != nil {
			c.Close()
			continue
		}
		pr := &pair{client: c, server: s}
		p.mu.Lock()
		p.pairs[pr] = true
		p.mu.Unlock()
		p.wg.Go(func() { p.pump(pr, c, s, &p.up) })
		p.wg.Go(func() { p.pump(pr, s, c, &p.down) })
	}
}

// pump carries one direction until it ends, with its faults.
func (p *proxy) pump(pr *pair, from, to net.Conn, f *faults) {
	defer func() {
		p.mu.Lock()
		zombie := pr.zombie
		if !zombie {
			delete(p.pairs, pr)
		}
		p.mu.Unlock()
		pr.client.Close()
		if !zombie {
			pr.server.Close()
		}
	}()
	buf := make([]byte, 32<<10)
	var kept []byte
	p.mu.Lock()
	latency := f.latency
	p.mu.Unlock()
	write := to.Write
	if latency > 0 {
		late := make(chan lateBytes, 4096)
		defer close(late)
		p.wg.Go(func() {
			for b := range late {
				<-time.After(time.Until(b.due))
				_, _ = to.Write(b.data) // When the connection has ended, so does the reading.
			}
		})
		write = func(data []byte) (int, error) {
			late <- lateBytes{time.Now().Add(latency), data}
			return len(data), nil
		}
	}
	total := 0
	for {
		p.mu.Lock()
		for f.stop && !p.refuse {
			p.cond.Wait()
		}
		rate := f.rate
		p.mu.Unlock()
		size := len(buf)
		if rate > 0 {
			size = max(rate/20, 1)
		}
		n, err := from.Read(buf[:size])
		if err != nil {
			return
		}
		if rate > 0 {
			<-time.After(time.Duration(n) * time.Second / time.Duration(rate))
		}
		total += n
		p.mu.Lock()
		now := *f
		data := bytes.Clone(buf[:n])
		if now.change != nil {
			data = now.change(data)
		}
		if now.hold {
			if f == &p.up {
				pr.held = append(pr.held, data...)
			} else {
				kept = append(kept, data...)
			}
		} else if f == &p.up && len(pr.held) > 0 {
			data, pr.held = append(pr.held, data...), nil
		} else if f == &p.down && len(kept) > 0 {
			data, kept = append(kept, data...), nil
		}
		p.mu.Unlock()
		if now.after != nil && now.after(total) {
			if tcp, ok := pr.client.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			return
		}
		if now.hold || now.swallow {
			continue
		}
		if _, err := write(data); err != nil {
			return
		}
	}
}

// lateBytes are on their way.
type lateBytes struct {
	due  time.Time
	data []byte
}
