package queue

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// What a queue gets whose definition was lost, for nobody to be hurt by until
// somebody sets it right.
const (
	rebuiltLeaseTimeout  = time.Minute
	rebuiltExpireTimeout = 24 * time.Hour
)

// rebuild adds definitions for partitions that belong to no queue, if
// definitions may be missing, and stores them. Their options are defaults.
func (s *Service) rebuild(ctx context.Context, defs []Definition) ([]Definition, error) {
	why := s.cfg.Meta.Damage()
	if why == nil && len(defs) > 0 {
		return defs, nil
	}
	known := make(map[string]bool, len(defs))
	for i := range defs {
		known[defs[i].Name] = true
	}
	places := make(map[string]map[int]Place)
	for _, n := range s.cfg.Storages {
		keys, err := n.Storage.Partitions()
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			if known[k.Queue] || k.Partition >= maxPartitions {
				continue
			}
			if places[k.Queue] == nil {
				places[k.Queue] = make(map[int]Place)
			}
			places[k.Queue][k.Partition] = Place{Storage: n.Name, Tag: k.Tag}
		}
	}
	for name, parts := range places {
		d := s.rebuilt(name, parts)
		if err := s.cfg.Meta.Put(ctx, &d); err != nil {
			return nil, err
		}
		if s.cfg.Events.Rebuilt != nil {
			if why == nil {
				why = &Error{Kind: ErrCorrupt, Msg: "the definitions of all queues are gone"}
			}
			s.cfg.Events.Rebuilt(name, len(d.Places), fmt.Errorf("queue %q: %w", name, why))
		}
		defs = append(defs, d)
	}
	slices.SortFunc(defs, func(a, b Definition) int { return cmp.Compare(a.Name, b.Name) })
	return defs, nil
}

// rebuilt returns a definition with these partitions, and new ones in between.
func (s *Service) rebuilt(name string, parts map[int]Place) Definition {
	n := 0
	for i := range parts {
		n = max(n, i+1)
	}
	d := Definition{Info: Info{
		Name: name, LeaseTimeout: rebuiltLeaseTimeout, ExpireTimeout: rebuiltExpireTimeout,
		RequestedPartitions: n, CreatedAt: s.clock.Now(),
	}}
	d.UpdatedAt = d.CreatedAt
	for i := range n {
		p, ok := parts[i]
		if !ok {
			p = Place{Storage: s.cfg.Storages[0].Name}
		}
		if p.Tag == (Tag{}) {
			p.Tag = newTag()
		}
		d.Places = append(d.Places, p)
	}
	return d
}
