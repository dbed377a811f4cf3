package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// TestAuditReport: what does not add up is printed, and the command fails.
func TestAuditReport(t *testing.T) {
	found := []client.PartitionAudit{
		{Queue: "q", Ready: 2, Ledger: client.Ledger{Produced: 3, Completed: 1}},
		{Queue: "q", Partition: 1, Differences: []string{"ready items: found 1, expected 2"}},
		{Queue: "r", Failure: "partition not available"},
	}
	var out, notes bytes.Buffer
	e := &env{stdout: &out, stderr: &notes, output: outputTable}
	if err := e.auditReport(found); e.exitCode(err) != 1 || err.Error() != "2 of 3 partition(s) do not add up" {
		t.Errorf("got %v, exit %d", err, e.exitCode(err))
	}
	for _, want := range []string{
		"3   1    ok\n", "DIFFERS\n", "FAILED\n", "queue 'q' partition 1: ready items: found 1, expected 2\n",
		"queue 'r' partition 0: partition not available\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("there is no %q in\n%s", want, out.String())
		}
	}
	out.Reset()
	e.output = outputJSON
	if err := e.auditReport(found); e.exitCode(err) != 1 {
		t.Errorf("as JSON: %v", err)
	}
	var got struct {
		OK         *bool
		Partitions []client.PartitionAudit
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.OK == nil || *got.OK || len(got.Partitions) != 3 ||
		got.Partitions[1].OK() {
		t.Errorf("%v in %s", err, out.String())
	}
	if err := e.auditReport(found[:1]); err != nil {
		t.Errorf("what adds up: %v", err)
	}
}

func TestStatusTellsHowFull(t *testing.T) {
	for _, test := range []struct {
		q    client.QueueInfo
		held client.PartitionStatus
		want string
	}{
		{client.QueueInfo{}, client.PartitionStatus{Ready: 3}, "-"},
		{client.QueueInfo{MaxItems: 8}, client.PartitionStatus{Ready: 1, Leased: 1, Scheduled: 1, Moving: 1}, "50 %"},
		{client.QueueInfo{MaxItems: 1000, MaxBytes: 10}, client.PartitionStatus{Ready: 1, Bytes: 9}, "90 %"},
		{client.QueueInfo{MaxItems: 2, MaxBytes: 1 << 40}, client.PartitionStatus{Ready: 3, Bytes: 9}, "150 %"},
	} {
		if got := fullText(&test.q, &test.held); got != test.want {
			t.Errorf("%+v of %+v: %s, want %s", test.held, test.q, got, test.want)
		}
	}
	for _, test := range []struct {
		s    client.StorageStatus
		want string
	}{
		{client.StorageStatus{Name: "sd", Driver: "badger", Dir: "/d", FileSystem: "ext4", Free: 3 << 30, Total: 4 << 30, Floor: 1 << 30, FreeInodes: 5000, FloorInodes: 1000},
			"badger in /d (ext4); 3.0 GiB of 4.0 GiB free, 1.0 GiB kept free"},
		{client.StorageStatus{Name: "sd", Driver: "badger", Free: 1 << 20, Total: 4 << 30, Floor: 1 << 30, FreeInodes: 5, FloorInodes: 10},
			"badger; 1.0 MiB of 4.0 GiB free, 1.0 GiB kept free; FULL: produce is refused; FULL: 5 inodes are free, 10 have to be"},
		{client.StorageStatus{Driver: "memory"}, "memory"},
	} {
		if got := storageText(test.s); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}
