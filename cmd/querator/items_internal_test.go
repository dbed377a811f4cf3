package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// TestExportPages exports more than fits into pages, of several partitions, and imports it elsewhere.
func TestExportPages(t *testing.T) {
	socket := serveAgent(t, 64<<20)
	for _, queue := range []string{"from", "to"} {
		if r := command(t.Context(), socket, "", "create", queue, "--partitions", "3"); r.code != 0 {
			t.Fatal(r.stderr)
		}
	}
	var in strings.Builder
	want := make(map[string]bool)
	for i := range 5003 {
		line := fmt.Sprintf("line %d %s", i, strings.Repeat("x", i%50*100))
		want[line] = true
		fmt.Fprintln(&in, line)
	}
	if r := command(t.Context(), socket, in.String(), "produce", "from", "--lines", "--batch", "300"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	export := command(t.Context(), socket, "", "items", "export", "from")
	if export.code != 0 {
		t.Fatal(export.stderr)
	}
	if r := command(t.Context(), socket, export.stdout, "items", "import", "to"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	again := command(t.Context(), socket, "", "items", "export", "to")
	for _, text := range []string{export.stdout, again.stdout} {
		seen := make(map[string]bool)
		partitions := make(map[int]bool)
		for line := range strings.Lines(text) {
			it, err := parseLine([]byte(line))
			if err != nil {
				t.Fatal(err)
			}
			if seen[string(it.Payload)] || !want[string(it.Payload)] {
				t.Fatalf("%.20q is twice in the export, or should not be", it.Payload)
			}
			seen[string(it.Payload)] = true
			partitions[it.Partition] = true
		}
		if len(seen) != len(want) || len(partitions) != 3 {
			t.Errorf("%d of %d items in %d of 3 partitions", len(seen), len(want), len(partitions))
		}
	}
}

// TestProduceLargeLines produces lines that fit into one request only few at a time, or not at all.
func TestProduceLargeLines(t *testing.T) {
	socket := serveAgent(t, 64<<20)
	command(t.Context(), socket, "", "create", "q")
	var in strings.Builder
	for _, size := range []int{3_000_000, 1_500_000, 10, 4_800_000, 20} {
		in.WriteString(strings.Repeat("x", size) + "\n")
	}
	if r := command(t.Context(), socket, in.String(), "produce", "q", "--lines"); r.code != 0 {
		t.Error(r.stderr)
	}
	r := command(t.Context(), socket, "a\n"+strings.Repeat("x", 5_000_000), "produce", "q", "--lines")
	if r.code != 1 || !strings.Contains(r.stderr, "line 2 has more than 4900000 bytes") || !strings.Contains(r.stderr, "1 lines are stored") {
		t.Errorf("a line that is too long: exit %d, %s", r.code, r.stderr)
	}
	if r := command(t.Context(), socket, strings.Repeat("x", 5_000_000), "produce", "q"); r.code != 1 || !strings.Contains(r.stderr, "more than 4900000 bytes") {
		t.Errorf("a payload that is too long: exit %d, %s", r.code, r.stderr)
	}
	if r := command(t.Context(), socket, "", "items", "export", "q"); strings.Count(r.stdout, "\n") != 6 {
		t.Errorf("%d items are stored, want 6: %s", strings.Count(r.stdout, "\n"), r.stderr)
	}
}

func TestLineReader(t *testing.T) {
	long := strings.Repeat("y", 200_000) // More than the buffer.
	read := newLineReader(strings.NewReader("a\n\n"+long+"\nlast"), 300_000)
	for i, want := range []string{"a", "", long, "last"} {
		line, err := read.next()
		if err != nil || string(line) != want || read.n != i+1 {
			t.Fatalf("line %d: got %.20q, %v at %d", i+1, line, err, read.n)
		}
		read.unread(line)
		if again, err := read.next(); string(again) != want || err != nil || read.n != i+1 {
			t.Errorf("line %d after unread: got %.20q, %v at %d", i+1, again, err, read.n)
		}
	}
	if _, err := read.next(); err != io.EOF {
		t.Errorf("at the end: %v, want io.EOF", err)
	}
}

func FuzzImportLine(f *testing.F) {
	f.Add([]byte(`{"partition":1,"id":"x","payload":"YQ==","attempts":2,"expire_deadline":"2026-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"text":"é","scheduled":true,"enqueue_at":"2099-01-01T00:00:00+01:00"}`))
	f.Add([]byte(`{"payload":null,"partition":-1}`))
	f.Add([]byte(`{}{}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		it, err := parseLine(line)
		if err == nil && (it == nil || it.Partition < 0) {
			t.Errorf("accepted %q as %+v", line, it)
		}
	})
}

func TestPreview(t *testing.T) {
	for _, test := range []struct{ payload, want string }{
		{"", ""},
		{"21.4\n", "21.4"},
		{"\xff\xfe", "(2 B)"},
		{strings.Repeat("é", 60), strings.Repeat("é", 60)},
		{strings.Repeat("é", 61), strings.Repeat("é", 59) + "…"},
		{strings.Repeat("a", 239) + strings.Repeat("é", 50), strings.Repeat("a", 59) + "…"}, // The cut splits a rune.
	} {
		if got := preview([]byte(test.payload)); got != test.want {
			t.Errorf("%.20q: got %q, want %q", test.payload, got, test.want)
		}
	}
	// Nothing that a payload has moves the cursor.
	if got := printable("a\x1b[2Jb\tc\r\xff"); got != "a·[2Jb·c··" {
		t.Errorf("got %q", got)
	}
}

func TestTexts(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Minute: "1m", 24 * time.Hour: "24h", 90 * time.Minute: "1h30m", 61 * time.Second: "1m1s", 0: "0s",
		1234567 * time.Nanosecond: "1.23ms", 59960 * time.Millisecond: "1m", 20 * time.Second: "20s", 10 * time.Minute: "10m",
	} {
		if got := durationText(d); got != want {
			t.Errorf("%d: got %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536 << 10: "1.5 MiB", 5 << 40: "5.0 TiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

func TestImportLineRoundTrip(t *testing.T) {
	at := time.Date(2026, 11, 23, 1, 2, 3, 456789000, time.UTC)
	want := storedItem{Partition: 2, Scheduled: true, StoredItem: client.StoredItem{
		ID: "i", SourceID: "s", IsLeased: true, LeaseDeadline: at, ExpireDeadline: at, CreatedAt: at, EnqueueAt: at,
		Attempts: 1, MaxAttempts: 2, Encoding: "e", Kind: "k", Reference: "r", Payload: []byte{0, 255},
	}}
	r := command(t.Context(), "", "", "version") // No agent is needed for the encoder.
	if r.code != 0 || !utf8.ValidString(r.stdout) {
		t.Fatal(r)
	}
	line := fmt.Sprintf(`{"partition":2,"scheduled":true,"id":"i","source_id":"s","is_leased":true,"lease_deadline":%[1]q,`+
		`"expire_deadline":%[1]q,"created_at":%[1]q,"enqueue_at":%[1]q,"attempts":1,"max_attempts":2,"encoding":"e","kind":"k",`+
		`"reference":"r","payload":%[2]q}`, at.Format(time.RFC3339Nano), base64.StdEncoding.EncodeToString(want.Payload))
	got, err := parseLine([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", want) {
		t.Errorf("\n got %+v\nwant %+v", *got, want)
	}
}
