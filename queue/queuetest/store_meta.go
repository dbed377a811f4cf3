package queuetest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// metaDriver compares a queue.MetaStore with a map.
type metaDriver struct {
	p    *place
	want map[string]queue.Definition
}

func newMetaDriver(t testing.TB, h Harness) *metaDriver {
	return &metaDriver{p: newPlace(t, h), want: make(map[string]queue.Definition)}
}

func (d *metaDriver) put(def queue.Definition) {
	d.p.t.Helper()
	d.want[def.Name] = def
	c := def
	c.Places = slices.Clone(def.Places)
	if err := d.p.stores.Meta.Put(d.p.t.Context(), &c); err != nil {
		d.p.t.Fatalf("put %q: %v", def.Name, err)
	}
	for i := range c.Places { // The store keeps nothing of it.
		c.Places[i].Storage = "spoiled"
	}
}

func (d *metaDriver) remove(name string) {
	d.p.t.Helper()
	delete(d.want, name)
	if err := d.p.stores.Meta.Remove(d.p.t.Context(), name); err != nil {
		d.p.t.Fatalf("remove %q: %v", name, err)
	}
}

func (d *metaDriver) verify() {
	t := d.p.t
	t.Helper()
	defs, err := d.p.stores.Meta.Load(t.Context())
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	if len(defs) != len(d.want) {
		t.Fatalf("load: %d definitions, want %d", len(defs), len(d.want))
	}
	for _, got := range defs {
		want, ok := d.want[got.Name]
		if !ok {
			t.Fatalf("load: there is no %q", got.Name)
		}
		if !got.CreatedAt.Equal(want.CreatedAt) || !got.UpdatedAt.Equal(want.UpdatedAt) {
			t.Fatalf("%q: times are %v, %v; want %v, %v", got.Name, got.CreatedAt, got.UpdatedAt, want.CreatedAt, want.UpdatedAt)
		}
		if got.CreatedAt.Location() != time.UTC || got.UpdatedAt.Location() != time.UTC {
			t.Fatalf("%q: times are not in UTC", got.Name)
		}
		if !slices.Equal(got.Places, want.Places) {
			t.Fatalf("%q: places are %v, want %v", got.Name, got.Places, want.Places)
		}
		got.CreatedAt, got.UpdatedAt, got.Places = want.CreatedAt, want.UpdatedAt, want.Places
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("definition\n%+v, want\n%+v", got, want)
		}
	}
}

func (d *metaDriver) restart() {
	d.p.t.Helper()
	d.verify()
	d.p.restart()
	d.verify()
}

func (d *metaDriver) finish() {
	d.p.t.Helper()
	d.restart()
	d.p.finish()
}

func definition(name string, n int) queue.Definition {
	return queue.Definition{
		Info: queue.Info{
			Name: name, DeadQueue: fmt.Sprint("dead-", n), Reference: "r", LeaseTimeout: time.Duration(n+1) * time.Second,
			ExpireTimeout: time.Hour, MaxAttempts: n, RequestedPartitions: 1, CreatedAt: day, UpdatedAt: day.Add(time.Duration(n)),
		},
		Places: []queue.Place{{Storage: "main", Tag: newTag(byte(n))}},
	}
}

func testMeta(t *testing.T, h Harness) {
	d := newMetaDriver(t, h)
	d.restart()
	d.remove("nothing")
	d.put(queue.Definition{Info: queue.Info{Name: "zero"}})
	d.put(definition("a", 1))
	d.restart()
	for i, name := range []string{"A", "../x", "a/b", "é", "\x01", ".", strings.Repeat("n", 512), strings.Repeat("n", 511) + "m"} {
		d.put(definition(name, i))
	}
	full := definition("full", 65536)
	full.Reference, full.DeadQueue = strings.Repeat("r", 2000), strings.Repeat("d", 500)
	full.LeaseTimeout, full.ExpireTimeout = 1, 1<<63-1
	full.Paused, full.Deleting = true, true
	full.CreatedAt = time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)
	full.UpdatedAt = time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)
	for i := range 1000 {
		full.Places = append(full.Places, queue.Place{Storage: fmt.Sprint("sd-", i%7), Tag: newTag(byte(i))})
	}
	d.put(full)
	d.restart()
	full.Places = append(full.Places, queue.Place{Storage: "x"})
	full.Paused = false
	d.put(full)
	d.remove("a")
	d.remove("a")
	d.restart()
	d.put(definition("a", 2))
	d.finish()
}

// testMetaUpdates writes definitions again and again.
func testMetaUpdates(t *testing.T, h Harness) {
	d := newMetaDriver(t, h)
	for i := range 300 {
		def := definition(fmt.Sprint("q", i%10), i)
		def.Reference = strings.Repeat("x", 2000)
		d.put(def)
		if i%7 == 6 {
			d.remove(fmt.Sprint("q", (i+3)%10))
		}
		if i%100 == 99 {
			d.restart()
		}
	}
	d.finish()
}

func testMetaAtOnce(t *testing.T, h Harness) {
	d := newMetaDriver(t, h)
	meta, ctx := d.p.stores.Meta, t.Context()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 20 {
				def := definition(fmt.Sprintf("q-%d-%d", i, j%5), j)
				if err := meta.Put(ctx, &def); err != nil {
					t.Errorf("put: %v", err)
				}
				if _, err := meta.Load(ctx); err != nil {
					t.Errorf("load: %v", err)
				}
				if j%5 == 4 {
					if err := meta.Remove(ctx, fmt.Sprintf("q-%d-%d", i, 0)); err != nil {
						t.Errorf("remove: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	for i := range 4 {
		for j := 1; j < 5; j++ {
			def := definition(fmt.Sprintf("q-%d-%d", i, j), 15+j)
			d.want[def.Name] = def
		}
	}
	d.finish()
}
