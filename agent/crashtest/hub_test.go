package crashtest_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/agent/crashtest"
	"github.com/kapetan-io/querator-edge/queue"
)

// hub is a server that takes the events of an agent, and the link to it.
type hub struct {
	stop func() // ends the server
	nc   *nats.Conn
	js   nats.JetStreamContext
	link *link
	addr string // of the server itself
	// direct has the agent reach the server without the link.
	direct bool
	// outbox bounds what the agent keeps for events.
	outbox string
	mode   hubMode
	// linger is how long an event may wait for others.
	linger string
}

// hubMode says how an agent has its uplink.
type hubMode int

const (
	hubNone  hubMode = iota // no uplink at all
	hubUp                   // the server is there
	hubFlaky                // it is there now and then, and connections break
	hubGone                 // it comes when all is done; the outbox is small

	hubModes = 4
)

func (m hubMode) String() string {
	return []string{"no uplink", "uplink up", "uplink flaky", "uplink gone"}[m]
}

// startHub starts a server with a stream that keeps its data in dir. close ends it.
func startHub(dir string, mode hubMode, seed uint64) (h *hub, err error) {
	return startHubAt(dir, mode, seed, serveHere)
}

// startHubAt does the same with a server that serve starts.
func startHubAt(dir string, mode hubMode, seed uint64, serve func(dir string) (addr string, stop func(), err error)) (h *hub, err error) {
	if mode == hubNone {
		return nil, nil
	}
	h = &hub{mode: mode, linger: "10ms", outbox: "1GiB"}
	if mode == hubGone {
		h.outbox = "16MiB"
	}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	addr, stop, err := serve(dir)
	if err != nil {
		return nil, err
	}
	h.addr, h.stop = addr, stop
	if h.nc, err = nats.Connect("nats://" + addr); err != nil {
		return nil, err
	}
	if h.js, err = h.nc.JetStream(nats.MaxWait(waitTimeout)); err != nil {
		return nil, err
	}
	const stream = `{"name":"QUERATOR","subjects":["querator.>"],"retention":"limits","storage":"file","num_replicas":1,` +
		`"discard":"new","duplicate_window":900000000000,"allow_direct":true,"allow_atomic":true}`
	m, err := h.nc.Request("$JS.API.STREAM.CREATE.QUERATOR", []byte(stream), waitTimeout)
	if err != nil {
		return nil, err
	}
	if strings.Contains(string(m.Data), `"error"`) {
		return nil, fmt.Errorf("the stream is not created: %s", m.Data)
	}
	h.link, err = startLink("tcp", "127.0.0.1:0", addr, seed)
	if err != nil {
		return nil, err
	}
	h.flap(rand.New(rand.NewPCG(seed, 4)))
	return h, nil
}

// serveHere starts a server in this process.
func serveHere(dir string) (addr string, stop func(), err error) {
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true})
	if err != nil {
		return "", nil, err
	}
	srv.Start()
	stop = func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
	if !srv.ReadyForConnections(waitTimeout) {
		stop()
		return "", nil, errors.New("the NATS server does not start")
	}
	return srv.Addr().String(), stop, nil
}

// serverDir is the environment variable that makes this program a server with that directory.
const serverDir = "QUERATOR_TEST_NATS_DIR"

// serveApart starts a server in a process of its own, which gets only what the others leave of the processors: it
// stands for one on another machine.
func serveApart(dir string) (addr string, stop func(), err error) {
	cmd := exec.Command("nice", "-n", "19", os.Args[0])
	cmd.Env = append(os.Environ(), serverDir+"="+dir)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		in.Close()
		_ = cmd.Wait() // It has no more to say.
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("the NATS server does not start: %w", err)
	}
	return strings.TrimSpace(line), stop, nil
}

// serveForOther is the process of serveApart. It ends when its input does.
func serveForOther(dir string) error {
	addr, stop, err := serveHere(dir)
	if err != nil {
		return err
	}
	defer stop()
	fmt.Println(addr)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// String says how the uplink is.
func (h *hub) String() string {
	if h == nil {
		return hubNone.String()
	}
	return h.mode.String()
}

func (h *hub) close() {
	if h == nil {
		return
	}
	if h.link != nil {
		h.link.close()
	}
	if h.nc != nil {
		h.nc.Close()
	}
	if h.stop != nil {
		h.stop()
	}
}

// settings are those of an agent.
func (h *hub) settings() string {
	addr := h.link.address()
	if h.direct {
		addr = h.addr
	}
	return fmt.Sprintf("[uplink]\nurl = [%q]\ndevice = \"dev\"\npayload = \"meta\"\nlinger = %q\noutbox-max-bytes = %q\n",
		"nats://"+addr, h.linger, h.outbox)
}

// flap changes the link, as the mode says.
func (h *hub) flap(r *rand.Rand) {
	switch {
	case h == nil || h.mode == hubUp:
	case h.mode == hubGone:
		h.link.set(linkDown)
	default:
		h.link.set(linkState(r.IntN(3)))
	}
}

// check has all events delivered, and compares them with the book.
func (h *hub) check(t *testing.T, r *crashtest.Rounds) error {
	if h == nil {
		return nil
	}
	h.link.set(linkUp)
	ledgers, err := r.Flush(t.Context())
	if err != nil {
		return err
	}
	events, err := h.events()
	if err != nil {
		return err
	}
	r.Book.CheckEvents(events, ledgers)
	return nil
}

// events returns all that the stream holds.
func (h *hub) events() ([]crashtest.Event, error) {
	info, err := h.js.StreamInfo("QUERATOR")
	if err != nil || info.State.Msgs == 0 {
		return nil, err
	}
	sub, err := h.js.SubscribeSync("querator.>", nats.OrderedConsumer(), nats.BindStream("QUERATOR"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	var all []crashtest.Event
	for {
		m, err := sub.NextMsg(waitTimeout)
		if err != nil {
			return nil, fmt.Errorf("after %d events: %w", len(all), err)
		}
		e, err := readEvent(m)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
		meta, err := m.Metadata()
		if err != nil || meta.NumPending == 0 {
			return all, err
		}
	}
}

// readEvent reads an event in the binary form.
func readEvent(m *nats.Msg) (crashtest.Event, error) {
	id := m.Header.Get(nats.MsgIdHdr)
	parts := strings.Split(id, "/")
	var d struct {
		Queue     string     `json:"queue"`
		Reference string     `json:"reference"`
		ItemLost  bool       `json:"item_lost"`
		Gap       *queue.Gap `json:"gap"` // Its fields have the names of those in the data.
	}
	if err := json.Unmarshal(m.Data, &d); err != nil || len(parts) != 5 {
		return crashtest.Event{}, fmt.Errorf("identity %q, data %s: %v", id, m.Data, err)
	}
	e := crashtest.Event{Queue: d.Queue, Gap: d.Gap, Reference: d.Reference, ItemLost: d.ItemLost}
	var errs [3]error
	e.Partition, errs[0] = strconv.Atoi(parts[2])
	e.Epoch, errs[1] = strconv.ParseUint(parts[3], 16, 64)
	e.Seq, errs[2] = strconv.ParseUint(parts[4], 10, 64)
	kinds := map[string]queue.EventType{
		"io.querator.gap.v1": queue.EventGap, "io.querator.item.completed.v1": queue.EventCompleted,
		"io.querator.item.dead.v1": queue.EventDead, "io.querator.item.expired.v1": queue.EventExpired,
		"io.querator.item.dropped.v1": queue.EventDropped,
	}
	kind, ok := kinds[strings.Join(m.Header["ce-type"], "")]
	if err := errors.Join(errs[:]...); err != nil || !ok || (kind == queue.EventGap) != (e.Gap != nil) {
		return e, fmt.Errorf("identity %q, type %q: %v", id, m.Header["ce-type"], err)
	}
	e.Type = kind
	return e, nil
}

// forward gives the agent of the rounds an uplink.
func (h *hub) forward(r *crashtest.Rounds) error {
	if h == nil {
		return nil
	}
	r.MayDrop = h.mode == hubGone
	file := filepath.Join(filepath.Dir(r.Agent.Dir), "uplink.toml")
	r.Agent.Args = append(r.Agent.Args, "--config", file)
	return os.WriteFile(file, []byte(h.settings()), 0o600)
}

// newHub starts a hub for one test.
func newHub(t *testing.T, mode hubMode, seed uint64) *hub {
	t.Helper()
	h, err := startHub(t.TempDir(), mode, seed)
	must(t, err)
	t.Cleanup(h.close)
	return h
}
