package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// nats is nats-server with a work-queue stream and a pull consumer; what is completed is confirmed by the server. With
// sync_interval always every write is synced before the answer, by default every two minutes. There batches go in as
// atomic batches, which this server syncs a few times instead of once for each item; without syncing, publishing all
// at once and waiting for all answers is faster.
type nats struct {
	process
	program, address string
	always           bool
	atomic           bool // as it was started
}

var _ peer = (*nats)(nil)

func (s *nats) name() string {
	if s.always {
		return "nats always"
	}
	return "nats"
}

func (s *nats) durable() bool { return s.always }

func (s *nats) start(ctx context.Context, dir string, relaxed bool) error {
	address, err := freePort()
	if err != nil {
		return err
	}
	s.address = address
	sync := ""
	s.atomic = s.always && !relaxed
	if s.atomic {
		sync = "sync_interval: always"
	}
	config := filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf("listen: %q\njetstream {\n  store_dir: %q\n  max_mem: 1G\n  max_file: 1T\n  %s\n}\n", address, dir, sync)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return err
	}
	if err := s.run(ctx, dir, s.program, "-c", config); err != nil {
		return err
	}
	return s.await(ctx, func() error {
		c, err := s.dialNATS()
		if err != nil {
			return err
		}
		defer c.close()
		return c.request("$JS.API.INFO", nil)
	})
}

func (s *nats) create(context.Context) error {
	c, err := s.dialNATS()
	if err != nil {
		return err
	}
	defer c.close()
	err = c.request("$JS.API.STREAM.CREATE.Q", map[string]any{
		"name": "Q", "subjects": []string{"q"}, "retention": "workqueue", "storage": "file", "allow_atomic": true,
	})
	if err != nil {
		return err
	}
	return c.request("$JS.API.CONSUMER.CREATE.Q.c", map[string]any{
		"stream_name": "Q",
		"config": map[string]any{
			"durable_name": "c", "ack_policy": "explicit", "ack_wait": leaseTimeout, "max_ack_pending": -1,
		},
	})
}

func (s *nats) dial() (conn, error) { return s.dialNATS() }

func (s *nats) dialNATS() (*natsConn, error) {
	w, err := dialWire("tcp", s.address)
	if err != nil {
		return nil, err
	}
	port := strings.TrimPrefix(w.LocalAddr().String(), "127.0.0.1:")
	c := &natsConn{wire: w, inbox: "_INBOX." + strconv.FormatInt(time.Now().UnixNano(), 36) + "." + port, atomic: s.atomic}
	c.out = append(c.out, `CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}`+"\r\nSUB "...)
	c.out = append(append(c.out, c.inbox...), " 1\r\nPING\r\n"...)
	if err := c.flush(); err != nil {
		c.close()
		return nil, err
	}
	for {
		line, err := c.line()
		switch {
		case err != nil:
			c.close()
			return nil, err
		case bytes.HasPrefix(line, []byte("PONG")):
			return c, nil
		case bytes.HasPrefix(line, []byte("-ERR")):
			c.close()
			return nil, fmt.Errorf("nats answers %q", line)
		}
	}
}

type natsConn struct {
	*wire
	inbox   string
	atomic  bool
	confirm []string // where to confirm the items that are leased
	batches int
	body    []byte
}

// natsMessage is one that has arrived. head and body are valid until the next.
type natsMessage struct {
	reply      string
	head, body []byte
}

// next reads the next message.
func (c *natsConn) next() (natsMessage, error) {
	for {
		line, err := c.line()
		if err != nil {
			return natsMessage{}, err
		}
		fields := bytes.Fields(line)
		if len(fields) == 0 {
			continue
		}
		switch string(fields[0]) {
		case "MSG", "HMSG":
			return c.message(fields)
		case "PING":
			c.out = append(c.out, "PONG\r\n"...)
			if err := c.flush(); err != nil {
				return natsMessage{}, err
			}
		case "-ERR":
			return natsMessage{}, fmt.Errorf("nats answers %q", line)
		}
	}
}

// message reads the rest of a message: MSG subject sid [reply] size, or HMSG subject sid [reply] head size.
func (c *natsConn) message(fields [][]byte) (natsMessage, error) {
	least := 4
	withHead := fields[0][0] == 'H'
	if withHead {
		least = 5
	}
	if len(fields) < least {
		return natsMessage{}, fmt.Errorf("nats sends %q", bytes.Join(fields, []byte(" ")))
	}
	var m natsMessage
	if len(fields) > least {
		m.reply = string(fields[3])
	}
	size, err := strconv.Atoi(string(fields[len(fields)-1]))
	if err != nil {
		return m, err
	}
	head := 0
	if withHead {
		if head, err = strconv.Atoi(string(fields[len(fields)-2])); err != nil {
			return m, err
		}
	}
	if c.body, err = readInto(c.r, c.body, size); err != nil {
		return m, err
	}
	m.head, m.body = c.body[:head], c.body[head:]
	return m, c.skip(0)
}

// request calls the server's API.
func (c *natsConn) request(subject string, body any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	c.publish(subject, text)
	if err := c.flush(); err != nil {
		return err
	}
	return c.good()
}

// good reads an answer that must not be an error.
func (c *natsConn) good() error {
	m, err := c.next()
	if err != nil {
		return err
	}
	if len(m.head) > 0 || bytes.Contains(m.body, []byte(`"error"`)) {
		return fmt.Errorf("nats answers %s%s", m.head, m.body)
	}
	return nil
}

// publish adds a message that is to be answered to what is to be sent.
func (c *natsConn) publish(subject string, body []byte) {
	c.out = append(append(append(append(c.out, "PUB "...), subject...), ' '), c.inbox...)
	c.out = append(strconv.AppendInt(append(c.out, ' '), int64(len(body)), 10), "\r\n"...)
	c.out = append(append(c.out, body...), "\r\n"...)
}

func (c *natsConn) produce(batch [][]byte) error {
	answers := len(batch)
	if c.atomic && len(batch) > 1 {
		c.publishBatch(batch)
		answers = 1
	} else {
		for _, payload := range batch {
			c.publish("q", payload)
		}
	}
	if err := c.flush(); err != nil {
		return err
	}
	for range answers {
		if err := c.good(); err != nil {
			return err
		}
	}
	return nil
}

// publishBatch adds an atomic batch. Only its last message is answered.
func (c *natsConn) publishBatch(batch [][]byte) {
	c.batches++
	for i, payload := range batch {
		head := fmt.Sprintf("NATS/1.0\r\nNats-Batch-Id: %s-%d\r\nNats-Batch-Sequence: %d\r\n", c.inbox[len("_INBOX."):], c.batches, i+1)
		reply := ""
		if i == len(batch)-1 {
			head += "Nats-Batch-Commit: 1\r\n"
			reply = c.inbox + " "
		}
		c.out = fmt.Appendf(c.out, "HPUB q %s%d %d\r\n%s\r\n", reply, len(head)+2, len(head)+2+len(payload), head)
		c.out = append(append(c.out, payload...), "\r\n"...)
	}
}

func (c *natsConn) lease(n int, wait time.Duration) (int, error) {
	c.confirm = c.confirm[:0]
	// A request for many that may wait waits for all of them, so there it is used only when there is none.
	if n > 1 || wait == 0 {
		if got, err := c.pull(fmt.Sprintf(`{"batch":%d,"no_wait":true}`, n), n); err != nil || got > 0 || wait == 0 {
			return got, err
		}
	}
	return c.pull(fmt.Sprintf(`{"batch":1,"expires":%d}`, wait.Nanoseconds()), 1)
}

// pull sends a request for n items and reads them, or fewer and the word that there are no more.
func (c *natsConn) pull(request string, n int) (int, error) {
	c.publish("$JS.API.CONSUMER.MSG.NEXT.Q.c", []byte(request))
	if err := c.flush(); err != nil {
		return 0, err
	}
	for range n {
		m, err := c.next()
		if err != nil {
			return 0, err
		}
		if m.reply == "" {
			status := string(bytes.TrimPrefix(m.head, []byte("NATS/1.0 ")))
			if len(status) < 3 || status[:3] != "404" && status[:3] != "408" {
				return 0, fmt.Errorf("nats answers %q to a lease", m.head)
			}
			break
		}
		c.confirm = append(c.confirm, m.reply)
	}
	return len(c.confirm), nil
}

func (c *natsConn) complete() error {
	for _, subject := range c.confirm {
		c.publish(subject, []byte("+ACK"))
	}
	if err := c.flush(); err != nil {
		return err
	}
	for range c.confirm {
		if err := c.good(); err != nil {
			return err
		}
	}
	return nil
}
