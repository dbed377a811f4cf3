package agent

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/device"
	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/memstore"
)

// stores are the places that definitions and items live in.
type stores struct {
	meta  queue.MetaStore
	named []queue.NamedStorage
	// floors are how many bytes stay free, by the names of the storages.
	floors map[string]int64
}

// openStores opens all places of the configuration, or none.
func openStores(cfg *config.Config, mem memoryShares, clock queue.Clock, events badgerstore.Events) (*stores, error) {
	s := &stores{floors: make(map[string]int64)}
	var err error
	switch cfg.QueueStorage.Driver {
	case config.DriverMemory:
		s.meta = memstore.NewMeta()
	default:
		s.meta, err = badgerstore.OpenMeta(badgerstore.Options{
			Dir: cfg.QueueStorage.StorageDir, Boot: clock.Boot(), Events: events,
		})
	}
	if err != nil {
		return nil, err
	}
	for i := range cfg.PartitionStorages {
		p := &cfg.PartitionStorages[i]
		// Of a directory that cannot be looked at, the floor is the least.
		disk, _ := device.FileSystemOf(device.Existing(p.StorageDir))
		s.floors[p.Name] = cfg.Storage.Floor(disk.Total)
		share := mem.stores / int64(len(cfg.PartitionStorages))
		st, err := openStorage(cfg, p, share, s.floors[p.Name], clock, events)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("partition storage %q: %w", p.Name, err), s.close())
		}
		s.named = append(s.named, queue.NamedStorage{Name: p.Name, Storage: st, Affinity: p.Affinity})
	}
	return s, nil
}

// openStorage opens one place, of which floor bytes stay free, with its share of
// the memory.
func openStorage(cfg *config.Config, p *config.PartitionStorage, share, floor int64, clock queue.Clock, events badgerstore.Events) (queue.Storage, error) {
	if p.Driver == config.DriverMemory {
		return memstore.New(memstore.Options{Boot: clock.Boot(), MaxBytes: share}), nil
	}
	inodes := int64(cfg.Storage.MinFreeInodes)
	if inodes == 0 {
		inodes = -1 // Options take 0 for their default.
	}
	o := badgerstore.Options{
		Dir: p.StorageDir, Boot: clock.Boot(), MemoryBudget: share, Events: events, MinFree: floor, MinFreeInodes: inodes,
		Collect: runtime.GC,
	}
	if cfg.Storage.Compression == config.CompressionZstd {
		o.Compression = badgerstore.CompressZstd
	}
	return badgerstore.New(o)
}

// close closes all places, the definitions last.
func (s *stores) close() error {
	var errs []error
	for _, n := range s.named {
		errs = append(errs, n.Storage.Close())
	}
	return errors.Join(append(errs, s.meta.Close())...)
}
