package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
)

// request is one of a client, without what is written.
type request struct {
	Magic          uint32
	Flags, Command uint16
	Handle         uint64
	Offset         int64
	Size           uint32
}

// newTestClient returns a client's connection to a disk, after the greeting, and what serve returns.
func newTestClient(t *testing.T, d *disk, pull <-chan os.Signal) (net.Conn, <-chan error) {
	t.Helper()
	conn, other := net.Pipe()
	t.Cleanup(func() { conn.Close(); other.Close() })
	ended := make(chan error, 1)
	go func() { ended <- serve(bufio.NewReadWriter(bufio.NewReader(other), bufio.NewWriter(other)), d, pull) }()
	var hello [18]byte
	receive(t, conn, &hello)
	send(t, conn, uint32(3))
	send(t, conn, struct {
		Magic        uint64
		Option, Size uint32
		Name         uint32
		Infos        uint16
	}{magicOption, optionGo, 6, 0, 0})
	var info struct {
		Magic              uint64
		Option, Kind, Size uint32
		Type               uint16
		Bytes              int64
		Flags              uint16
		Done               [20]byte
	}
	receive(t, conn, &info)
	if info.Bytes != d.size || info.Flags != hasFlags|sendFlush|sendThrough {
		t.Fatalf("the disk is said to have %d bytes and the flags %d", info.Bytes, info.Flags)
	}
	return conn, ended
}

func send(t *testing.T, conn net.Conn, message any) {
	t.Helper()
	if err := binary.Write(conn, binary.BigEndian, message); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, conn net.Conn, message any) {
	t.Helper()
	if err := binary.Read(conn, binary.BigEndian, message); err != nil {
		t.Fatal(err)
	}
}

// ask sends a request and returns the code of the reply.
func ask(t *testing.T, conn net.Conn, r request) uint32 {
	t.Helper()
	r.Magic = magicRequest
	send(t, conn, r)
	if r.Command == commandWrite {
		send(t, conn, make([]byte, r.Size))
	}
	var reply struct {
		Magic, Code uint32
		Handle      uint64
	}
	receive(t, conn, &reply)
	if reply.Magic != magicReply || reply.Handle != r.Handle {
		t.Fatalf("the reply is %+v", reply)
	}
	return reply.Code
}

func TestServe(t *testing.T) {
	d := newTestDisk(t, 8)
	conn, ended := newTestClient(t, d, nil)
	for i, tt := range []struct {
		r    request
		want uint32
	}{
		{request{Command: commandWrite, Size: 2 * sector}, 0},
		{request{Command: commandFlush}, 0},
		{request{Command: commandWrite, Offset: 8 * page, Size: sector}, codeInvalid},
		{request{Command: 99}, codeInvalid},
	} {
		tt.r.Handle = uint64(i)
		if got := ask(t, conn, tt.r); got != tt.want {
			t.Errorf("%+v is answered with %d, want %d", tt.r, got, tt.want)
		}
	}
	if d.flushes != 1 {
		t.Errorf("%d flushes, want 1", d.flushes)
	}
	send(t, conn, request{Magic: magicRequest, Command: commandEnd})
	if err := <-ended; err != nil {
		t.Errorf("an end in order is %v", err)
	}
}

// TestPull checks that the power goes with one of the next writes or flushes, which is not answered.
func TestPull(t *testing.T) {
	d := newTestDisk(t, 8)
	pull := make(chan os.Signal, 1)
	conn, ended := newTestClient(t, d, pull)
	pull <- syscall.SIGUSR1
	for range maxLeft {
		send(t, conn, request{Magic: magicRequest, Command: commandFlush})
		var reply [16]byte
		answered := make(chan error, 1)
		go func() { answered <- binary.Read(conn, binary.BigEndian, &reply) }()
		select {
		case err := <-answered:
			if err != nil {
				t.Fatal(err)
			}
		case err := <-ended:
			if !errors.Is(err, errPulled) {
				t.Fatalf("it ended with %v, want %v", err, errPulled)
			}
			conn.Close()
			if err := <-answered; err == nil {
				t.Error("the flush at which the power went was answered")
			}
			return
		}
	}
	t.Fatalf("the power is there after %d flushes", maxLeft)
}

func TestGone(t *testing.T) {
	conn, ended := newTestClient(t, newTestDisk(t, 8), nil)
	conn.Close()
	if err := <-ended; !errors.Is(err, errGone) {
		t.Errorf("a client that has gone is %v, want %v", err, errGone)
	}
}
