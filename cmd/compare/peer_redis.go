package main

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// redis is redis-server with a stream and a consumer group. A complete is XACK and XDEL in one go, so that the stream
// does not grow; with appendfsync always everything that came in together is synced once before the answers.
type redis struct {
	process
	program, socket string
	always          bool
}

var _ peer = (*redis)(nil)

func (r *redis) name() string {
	if r.always {
		return "redis always"
	}
	return "redis everysec"
}

func (r *redis) durable() bool { return r.always }

func (r *redis) start(ctx context.Context, dir string, relaxed bool) error {
	sync := "everysec"
	if r.always && !relaxed {
		sync = "always"
	}
	err := r.run(ctx, dir, r.program, "--port", "0", "--unixsocket", r.socket, "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", sync)
	if err != nil {
		return err
	}
	return r.await(ctx, func() error {
		c, err := r.dialRedis()
		if err != nil {
			return err
		}
		defer c.close()
		c.command("PING")
		return c.simple(1)
	})
}

func (r *redis) create(context.Context) error {
	c, err := r.dialRedis()
	if err != nil {
		return err
	}
	defer c.close()
	c.command("XGROUP", "CREATE", "q", "g", "0", "MKSTREAM")
	return c.simple(1)
}

func (r *redis) dial() (conn, error) { return r.dialRedis() }

func (r *redis) dialRedis() (*redisConn, error) {
	w, err := dialWire("unix", r.socket)
	if err != nil {
		return nil, err
	}
	return &redisConn{wire: w, consumer: w.LocalAddr().String() + strconv.FormatInt(time.Now().UnixNano(), 36)}, nil
}

type redisConn struct {
	*wire
	shared   *sharedRedis // for what does not block; nil: all goes over its own connection
	consumer string
	ids      []string
}

// command adds a command to what is to be sent.
func (c *redisConn) command(words ...string) {
	c.head('*', len(words))
	for _, w := range words {
		c.head('$', len(w))
		c.out = append(append(c.out, w...), "\r\n"...)
	}
}

func (c *redisConn) head(kind byte, n int) {
	c.out = append(strconv.AppendInt(append(c.out, kind), int64(n), 10), "\r\n"...)
}

// simple sends what has gathered and reads n answers: lines, numbers or short texts.
func (c *redisConn) simple(n int) error {
	if c.shared != nil {
		out := c.out
		c.out = out[:0]
		return c.shared.call(out, n)
	}
	if err := c.flush(); err != nil {
		return err
	}
	return c.readSimple(n)
}

// readSimple reads n such answers.
func (c *redisConn) readSimple(n int) error {
	for range n {
		kind, size, err := c.answer()
		if err != nil {
			return err
		}
		if kind == '$' {
			if err := c.skip(size); err != nil {
				return err
			}
		}
	}
	return nil
}

// answer reads the first line of an answer. size is that of an array or a text, or the number; -1 is none.
func (c *redisConn) answer() (kind byte, size int, err error) {
	line, err := c.line()
	if err != nil {
		return 0, 0, err
	}
	if len(line) == 0 {
		return 0, 0, fmt.Errorf("redis answers an empty line")
	}
	switch line[0] {
	case '-':
		return 0, 0, fmt.Errorf("redis answers %q", line)
	case '$', '*', ':':
		size, err = strconv.Atoi(string(line[1:]))
	}
	return line[0], size, err
}

// expect reads the beginning of an answer of that kind.
func (c *redisConn) expect(want byte) (int, error) {
	kind, size, err := c.answer()
	if err == nil && kind != want {
		err = fmt.Errorf("redis answers with %q where %q was expected", kind, want)
	}
	return size, err
}

func (c *redisConn) produce(batch [][]byte) error {
	for _, payload := range batch {
		c.out = append(c.out, "*5\r\n$4\r\nXADD\r\n$1\r\nq\r\n$1\r\n*\r\n$1\r\np\r\n"...)
		c.head('$', len(payload))
		c.out = append(append(c.out, payload...), "\r\n"...)
	}
	return c.simple(len(batch))
}

func (c *redisConn) lease(n int, wait time.Duration) (int, error) {
	c.ids = c.ids[:0]
	words := []string{"XREADGROUP", "GROUP", "g", c.consumer, "COUNT", strconv.Itoa(n), "STREAMS", "q", ">"}
	if wait > 0 {
		words = append(words[:6:6], "BLOCK", strconv.FormatInt(wait.Milliseconds(), 10), "STREAMS", "q", ">")
	}
	c.command(words...)
	if err := c.flush(); err != nil {
		return 0, err
	}
	// One stream: its name and its entries.
	streams, err := c.expect('*')
	if err != nil || streams < 0 {
		return 0, err
	}
	if _, err := c.expect('*'); err != nil {
		return 0, err
	}
	if err := c.passText(); err != nil {
		return 0, err
	}
	count, err := c.expect('*')
	if err != nil {
		return 0, err
	}
	for range count {
		if err := c.entry(); err != nil {
			return 0, err
		}
	}
	return len(c.ids), nil
}

// entry reads an entry of the stream: its id, and one field with its value.
func (c *redisConn) entry() error {
	if _, err := c.expect('*'); err != nil {
		return err
	}
	if _, err := c.expect('$'); err != nil {
		return err
	}
	id, err := c.line()
	if err != nil {
		return err
	}
	c.ids = append(c.ids, string(id))
	fields, err := c.expect('*')
	if err != nil {
		return err
	}
	for range fields {
		if err := c.passText(); err != nil {
			return err
		}
	}
	return nil
}

func (c *redisConn) passText() error {
	size, err := c.expect('$')
	if err != nil {
		return err
	}
	return c.skip(size)
}

func (c *redisConn) complete() error {
	c.command(append([]string{"XACK", "q", "g"}, c.ids...)...)
	c.command(append([]string{"XDEL", "q"}, c.ids...)...)
	return c.simple(2)
}
