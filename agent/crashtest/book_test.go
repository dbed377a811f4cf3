package crashtest_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/crashtest"
)

// TestBookNotices breaks promises on purpose: a check that cannot fail checks
// nothing.
func TestBookNotices(t *testing.T) {
	for name, test := range map[string]struct {
		harm func(t *testing.T, r *crashtest.Rounds, p *crashtest.Process)
		want string
	}{
		"lost":     {deleteOne, "is lost; its produce was acknowledged"},
		"invented": {produceOne, "damaged payload"},
		"doubled":  {copyOne, "is there twice"},
		"queue":    {deleteQueue, "queue double, whose create was acknowledged, is not there"},
		"old copy": {oldCopy, "which is gone or was refused, is back"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			noticed(t, test.harm, test.want)
		})
	}
}

func noticed(t *testing.T, harm func(*testing.T, *crashtest.Rounds, *crashtest.Process), want string) {
	r := newRounds(t)
	must(t, r.Setup(t.Context()))
	r.Book.Patience = 2 * time.Second
	use(t, r)
	p := started(t, r.Agent)
	must(t, r.Book.Check(t.Context(), p))
	if problems := r.Book.Problems(); len(problems) > 0 {
		t.Fatalf("before anything was broken: %s", problems[0])
	}
	harm(t, r, p)
	p.Kill()
	p = started(t, r.Agent)
	must(t, r.Book.Check(t.Context(), p))
	if problems := strings.Join(r.Book.Problems(), "\n"); !strings.Contains(problems, want) {
		t.Errorf("the book did not notice; want %q in:\n%s", want, problems)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// use runs a load for a moment, until it leaves items.
func use(t *testing.T, r *crashtest.Rounds) {
	for range 50 {
		p := started(t, r.Agent)
		useOnce(t, r, p)
		_, items := firstItems(t, p)
		p.Kill()
		if len(items) > 0 {
			return
		}
	}
	t.Fatal("the load never leaves items")
}

func useOnce(t *testing.T, r *crashtest.Rounds, p *crashtest.Process) {
	load := crashtest.NewLoad(r.Book, p, r.Rand.Uint64())
	done := make(chan struct{})
	go func() { defer close(done); load.Run(t.Context()) }()
	wait(t.Context(), 300*time.Millisecond)
	load.Stop()
	<-done
}

// firstItems returns items of a queue that the load has used.
func firstItems(t *testing.T, p *crashtest.Process) (queue string, items []client.StoredItem) {
	for _, queue := range []string{"double", "single", "three-times"} {
		items, err := p.Client.ListItems(t.Context(), queue, 0, client.Page{Limit: 10})
		must(t, err)
		if len(items) > 0 {
			return queue, items
		}
	}
	return "", nil
}

func deleteQueue(t *testing.T, _ *crashtest.Rounds, p *crashtest.Process) {
	must(t, p.Client.DeleteQueue(t.Context(), "double"))
}

func deleteOne(t *testing.T, _ *crashtest.Rounds, p *crashtest.Process) {
	queue, items := firstItems(t, p)
	must(t, p.Client.DeleteItems(t.Context(), queue, 0, items[0].ID))
}

func produceOne(t *testing.T, _ *crashtest.Rounds, p *crashtest.Process) {
	must(t, p.Client.Produce(t.Context(), "single", client.ProduceItem{Payload: []byte("not one of the book's")}))
}

func copyOne(t *testing.T, _ *crashtest.Rounds, p *crashtest.Process) {
	queue, items := firstItems(t, p)
	must(t, p.Client.Produce(t.Context(), queue, client.ProduceItem{Payload: items[0].Payload, Kind: items[0].Kind}))
}

// oldCopy completes everything, and puts back what there was before.
func oldCopy(t *testing.T, r *crashtest.Rounds, p *crashtest.Process) {
	p.Kill()
	old := r.Agent.Dir + "-old"
	must(t, os.CopyFS(old, os.DirFS(r.Agent.Dir)))
	must(t, r.Drain(t.Context()))
	if err := errors.Join(os.RemoveAll(r.Agent.Dir), os.Rename(old, r.Agent.Dir)); err != nil {
		t.Fatal(err)
	}
}

// newRounds returns rounds on an agent of its own.
func newRounds(t *testing.T) *crashtest.Rounds {
	dir := shortDir(t)
	return &crashtest.Rounds{
		Agent: &crashtest.Agent{Binary: program, Dir: filepath.Join(dir, "data"), Socket: filepath.Join(dir, "s")},
		Book:  crashtest.NewBook(), Rand: newRand(t),
	}
}
