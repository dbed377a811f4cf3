package uplink_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink"
)

// createAgain deletes q and creates it anew at once.
func (e *engine) createAgain() {
	e.t.Helper()
	info := e.queue.Info()
	if err := e.Delete(e.t.Context(), "q"); err != nil {
		e.t.Fatal(err)
	}
	if err := e.Create(e.t.Context(), info); err != nil {
		e.t.Fatal(err)
	}
	q, err := e.Queue("q")
	if err != nil {
		e.t.Fatal(err)
	}
	e.queue = q
}

// completeSome has n items completed.
func (e *engine) completeSome(n int) {
	e.t.Helper()
	if err := e.complete(e.lease(n)); err != nil {
		e.t.Fatal(err)
	}
}

// wantLives checks that the stream has the events of queues q that followed each other: so many of each, numbered
// from 1, of epochs of their own.
func (e *engine) wantLives(all []stored, lives ...uint64) {
	e.t.Helper()
	epochs := map[uint64]bool{}
	for life, n := range lives {
		for seq := uint64(1); seq <= n; seq++ {
			if len(all) == 0 {
				e.t.Fatalf("life %d of the queue ends with event %d of %d", life, seq-1, n)
			}
			if all[0].seq != seq || seq == 1 && epochs[all[0].epoch] {
				e.t.Fatalf("life %d of the queue: %v came as event %d", life, all[0].eventID, seq)
			}
			epochs[all[0].epoch] = true
			all = all[1:]
		}
	}
	if len(all) > 0 {
		e.t.Errorf("%d events more than there were: %v", len(all), all[0].eventID)
	}
}

func (r *running) delivered() bool { return r.Status(r.t.Context()).Pending == 0 }

// TestQueueCreatedAgain deletes a queue and creates it again while the uplink is at work, and while it is not. All
// events of each queue arrive, and the uplink knows the earlier ones for its own.
func TestQueueCreatedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	e := newEngine(t, queue.OutboxOptions{})
	cfg := b.config()
	cfg.EpochFile = filepath.Join(t.TempDir(), "epochs.json")
	r := run(t, cfg, e, nil)
	e.completeSome(20)
	eventually(t, "the first queue's events are delivered", r.delivered)
	e.createAgain()
	e.completeSome(5)
	eventually(t, "the second queue's events are delivered", r.delivered)
	e.createAgain()
	e.completeSome(30)
	eventually(t, "the third queue's events are delivered", r.delivered)
	r.stop()
	e.wantLives(readStream(t, b.admin()), 20, 5, 30)

	e.createAgain()
	e.completeSome(7)
	late := run(t, cfg, e, nil)
	eventually(t, "the fourth queue's events are delivered", late.delivered)
	e.wantLives(readStream(t, b.admin()), 20, 5, 30, 7)
	for _, r := range []*running{r, late} {
		if n := r.reports(uplink.AlarmForeign) + r.reports(uplink.AlarmRolledBack) + r.reports(uplink.AlarmRegressed); n > 0 {
			t.Errorf("%d alarms: %+v", n, r.seen)
		}
	}
}

// deviceImage is all that a card has of a device with one queue.
type deviceImage struct {
	outbox disk
	epochs []byte
}

func imageOf(t *testing.T, b *box, epochFile string) deviceImage {
	t.Helper()
	b.saveDelivered()
	text, err := os.ReadFile(epochFile)
	if err != nil {
		t.Fatal(err)
	}
	return deviceImage{b.snapshot(), text}
}

// deviceOf puts an image into a device, which starts.
func deviceOf(t *testing.T, b *bench, image deviceImage) (*running, *source) {
	t.Helper()
	src := newSource(b.truth, partName{"alpha", 0})
	src.boxes[0].restore(image.outbox)
	cfg := b.config()
	cfg.EpochFile = filepath.Join(t.TempDir(), "epochs.json")
	if err := os.WriteFile(cfg.EpochFile, image.epochs, 0o600); err != nil {
		t.Fatal(err)
	}
	return run(t, cfg, src, nil), src
}

// TestEpochsOfACopy sees that what a device knows of its own epochs does not hide an earlier image of its card, nor a
// copy of it in another device: both know the epochs up to the copy and not those that the other has had since.
func TestEpochsOfACopy(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	src := newSource(b.truth, partName{"alpha", 0})
	cfg := b.config()
	cfg.EpochFile = filepath.Join(t.TempDir(), "epochs.json")
	r := run(t, cfg, src, nil)
	src.boxes[0].produce(10)
	r.drained(src)
	r.stop()
	image := imageOf(t, src.boxes[0], cfg.EpochFile)

	src.boxes[0].restart()
	r = run(t, cfg, src, nil)
	src.boxes[0].produce(10)
	r.drained(src)
	r.stop()
	if n := r.reports(uplink.AlarmForeign); n != 0 {
		t.Errorf("%d alarms about the device's own events", n)
	}

	earlier, earlierSrc := deviceOf(t, b, image)
	earlierSrc.boxes[0].produce(5)
	earlier.drained(earlierSrc)
	if n := earlier.reports(uplink.AlarmForeign); n != 1 {
		t.Errorf("an earlier image of the card: %d alarms, not 1", n)
	}

	later, laterSrc := deviceOf(t, b, imageOf(t, src.boxes[0], cfg.EpochFile))
	stopped := func(r *running) bool { return r.Status(t.Context()).State == uplink.StateStopped }
	eventually(t, "one of two devices with one card's content stops", func() bool {
		earlierSrc.boxes[0].produce(1)
		laterSrc.boxes[0].produce(1)
		return stopped(earlier) || stopped(later)
	})
	if v := check(b.truth, readStream(t, b.admin())); v.dup+v.wrong > 0 {
		t.Errorf("%+v", v)
	}
}

// TestFlushOfAQueueCreatedAgain ends although the events that it waits for are gone with their queue.
func TestFlushOfAQueueCreatedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.proxy.set(func() { b.proxy.refuse = true })
	e := newEngine(t, queue.OutboxOptions{})
	r := run(t, b.config(), e, nil)
	e.completeSome(20)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	left := make(chan uint64, 1)
	go func() { left <- r.Flush(ctx) }()
	<-time.After(100 * time.Millisecond) // It has begun; if it has not, there is nothing to wait for.
	e.createAgain()
	if n := <-left; n != 0 || ctx.Err() != nil {
		t.Errorf("%d events are left: %v", n, ctx.Err())
	}
}

// TestEpochsOnAFullDisk delivers although the epochs cannot be written, and writes them when that is possible again.
func TestEpochsOnAFullDisk(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	cfg := b.config()
	dir := filepath.Join(t.TempDir(), "not there yet")
	cfg.EpochFile = filepath.Join(dir, "epochs.json")
	r := run(t, cfg, b.src, nil)
	b.produce(10)
	r.drained(b.src)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r.stop() // Else within a minute.
	text, err := os.ReadFile(cfg.EpochFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, box := range b.src.boxes {
		if want := strconv.FormatUint(box.epoch(), 16); !strings.Contains(string(text), want) {
			t.Errorf("%s lacks the epoch %s", text, want)
		}
	}
	b.exact()
}
