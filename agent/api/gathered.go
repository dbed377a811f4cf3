package api

import (
	"encoding/base64"
	"io"
)

// gathered is a reply in two kinds of pieces: what was encoded, in one buffer, and
// large payloads, which are written from where they are. So an item of megabytes
// is not in memory a second time while a client is slow to read it.
type gathered struct {
	f    format
	b    []byte
	cuts []cut
}

// cut is a payload that belongs between the bytes of the buffer.
type cut struct {
	at      int // behind so many bytes of it
	payload []byte
}

// apart is from what size on a payload is not copied. Smaller ones are, since they
// mostly lie in the memory of many: a block of the store has 256 KiB, and the reply
// may be long in the hands of a client that reads one item of it slowly.
const apart = 256 << 10

// base64Piece is how much of such a payload is written as text at a time; it can be
// divided by 3.
const base64Piece = 48 << 10

// payload appends a payload to the buffer, or notes that it belongs there.
func (g *gathered) payload(b, payload []byte) []byte {
	switch {
	case len(payload) >= apart:
		g.cuts = append(g.cuts, cut{at: len(b), payload: payload})
		return b
	case g.f == formatProtobuf:
		return append(b, payload...)
	}
	return base64.StdEncoding.AppendEncode(b, payload)
}

// size returns how long the reply is.
func (g *gathered) size() int {
	n := len(g.b)
	for i := range g.cuts {
		if g.f == formatProtobuf {
			n += len(g.cuts[i].payload)
		} else {
			n += base64.StdEncoding.EncodedLen(len(g.cuts[i].payload))
		}
	}
	return n
}

// memory returns what the reply takes of memory beside the items.
func (g *gathered) memory() int64 {
	n := int64(cap(g.b))
	if len(g.cuts) > 0 && g.f == formatJSON {
		n += int64(base64.StdEncoding.EncodedLen(base64Piece))
	}
	return n
}

// WriteTo writes the reply.
func (g *gathered) WriteTo(w io.Writer) (n int64, err error) {
	write := func(p []byte) {
		if err == nil {
			var m int
			m, err = w.Write(p)
			n += int64(m)
		}
	}
	begin := 0
	for _, c := range g.cuts {
		write(g.b[begin:c.at])
		g.writePayload(c.payload, write)
		begin = c.at
	}
	write(g.b[begin:])
	return n, err
}

func (g *gathered) writePayload(payload []byte, write func([]byte)) {
	if g.f == formatProtobuf {
		write(payload)
		return
	}
	text := make([]byte, 0, base64.StdEncoding.EncodedLen(base64Piece))
	for len(payload) > 0 {
		n := min(base64Piece, len(payload))
		write(base64.StdEncoding.AppendEncode(text, payload[:n]))
		payload = payload[n:]
	}
}
