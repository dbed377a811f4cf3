package badgerstore_test

import (
	"fmt"
	"testing"

	"github.com/kapetan-io/querator-edge/badgerstore"
)

// BenchmarkProduce writes JSON items of about 256 bytes, so many in a commit,
// each commit on flash before the next.
func BenchmarkProduce(b *testing.B) {
	for _, size := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			d := newDriver(b, badgerstore.Options{})
			var payload int64
			var n int
			b.ReportAllocs()
			for b.Loop() {
				items := jsonItems(n, size)
				for i := range items {
					payload += int64(len(items[i].Payload))
				}
				d.produce(items)
				n += size
			}
			u := d.ps.Usage()
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "items/s")
			b.ReportMetric(float64(u.Written)/float64(payload), "written/byte")
			b.ReportMetric(float64(u.Syncs)*float64(size)/float64(n), "syncs/commit")
		})
	}
}

// BenchmarkLeaseComplete leases (not synced) and completes (synced) items in
// the order they were produced.
func BenchmarkLeaseComplete(b *testing.B) {
	for _, size := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			d := newDriver(b, badgerstore.Options{})
			var n int
			for b.Loop() {
				if len(d.ready) < size {
					b.StopTimer()
					for range 20 {
						d.produce(jsonItems(n, 1000))
					}
					b.StartTimer()
				}
				d.lease(size, false)
				d.complete(size)
				n += size
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "items/s")
			b.StopTimer()
			d.drain()
		})
	}
}
