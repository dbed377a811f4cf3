package badgerstore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
)

// sealed returns a payload that tells whether it is as it was: its name, its
// round, filler, and a checksum of all.
func sealedPayload(round, n, size int) []byte {
	filler := sizedItem(round*1000+n, size)
	body := append(fmt.Appendf(nil, "%d/%d ", round, n), filler.Payload...)
	sum := sha256.Sum256(body)
	return append(body, sum[:]...)
}

// nameOf returns the name in a payload, and whether the payload is as it was.
func nameOf(payload []byte) (name string, whole bool) {
	if len(payload) < sha256.Size {
		return "", false
	}
	body := payload[:len(payload)-sha256.Size]
	sum := sha256.Sum256(body)
	name, _, _ = strings.Cut(string(body[:min(20, len(body))]), " ")
	return name, bytes.Equal(sum[:], payload[len(body):])
}

// prepared is a store to be damaged: what it holds, by segment.
type prepared struct {
	dir    string
	alive  map[string]bool // names of items: "round/n"
	killed bool
	small  bool // no value of the last round is in a value log
}

// session is a service over a store, with all that it reports.
type session struct {
	t       testing.TB
	svc     *queue.Service
	storage *badgerstore.Storage
	meta    *badgerstore.Meta

	mu      sync.Mutex
	reports []string
	aside   int
}

func (s *session) report(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports = append(s.reports, fmt.Sprintf(format, args...))
}

func (s *session) reported() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.reports, "\n  ")
}

func openSession(t testing.TB, dir string) *session {
	t.Helper()
	return openForwarding(t, dir, nil)
}

// openForwarding opens a session with events, unless outbox is nil.
func openForwarding(t testing.TB, dir string, outbox *queue.OutboxOptions) *session {
	t.Helper()
	s := &session{t: t}
	o := badgerstore.Options{Dir: dir, Boot: queue.SystemClock(nil).Boot(), Events: badgerstore.Events{
		SetAside: func(from, to, reason string) {
			s.report("set aside %s: %s", to, reason)
			s.mu.Lock()
			s.aside++
			s.mu.Unlock()
		},
		Dropped: func(dir string, commits int) { s.report("dropped %d commits of %s", commits, dir) },
		Failed:  func(dir string, err error) { t.Errorf("in the background, %s: %v", dir, err) },
	}}
	var err error
	if s.meta, err = badgerstore.OpenMeta(o); err != nil {
		t.Fatal(err)
	}
	if s.storage, err = badgerstore.New(o); err != nil {
		t.Fatal(err)
	}
	s.svc, err = queue.Open(context.Background(), queue.Config{
		Meta: s.meta, Storages: []queue.NamedStorage{{Name: "default", Storage: s.storage, Affinity: 1}}, Outbox: outbox,
		Events: queue.Events{
			EventsLost: func(q string, p int, g queue.Gap) {
				s.report("lost events %d to %d of %s/%d: %s", g.First, g.Last, q, p, g.Reason)
			},
			PartitionFailed: func(q string, p int, err error) { t.Errorf("partition %s/%d failed: %v", q, p, err) },
			Quarantined: func(q queue.Quarantine) {
				s.report("quarantined %d of %s/%d: %v", q.Items, q.Queue, q.Partition, q.Err)
			},
			Rebuilt: func(q string, n int, why error) { s.report("rebuilt %s: %v", q, why) },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *session) close() {
	s.t.Helper()
	if err := errors.Join(s.svc.Shutdown(context.Background()), s.storage.Close(), s.meta.Close()); err != nil {
		s.t.Error(err)
	}
}

// round produces, schedules, leases and completes items of that round.
func (s *session) round(p *prepared, round int) {
	s.t.Helper()
	ctx := context.Background()
	q, err := s.svc.Queue("readings")
	if err != nil {
		s.t.Fatal(err)
	}
	must := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	for batch := range 6 {
		var items []queue.Item
		for i := range 5 {
			size := 100
			if batch%2 == 1 && !(p.small && round == damageRounds-1) {
				size = 4000 // A block in the value log.
			}
			it := queue.Item{Payload: sealedPayload(round, batch*5+i, size)}
			if batch == 4 && i > 2 {
				it.EnqueueAt = time.Now().Add(time.Hour)
			}
			if i == 0 {
				it.SourceID = fmt.Sprintf("s-%d-%d", round, batch)
			}
			items = append(items, it)
			p.alive[fmt.Sprintf("%d/%d", round, batch*5+i)] = true
		}
		must(q.Produce(ctx, &queue.ProduceRequest{RequestTimeout: time.Minute, Items: items}))
	}
	r, err := q.Lease(ctx, &queue.LeaseRequest{ClientID: "c", BatchSize: 4, RequestTimeout: time.Minute})
	must(err)
	must(q.Complete(ctx, &queue.CompleteRequest{Partition: r.Partition, RequestTimeout: time.Minute, IDs: []string{r.Items[0].ID.String()}}))
	name, _ := nameOf(r.Items[0].Payload)
	delete(p.alive, name)
}

// fillJournal produces single items until a journal is in use, and some more.
func (s *session) fillJournal(p *prepared, round int) {
	s.t.Helper()
	q, err := s.svc.Queue("readings")
	if err != nil {
		s.t.Fatal(err)
	}
	for n, left := 100, 20; left > 0; n++ {
		if n == 1000 {
			s.t.Fatal("single items are in no journal")
		}
		items := []queue.Item{{Payload: sealedPayload(round, n, 100)}}
		if err := q.Produce(context.Background(), &queue.ProduceRequest{RequestTimeout: time.Minute, Items: items}); err != nil {
			s.t.Fatal(err)
		}
		p.alive[fmt.Sprintf("%d/%d", round, n)] = true
		badgerstore.WaitForBackground(s.storage)
		journals, err := filepath.Glob(filepath.Join(p.dir, "readings-*", "*", "journal"))
		if err != nil {
			s.t.Fatal(err)
		}
		for _, path := range journals {
			ring, err := os.ReadFile(path)
			if err != nil {
				s.t.Fatal(err)
			}
			if len(bytes.TrimLeft(ring, "\x00")) > 0 {
				left--
			}
		}
	}
}

// useAgain has the next segment use a value log again.
func (s *session) useAgain(p *prepared) {
	s.t.Helper()
	s.items("readings") // It is open then.
	logs, err := filepath.Glob(filepath.Join(p.dir, "readings-*", "0*", "*.vlog"))
	if err == nil {
		err = badgerstore.UseAgain(s.storage, "readings", nil, logs...)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

const damageRounds = 3

// prepare makes a store of three segments; killed says that the newest was not
// closed, again that its value log was one before that held what the others hold, small
// that it holds nothing else.
func prepare(t testing.TB, killed, again, small bool) *prepared {
	t.Helper()
	p := &prepared{dir: t.TempDir(), alive: make(map[string]bool), killed: killed, small: small}
	for round := range damageRounds {
		s := openSession(t, p.dir)
		if round == 0 {
			for _, name := range []string{"readings", "other"} {
				err := s.svc.Create(context.Background(), queue.Info{Name: name, LeaseTimeout: time.Hour, ExpireTimeout: 24 * time.Hour, RequestedPartitions: 1})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		if killed && round == damageRounds-1 {
			err := s.svc.Create(context.Background(), queue.Info{Name: "late", LeaseTimeout: time.Hour, ExpireTimeout: 24 * time.Hour, RequestedPartitions: 1})
			if err != nil {
				t.Fatal(err)
			}
		}
		if again && round == damageRounds-1 {
			s.useAgain(p)
		}
		s.round(p, round)
		if killed && round == damageRounds-1 {
			s.fillJournal(p, round)
			to := t.TempDir()
			badgerstore.WaitForBackground(s.storage)
			copyUsed(t, p.dir, to)
			s.close()
			p.dir = to
			break
		}
		s.close()
	}
	return p
}

// copyUsed copies a directory, without the zeros at the ends of files.
func copyUsed(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, bytes.TrimRight(data, "\x00"), 0o600); err != nil {
			return err
		}
		return os.Truncate(target, int64(len(data)))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// damages are the ways in which a file is damaged. They get what is used of it.
func damages() map[string]func(path string, data []byte) error {
	write := func(path string, data []byte) error { // The file keeps its size.
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(data, 0)
		return errors.Join(err, f.Close())
	}
	flip := func(at func(n int) int) func(string, []byte) error {
		return func(path string, data []byte) error {
			if len(data) > 0 {
				data[at(len(data))] ^= 0x10
			}
			return write(path, data)
		}
	}
	return map[string]func(path string, data []byte) error{
		"flipped at the start":      flip(func(int) int { return 0 }),
		"flipped in the first page": flip(func(n int) int { return min(n-1, 50) }),
		"flipped in the header":     flip(func(n int) int { return min(n-1, 12) }),
		"first page of zeros": func(path string, data []byte) error {
			clear(data[:min(len(data), 4096)])
			return write(path, data)
		},
		"flipped in the middle":     flip(func(n int) int { return n / 2 }),
		"flipped at three quarters": flip(func(n int) int { return n * 3 / 4 }),
		"flipped at the end":        flip(func(n int) int { return n - 1 }),
		"cut by one byte":           func(path string, data []byte) error { return os.Truncate(path, int64(max(0, len(data)-1))) },
		"cut by half":               func(path string, data []byte) error { return os.Truncate(path, int64(len(data)/2)) },
		"emptied":                   func(path string, _ []byte) error { return os.Truncate(path, 0) },
		"removed":                   func(path string, _ []byte) error { return os.Remove(path) },
		"garbage": func(path string, data []byte) error {
			return write(path, sizedItem(len(data), max(100, len(data))).Payload)
		},
	}
}

// TestDamage damages one file in each way that there is. The store opens, gives
// up at most what was in that file, says so, and serves the rest; nothing that
// it serves is wrong, and the books agree.
func TestDamage(t *testing.T) {
	for _, kind := range []struct {
		name                 string
		killed, again, small bool
	}{
		{"closed", false, false, false}, {"killed", true, false, false}, {"closed, used again", false, true, false},
		{"killed, used again", true, true, false}, {"killed, used again, small", true, true, true},
	} {
		p := prepare(t, kind.killed, kind.again, kind.small)
		t.Run(kind.name, func(t *testing.T) {
			dirs := roundDirs(t, p.dir)
			newest := find(t, dirs[damageRounds-1], "*.vlog")
			if g, ok := badgerstore.StampOf(newest); !ok || kind.again != (g > 0) {
				t.Fatalf("the newest value log has the stamp %d, %t", g, ok)
			}
			for _, rel := range p.files(t) {
				round := slices.Index(dirs, filepath.Dir(filepath.Join(p.dir, rel)))
				for _, how := range slices.Sorted(maps.Keys(damages())) {
					telling := isTelling(rel, round, kind.killed, how)
					if kind.again { // The rest is as without.
						telling = round == damageRounds-1 && (filepath.Ext(rel) == ".vlog" || kind.killed && telling)
					}
					if os.Getenv("QUERATOR_LONG") == "" && !telling {
						continue
					}
					t.Run(rel+" "+how, func(t *testing.T) {
						t.Parallel()
						p.damaged(t, rel, round, damages()[how])
					})
				}
			}
		})
	}
}

// isTelling reports whether a case is run by default: of files that hold nothing
// of their own few, of segments that are alike one, with
// QUERATOR_LONG all, with -short the newest segment only.
func isTelling(rel string, round int, killed bool, how string) bool {
	switch {
	case testing.Short() && round != damageRounds-1:
		return false
	case round == 1, killed && round == 0:
		return false
	case filepath.Ext(rel) == ".mem", filepath.Base(rel) == "journal", filepath.Ext(rel) == ".sst" && !killed, strings.HasSuffix(rel, "2.vlog"):
		return true
	}
	return slices.Contains([]string{"flipped in the middle", "cut by one byte", "emptied", "removed", "garbage"}, how) &&
		(filepath.Ext(rel) == ".vlog" || strings.HasSuffix(rel, "MANIFEST")) || how == "emptied" || how == "garbage"
}

func roundDirs(t testing.TB, dir string) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(dir, "readings-*", strings.Repeat("[0-9]", 20)))
	if err != nil || len(dirs) != damageRounds {
		t.Fatalf("segments %v, %v; want %d", dirs, err, damageRounds)
	}
	return dirs
}

// damaged damages a file of a copy, which belongs to the segment of that round
// (-1: to none), and looks what is left.
func (p *prepared) damaged(t *testing.T, rel string, round int, damage func(string, []byte) error) {
	dir := t.TempDir()
	copyUsed(t, p.dir, dir)
	path := filepath.Join(dir, rel)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := damage(path, bytes.TrimRight(data, "\x00")); err != nil {
		t.Fatal(err)
	}
	s := openSession(t, dir)
	found := s.items("readings")
	lost := 0
	for name := range p.alive {
		if found[name] {
			continue
		}
		lost++
		if !strings.HasPrefix(name, fmt.Sprintf("%d/", round)) {
			t.Errorf("item %s is lost; damaged was round %d", name, round)
		}
	}
	s.audit(p.killed)
	if lost > 0 && s.reported() == "" {
		t.Errorf("%d items are lost, and nothing was said", lost)
	}
	if s.aside > 1 {
		t.Errorf("%d directories were set aside", s.aside)
	}
	if t.Failed() || testing.Verbose() {
		t.Logf("lost %d; reports:\n  %s", lost, s.reported())
	}
	s.close()
	if s.reported() == "" && !testing.Verbose() {
		return
	}

	// What was given up stays given up, and is not reported again.
	again := openSession(t, dir)
	if n := len(again.items("readings")); n != len(found) {
		t.Errorf("%d items after another start, %d before", n, len(found))
	}
	again.audit(p.killed)
	if again.reported() != "" {
		t.Errorf("reported again:\n  %s", again.reported())
	}
	again.close()
	if filepath.Ext(rel) == ".vlog" { // Of others the segment's header may be gone, which stays so.
		checkStore(t, dir)
	}
}

// items returns the names of all items of a queue.
func (s *session) items(name string) map[string]bool {
	s.t.Helper()
	q, err := s.svc.Queue(name)
	if err != nil {
		s.t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, list := range []func(context.Context, *queue.ListRequest) ([]queue.Item, error){q.List, q.ListScheduled} {
		items, err := list(context.Background(), &queue.ListRequest{Limit: 10000})
		if err != nil {
			s.t.Fatal(err)
		}
		for i := range items {
			name, whole := nameOf(items[i].Payload)
			if !whole {
				s.t.Errorf("item %s has a wrong payload of %d bytes", items[i].ID, len(items[i].Payload))
			}
			if found[name] {
				s.t.Errorf("item %s is there twice", name)
			}
			found[name] = true
		}
	}
	return found
}

// audit audits all queues; a store that was killed has one that was created just
// before.
func (s *session) audit(killed bool) {
	s.t.Helper()
	names := []string{"readings", "other"}
	if killed {
		names = append(names, "late")
	}
	for _, name := range names {
		q, err := s.svc.Queue(name)
		if err != nil {
			s.t.Errorf("queue %s: %v", name, err)
			continue
		}
		for _, a := range q.Audit(context.Background()) {
			if a.Failure != nil || len(a.Differences) > 0 {
				s.t.Errorf("audit of %s: %v %v", name, a.Failure, a.Differences)
			}
		}
	}
}
