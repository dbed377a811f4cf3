package memstore_test

import (
	"flag"
	"testing"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/memstore"
	"github.com/kapetan-io/querator-edge/queue/queuetest"
)

var _ = flag.Uint64("seed", 0, "seed of the random tests; 0 draws one")

func harness(testing.TB) queuetest.Harness {
	storage, meta := memstore.New(memstore.Options{MaxBytes: 300 << 20}), memstore.NewMeta()
	return queuetest.Harness{Open: func(t testing.TB, boot string) queuetest.Stores {
		storage.SetBoot(boot)
		return queuetest.Stores{Storage: storage, Meta: meta}
	}}
}

func TestStore(t *testing.T) { queuetest.RunStore(t, harness) }

var _ queue.MetaStore = (*memstore.Meta)(nil)

func TestEngine(t *testing.T) { queuetest.RunEngine(t, harness) }

func TestWrongClock(t *testing.T) { queuetest.RunWrongClock(t, harness) }

func TestOutbox(t *testing.T) { queuetest.RunOutbox(t, harness) }
