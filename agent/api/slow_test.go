package api_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/api"
	"github.com/kapetan-io/querator-edge/queue"
)

// These clients are slow on purpose; the tests wait for what the server does
// about it, which takes the body timeout.

const shortTimeout = 200 * time.Millisecond

func slowWorld(t *testing.T) (*world, net.Conn) {
	w := newWorld(t, func(o *api.Options, _ *queue.Limits) { o.BodyTimeout = shortTimeout })
	conn, err := net.Dial("unix", w.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return w, conn
}

func TestClientThatStopsSendingIsAnswered(t *testing.T) {
	w, conn := slowWorld(t)
	if _, err := io.WriteString(conn, "POST /v1/queues.list HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 400 || !strings.Contains(string(body), "request body could not be read") {
		t.Errorf("%v, %d %s", err, resp.StatusCode, body)
	}
	_ = resp.Body.Close()
	w.waitFor("the bytes are given back", w.isIdle)
}

func TestClientThatStopsReadingIsCutOff(t *testing.T) {
	w, conn := slowWorld(t)
	w.create("q")
	for range 64 { // Each has to arrive within the timeout.
		w.produce("q", strings.Repeat("x", 500_000))
	}
	const request = "POST /v1/storage/items.list HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n\r\n{\"queue_name\":\"q\"}"
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	// It reads nothing until the server has given up.
	w.waitFor("the server gives up", func() bool {
		return strings.Contains(string(w.do("GET", "/metrics", nil).body), `http_requests_total{path="/v1/storage/items.list",code="499"} 1`)
	})
	n, _ := io.Copy(io.Discard, conn) // Ends with the connection, one way or another.
	if n == 0 || n > 32_000_000 {
		t.Errorf("%d bytes arrived, want a part of 42 MB", n)
	}
	w.waitFor("the bytes are given back", w.isIdle)
}

func TestWaitingLeaseOutlivesTheBodyTimeout(t *testing.T) {
	w, _ := slowWorld(t)
	w.create("q")
	a := w.post("/v1/queue.lease", `{"queue_name":"q","client_id":"c","batch_size":1,"request_timeout":"600ms"}`)
	a.refused(t, 454, "request timeout; no items are in the queue, try again")
}

func TestBodyThatNobodyReadsHasATimeoutToo(t *testing.T) {
	_, conn := slowWorld(t)
	if _, err := io.WriteString(conn, "POST /v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 501 {
		t.Fatalf("%v, %v", err, resp)
	}
	_ = resp.Body.Close()
}
