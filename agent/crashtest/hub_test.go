package crashtest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/agent/crashtest"
	"github.com/kapetan-io/querator-edge/queue"
)

// hub is a server that takes the events of an agent, and the link to it.
type hub struct {
	srv  *server.Server
	nc   *nats.Conn
	js   nats.JetStreamContext
	link *link
	mode hubMode
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
	if mode == hubNone {
		return nil, nil
	}
	h = &hub{mode: mode, linger: "10ms"}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	h.srv, err = server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true})
	if err != nil {
		return nil, err
	}
	h.srv.Start()
	if !h.srv.ReadyForConnections(waitTimeout) {
		return nil, errors.New("the NATS server does not start")
	}
	if h.nc, err = nats.Connect(h.srv.ClientURL()); err != nil {
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
	h.link, err = startLink("tcp", "127.0.0.1:0", h.srv.Addr().String(), seed)
	if err != nil {
		return nil, err
	}
	h.flap(rand.New(rand.NewPCG(seed, 4)))
	return h, nil
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
	if h.srv != nil {
		h.srv.Shutdown()
		h.srv.WaitForShutdown()
	}
}

// settings are those of an agent.
func (h *hub) settings() string {
	outbox := "1GiB"
	if h.mode == hubGone {
		outbox = "16MiB"
	}
	return fmt.Sprintf("[uplink]\nurl = [%q]\ndevice = \"dev\"\npayload = \"meta\"\nlinger = %q\noutbox-max-bytes = %q\n",
		"nats://"+h.link.address(), h.linger, outbox)
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
