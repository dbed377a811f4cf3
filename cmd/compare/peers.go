package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// startBy is how long a peer may take to answer.
const startBy = 10 * time.Second

// process is a peer's process.
type process struct{ cmd *exec.Cmd }

func (p *process) run(ctx context.Context, program string, args ...string) error {
	p.cmd = exec.CommandContext(ctx, program, args...)
	return p.cmd.Start()
}

func (p *process) stop() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // It may have ended by itself.
	_ = p.cmd.Wait()
	p.cmd = nil
}

// await calls ready until it succeeds.
func await(ctx context.Context, ready func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startBy)
	defer cancel()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// agentPeer is our own agent, over its Unix socket with its own client.
type agentPeer struct {
	process
	program, socket string
}

const agentQueue = "compare"

func (a *agentPeer) name() string { return "querator" }

func (a *agentPeer) start(ctx context.Context, dir string) error {
	sock, err := os.MkdirTemp("", "q") // Socket paths are short.
	if err != nil {
		return err
	}
	a.socket = filepath.Join(sock, "s")
	if err := a.run(ctx, a.program, "agent", "--data-dir", dir, "--socket", a.socket); err != nil {
		return err
	}
	c := &client.Client{Socket: a.socket}
	defer c.Close()
	return await(ctx, func() error {
		return c.CreateQueue(ctx, client.QueueInfo{Name: agentQueue, LeaseTimeout: time.Minute, ExpireTimeout: time.Hour, Partitions: 1})
	})
}

func (a *agentPeer) client() (func([]byte) error, func(), error) {
	c := &client.Client{Socket: a.socket}
	return func(payload []byte) error {
		return c.Produce(context.Background(), agentQueue, client.ProduceItem{Payload: payload})
	}, c.Close, nil
}

func (a *agentPeer) stop() {
	a.process.stop()
	_ = os.RemoveAll(filepath.Dir(a.socket)) // A socket in the temporary directory.
}

// beanstalkd syncs its log after every put with -f 0.
type beanstalkd struct {
	process
	program, addr string
}

func (b *beanstalkd) name() string { return "beanstalkd -f 0" }

func (b *beanstalkd) start(ctx context.Context, dir string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b.addr = l.Addr().String()
	_, port, _ := strings.Cut(b.addr, ":")
	if err := l.Close(); err != nil {
		return err
	}
	if err := b.run(ctx, b.program, "-l", "127.0.0.1", "-p", port, "-b", dir, "-f", "0"); err != nil {
		return err
	}
	return await(ctx, func() error {
		c, err := net.Dial("tcp", b.addr)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

func (b *beanstalkd) client() (func([]byte) error, func(), error) {
	c, err := net.Dial("tcp", b.addr)
	if err != nil {
		return nil, nil, err
	}
	r := bufio.NewReader(c)
	var buf []byte
	return func(payload []byte) error {
		buf = fmt.Appendf(buf[:0], "put 0 0 60 %d\r\n%s\r\n", len(payload), payload)
		if _, err := c.Write(buf); err != nil {
			return err
		}
		line, err := r.ReadString('\n')
		if err == nil && !strings.HasPrefix(line, "INSERTED ") {
			err = fmt.Errorf("answer %q", line)
		}
		return err
	}, func() { _ = c.Close() }, nil
}

// rawDisk is the limit that the disk sets to anybody who syncs each item:
// overwriting an allocated file, and fdatasync. Several clients take turns.
type rawDisk struct {
	mu   sync.Mutex
	file *os.File
	at   int64
}

const rawSize = 16 << 20

func (d *rawDisk) name() string { return "raw disk" }

func (d *rawDisk) start(_ context.Context, dir string) error {
	f, err := os.Create(filepath.Join(dir, "raw"))
	if err != nil {
		return err
	}
	d.file, d.at = f, 0
	if _, err := f.Write(make([]byte, rawSize)); err != nil {
		return err
	}
	return f.Sync()
}

func (d *rawDisk) client() (func([]byte) error, func(), error) {
	return func(payload []byte) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if _, err := d.file.WriteAt(payload, d.at); err != nil {
			return err
		}
		if d.at += int64(len(payload)); d.at+int64(len(payload)) > rawSize {
			d.at = 0
		}
		return syscall.Fdatasync(int(d.file.Fd()))
	}, func() {}, nil
}

func (d *rawDisk) stop() { _ = d.file.Close() }
