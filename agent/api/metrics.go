package api

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// durationWindow is how far back the quantiles of http_handler_duration look.
const durationWindow = 5 * time.Minute

// otherPath is the path label of all requests that are not routed, so that
// nobody can make as many metrics as there are paths.
const otherPath = "other"

// counted are the codes that have a counter of their own.
var counted = [...]int{200, 400, 401, 453, 454, 455, 499, 500, 501, 503}

// requestMetrics counts and times requests. It is safe for use by any
// goroutine.
type requestMetrics struct {
	set   *metrics.Set
	paths map[string]*pathMetrics // read only
	other *pathMetrics
}

// pathMetrics are the metrics of one path, each made at its first use.
type pathMetrics struct {
	path     string
	duration atomic.Pointer[metrics.Summary]
	requests [len(counted)]atomic.Pointer[metrics.Counter]
}

func newRequestMetrics(set *metrics.Set, budget *Budget, routes map[string]*route) *requestMetrics {
	m := &requestMetrics{set: set, paths: map[string]*pathMetrics{}, other: &pathMetrics{path: otherPath}}
	for path := range routes {
		m.paths[path] = &pathMetrics{path: path}
	}
	for _, path := range []string{pathHealth, pathMetricsURL, pathOpenAPI} {
		m.paths[path] = &pathMetrics{path: path}
	}
	set.GetOrCreateGauge("http_in_flight_bytes", func() float64 { return float64(budget.InFlight()) })
	set.GetOrCreateGauge("http_in_flight_limit_bytes", func() float64 { return float64(budget.Limit()) })
	return m
}

// observe counts one request that has been answered.
func (m *requestMetrics) observe(path string, code int, took time.Duration) {
	p, ok := m.paths[path]
	if !ok {
		p = m.other
	}
	d := p.duration.Load()
	if d == nil {
		d = m.set.GetOrCreateSummaryExt(fmt.Sprintf("http_handler_duration{path=%q}", p.path),
			durationWindow, []float64{0.5, 0.99})
		p.duration.Store(d)
	}
	d.Update(took.Seconds())

	for i := range counted {
		if counted[i] != code {
			continue
		}
		n := p.requests[i].Load()
		if n == nil {
			n = m.set.GetOrCreateCounter(fmt.Sprintf("http_requests_total{path=%q,code=%q}", p.path, strconv.Itoa(code)))
			p.requests[i].Store(n)
		}
		n.Inc()
		return
	}
}

// writeMetrics answers GET /metrics in the text format of Prometheus.
func (c *call) writeMetrics() {
	var buf bytes.Buffer
	c.h.metrics.set.WritePrometheus(&buf)
	c.writePlain(http.StatusOK, "text/plain; version=0.0.4; charset=utf-8", buf.Bytes())
}
