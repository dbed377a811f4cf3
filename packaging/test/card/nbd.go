package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// The protocol of network block devices, as far as QEMU needs it: doc/proto.md of the NBD project has all of it.
const (
	magicServer = 0x4e42444d41474943 // NBDMAGIC
	magicOption = 0x49484156454f5054 // IHAVEOPT
	magicAnswer = 0x3e889045565a9

	fixedNewstyle, noZeroes = 1, 2

	optionInfo, optionGo                      = 6, 7
	answerDone, answerInfo, answerUnsupported = 1, 3, 1<<31 + 1
	hasFlags, sendFlush, sendThrough          = 1, 4, 8

	magicRequest, magicReply                            = 0x25609513, 0x67446698
	commandRead, commandWrite, commandEnd, commandFlush = 0, 1, 2, 3
	through                                             = 1

	maxOption, maxRequest = 64 << 10, 32 << 20

	codeIO, codeInvalid = 5, 22
)

var (
	// errGone is the end of a connection without a word.
	errGone = errors.New("the client has gone")
	// errPulled is the end of the power.
	errPulled = errors.New("the plug was pulled")
	// errProtocol is a client that says what this end does not understand.
	errProtocol = errors.New("not the protocol of network block devices")
)

// client is the other end. It is used by one goroutine.
type client struct {
	*bufio.ReadWriter
	disk *disk
	pull <-chan os.Signal
	left int // writes and flushes until the power goes, once the plug is pulled
}

// serve talks to one client, until it says that it goes (nil) or has gone (errGone), or until pull has pulled the plug
// (errPulled).
func serve(rw *bufio.ReadWriter, d *disk, pull <-chan os.Signal) error {
	c := &client{ReadWriter: rw, disk: d, pull: pull}
	err := c.greet()
	for more := true; more && err == nil; {
		more, err = c.request()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return errGone
	}
	return err
}

// send writes a message of fixed size.
func (c *client) send(message any, data []byte) error {
	if err := binary.Write(c, binary.BigEndian, message); err != nil {
		return err
	}
	if _, err := c.Write(data); err != nil {
		return err
	}
	return c.Flush()
}

// receive reads a message of fixed size.
func (c *client) receive(message any) error { return binary.Read(c, binary.BigEndian, message) }

// greet agrees on the disk.
func (c *client) greet() error {
	type hello struct {
		Server, Option uint64
		Flags          uint16
	}
	if err := c.send(hello{magicServer, magicOption, fixedNewstyle | noZeroes}, nil); err != nil {
		return err
	}
	var flags uint32
	if err := c.receive(&flags); err != nil {
		return err
	}
	for {
		var o struct {
			Magic        uint64
			Option, Size uint32
		}
		if err := c.receive(&o); err != nil {
			return err
		}
		if o.Magic != magicOption || o.Size > maxOption {
			return errProtocol
		}
		if _, err := c.Discard(int(o.Size)); err != nil {
			return err
		}
		if o.Option != optionInfo && o.Option != optionGo {
			if err := c.answer(o.Option, answerUnsupported, nil); err != nil {
				return err
			}
			continue
		}
		info := binary.BigEndian.AppendUint64([]byte{0, 0}, uint64(c.disk.size))
		info = binary.BigEndian.AppendUint16(info, hasFlags|sendFlush|sendThrough)
		if err := c.answer(o.Option, answerInfo, info); err != nil {
			return err
		}
		if err := c.answer(o.Option, answerDone, nil); err != nil || o.Option == optionGo {
			return err
		}
	}
}

// answer answers an option.
func (c *client) answer(option, kind uint32, data []byte) error {
	type head struct {
		Magic              uint64
		Option, Kind, Size uint32
	}
	return c.send(head{magicAnswer, option, kind, uint32(len(data))}, data)
}

// request does what the client asks for next; more is false when it goes.
func (c *client) request() (more bool, err error) {
	var r struct {
		Magic          uint32
		Flags, Command uint16
		Handle         uint64
		Offset         int64
		Size           uint32
	}
	if err := c.receive(&r); err != nil {
		return false, err
	}
	if r.Magic != magicRequest || r.Size > maxRequest {
		return false, errProtocol
	}
	data := make([]byte, r.Size)
	switch r.Command {
	case commandEnd:
		return false, nil
	case commandRead:
		err = c.disk.read(data, r.Offset)
	case commandWrite:
		if _, err := io.ReadFull(c, data); err != nil {
			return false, err
		}
		if c.pulled() {
			return false, errors.Join(errPulled, c.disk.write(data, r.Offset, false))
		}
		err = c.disk.write(data, r.Offset, r.Flags&through != 0)
	case commandFlush:
		if c.pulled() {
			return false, errPulled
		}
		err = c.disk.flush()
	default:
		err = fmt.Errorf("%w: command %d", errRange, r.Command)
	}
	if r.Command != commandRead || err != nil {
		data = nil
	}
	type reply struct {
		Magic, Code uint32
		Handle      uint64
	}
	return true, c.send(reply{magicReply, code(err), r.Handle}, data)
}

// maxLeft bounds how many writes and flushes are done after the plug was pulled.
const maxLeft = 40

// pulled counts a write or flush. It reports whether the power goes with it.
func (c *client) pulled() bool {
	select {
	case <-c.pull:
		c.left = 1 + c.disk.r.IntN(maxLeft)
	default:
	}
	if c.left == 0 {
		return false
	}
	c.left--
	return c.left == 0
}

// code is how the protocol says what an error is.
func code(err error) uint32 {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errRange):
		return codeInvalid
	}
	return codeIO
}
