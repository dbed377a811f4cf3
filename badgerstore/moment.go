package badgerstore

import (
	"encoding/binary"
	"time"
)

// moment is a time by its seconds since 1970 and the nanoseconds of the second:
// a count of nanoseconds alone would reach from 1678 to 2262 only. block.go says
// how it is stored.
type moment struct{ sec, nsec int64 }

// The seconds of the years 1 to 9999, and how far apart two moments may be to
// be stored as a difference: 60 years.
const (
	momentMin  = -62135596800
	momentMax  = 253402300799
	momentNear = 60 * 365 * 24 * 60 * 60
	second     = 1_000_000_000
)

func momentOf(t time.Time) moment {
	switch sec := t.Unix(); {
	case sec < momentMin:
		return moment{sec: momentMin}
	case sec > momentMax:
		return moment{sec: momentMax, nsec: second - 1}
	default:
		return moment{sec: sec, nsec: int64(t.Nanosecond())}
	}
}

func (m moment) time() time.Time { return time.Unix(m.sec, m.nsec).UTC() }

// appendMoment appends m as it stands against base.
func appendMoment(dst []byte, m, base moment) []byte {
	if d := m.sec - base.sec; d > -momentNear && d < momentNear {
		return binary.AppendUvarint(dst, zigzag(d*second+m.nsec-base.nsec)<<1)
	}
	dst = binary.AppendUvarint(dst, zigzag(m.sec)<<1|1)
	return binary.AppendUvarint(dst, uint64(m.nsec))
}

// moment reads what appendMoment wrote.
func (r *reader) moment(base moment) moment {
	head := r.uvarint()
	d := unzigzag(head >> 1)
	var m moment
	if head&1 != 0 {
		m = moment{sec: d, nsec: int64(r.uint32())}
	} else {
		d += base.nsec
		m = moment{sec: base.sec + d/second, nsec: d % second}
		if m.nsec < 0 {
			m.sec--
			m.nsec += second
		}
	}
	if m.sec < momentMin || m.sec > momentMax || m.nsec >= second {
		r.fail()
		return moment{}
	}
	return m
}
