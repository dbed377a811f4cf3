package event

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of names.
const (
	// MaxDevice is the longest name of a device, in bytes.
	MaxDevice = 64
	// maxSubject is the longest subject, in bytes; servers take longer ones, and people do not read them.
	maxSubject = 255
	// hashDigits is what a queue name that is too long ends in.
	hashDigits = 16
)

// ErrDevice says that a name cannot be that of a device.
var ErrDevice = errors.New("not a device name: 1 to 64 of A-Z a-z 0-9 _ -")

// CheckDevice returns ErrDevice unless name can be that of a device.
func CheckDevice(name string) error {
	if name == "" || len(name) > MaxDevice {
		return ErrDevice
	}
	for i := range len(name) {
		if !plain(name[i]) {
			return ErrDevice
		}
	}
	return nil
}

// Stream names the events of one partition: its subject, and the parts of their identities. It is a value and
// safe for use by any goroutine.
type Stream struct {
	// Device, Queue and Partition are what it was made of.
	Device    string
	Queue     string
	Partition int
	// Subject is where the events go, prefix.device.queue.partition.
	Subject string

	token  string // the queue as a token of a subject
	source string // CloudEvents' source and subject
	place  string
	prefix string // of identities
	room   int    // what the data of an event takes, unless its labels are long
}

// NewStream returns the names of a partition. prefix and device are plain tokens of a subject, checked by the
// caller; the queue may have any name.
func NewStream(prefix, device, queue string, partition int) Stream {
	number := strconv.Itoa(partition)
	room := maxSubject - len(prefix) - len(device) - len(number) - 3
	s := Stream{Device: device, Queue: queue, Partition: partition, token: token(queue, room)}
	s.Subject = strings.Join([]string{prefix, device, s.token, number}, ".")
	s.source, s.place = "urn:querator:"+device, s.token+"/"+number
	s.prefix = device + "/" + s.place + "/"
	s.room = len(queue) + 192
	return s
}

// Token is the queue as one token of a subject.
func (s Stream) Token() string { return s.token }

// MarkerSubject is where the marker of the partition goes: the place of the last event, for streams that forget
// events early.
func (s Stream) MarkerSubject() string { return s.Subject + ".cursor" }

// ID is the identity of the event seq of an epoch: device/queue/partition/epoch/seq.
func (s Stream) ID(epoch, seq uint64) string {
	return string(s.appendID(make([]byte, 0, 128), epoch, seq))
}

func (s *Stream) appendID(b []byte, epoch, seq uint64) []byte {
	b = append(b, s.prefix...)
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[epoch>>shift&15])
	}
	return strconv.AppendUint(append(b, '/'), seq, 10)
}

// ParseID takes an identity of this partition apart; ok is false for any other text.
func (s Stream) ParseID(id string) (epoch, seq uint64, ok bool) {
	rest, ok := strings.CutPrefix(id, s.prefix)
	if !ok {
		return 0, 0, false
	}
	hexEpoch, decSeq, ok := strings.Cut(rest, "/")
	if !ok || len(hexEpoch) != 16 {
		return 0, 0, false
	}
	epoch, err := strconv.ParseUint(hexEpoch, 16, 64)
	if err != nil {
		return 0, 0, false
	}
	seq, err = strconv.ParseUint(decSeq, 10, 64)
	return epoch, seq, err == nil && s.ID(epoch, seq) == id
}

// token turns a queue name into one token of a subject: bytes other than A-Z a-z 0-9 _ - become %XX. A name that
// does not fit ends in a hash of the whole instead.
func token(name string, room int) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; plain(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	escaped := b.String()
	if len(escaped) <= room {
		return escaped
	}
	sum := sha256.Sum256([]byte(name))
	return escaped[:room-hashDigits-1] + "~" + hex.EncodeToString(sum[:hashDigits/2])
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}
