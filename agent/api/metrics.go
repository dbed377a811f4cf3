package api

import (
	"net/http"
	"slices"
	"time"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/frame"
	"github.com/kapetan-io/querator-edge/agent/metrics"
)

// countedPaths returns the paths whose requests are counted by path: those of
// the calls that there is something to do for.
func countedPaths(routes map[string]*route) []string {
	paths := []string{pathHealth, pathMetricsURL, pathOpenAPI, frame.Path}
	for path, rt := range routes {
		if rt.request != nil {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// Answered returns how many requests were answered since the handler was made,
// by code.
func (h *Handler) Answered() []metrics.Count { return h.requests.Answered() }

// writeMetrics answers GET /metrics in the text format of Prometheus.
func (c *call) writeMetrics() {
	page := metrics.NewPage()
	page.Set(metrics.InFlightBytes, float64(c.h.budget.InFlight()))
	page.Set(metrics.InFlightLimit, float64(c.h.budget.Limit()))
	for op := access.Produce; op <= access.Admin; op++ {
		page.Set(metrics.Refused, float64(c.h.guard.Refusals(op)), op.String())
	}
	page.Set(metrics.Holders, float64(c.h.guard.Holders()))
	c.h.collect(c.r.Context(), page, c.shows)
	c.h.requests.Write(page, time.Now())
	c.writePlain(http.StatusOK, "text/plain; version=0.0.4; charset=utf-8", page.Append(nil))
}
