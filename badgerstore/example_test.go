package badgerstore_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
)

// A program of its own keeps a durable queue in a directory: the same engine as the agent's, without the agent,
// a socket or another process.
func Example() {
	dir, err := os.MkdirTemp("", "readings")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := run(context.Background(), dir); err != nil {
		log.Fatal(err)
	}
	// Output:
	// {"celsius":21.4} attempt 1
	// {"celsius":21.6} attempt 1
	// 0 items left
}

func run(ctx context.Context, dir string) (err error) {
	clock := queue.SystemClock(nil)

	// The definitions of the queues and their items each have a directory of their own. The stores are closed
	// after the service that uses them.
	meta, err := badgerstore.OpenMeta(badgerstore.Options{Dir: filepath.Join(dir, "queues"), Boot: clock.Boot()})
	if err != nil {
		return err
	}
	defer meta.Close()
	items, err := badgerstore.New(badgerstore.Options{Dir: filepath.Join(dir, "items"), Boot: clock.Boot()})
	if err != nil {
		return err
	}
	defer items.Close()

	service, err := queue.Open(ctx, queue.Config{
		Meta:     meta,
		Storages: []queue.NamedStorage{{Name: "items", Storage: items, Affinity: 1}},
		Clock:    clock,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, service.Shutdown(ctx)) }()

	// On the second run the queue is there already: errors.Is(err, queue.ErrDuplicate).
	err = service.Create(ctx, queue.Info{
		Name: "readings", LeaseTimeout: time.Minute, ExpireTimeout: 24 * time.Hour, RequestedPartitions: 1,
	})
	if err != nil {
		return err
	}
	readings, err := service.Queue("readings")
	if err != nil {
		return err
	}

	// When Produce returns nil, the items are on flash.
	err = readings.Produce(ctx, &queue.ProduceRequest{
		RequestTimeout: 10 * time.Second,
		Items:          []queue.Item{{Payload: []byte(`{"celsius":21.4}`)}, {Payload: []byte(`{"celsius":21.6}`)}},
	})
	if err != nil {
		return err
	}
	leased, err := readings.Lease(ctx, &queue.LeaseRequest{ClientID: "printer", BatchSize: 10, RequestTimeout: 10 * time.Second})
	if err != nil {
		return err
	}
	done := &queue.CompleteRequest{Partition: leased.Partition, RequestTimeout: 10 * time.Second}
	for _, item := range leased.Items {
		fmt.Printf("%s attempt %d\n", item.Payload, item.Attempts)
		done.IDs = append(done.IDs, item.ID.String())
	}
	// When Complete returns nil, the items are gone for good.
	if err := readings.Complete(ctx, done); err != nil {
		return err
	}
	stats, err := readings.Stats(ctx)
	if err != nil {
		return err
	}
	p := stats.Partitions[0]
	fmt.Println(p.Ready+p.Leased+p.Scheduled, "items left")
	return nil
}
