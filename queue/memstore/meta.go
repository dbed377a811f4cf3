package memstore

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/kapetan-io/querator-edge/queue"
)

// Meta is a queue.MetaStore in memory. Its methods are safe for use by any
// goroutine.
type Meta struct {
	mu   sync.Mutex // guards defs
	defs map[string]queue.Definition
}

// NewMeta returns an empty store of definitions.
func NewMeta() *Meta { return &Meta{defs: make(map[string]queue.Definition)} }

// Load returns all definitions, ordered by name.
func (m *Meta) Load(context.Context) ([]queue.Definition, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defs := make([]queue.Definition, 0, len(m.defs))
	for _, name := range slices.Sorted(maps.Keys(m.defs)) {
		d := m.defs[name]
		d.Places = slices.Clone(d.Places)
		defs = append(defs, d)
	}
	return defs, nil
}

// Put stores the definition in place of what the queue had.
func (m *Meta) Put(_ context.Context, d *queue.Definition) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := *d
	c.Places = slices.Clone(d.Places)
	c.CreatedAt, c.UpdatedAt = d.CreatedAt.Round(0).UTC(), d.UpdatedAt.Round(0).UTC()
	m.defs[d.Name] = c
	return nil
}

// Remove removes the definition; one that is not there is no error.
func (m *Meta) Remove(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.defs, name)
	return nil
}

// Damage returns nil: nothing here is damaged.
func (m *Meta) Damage() error { return nil }

// Failure returns nil: memory does not fail.
func (m *Meta) Failure() error { return nil }

// Close does nothing: the definitions stay as long as the Meta is there.
func (m *Meta) Close() error { return nil }
