package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"
)

// beanstalkd keeps items in memory and in a log; -f 0 syncs the log after each change, the default every 50 ms.
type beanstalkd struct {
	process
	program, socket string
	always          bool
}

var _ peer = (*beanstalkd)(nil)

func (b *beanstalkd) name() string {
	if b.always {
		return "beanstalkd -f 0"
	}
	return "beanstalkd"
}

func (b *beanstalkd) durable() bool { return b.always }

func (b *beanstalkd) start(ctx context.Context, dir string, relaxed bool) error {
	args := []string{"-l", "unix:" + b.socket, "-b", dir, "-z", "2000000"}
	if b.always && !relaxed {
		args = append(args, "-f", "0")
	}
	if err := b.run(ctx, dir, b.program, args...); err != nil {
		return err
	}
	return b.await(ctx, func() error {
		c, err := dialWire("unix", b.socket)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// create has nothing to do: there is a queue from the beginning.
func (b *beanstalkd) create(context.Context) error { return nil }

func (b *beanstalkd) dial() (conn, error) {
	w, err := dialWire("unix", b.socket)
	return &beanstalkdConn{wire: w}, err
}

type beanstalkdConn struct {
	*wire
	ids []uint64
}

func (c *beanstalkdConn) produce(batch [][]byte) error {
	for _, payload := range batch {
		c.out = fmt.Appendf(c.out, "put 0 0 %d %d\r\n", int(leaseTimeout.Seconds()), len(payload))
		c.out = append(append(c.out, payload...), "\r\n"...)
	}
	return c.answers(len(batch), "INSERTED ")
}

// answers sends what has gathered and reads n answers that begin with want.
func (c *beanstalkdConn) answers(n int, want string) error {
	if err := c.flush(); err != nil {
		return err
	}
	for range n {
		line, err := c.line()
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(line, []byte(want)) {
			return fmt.Errorf("beanstalkd answers %q instead of %q", line, want)
		}
	}
	return nil
}

func (c *beanstalkdConn) lease(n int, wait time.Duration) (int, error) {
	c.ids = c.ids[:0]
	for i := range n {
		seconds := 0
		if i == 0 {
			seconds = int(wait / time.Second) // The first waits, and no other.
		}
		c.out = fmt.Appendf(c.out, "reserve-with-timeout %d\r\n", seconds)
	}
	if err := c.flush(); err != nil {
		return 0, err
	}
	for range n {
		line, err := c.line()
		if err != nil {
			return 0, err
		}
		if string(line) == "TIMED_OUT" {
			continue
		}
		fields := bytes.Fields(line)
		if len(fields) != 3 || string(fields[0]) != "RESERVED" {
			return 0, fmt.Errorf("beanstalkd answers %q to a lease", line)
		}
		id, err := strconv.ParseUint(string(fields[1]), 10, 64)
		if err != nil {
			return 0, err
		}
		size, err := strconv.Atoi(string(fields[2]))
		if err != nil {
			return 0, err
		}
		if err := c.skip(size); err != nil {
			return 0, err
		}
		c.ids = append(c.ids, id)
	}
	return len(c.ids), nil
}

func (c *beanstalkdConn) complete() error {
	for _, id := range c.ids {
		c.out = append(strconv.AppendUint(append(c.out, "delete "...), id, 10), "\r\n"...)
	}
	return c.answers(len(c.ids), "DELETED")
}
