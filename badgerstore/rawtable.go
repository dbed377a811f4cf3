package badgerstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
)

// A table of Badger's (.sst) begins with its blocks, without gaps; an index and
// a checksum of the index follow. A block:
//
//	entries   one after the other
//	4 bytes   for each entry: where it begins in the block, little endian
//	4 bytes   number of entries, big endian
//	2-6 bytes 0x10 and, as a uvarint, CRC-32C of all of the above
//	4 bytes   length of those, big endian
//
// An entry:
//
//	2 bytes   how many bytes of the block's first key it begins with, little endian
//	2 bytes   how many bytes of key follow, little endian
//	key       the rest of it, with the version at its end
//	byte      meta, as in logs
//	byte      user meta: 0
//	uvarint   expiry: 0
//	value     up to the next entry
//
// The checksums of the blocks find their borders without the index.
const maxTableBlock = 1 << 20

// scanTable hands the entries in the blocks that verify to visit.
func scanTable(path string, visit func(e *rawEntry) error) error {
	data, _, err := readCard(path)
	if err != nil {
		return unavailable(err, "cannot read %s", path)
	}
	for pos := 0; pos < len(data); {
		body, next := tableBlock(data, pos)
		if next == 0 {
			// The beginning of the next block is where one may end.
			for pos++; pos < len(data); pos++ {
				if _, ok := blockSum(data, pos); ok {
					break
				}
			}
			continue
		}
		if err := eachInBlock(data[pos:pos+body], int64(pos), visit); err != nil {
			return err
		}
		pos = next
	}
	return nil
}

// tableBlock returns the length of the block's entries with their places, and
// where it ends; 0 if no block that verifies begins at pos.
func tableBlock(data []byte, pos int) (body, next int) {
	for end := pos + 16; end <= min(len(data), pos+maxTableBlock); end++ {
		if data[end-4] != 0 || data[end-3] != 0 || data[end-2] != 0 {
			continue
		}
		sum, ok := blockSum(data, end)
		if !ok {
			continue
		}
		cut := end - 4 - int(data[end-1])
		if cut-4 > pos && crc32.Checksum(data[pos:cut], crc32.MakeTable(crc32.Castagnoli)) == sum {
			return cut - pos, end
		}
	}
	return 0, 0
}

// blockSum returns the checksum of the block that may end at end.
func blockSum(data []byte, end int) (uint32, bool) {
	if end < 8 || !bytes.Equal(data[end-4:end-1], []byte{0, 0, 0}) {
		return 0, false
	}
	n := int(data[end-1])
	if n < 2 || n > 6 || end-4-n < 0 || data[end-4-n] != 0x10 {
		return 0, false
	}
	sum, k := binary.Uvarint(data[end-3-n : end-4])
	return uint32(sum), k == n-1 && sum <= 1<<32-1
}

// eachInBlock hands the entries of a block to visit; at is where it begins in
// the file.
func eachInBlock(b []byte, at int64, visit func(e *rawEntry) error) error {
	places := len(b) - 4
	count := int64(binary.BigEndian.Uint32(b[places:]))
	if count*4 > int64(places) {
		return nil
	}
	end := places - int(count)*4
	var first, key []byte
	for i := range int(count) {
		from, to := int(binary.LittleEndian.Uint32(b[end+4*i:])), end
		if i+1 < int(count) {
			to = int(binary.LittleEndian.Uint32(b[end+4*i+4:]))
		}
		if from < 0 || to > end || to-from < 7 {
			return nil
		}
		e := b[from:to]
		overlap, diff := int(binary.LittleEndian.Uint16(e)), int(binary.LittleEndian.Uint16(e[2:]))
		if overlap > len(first) || 4+diff+3 > len(e) || overlap+diff <= versionSize {
			return nil
		}
		key = append(append(key[:0], first[:overlap]...), e[4:4+diff]...)
		if i == 0 {
			first = bytes.Clone(key)
		}
		value := 4 + diff + 3 // Without an expiry, which takes one byte then.
		name, version := splitVersion(key)
		err := visit(&rawEntry{meta: e[4+diff], key: name, version: version, value: e[value:], at: at + int64(from+value)})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkTable reads the table at path as Badger does when it opens a database,
// but in this goroutine: Badger's own end the process over some damage.
func checkTable(path string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			text, _, _ := bytes.Cut(bytes.TrimSpace(fmt.Append(nil, r)), []byte("\n"))
			err = corrupt(nil, "the table %s is damaged: %.100s", path, text)
		}
	}()
	data, _, err := readCard(path)
	if err != nil {
		return unavailable(err, "cannot read %s", path)
	}
	t, err := table.OpenInMemoryTable(data, 1, &table.Options{ChkMode: options.OnTableAndBlockRead, Compression: options.None})
	if err == nil {
		err = t.VerifyChecksum()
	}
	if err != nil {
		return corrupt(err, "the table %s is damaged", path)
	}
	return nil
}
