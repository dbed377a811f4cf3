package metrics_test

import (
	"flag"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/metrics"
)

var update = flag.Bool("update", false, "write agent/metrics/metrics.md")

const document = "metrics.md"

func TestDocument(t *testing.T) {
	if *update {
		if err := os.WriteFile(document, []byte(metrics.Document()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != metrics.Document() {
		t.Errorf("agent/metrics/metrics.md differs from the table; make it with: go test ./agent/metrics -update")
	}
	names := map[string]bool{}
	for line := range strings.Lines(metrics.Document()) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		name := strings.Trim(cells[1], " `")
		if names[name] {
			t.Errorf("%s is there twice", name)
		}
		names[name] = true
		isCounter := strings.TrimSpace(cells[2]) == "counter"
		if isCounter != strings.HasSuffix(name, "_total") || !strings.HasSuffix(strings.TrimSpace(cells[4]), ".") {
			t.Errorf("the row is not as it should be: %s", line)
		}
	}
	if len(names) < 40 {
		t.Errorf("only %d names in the table", len(names))
	}
}

func TestPage(t *testing.T) {
	p := metrics.NewPage()
	p.Set(metrics.QueueItems, 3, "a\\b\"c\nd\xff", "ready")
	p.Set(metrics.Connections, 1.5)
	p.Set(metrics.QueueItems, 1<<40, "b", "ready")
	want := `# HELP querator_connections Open connections.
# TYPE querator_connections gauge
querator_connections 1.5
# HELP querator_queue_items As querator_items, for one queue: ready, leased, scheduled.
# TYPE querator_queue_items gauge
querator_queue_items{queue="a\\b\"c\nd` + "\uFFFD" + `",state="ready"} 3
querator_queue_items{queue="b",state="ready"} 1099511627776
`
	if got := string(p.Append(nil)); got != want || p.Series() != 3 {
		t.Errorf("the page is\n%swant\n%s", got, want)
	}
}

// value returns the sample of a page, NaN if there is none.
func value(p *metrics.Page, series string) float64 {
	for line := range strings.Lines(string(p.Append(nil))) {
		if text, ok := strings.CutPrefix(line, series+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil {
				return math.Inf(-1)
			}
			return v
		}
	}
	return math.NaN()
}

func TestQuantiles(t *testing.T) {
	r := metrics.NewRequests([]string{"/a"})
	begin := time.Now()
	for i := range 10000 {
		r.Observe("/a", 200, time.Duration(i+1)*10*time.Microsecond, begin) // 10 µs to 100 ms
	}
	page := func(at time.Duration) *metrics.Page {
		p := metrics.NewPage()
		r.Write(p, begin.Add(at))
		return p
	}
	near := func(p *metrics.Page, series string, want float64) {
		t.Helper()
		if got := value(p, series); !(math.Abs(got-want) <= 0.05*want) {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	const p50, p99 = `http_handler_duration{path="/a",quantile="0.5"}`, `http_handler_duration{path="/a",quantile="0.99"}`
	p := page(time.Second)
	near(p, p50, 0.05)
	near(p, p99, 0.099)
	near(p, `http_handler_duration_sum{path="/a"}`, 500.05)
	near(p, `http_handler_duration_count{path="/a"}`, 10000)
	// What was long ago is forgotten by the quantiles, and by nothing else.
	for range 10 {
		r.Observe("/a", 200, 2*time.Second, begin.Add(4*time.Minute))
	}
	p = page(4 * time.Minute)
	near(p, p50, 0.05)
	p = page(7 * time.Minute)
	near(p, p50, 2)
	near(p, `http_handler_duration_count{path="/a"}`, 10010)
	if got := value(page(time.Hour), p50); !math.IsNaN(got) {
		t.Errorf("an hour later the median is %v", got)
	}
	// The ends of what can be measured.
	r.Observe("/a", 200, -time.Second, begin.Add(time.Hour))
	r.Observe("/a", 200, 1000*time.Hour, begin.Add(time.Hour))
	page(time.Hour)
}

// However many paths and codes clients make up, the series are bounded.
func TestRequestsAreBounded(t *testing.T) {
	r := metrics.NewRequests([]string{"/a", "/b"})
	for i := range 1000 {
		r.Observe("/"+strconv.Itoa(i), i, time.Millisecond, time.Now())
		r.Observe("/a", i, time.Millisecond, time.Now())
	}
	p := metrics.NewPage()
	r.Write(p, time.Now())
	if n := p.Series(); n > 2*(4+11) {
		t.Errorf("%d series of two paths", n)
	}
	if v := value(p, `http_requests_total{path="/a",code="403"}`); v != 1 {
		t.Errorf("403 was counted %v times", v)
	}
	if v := value(p, `http_requests_total{path="/a",code="500"}`); v != 1000-10 {
		t.Errorf("codes that no answer should have were counted %v times", v)
	}
}
