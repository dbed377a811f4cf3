package badgerstore

// An internal test: how many entries go into a transaction shows nowhere else.

import (
	"bytes"
	"path/filepath"
	"testing"
)

// TestBatchFitsATransaction writes entries that come as near to the size of a transaction as can be.
func TestBatchFitsATransaction(t *testing.T) {
	z := sizes{mem: maxMemTable, values: 1 << 20, threshold: valueThreshold}
	tail, err := createTail(filepath.Join(t.TempDir(), segmentName(1)), 1, z, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.close()
	const value, entrySize = 4000, numberedKeySize + 4000 + 12
	limit := int(z.mem * 15 / 100)
	n := uint64(0)
	for short := range 4 {
		var entries []entry
		sum := 0
		for ; sum+2*entrySize < limit; sum += entrySize {
			entries = append(entries, entry{key: recordKey(n), value: bytes.Repeat([]byte{1}, value)})
			n++
		}
		rest := limit - sum - numberedKeySize - 12 - 1 - 8*short
		entries = append(entries, entry{key: recordKey(n), value: bytes.Repeat([]byte{1}, rest)})
		n++
		if err := tail.write(entries); err != nil {
			t.Fatalf("%d bytes below the limit: %v", 1+8*short, err)
		}
	}
}
