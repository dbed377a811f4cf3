package badgerstore

// These tests look at the journal's bytes.

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func exampleEntries() []entry {
	return []entry{{key: []byte("k"), value: []byte{}}, {key: bytes.Repeat([]byte("l"), 200), value: bytes.Repeat([]byte{7}, 300)}}
}

// A journal is written as its comment says, and read as it was written.
func TestJournalRecords(t *testing.T) {
	dir := t.TempDir()
	j, err := makeJournal(dir, 3)
	if err != nil {
		t.Fatal(err)
	}
	if !j.add(300, 7, exampleEntries()[:1]) {
		t.Fatal("a small record does not fit")
	}
	write := func() {
		t.Helper()
		if _, err := j.write(); err != nil {
			t.Fatal(err)
		}
	}
	write()
	ring, err := os.ReadFile(filepath.Join(dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	if len(ring) != journalBytes+logHeader || !bytes.Equal(ring[journalBytes:], appendStamp(nil, 3)) {
		t.Fatalf("the journal has %d bytes, and behind the ring %x", len(ring), ring[min(journalBytes, len(ring)):])
	}
	if got, want := hex.EncodeToString(ring[:21]), "71656a03"+"1919aac1"+"08000000"+"01ac0207"+"01026b00"+"00"; got != want {
		t.Errorf("the example is\n%s, the comment says\n%s", got, want)
	}
	places := []int64{300}
	for i := 0; j.hasRoom(); i++ {
		j.add(int64(1000+i), uint64(10+i), exampleEntries())
		j.add(int64(2000+i), uint64(11+i), exampleEntries()[:1])
		if !j.hasRoom() {
			break
		}
		write()
		places = append(places, int64(1000+i))
	}
	if len(places) != 1+(journalBytes-512)/1024 {
		t.Errorf("%d records of two sectors are in the ring", len(places)-1)
	}
	check := func(want []int64) {
		t.Helper()
		if ring, err = os.ReadFile(filepath.Join(dir, journalName)); err != nil {
			t.Fatal(err)
		}
		var got []int64
		for _, rec := range scanJournal(ring, 3) {
			got = append(got, rec.place)
			if rec.place >= 1000 && rec.place < 2000 && (len(rec.txns) != 2 || fmt.Sprint(rec.txns[0], rec.txns[1]) != fmt.Sprint(exampleEntries(), exampleEntries()[:1])) {
				t.Errorf("the record for %d holds %v", rec.place, rec.txns)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the records are for\n%v, want\n%v", got, want)
		}
	}
	check(places)
	// The next one is at the beginning; the older ones behind it do not count.
	j.reset()
	j.add(5000, 500, exampleEntries()[:1])
	write()
	check([]int64{5000})
	j.add(6000, 501, exampleEntries()[:1])
	write()
	check([]int64{5000, 6000})
	// A record that is damaged takes no other with it.
	ring[20] ^= 1
	if got := scanJournal(ring, 3); len(got) == 0 || got[len(got)-1].place != 6000 {
		t.Errorf("behind a damaged record there are %v", got)
	}
	if err := j.remove(); err != nil {
		t.Fatal(err)
	}
}

// Large records are refused, and fit up to the bound.
func TestJournalBounds(t *testing.T) {
	j, err := makeJournal(t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	if j.add(300, 1, []entry{{key: []byte("k"), value: make([]byte, maxJournaled)}}) {
		t.Error("a record larger than the bound is taken")
	}
	for v := uint64(1); j.add(300, v, []entry{{key: []byte("k"), value: make([]byte, 100)}}); v++ {
	}
	if n := len(j.record); n > maxJournaled || n < maxJournaled-200 {
		t.Errorf("a record takes up to %d bytes", n)
	}
	if _, err := j.write(); err != nil {
		t.Error(err)
	}
	if err := j.remove(); err != nil {
		t.Fatal(err)
	}
}

// A journal of version 1 or 2, as older programs have left it, is read, but for a log that
// has a number, which these have not known.
func TestJournalOfOlderVersions(t *testing.T) {
	want := []journalRecord{{number: 1, place: 300, version: 7, txns: [][]entry{{{key: []byte("k"), value: []byte{}}}}}}
	for _, record := range []string{"71656a01" + "a67257ed" + "08000000" + "01ac0207" + "01016b00", "71656a02" + "d5b27907" + "08000000" + "01ac0207" + "01026b00"} {
		ring, err := hex.DecodeString(record + strings.Repeat("00", 1000))
		if err != nil {
			t.Fatal(err)
		}
		if got := scanJournal(ring, 0); !reflect.DeepEqual(got, want) {
			t.Errorf("read of %s was %+v, want %+v", record[:8], got, want)
		}
		if got := scanJournal(ring, 3); len(got) > 0 {
			t.Errorf("of %s, for a log with a number, was read %+v", record[:8], got)
		}
	}
}

func FuzzDecodeJournal(f *testing.F) {
	j := &journal{block: journalBlock, record: alignedBytes(2 * maxJournaled)[:0]}
	j.add(300, 7, exampleEntries())
	f.Add(append([]byte(nil), j.record[journalHead:]...))
	f.Fuzz(func(t *testing.T, body []byte) {
		b := append([]byte(journalMagic), make([]byte, 8)...)
		b = append(b, body...)
		leHead(b, len(body))
		ring := append(b, make([]byte, 600)...)
		for _, rec := range scanJournal(ring, 3) {
			if rec.place < logHeader || rec.place > maxLogPlace {
				t.Fatalf("a record is for %d", rec.place)
			}
			for i, entries := range rec.txns {
				// What is written to the log is what Badger reads.
				raw := appendRawTxn(nil, rec.version+uint64(i), entries)
				w := &window{f: bytes.NewReader(raw), size: int64(len(raw))}
				off := int64(0)
				for _, e := range entries {
					got, n := w.entry(off)
					if len(e.key)+versionSize <= maxRawKey && (n == 0 || !bytes.Equal(got.key, e.key) || !bytes.Equal(got.value, e.value)) {
						t.Fatalf("key %q is read as %q", e.key, got.key)
					}
					off += logSize(len(e.key), len(e.value))
				}
				if _, n := w.entry(off); int64(len(raw)) != off+n {
					t.Fatalf("%d bytes, not %d", len(raw), off)
				}
			}
		}
	})
}

func leHead(b []byte, n int) {
	b[8], b[9], b[10], b[11] = byte(n), byte(n>>8), byte(n>>16), byte(n>>24)
	sum := recordSum(3, b[8:])
	b[4], b[5], b[6], b[7] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
}
