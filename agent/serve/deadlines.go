package serve

import (
	"net"
	"time"
)

// deadlines sets the deadlines of a connection, each of which costs as much as a
// small write, and leaves out what changes nothing. The one for reading belongs
// to whoever reads, the one for writing to whoever writes.
type deadlines struct {
	nc    net.Conn
	read  bool // there is one
	write time.Time
}

func (d *deadlines) setRead(t time.Time) error {
	if t.IsZero() && !d.read {
		return nil
	}
	d.read = !t.IsZero()
	return d.nc.SetReadDeadline(t)
}

// setWrite leaves a deadline that is up to an eighth of the wait too early.
func (d *deadlines) setWrite(t time.Time) error {
	if wait := time.Until(t); !t.IsZero() && t.Sub(d.write) >= 0 && time.Until(d.write) > wait-wait/8 {
		return nil
	}
	d.write = t
	return d.nc.SetWriteDeadline(t)
}
