package backup_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/backup"
)

// sample returns the head of a back-up of two queues with three partitions, one of which could not be backed up.
func sample(t testing.TB, kind backup.Kind, id, parent string, marks ...backup.Mark) *backup.Head {
	t.Helper()
	tag := bytes.Repeat([]byte{7}, queue.TagSize)
	h := &backup.Head{ID: id, Parent: parent, Kind: kind, CreatedAt: time.Unix(1e9, 0).UTC(), Queues: []backup.QueueHead{
		{Name: []byte("a\xff"), Storages: [][]byte{[]byte("items"), []byte("items")}, LeaseTimeout: time.Minute, Partitions: []backup.PartitionHead{
			{Partition: 0, Tag: tag, Items: 3, Marks: marks},
			{Partition: 1, Failure: "it failed"},
		}},
		{Name: []byte("b"), Storages: [][]byte{[]byte("items")}, Partitions: []backup.PartitionHead{{Partition: 0, Tag: tag, Items: 4, Marks: marks}}},
	}}
	text, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if h, err = backup.DecodeHead(text); err != nil {
		t.Fatal(err)
	}
	return h
}

// write writes a back-up with some data in each segment; from says where they begin.
func write(t testing.TB, h *backup.Head, from, to []backup.Mark) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := backup.NewWriter(&b, h)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []int{0, 2} {
		for i, m := range to {
			var begin queue.BackupMark
			if i < len(from) {
				begin = queue.BackupMark(from[i])
			}
			begin.Span = m.Span
			for n := range 3 {
				data := fmt.Sprintf("%s part %d span %d piece %d;", h.ID, part, m.Span, n)
				if n == 2 && m.Span == 2 {
					data = strings.Repeat(data, 2000)
				}
				if err := w.Write(part, &queue.BackupPiece{Span: m.Span, From: begin, Data: []byte(data)}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func full(t testing.TB) []byte {
	marks := []backup.Mark{{Span: 1, Whole: true}, {Span: 2, Items: 5, Commits: 3}}
	return write(t, sample(t, backup.Full, "one", "", marks...), nil, marks)
}

func readAll(data []byte) (pieces []string, err error) {
	r, err := backup.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	for {
		part, p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return pieces, nil
		}
		if err != nil {
			return pieces, err
		}
		if len(p.Data) > 0 {
			pieces = append(pieces, fmt.Sprintf("%d/%d: %s", part, p.Span, p.Data))
		}
	}
}

func TestReadsWhatWasWritten(t *testing.T) {
	data := full(t)
	pieces, err := readAll(data)
	if err != nil || len(pieces) != 12 || pieces[0] != "0/1: one part 0 span 1 piece 0;" || len(pieces[11]) < 50_000 {
		t.Fatalf("%v, %d pieces: %.200q", err, len(pieces), pieces)
	}
	if err := readError(append(data, 'x')); !errors.Is(err, queue.ErrCorrupt) {
		t.Errorf("a byte behind the end: %v", err)
	}
}

func readError(data []byte) error {
	_, err := readAll(data)
	return err
}

// TestDocExample checks the example of the package comment.
func TestDocExample(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("querator backup 1\n")
	rest, err := hex.DecodeString("48027b7d14a2e878" + "5a0400000000" + "5a798c8d")
	if err != nil {
		t.Fatal(err)
	}
	b.Write(rest)
	if err := readError(b.Bytes()); err == nil || strings.Contains(err.Error(), "checksum") {
		t.Errorf("the example is not read up to its empty head: %v", err)
	}
}

// TestDamageIsFound cuts and flips a back-up everywhere.
func TestDamageIsFound(t *testing.T) {
	data := full(t)
	step := func(i int) int {
		if i < 1500 || i > len(data)-200 {
			return 1
		}
		return 997
	}
	for i := 0; i < len(data); i += step(i) {
		if err := readError(data[:i]); !errors.Is(err, queue.ErrCorrupt) && !errors.Is(err, queue.ErrFormat) {
			t.Fatalf("cut at %d: %v", i, err)
		}
		bad := slices.Clone(data)
		bad[i] ^= 1 << (i % 8)
		if err := readError(bad); !errors.Is(err, queue.ErrCorrupt) && !errors.Is(err, queue.ErrFormat) {
			t.Fatalf("flipped at %d: %v", i, err)
		}
	}
}

// TestFramesCannotBeExchanged takes frames out, doubles and swaps them.
func TestFramesCannotBeExchanged(t *testing.T) {
	one, two := full(t), bytes.ReplaceAll(full(t), []byte("x"), []byte("x"))
	at := bytes.Index(one, []byte("piece 0;"))
	next := bytes.Index(one[at+1:], []byte("piece 1;")) + at + 1
	size := next - at // Frames of equal length.
	for name, bad := range map[string][]byte{
		"one is missing": slices.Concat(one[:at+12], one[next+12:]),
		"one is doubled": slices.Concat(one[:next+12], two[at+12:]),
		"two are swapped": slices.Concat(one[:at-size+12], one[at+12:next+12], one[at-size+12:at+12],
			one[next+12:]),
	} {
		if err := readError(bad); !errors.Is(err, queue.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVersions(t *testing.T) {
	data := full(t)
	newer := bytes.Replace(data, []byte("backup 1\n"), []byte("backup 2\n"), 1)
	err := readError(newer)
	var e *queue.Error
	if !errors.Is(err, queue.ErrFormat) || !errors.As(err, &e) || !strings.Contains(e.Msg, "format 2, known is 1") || e.Hint == "" {
		t.Errorf("a newer version: %v", err)
	}
	for _, other := range []string{"", "PK\x03\x04", "querator backup x\n", "querator backup 01\n", strings.Repeat("querator", 100)} {
		if err := readError([]byte(other)); !errors.Is(err, queue.ErrFormat) {
			t.Errorf("%.20q: %v", other, err)
		}
	}
}

func TestWhatWasGivenUpIsNone(t *testing.T) {
	var b bytes.Buffer
	w, err := backup.NewWriter(&b, sample(t, backup.Full, "one", ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Fail("the disk is full"); err != nil {
		t.Fatal(err)
	}
	if err := readError(b.Bytes()); !errors.Is(err, queue.ErrUnavailable) || !strings.Contains(err.Error(), "the disk is full") {
		t.Error(err)
	}
}

func chainOf(files ...[]byte) (*backup.Chain, error) {
	var list []backup.File
	for i, f := range files {
		list = append(list, backup.File{Name: fmt.Sprint("file", i), ReadSeeker: bytes.NewReader(f)})
	}
	return backup.OpenChain(list, nil)
}

func TestChain(t *testing.T) {
	m1 := []backup.Mark{{Span: 1, Whole: true}, {Span: 2, Items: 5, Commits: 3}}
	m2 := []backup.Mark{{Span: 2, Items: 9, Commits: 4}}
	m3 := []backup.Mark{{Span: 2, Whole: true}, {Span: 4, Items: 1, Commits: 1}}
	one := full(t)
	two := write(t, sample(t, backup.Incremental, "two", "one", m2...), m1[1:], m2)
	three := write(t, sample(t, backup.Incremental, "three", "two", m3...), m2, m3)

	c, err := chainOf(three, one, two)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := c.Write(&out, backup.Selection{Queue: "b", Partition: -1, As: "c"}); err != nil {
		t.Fatal(err)
	}
	r, err := backup.NewReader(bytes.NewReader(out.Bytes()))
	if err != nil || r.Head.Kind != backup.Full || len(r.Head.Queues) != 1 || string(r.Head.Queues[0].Name) != "c" {
		t.Fatalf("%v %+v", err, r.Head)
	}
	pieces, err := readAll(out.Bytes())
	if err != nil || len(pieces) != 12 { // Span 1 is done with; 2 is in all of them, 4 in the last.
		t.Fatalf("%v, %d pieces", err, len(pieces))
	}
	for i, want := range []string{"0/2: one part 2", "0/2: two part 2", "0/2: three part 2", "0/4: three part 2"} {
		if !strings.HasPrefix(pieces[3*i], want) {
			t.Errorf("piece %d is %.40q, want %q", 3*i, pieces[3*i], want)
		}
	}
	if err := c.Write(io.Discard, backup.Selection{Queue: "none", Partition: -1}); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("a queue that is not in it: %v", err)
	}
}

func TestChainIsChecked(t *testing.T) {
	m1 := []backup.Mark{{Span: 1, Whole: true}, {Span: 2, Items: 5, Commits: 3}}
	m2 := []backup.Mark{{Span: 2, Items: 9, Commits: 4}}
	one := full(t)
	two := write(t, sample(t, backup.Incremental, "two", "one", m2...), m1[1:], m2)
	gap := write(t, sample(t, backup.Incremental, "gap", "one", m2...), []backup.Mark{{Span: 2, Items: 6, Commits: 3}}, m2)
	less := write(t, sample(t, backup.Incremental, "less", "one", m2...), nil, nil)
	var manifest bytes.Buffer
	w, err := backup.NewWriter(&manifest, sample(t, backup.Manifest, "one", "", m1...))
	if err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		files [][]byte
		kind  error
	}{
		"without the full one":    {[][]byte{two}, queue.ErrInvalid},
		"a gap in a segment":      {[][]byte{one, gap}, queue.ErrCorrupt},
		"a segment that stops":    {[][]byte{one, less}, queue.ErrCorrupt},
		"two that go on from one": {[][]byte{one, two, gap}, queue.ErrInvalid},
		"the same twice":          {[][]byte{one, one}, queue.ErrInvalid},
		"a manifest":              {[][]byte{manifest.Bytes()}, queue.ErrInvalid},
		"one that is cut":         {[][]byte{one, two[:len(two)-1]}, queue.ErrCorrupt},
	} {
		if _, err := chainOf(test.files...); !errors.Is(err, test.kind) {
			t.Errorf("%s: %v, want %v", name, err, test.kind)
		}
	}
}

// resealed returns the frames in data with checksums that are right, so that what is in them is looked at.
func resealed(data []byte) []byte {
	out := []byte("querator backup 1\n")
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Checksum(out, table)
	for len(data) > 1 {
		n, size := binary.Uvarint(data[1:])
		if size <= 0 {
			break
		}
		end := min(len(data), 1+size+int(min(n, 1<<20)))
		head := binary.AppendUvarint([]byte{data[0]}, uint64(end-1-size))
		frame := append(head, data[1+size:end]...)
		sum = crc32.Update(crc32.Checksum(binary.LittleEndian.AppendUint32(nil, sum), table), table, frame)
		out = binary.LittleEndian.AppendUint32(append(out, frame...), sum)
		data = data[end:]
	}
	return out
}

// unsealed returns the frames of a back-up without their checksums.
func unsealed(data []byte) (frames []byte) {
	data = data[len("querator backup 1\n"):]
	for len(data) > 0 {
		n, size := binary.Uvarint(data[1:])
		end := 1 + size + int(n)
		frames = append(frames, data[:end]...)
		data = data[end+4:]
	}
	return frames
}

func TestResealedIsTheSame(t *testing.T) {
	if data := full(t); !bytes.Equal(resealed(unsealed(data)), data) {
		t.Error("the fuzz target does not make what the writer makes")
	}
}

func FuzzReader(f *testing.F) {
	marks := []backup.Mark{{Span: 1, Whole: true}}
	f.Add(unsealed(ended(f, sample(f, backup.Full, "one", "", marks...))), true)
	f.Add(unsealed(write(f, sample(f, backup.Incremental, "two", "one", marks...), marks[:0], marks)), true)
	f.Add(ended(f, sample(f, backup.Full, "s", "")), false)
	f.Add([]byte("querator backup 1\nH\xff\xff\xff\x7f{}"), false)
	f.Fuzz(func(t *testing.T, data []byte, seal bool) {
		if seal {
			data = resealed(data)
		}
		pieces, err := readAll(data)
		var e *queue.Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("%v after %d pieces is of no kind", err, len(pieces))
		}
		c, chainErr := chainOf(data)
		if err == nil && chainErr == nil {
			// What is sound can be written, and is sound again.
			var out bytes.Buffer
			if err := c.Write(&out, backup.Selection{Partition: -1}); err != nil {
				t.Fatal(err)
			}
			if _, err := readAll(out.Bytes()); err != nil {
				t.Fatalf("what was written is not sound: %v", err)
			}
		}
	})
}

func ended(t testing.TB, h *backup.Head) []byte {
	var b bytes.Buffer
	w, err := backup.NewWriter(&b, h)
	if err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
