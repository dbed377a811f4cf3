package api

import (
	"context"
	"encoding/json"
	"errors"
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
	// Notes say in words what is wrong, and what a person should look after
	// though the agent is healthy.
	Notes []string `json:"notes,omitempty"`
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
	found := c.h.failures(c.r.Context(), maxNotes)
	if len(found) > 0 {
		code, check.Status, check.Output = http.StatusServiceUnavailable, "fail", "storage check failed"
	}
	found = append(found, c.h.problems(c.r.Context())...)
	data, err := json.Marshal(healthReply{
		Status:  check.Status,
		Version: c.h.version,
		Output:  check.Output,
		Checks:  map[string][]healthCheck{"queues:storage": {check}},
		Notes:   c.notes(found),
	})
	if err != nil {
		c.h.logError(pathHealth, err)
	}
	c.writePlain(code, "application/health+json", append(data, '\n'))
}

// maxNotes bounds the notes of a health reply.
const maxNotes = 20

// notes returns the problems that the caller may know of: those of a queue who
// may read it, the others who may read the agent as a whole. Who connects at
// all learns whether the agent is healthy, but no names.
func (c *call) notes(found []Problem) []string {
	var notes []string
	hidden := false
	for i := range found[:min(len(found), maxNotes)] {
		if c.shows(found[i].Queue) {
			notes = append(notes, found[i].String())
		} else {
			hidden = true
		}
	}
	if hidden {
		notes = append(notes, "there is more for those who may read the agent and all queues, such as root")
	}
	return notes
}

// Problem is something that a person should look after.
type Problem struct {
	// Failing: something does not work at all; else it is a warning.
	Failing bool
	// About is what it concerns, such as "queue 'a' partition 0" or "clock".
	About string
	// Queue is the queue that it is about; "" is the agent as a whole.
	Queue string
	Text  string // what is wrong
	Hint  string // what to do about it; may be empty
}

// String returns the problem as one line.
func (p *Problem) String() string {
	s := p.About + ": " + p.Text
	if p.Hint != "" {
		s += "; " + p.Hint
	}
	return s
}

// Err returns the problem as an error.
func (p *Problem) Err() error { return errors.New(p.String()) }

// Probe reports whether the agent can do its work: within five seconds the
// queues can be listed and every partition answers and is available. GET
// /health asks it, and whoever feeds a watchdog can.
func (h *Handler) Probe(ctx context.Context) error {
	if found := h.failures(ctx, 1); len(found) > 0 {
		return found[0].Err()
	}
	return nil
}

// definitionsPlace is what the storage of the definitions is called.
const definitionsPlace = "storage of the queue definitions"

// failures returns what keeps the agent from its work, at most so many things.
// Partitions are not asked for anything, but whether they come to the end of what they
// do: one that waits for its turn among many is as well as the others.
func (h *Handler) failures(ctx context.Context, most int) []Problem {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var found []Problem
	if err := h.service.DefinitionsFailure(); err != nil {
		if found = append(found, failing(agentWide, definitionsPlace, err)); most == 1 {
			return found
		}
	}
	err := h.eachQueue(ctx, func(info *queue.Info) error {
		q, err := h.service.Queue(info.Name)
		if err != nil {
			return nil // It has been deleted meanwhile.
		}
		for _, p := range q.Availability() {
			if err := whenOpen(ctx, q, &p); err != nil {
				found = append(found, failing(info.Name, fmt.Sprintf("queue '%s' partition %d", info.Name, p.Partition), err))
			}
		}
		if len(found) >= most {
			return errEnough
		}
		return nil
	})
	if err == nil && len(found) == 0 {
		err = h.service.Probe(ctx)
	}
	if err != nil && !errors.Is(err, errEnough) {
		name := agentWide
		if e := new(queue.Error); errors.As(err, &e) {
			name = e.Queue // Not everybody may know of it.
		}
		found = append(found, failing(name, "queues", err))
	}
	return found
}

// whenOpen returns why a partition is not available, after waiting for it to be opened.
func whenOpen(ctx context.Context, q *queue.Queue, p *queue.Availability) error {
	if p.Open || p.Failure != nil {
		return p.Failure
	}
	s, err := q.Stats(ctx) // It waits.
	if err != nil {
		return err
	}
	return s.Partitions[p.Partition].Failure
}

// errEnough ends a search.
var errEnough = errors.New("enough")

// failing returns the problem of an error, with the hint that it may have.
func failing(queueName, about string, err error) Problem {
	p := Problem{Failing: true, Queue: queueName, About: about, Text: err.Error()}
	for e := new(queue.Error); p.Hint == "" && errors.As(err, &e); err = e.Err {
		p.Hint = e.Hint
	}
	return p
}
