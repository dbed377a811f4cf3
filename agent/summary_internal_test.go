package agent

// An internal test: damage of any kind can be reported without making it.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/rs/zerolog"

	"github.com/kapetan-io/querator-edge/agent/api"
	"github.com/kapetan-io/querator-edge/queue"
)

func TestSummary(t *testing.T) {
	var log bytes.Buffer
	a := &Agent{handler: api.New(api.Options{})}
	a.log = zerolog.New(&log)
	events := a.engineEvents()
	for i := range maxDamage + 5 {
		events.Quarantined(queue.Quarantine{
			Queue: "q", Partition: i, Items: 2, First: queue.NewID(uint64(i), queue.Tag{}), Last: queue.NewID(uint64(i+1), queue.Tag{}),
			Path: fmt.Sprintf("/d/quarantine/%d", i), Err: errors.New("checksum"),
		})
	}
	events.PartitionFailed("q", 1, errors.New("input/output error"))
	log.Reset()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("told to"))
	a.summarise(ctx, &left{known: true, ready: 7}, nil)
	var got struct {
		Level, Message, Stopped string
		Ready                   int
		Failures                int `json:"partition-failures"`
		Quarantined             int `json:"items-quarantined"`
		More                    int `json:"damages-not-listed"`
		Damaged                 []struct{ Queue, First, Last, Path, Reason string }
	}
	if err := json.Unmarshal(log.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, log.String())
	}
	if got.Level != "warn" || got.Message != "ended" || got.Stopped != "on request, in order: told to" || got.Ready != 7 ||
		got.Failures != 1 || got.Quarantined != 2*(maxDamage+5) || got.More != 5 || len(got.Damaged) != maxDamage {
		t.Errorf("the summary is %s", log.String())
	}
	if d := got.Damaged[3]; d.Queue != "q" || d.First != queue.NewID(3, queue.Tag{}).String() || d.Path != "/d/quarantine/3" || d.Reason != "checksum" {
		t.Errorf("damage is told as %+v", d)
	}
	log.Reset()
	a.summarise(ctx, &left{}, errors.New("not closed"))
	if s := log.String(); !bytes.Contains([]byte(s), []byte("not in order")) {
		t.Errorf("after an error: %s", s)
	}
}
