package crashtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
)

// headSize is the size of the smallest payload: a number of six bytes and a
// checksum over everything else.
const headSize = 10

// errPayload is what is wrong with a payload that was not made here or was
// damaged since.
var errPayload = errors.New("damaged payload")

// filler makes payloads. It is used by one goroutine.
type filler struct {
	r     *rand.Rand
	noise []byte
	text  []byte
}

const maxPayload = 100 << 10

func newFiller(r *rand.Rand) *filler {
	f := &filler{r: r, noise: make([]byte, 2*maxPayload), text: make([]byte, 2*maxPayload)}
	for i := range f.noise {
		f.noise[i] = byte(r.Uint32())
	}
	const line = `{"sensor":"boiler","celsius":71.25,"state":"heating"} `
	for i := range f.text {
		f.text[i] = line[i%len(line)]
	}
	return f
}

// size returns a size for a payload: most are small, few are up to maxPayload.
func (f *filler) size() int {
	switch n := f.r.IntN(100); {
	case n < 5:
		return headSize
	case n < 65:
		return headSize + f.r.IntN(300)
	case n < 90:
		return 300 + f.r.IntN(4<<10)
	case n < 97:
		return 4<<10 + f.r.IntN(16<<10)
	}
	return 20<<10 + f.r.IntN(maxPayload-20<<10)
}

// payload makes the payload of item n.
func (f *filler) payload(n uint64, size int) []byte {
	p := make([]byte, size)
	from := f.noise
	if f.r.IntN(2) == 0 {
		from = f.text
	}
	copy(p[headSize:], from[f.r.IntN(maxPayload):])
	binary.BigEndian.PutUint16(p, uint16(n>>32))
	binary.BigEndian.PutUint32(p[2:], uint32(n))
	binary.BigEndian.PutUint32(p[6:], checksum(p))
	return p
}

// readPayload returns the number of the item that a payload belongs to.
func readPayload(p []byte) (n uint64, err error) {
	if len(p) < headSize {
		return 0, fmt.Errorf("%w: %d bytes", errPayload, len(p))
	}
	n = uint64(binary.BigEndian.Uint16(p))<<32 | uint64(binary.BigEndian.Uint32(p[2:]))
	if binary.BigEndian.Uint32(p[6:]) != checksum(p) {
		return 0, fmt.Errorf("%w: the checksum of item %d (%d bytes) is wrong", errPayload, n, len(p))
	}
	return n, nil
}

func checksum(p []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(p[:6], table), table, p[headSize:])
}
