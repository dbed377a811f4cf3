package agent_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// page is what GET /metrics has answered: the values by their series, as
// name{labels}.
type page struct {
	values map[string]float64
	types  map[string]string // by name
}

func (r *running) page() *page {
	r.t.Helper()
	p := &page{values: map[string]float64{}, types: map[string]string{}}
	line := regexp.MustCompile(`^([a-z_]+)(\{[a-z_]+="(?:[^"\\]|\\.)*"(?:,[a-z_]+="(?:[^"\\]|\\.)*")*\})? (\S+)$`)
	for text := range strings.Lines(r.get("/metrics")) {
		text = strings.TrimSuffix(text, "\n")
		if f := strings.Fields(text); f[0] == "#" && f[1] == "TYPE" {
			if p.types[f[2]] != "" {
				r.t.Errorf("%s is there twice", f[2])
			}
			p.types[f[2]] = f[3]
		}
		if strings.HasPrefix(text, "#") {
			continue
		}
		m := line.FindStringSubmatch(text)
		if m == nil {
			r.t.Fatalf("a line is not of the format: %s", text)
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			r.t.Fatal(err)
		}
		name := strings.TrimSuffix(strings.TrimSuffix(m[1], "_sum"), "_count")
		if p.types[name] == "" {
			r.t.Errorf("%s comes without its type", m[1])
		}
		p.values[m[1]+m[2]] = v
	}
	return p
}

// wants compares values.
func (r *running) wants(p *page, want map[string]float64) {
	r.t.Helper()
	for series, v := range want {
		if got, ok := p.values[series]; !ok || got != v {
			r.t.Errorf("%s is %v (%v), want %v", series, got, ok, v)
		}
	}
}

// What is served is what the document says: all of it and nothing else.
func TestMetricsAreDocumented(t *testing.T) {
	r := runAgent(t, "[[queue]]\nname = \"orders\"\n[uplink]\nurl = [\"nats://127.0.0.1:1\"]\ndevice = \"dev\"\n[[downlink]]\nqueue = \"orders\"\n") // Nobody is there.
	r.await(func() bool { return strings.Contains(r.get("/metrics"), "querator_downlink_taken_total") })
	r.queue("q", 1)
	if n := len(r.page().values); n > 119 {
		t.Errorf("%d series for two queues, a downlink and four calls", n)
	}
	p := r.page()
	text, err := os.ReadFile("metrics/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+) \\|").FindAllStringSubmatch(string(text), -1) {
		documented[m[1]] = m[2]
	}
	if !maps.Equal(documented, p.types) {
		for _, name := range slices.Sorted(maps.Keys(documented)) {
			if p.types[name] == "" {
				t.Errorf("%s is documented and not served", name)
			}
		}
		t.Errorf("served are %v\ndocumented %v", p.types, documented)
	}
}

func TestMetricsOfQueues(t *testing.T) {
	r := runAgent(t, "[metrics]\nmax-queues = 2\n")
	r.queue(`z\"1`, 3)
	r.queue("a", 2)
	r.queue("b", 4)
	r.queue("c", 5)
	items, err := r.Lease(t.Context(), "b", client.LeaseOptions{BatchSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Complete(t.Context(), "b", 0, items[0].ID); err != nil {
		t.Fatal(err)
	}
	p := r.page()
	r.wants(p, map[string]float64{
		"querator_healthy": 1, "querator_queues": 4, "querator_partitions": 4,
		`querator_items{state="ready"}`: 12, `querator_items{state="leased"}`: 1, `querator_items_in_total{way="produced"}`: 14,
		`querator_items_out_total{way="completed"}`: 1, "querator_leases_total": 2, "querator_payload_bytes_total": 1400,
		`querator_queue_items{queue="z\\\"1",state="ready"}`: 3, `querator_queue_in_total{queue="a"}`: 2,
		`querator_queue_items{queue="~other",state="ready"}`: 7, `querator_queue_items{queue="~other",state="leased"}`: 1,
		`querator_queue_in_total{queue="~other"}`: 9, `querator_queue_completed_total{queue="~other"}`: 1,
	})
	for series := range p.values {
		if strings.Contains(series, `queue="b"`) || strings.Contains(series, `queue="c"`) {
			t.Errorf("a third queue has a series of its own: %s", series)
		}
	}
	for _, name := range []string{"querator_store_written_bytes_total", "querator_store_syncs_total", "querator_memory_anonymous_bytes",
		"querator_uptime_seconds", "querator_disk_bytes", `querator_storage_free_bytes{storage="badger-0"}`, `querator_storage_floor_bytes{storage="badger-0"}`} {
		if p.values[name] <= 0 {
			t.Errorf("%s is %v", name, p.values[name])
		}
	}
	// A queue that goes takes nothing out of the counters.
	for _, name := range []string{"c", "a"} {
		if err := r.DeleteQueue(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	p = r.page()
	r.wants(p, map[string]float64{
		"querator_queues": 2, `querator_items{state="ready"}`: 5, `querator_items_in_total{way="produced"}`: 14, "querator_payload_bytes_total": 1400,
		`querator_queue_in_total{queue="b"}`: 4, `querator_queue_in_total{queue="~other"}`: 9, `querator_queue_items{queue="~other",state="ready"}`: 0,
	})
	// One of the same name begins anew.
	r.queue("c", 1)
	p = r.page()
	r.wants(p, map[string]float64{`querator_items_in_total{way="produced"}`: 15, `querator_queue_in_total{queue="~other"}`: 10})
}
