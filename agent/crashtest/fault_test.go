package crashtest_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/crashtest"
	"github.com/kapetan-io/querator-edge/agent/crashtest/flashfs"
)

// TestFailingStorage has one of two storages fail. Nothing more is acknowledged
// on it, not even when the cause is gone, since what is on flash is unknown; the
// other one goes on; and a new start finds all that was acknowledged, after a
// SIGKILL or a SIGTERM as after a power cut.
func TestFailingStorage(t *testing.T) {
	syncs := []string{flashfs.CallFsync, flashfs.CallFdatasync}
	for name, rule := range map[string]flashfs.Rule{
		"sync fails once":   {Calls: syncs, Error: syscall.EIO, Times: 1},
		"sync fails":        {Calls: syncs, Error: syscall.EIO},
		"write fails":       {Calls: []string{flashfs.CallWrite}, Error: syscall.EIO},
		"all fails":         {Calls: flashfs.Changes(), Error: syscall.EIO},
		"mounted read-only": {Calls: flashfs.Changes(), Error: syscall.EROFS},
	} {
		for _, end := range []string{"SIGKILL", "SIGTERM", "power cut"} {
			t.Run(name+", "+end, func(t *testing.T) { failStorage(t, rule, end) })
		}
	}
}

func failStorage(t *testing.T, rule flashfs.Rule, end string) {
	c := newPowerCuts(t, flashfs.Journal)
	a := twoStorages(t, c)
	p := started(t, a)
	bad, good := oneOnEach(t, a, p)
	acked := map[string]int{}
	produce := func(queue string) error {
		payload := fmt.Sprintf("%s %d", queue, acked[queue])
		err := p.Client.Produce(t.Context(), queue, client.ProduceItem{Payload: []byte(payload)})
		if err == nil {
			acked[queue]++
		}
		return err
	}
	for range 60 { // Enough for a journal to be in use.
		must(t, errors.Join(produce(bad), produce(good)))
	}
	rule.Under = "/two/bad"
	must(t, c.Device.SetRules(&rule))
	if end == "SIGTERM" { // A lease is written without a sync, and may be answered.
		_, _ = p.Client.Lease(t.Context(), bad, client.LeaseOptions{BatchSize: 1})
	}
	if err := produce(bad); !errors.Is(err, client.ErrTryAgain) {
		t.Errorf("produce to the storage that fails: %v, want ErrTryAgain", err)
	}
	must(t, produce(good))
	must(t, c.Device.SetRules())
	for range 3 {
		if err := produce(bad); err == nil {
			t.Error("produce was acknowledged after a failure that may have lost data")
		}
		must(t, produce(good))
	}
	wantUnhealthy(t, p)
	switch end {
	case "power cut":
		must(t, c.CutAll(p))
	case "SIGTERM":
		must(t, p.Signal(syscall.SIGTERM))
		if _, err := p.Wait(waitTimeout); err != nil {
			t.Error(err)
		}
	default:
		p.Kill()
	}
	p = started(t, a)
	for _, queue := range []string{bad, good} {
		items, err := p.Client.ListItems(t.Context(), queue, 0, client.Page{})
		must(t, err)
		// Of the one that failed it is not known whether it is there.
		if n := len(items); n < acked[queue] || n > acked[queue]+1 || queue == good && n != acked[queue] {
			t.Errorf("%s has %d items, %d were acknowledged", queue, n, acked[queue])
		}
		for i := range items {
			if got, want := string(items[i].Payload), fmt.Sprintf("%s %d", queue, i); got != want {
				t.Errorf("item %d of %s is %q, want %q", i, queue, got, want)
			}
		}
		must(t, produce(queue))
	}
}

// TestFailingDefinitions has the place fail where the definitions of queues are.
// Queues that are there go on; none is made or deleted any more, not even when the
// cause is gone; and a new start finds those that there were.
func TestFailingDefinitions(t *testing.T) {
	syncs := []string{flashfs.CallFsync, flashfs.CallFdatasync, flashfs.CallFsyncDir}
	for name, rule := range map[string]flashfs.Rule{
		"sync fails once":   {Calls: syncs, Error: syscall.EIO, Times: 1},
		"write fails":       {Calls: []string{flashfs.CallWrite}, Error: syscall.EIO},
		"all fails":         {Calls: flashfs.Changes(), Error: syscall.EIO},
		"mounted read-only": {Calls: flashfs.Changes(), Error: syscall.EROFS},
	} {
		for _, isCut := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, power cut %v", name, isCut), func(t *testing.T) { failDefinitions(t, rule, isCut) })
		}
	}
}

func failDefinitions(t *testing.T, rule flashfs.Rule, isCut bool) {
	c := newPowerCuts(t, flashfs.Journal)
	p := started(t, c.Agent)
	createQueue(t, p, plainQueue("there"))
	produce := func() { must(t, p.Client.Produce(t.Context(), "there", client.ProduceItem{Payload: []byte("item")})) }
	produce()
	rule.Under = "/data/queues"
	must(t, c.Device.SetRules(&rule))
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, client.ErrTryAgain) && !errors.Is(err, client.ErrInternal) {
			t.Errorf("%s: %v, want an error that says that it may be tried again", what, err)
		}
	}
	refused("create", p.Client.CreateQueue(t.Context(), plainQueue("lost")))
	produce()
	must(t, c.Device.SetRules())
	wantUnhealthy(t, p)
	refused("create after the failure", p.Client.CreateQueue(t.Context(), plainQueue("later")))
	refused("delete after the failure", p.Client.DeleteQueue(t.Context(), "there"))
	produce()
	if isCut {
		must(t, c.CutAll(p))
	} else {
		p.Kill()
	}
	p = started(t, c.Agent)
	items, err := p.Client.ListItems(t.Context(), "there", 0, client.Page{})
	must(t, err)
	if len(items) != 3 {
		t.Errorf("the queue holds %d items, 3 were acknowledged", len(items))
	}
	createQueue(t, p, plainQueue("later"))
	wantClean(t, p, 0)
}

// twoStorages returns an agent on the device with two storages for items.
func twoStorages(t *testing.T, c *crashtest.PowerCuts) *crashtest.Agent {
	dir := filepath.Join(c.Device.Dir, "two")
	file := filepath.Join(shortDir(t), "c.toml")
	text := ""
	for _, name := range []string{"bad", "good"} {
		text += fmt.Sprintf("[[partition-storage]]\nname = %q\nstorage-dir = %q\n", name, filepath.Join(dir, name))
	}
	must(t, os.WriteFile(file, []byte(text), 0o600))
	a := *c.Agent
	a.Dir, a.Args = dir, []string{"--config", file}
	return &a
}

// oneOnEach creates a queue on each storage.
func oneOnEach(t *testing.T, a *crashtest.Agent, p *crashtest.Process) (bad, good string) {
	for _, name := range []string{"one", "two"} {
		createQueue(t, p, plainQueue(name))
		must(t, p.Client.Produce(t.Context(), name, client.ProduceItem{Payload: []byte("first")}))
		items, err := p.Client.Lease(t.Context(), name, client.LeaseOptions{BatchSize: 1})
		must(t, err)
		must(t, p.Client.Complete(t.Context(), name, 0, items[0].ID))
		if _, err := os.Stat(filepath.Join(a.Dir, "bad", name+"-000000-partition")); err == nil {
			bad = name
		} else {
			good = name
		}
	}
	if bad == "" || good == "" {
		t.Fatalf("both queues are on one storage: %q and %q", bad, good)
	}
	return bad, good
}

// wantUnhealthy checks that the agent says that a partition fails.
func wantUnhealthy(t *testing.T, p *crashtest.Process) {
	t.Helper()
	resp, err := p.HTTP.Get("http://agent/health")
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), "fail") {
		t.Errorf("health answers %s: %s", resp.Status, text)
	}
}
