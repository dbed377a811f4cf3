package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/kapetan-io/querator-edge/queue"
)

// metaDirName is the directory, below that of the queue storage, which holds the
// definitions of queues. No queue name begins with '~'.
const metaDirName = "~queue-storage-partition"

// Meta keeps the definitions of queues. It implements queue.MetaStore. Its
// methods are safe for use by any goroutine.
//
// The definitions are in a Badger database, a generation, which is only ever
// added to: a definition that is put again or removed leaves garbage behind. The
// first change after opening, and one that does not fit any more, writes all
// live definitions to a new generation; then the old one is removed. A
// generation counts once its header is there, which is written last.
type Meta struct {
	options Options
	dir     string
	lock    *os.File
	failure atomic.Pointer[error] // err, but for being closed

	mu         sync.Mutex        // guards what follows
	values     map[string][]byte // the stored form of each definition, by queue
	generation uint64            // the newest, 0 if there is none
	rescued    bool              // values has what only the torn end of a log holds
	tail       *tail             // the newest, once something was written
	err        error             // why changes are refused
	damage     error             // why definitions may be missing; nil if none can be
}

var _ queue.MetaStore = (*Meta)(nil)

// OpenMeta opens the definitions of queues below o.Dir, creating what is not
// there. Of the options Dir, Boot and Now matter. The error Is queue.ErrLocked,
// queue.ErrCorrupt, queue.ErrFormat or queue.ErrUnavailable.
func OpenMeta(o Options) (*Meta, error) {
	o = o.withDefaults()
	top, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, unavailable(err, "cannot use the directory %s", o.Dir)
	}
	dir := filepath.Join(top, metaDirName)
	if err := makeDirs(dir); err != nil {
		return nil, unavailable(err, "cannot create the directory %s", dir)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	m := &Meta{options: o, dir: dir, lock: lock, values: make(map[string][]byte)}
	_, err = checkFormat(dir)
	if err == nil {
		err = m.load()
	}
	if err != nil {
		_ = unlockDir(lock)
		return nil, err
	}
	keepBallast(dir, metaBallast, o.MinFree)
	return m, nil
}

// load reads the newest complete generation and removes all others. A damaged
// one is set aside; what can be read of it counts.
func (m *Meta) load() error {
	names, err := listDir(m.dir)
	if err != nil {
		return unavailable(err, "cannot read the directory %s", m.dir)
	}
	if err := removeLeftovers(m.dir, names); err != nil {
		return unavailable(err, "cannot remove what is left in %s", m.dir)
	}
	if names, err = listDir(m.dir); err != nil {
		return unavailable(err, "cannot read the directory %s", m.dir)
	}
	m.generation = nextSpanAfter(m.dir, names) - 1
	generations := segmentSpans(names)
	slices.Reverse(generations)
	complete := false
	for i, g := range generations {
		dir := m.generationDir(g)
		if !complete {
			if complete, err = m.readMended(dir, i == len(generations)-1); err != nil {
				return err
			}
			if complete {
				continue
			}
		}
		if err := discardDir(dir); err != nil {
			return unavailable(err, "cannot remove the directory %s", dir)
		}
	}
	if !m.rescued {
		return nil
	}
	// Or they would be gone the next time. Where there is no room they are until then.
	if err := m.renew(); err != nil && !errors.Is(err, queue.ErrFull) {
		return err
	}
	return nil
}

func (m *Meta) generationDir(g uint64) string { return filepath.Join(m.dir, segmentName(g)) }

// readMended reads the definitions of a generation, what can be read of them if
// it is damaged. The oldest there is was complete once, since it is removed when
// the next one is.
func (m *Meta) readMended(dir string, oldest bool) (complete bool, err error) {
	complete, err = m.read(dir, oldest)
	if isCorrupt(err) {
		m.damage = err
		aside, again, fault := repair(dir, isDefinition)
		if fault != nil {
			return false, fault
		}
		if m.options.Events.SetAside != nil {
			m.options.Events.SetAside(dir, aside, "the definitions of queues are damaged: "+err.Error())
		}
		if !again {
			return false, nil
		}
		clear(m.values)
		complete, err = m.read(dir, oldest)
	}
	if err == nil && !complete && oldest && len(m.values) > 0 {
		complete = true
		if m.damage == nil {
			m.damage = corrupt(nil, "the definitions in %s have no header", dir)
		}
	}
	if !complete {
		clear(m.values)
	}
	return complete, err
}

// isDefinition checks a value of a generation by its own checksum.
func isDefinition(key, value []byte) bool {
	if len(key) > 1 && key[0] == letterDefinition {
		n := len(value) - sumSize
		return len(value) == 0 || n > 0 && checksum(value[:n]) == leUint32(value[n:])
	}
	return isOurs(key, value)
}

// Damage says why definitions may be missing.
func (m *Meta) Damage() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.damage
}

// Failure says why changes are refused until the store is opened again. It does not
// wait for one that is under way.
func (m *Meta) Failure() error {
	if err := m.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// read reads the definitions of a generation. It reports false when the
// generation has no header, and so was never completed.
func (m *Meta) read(dir string, oldest bool) (complete bool, err error) {
	c, err := inspect(dir)
	if err != nil || !c.manifest {
		return false, err
	}
	var torn map[string][]byte
	if c.mem > 0 {
		if err := refresh(dir); err != nil {
			return false, err
		}
		h, err := collect(dir, isDefinition)
		if err != nil {
			return false, err
		}
		if !oldest && h.isUnfinished() {
			return false, nil // It was being written when the power went.
		}
		first, last, err := lacking(dir)
		if err != nil {
			return false, err
		}
		switch {
		case h.hasLost(first, last, oldest):
			return false, corrupt(nil, "a definition in %s is damaged", dir)
		case first > 0 && h.begins(first):
			return false, nil // As above: the values were not on flash.
		}
		if torn, err = h.tornDefinitions(); err != nil {
			return false, err
		}
		if (h.torn || first > 0) && len(torn) == 0 {
			// A change that was never acknowledged, or a damaged one.
			m.damage = corrupt(nil, "the end of %s cannot be read", dir)
		}
	}
	d, err := openSealed(dir, isDefinition, true)
	if err != nil {
		return false, err
	}
	defer d.close()
	found, err := d.get(headerKey(), func(value []byte) error {
		_, err := decodeHeader(value)
		return err
	})
	if err != nil {
		return false, err
	}
	txn := d.readTxn()
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{letterDefinition}})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		item := it.Item()
		name := string(item.Key()[1:])
		err := d.value(item, func(value []byte) error {
			if len(value) > 0 {
				m.values[name] = slices.Clone(value)
			}
			return nil
		})
		if err != nil {
			return false, err
		}
	}
	if found {
		maps.Copy(m.values, torn)
		m.rescued = m.rescued || len(torn) > 0
	}
	return found, nil
}

// Load returns all definitions, in the order of their names.
func (m *Meta) Load(ctx context.Context) ([]queue.Definition, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	defs := make([]queue.Definition, 0, len(m.values))
	for _, name := range slices.Sorted(maps.Keys(m.values)) {
		d, err := decodeDefinition(m.values[name])
		if isCorrupt(err) {
			m.damage = metaError(name, err)
			continue
		}
		if err != nil {
			return nil, metaError(name, err)
		}
		defs = append(defs, d)
	}
	return defs, nil
}

func metaError(name string, err error) error {
	kind := queue.ErrCorrupt
	if errors.Is(err, queue.ErrFormat) {
		kind = queue.ErrFormat
	}
	return &queue.Error{Kind: kind, Queue: name, Err: err, Msg: fmt.Sprintf("the definition of queue %q cannot be read", name)}
}

// Put stores a definition; it is on flash when Put returns nil.
func (m *Meta) Put(ctx context.Context, d *queue.Definition) error {
	value, err := encodeDefinition(d)
	if err != nil {
		return err
	}
	return m.change(ctx, d.Name, value)
}

// Remove removes the definition of a queue. One that is not there is no error.
func (m *Meta) Remove(ctx context.Context, name string) error {
	return m.change(ctx, name, nil)
}

// change stores the value of a definition, nil if it is gone.
func (m *Meta) change(ctx context.Context, name string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.err != nil {
		return m.err
	}
	old, had := m.values[name]
	if value == nil && !had {
		return nil
	}
	set := func(v []byte, keep bool) {
		if keep {
			m.values[name] = v
		} else {
			delete(m.values, name)
		}
	}
	set(value, value != nil)
	err := m.write(entry{key: definitionKey(name), value: value})
	if err == nil {
		return nil
	}
	set(old, had)
	if !errors.Is(err, queue.ErrFull) {
		m.err = err
		m.failure.Store(&err)
	}
	return err
}

// write writes an entry that m.values shows already.
func (m *Meta) write(e entry) error {
	t := m.tail
	if t == nil || t.memLeft() < t.memCost(len(e.key), len(e.value))+int64(endOfTxn) ||
		t.valueLeft() < logSize(len(e.key), len(e.value)) {
		return m.renew()
	}
	if err := m.tail.write([]entry{e}); err != nil {
		return err
	}
	return m.tail.sync()
}

// renew writes all definitions to a new generation.
func (m *Meta) renew() error {
	entries := m.entries()
	z := m.sizesFor(entries)
	if err := makeSpace(m.dir, z.space(), createMargin); err != nil {
		return err
	}
	m.generation++
	dir := m.generationDir(m.generation)
	t, err := createTail(dir, m.generation, z, nil, nil)
	if err != nil {
		_ = discardDir(dir) // What is left of it is removed at the next start.
		return err
	}
	if err = t.write(entries); err == nil {
		err = t.sync()
	}
	if err != nil {
		_ = t.throwAway(nil) // What is left of it is removed at the next start.
		return err
	}
	old := m.tail
	m.tail = t
	if old != nil {
		_ = old.throwAway(nil) // As above; discardOld says so if it goes on.
	}
	return m.discardOld()
}

// sizesFor returns what a generation is made for that begins with the entries,
// with as much room again for changes.
func (m *Meta) sizesFor(entries []entry) sizes {
	z := sizes{mem: minMemTable, threshold: valueThreshold}
	var mem int64
	for _, e := range entries {
		mem += z.memCost(len(e.key), len(e.value)) + int64(endOfTxn)
		z.values += 2 * logSize(len(e.key), len(e.value))
	}
	for z.memLimit() < 2*mem {
		z.mem *= 4
	}
	z.values = max(z.values, 2<<20)
	return z
}

// entries returns all definitions and, last, the header.
func (m *Meta) entries() (entries []entry) {
	for _, name := range slices.Sorted(maps.Keys(m.values)) {
		entries = append(entries, entry{key: definitionKey(name), value: m.values[name]})
	}
	header := segmentHeader{Span: m.generation + 1, Boot: m.options.Boot, Created: m.options.Now().UnixNano()}
	entries = append(entries, entry{key: headerKey(), value: appendHeader(nil, &header)})
	return entries
}

// discardOld removes all generations before the newest.
func (m *Meta) discardOld() error {
	names, err := listDir(m.dir)
	if err != nil {
		return unavailable(err, "cannot read the directory %s", m.dir)
	}
	for _, g := range segmentSpans(names) {
		if g >= m.generation {
			continue
		}
		if err := discardDir(m.generationDir(g)); err != nil {
			return unavailable(err, "cannot remove an old generation in %s", m.dir)
		}
	}
	return nil
}

// Close closes the store. Every definition is on flash already.
func (m *Meta) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lock == nil {
		return nil
	}
	var err error
	if m.tail != nil {
		m.tail.failed = m.err != nil // What is on flash is not known.
		err = m.tail.finish()
		m.tail = nil
	}
	err = errors.Join(err, unlockDir(m.lock))
	m.lock = nil
	m.err = &queue.Error{Kind: queue.ErrClosed, Msg: fmt.Sprintf("the store %s is closed", m.dir)}
	return err
}
