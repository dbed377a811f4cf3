package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// probeTimeout bounds the health probe.
const probeTimeout = 5 * time.Second

// healthReply is the answer of GET /health, after the draft "Health Check
// Response Format for HTTP APIs".
type healthReply struct {
	Status  string                   `json:"status"`
	Version string                   `json:"version"`
	Output  string                   `json:"output,omitempty"`
	Checks  map[string][]healthCheck `json:"checks"`
}

type healthCheck struct {
	ComponentType string `json:"componentType"`
	Status        string `json:"status"`
	Time          string `json:"time"`
	Output        string `json:"output,omitempty"`
}

func (c *call) health() {
	check := healthCheck{
		ComponentType: "datastore",
		Status:        "pass",
		Time:          time.Now().UTC().Format(time.RFC3339),
	}
	code := http.StatusOK
	if err := c.h.Probe(c.r.Context()); err != nil {
		code, check.Status, check.Output = http.StatusServiceUnavailable, "fail", "storage check failed"
	}
	data, err := json.Marshal(healthReply{
		Status:  check.Status,
		Version: c.h.version,
		Output:  check.Output,
		Checks:  map[string][]healthCheck{"queues:storage": {check}},
	})
	if err != nil {
		c.h.logError(pathHealth, err)
	}
	c.writePlain(code, "application/health+json", append(data, '\n'))
}

// Probe reports whether the agent can do its work: within five seconds the
// queues can be listed and every partition answers and is available. GET
// /health asks it, and whoever feeds a watchdog can.
func (h *Handler) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if _, err := h.service.List(ctx, "", 1); err != nil {
		return err
	}
	return h.eachQueue(ctx, func(info *queue.Info) error {
		q, err := h.service.Queue(info.Name)
		if err != nil {
			return nil // It has been deleted meanwhile.
		}
		s, err := q.Stats(ctx)
		if err != nil {
			return fmt.Errorf("queue %q: %w", info.Name, err)
		}
		for i := range s.Partitions {
			if err := s.Partitions[i].Failure; err != nil {
				return fmt.Errorf("queue %q partition %d: %w", info.Name, s.Partitions[i].Partition, err)
			}
		}
		return nil
	})
}
