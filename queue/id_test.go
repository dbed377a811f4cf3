package queue_test

import (
	"bytes"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/kapetan-io/querator-edge/queue"
)

// reference62 is the text form by the definition: the 20 bytes as one number,
// in base 62, padded to 27 digits.
func reference62(id queue.ID) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	n := new(big.Int).SetBytes(id[:])
	out := bytes.Repeat([]byte{'0'}, queue.IDLength)
	base, mod := big.NewInt(62), new(big.Int)
	for i := len(out) - 1; n.Sign() > 0; i-- {
		n.DivMod(n, base, mod)
		out[i] = digits[mod.Int64()]
	}
	return string(out)
}

func TestIDText(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 20000 {
		var id queue.ID
		for j := range id {
			id[j] = byte(rng.Uint32())
		}
		switch i % 4 {
		case 1: // Small sequence numbers are what partitions give out.
			clear(id[:6])
		case 2:
			clear(id[i%20:])
		}
		if i == 3 {
			id = queue.ID(bytes.Repeat([]byte{0xff}, queue.IDSize))
		}
		text := id.String()
		if want := reference62(id); text != want {
			t.Fatalf("id %x: text %q, want %q", id, text, want)
		}
		back, err := queue.ParseID(text)
		if err != nil || back != id {
			t.Fatalf("parse %q: %x, %v; want %x", text, back, err, id)
		}
	}
}

func TestIDOrder(t *testing.T) {
	tag := queue.Tag{200, 1, 2}
	prev := ""
	for _, seq := range []uint64{0, 1, 2, 61, 62, 1 << 24, 1<<24 + 1, 1 << 40, 1<<64 - 1} {
		s := queue.NewID(seq, tag).String()
		if s <= prev {
			t.Fatalf("id of %d, %q, does not sort after %q", seq, s, prev)
		}
		prev = s
	}
}

func TestParseIDRefuses(t *testing.T) {
	const length = "Valid encoded KSUIDs are 27 characters"
	const bounds = "Valid encoded KSUIDs are bounded by 000000000000000000000000000 and aWgEPTl1tmebfsQzFP4bxwgy80V"
	for text, want := range map[string]string{
		"":                             length,
		"invalid-id":                   length,
		"another-invalid-id":           length,
		"aWgEPTl1tmebfsQzFP4bxwgy80V":  "",
		"aWgEPTl1tmebfsQzFP4bxwgy80W":  bounds,
		"zzzzzzzzzzzzzzzzzzzzzzzzzzz":  bounds,
		"00000000000000000000000000-":  bounds,
		"000000000000000000000000000 ": length,
	} {
		_, err := queue.ParseID(text)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("parse %q: %q, want %q", text, got, want)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("aWgEPTl1tmebfsQzFP4bxwgy80V")
	f.Add("invalid-id")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := queue.ParseID(s)
		if err == nil && id.String() != s {
			t.Fatalf("%q reads as %x, which is written %q", s, id, id.String())
		}
	})
}

// Every byte but the 62 digits is refused, wherever it stands.
func TestParseIDDigits(t *testing.T) {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for b := range 256 {
		for at := 1; at < queue.IDLength; at++ { // With any first digit but 1 the bound may be what refuses it.
			text := bytes.Repeat([]byte{'1'}, queue.IDLength)
			text[at] = byte(b)
			_, err := queue.ParseID(string(text))
			if isDigit := bytes.IndexByte([]byte(digits), byte(b)) >= 0; (err == nil) != isDigit {
				t.Fatalf("byte %d at %d: %v", b, at, err)
			}
		}
	}
}
