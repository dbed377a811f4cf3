package agent

// An internal test: the status of a place needs no running agent.

import (
	"path/filepath"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/queue"
)

func TestStatusShowsTheFloor(t *testing.T) {
	cfg := config.Default()
	dir := t.TempDir()
	cfg.QueueStorage.StorageDir = filepath.Join(dir, "queues")
	cfg.PartitionStorages[0].StorageDir = filepath.Join(dir, "partitions")
	cfg.Storage.MinFree, cfg.Storage.MinFreeInodes = 9*config.MiB, 17
	a := &Agent{cfg: &cfg, clock: queue.SystemClock(nil), memory: sharesOf(64 << 20)}
	var err error
	if a.stores, err = openStores(&cfg, a.memory, a.clock, a.storeEvents()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.stores.close(); err != nil {
			t.Error(err)
		}
	}()
	s := a.place("badger-0", config.DriverBadger, cfg.PartitionStorages[0].StorageDir)
	if s.FloorBytes != 9<<20 || s.FreeBytes <= 0 || s.FreeInodes > 0 && s.FloorInodes != 17 || s.Failure != "" {
		t.Errorf("partitions: %v", s)
	}
	if s := a.place("", config.DriverBadger, cfg.QueueStorage.StorageDir); s.FloorBytes != 0 || s.FloorInodes != 0 || s.TotalBytes == 0 {
		t.Errorf("definitions: %v", s)
	}
	if s := a.place("m", config.DriverMemory, ""); s.TotalBytes != 0 || s.FloorBytes != 0 {
		t.Errorf("memory: %v", s)
	}
}
