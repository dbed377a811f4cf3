package crashtest_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/crashtest"
	"github.com/kapetan-io/querator-edge/agent/crashtest/flashfs"
)

var seedFlag = flag.Uint64("seed", 0, "seed of what the load does and when the agent ends; 0 takes a new one")

// program is the path of the program, built once in TestMain.
var program string

func TestMain(m *testing.M) {
	if flashfs.IsServer() {
		if err := flashfs.Serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if dir := os.Getenv(serverDir); dir != "" {
		if err := serveForOther(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "crashtest")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if program, err = crashtest.Build(dir); err != nil {
		panic(err)
	}
	return m.Run()
}

// newRand returns a source of random numbers whose seed is printed.
func newRand(t *testing.T) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d (repeat with: go test ./agent/crashtest -run '%s' -seed %d)", seed, t.Name(), seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// shortDir returns a directory whose name leaves room for a socket's path.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "q")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			os.RemoveAll(dir)
			return
		}
		t.Logf("the data is kept in %s", dir)
	})
	return dir
}

// TestKill ends the agent with SIGKILL at random moments. QUERATOR_KILLS says
// how often; without it, as often as about 25 s allow (5 s with -short). The seed
// says whether there is an uplink, and how well it works.
func TestKill(t *testing.T) {
	r := newRounds(t)
	seed := r.Rand.Uint64()
	h := newHub(t, hubMode(seed%hubModes), seed)
	must(t, h.forward(r))
	t.Logf("%s", h)
	kills, until := 1<<30, time.Now().Add(22*time.Second)
	if testing.Short() {
		until = time.Now().Add(4 * time.Second)
	}
	if text := os.Getenv("QUERATOR_KILLS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("QUERATOR_KILLS: %v", err)
		}
		kills, until = n, time.Now().Add(24*time.Hour)
	}
	if err := r.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for round := 0; r.Book.Totals().Kills < kills && time.Now().Before(until); round++ {
		h.flap(r.Rand)
		err := r.Round(t.Context())
		report(t, r, round, err)
		if round%100 == 99 {
			t.Logf("%v in %s", r.Book.Totals(), time.Since(begin).Round(time.Second))
		}
	}
	report(t, r, -1, r.Drain(t.Context()))
	report(t, r, -1, h.check(t, r))
	t.Logf("%v in %s; slowest start %s", r.Book.Totals(), time.Since(begin).Round(time.Second), r.SlowestStart)
}

// report ends the test if a promise was broken.
func report(t *testing.T, r *crashtest.Rounds, round int, err error) {
	t.Helper()
	for _, problem := range r.Book.Problems() {
		t.Error(problem)
	}
	if err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.Fatalf("round %d, after %v", round, r.Book.Totals())
	}
}
