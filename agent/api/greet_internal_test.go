package api

import (
	"net"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/access"
)

// A connection that the server has closed meanwhile is no error of anybody's.
func TestGreetOnAClosedConnection(t *testing.T) {
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	h := New(Options{Version: "test", Guard: access.New(access.Options{}),
		LogError: func(_ string, err error) { t.Errorf("logged: %v", err) }})
	conn.Close()
	if peer, refusal := h.Greet(conn); peer != nil || refusal == nil {
		t.Errorf("greeted as %v", peer)
	}
}
