package agent

import (
	"errors"
	"fmt"

	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/memstore"
)

// stores are the places that definitions and items live in.
type stores struct {
	meta  queue.MetaStore
	named []queue.NamedStorage
}

// openStores opens all places of the configuration, or none.
func openStores(cfg *config.Config, clock queue.Clock, events badgerstore.Events) (*stores, error) {
	s := &stores{}
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
		st, err := openStorage(cfg, p, clock, events)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("partition storage %q: %w", p.Name, err), s.close())
		}
		s.named = append(s.named, queue.NamedStorage{Name: p.Name, Storage: st, Affinity: p.Affinity})
	}
	return s, nil
}

// openStorage opens one place. The places share a quarter of the memory limit
// for their databases.
func openStorage(cfg *config.Config, p *config.PartitionStorage, clock queue.Clock, events badgerstore.Events) (queue.Storage, error) {
	share := int64(cfg.MemoryLimit) / 4 / int64(len(cfg.PartitionStorages))
	if p.Driver == config.DriverMemory {
		return memstore.New(memstore.Options{Boot: clock.Boot(), MaxBytes: share}), nil
	}
	return badgerstore.New(badgerstore.Options{
		Dir: p.StorageDir, Boot: clock.Boot(), MemoryBudget: share, Events: events,
	})
}

// close closes all places, the definitions last.
func (s *stores) close() error {
	var errs []error
	for _, n := range s.named {
		errs = append(errs, n.Storage.Close())
	}
	return errors.Join(append(errs, s.meta.Close())...)
}
