package main

import (
	"encoding/json"
	"os"
)

// caseKey is one measurement that all peers do.
type caseKey struct {
	Size    int
	Backlog int64
	Clients string // empty for the start
	Work    work
}

// cellKey is one peer's part of it.
type cellKey struct {
	caseKey
	Peer string
}

// report is what a comparison found, in the order in which it was measured.
type report struct {
	peers   []peer
	keys    []caseKey
	samples map[cellKey][]sample
	machine machine
}

func newReport(peers []peer, m machine) *report {
	return &report{peers: peers, samples: make(map[cellKey][]sample), machine: m}
}

// expect notes the measurements of a stage in the order in which they are to be shown.
func (r *report) expect(s *stage) {
	r.keys = append(r.keys, caseKey{Size: s.Size, Backlog: s.Backlog, Work: starting})
	for _, shape := range s.Shapes {
		for _, w := range works {
			r.keys = append(r.keys, caseKey{s.Size, s.Backlog, shape.Name, w})
		}
	}
}

// add takes in a sample. The samples of each peer come round by round.
func (r *report) add(key cellKey, m sample) { r.samples[key] = append(r.samples[key], m) }

// caseReport is one measurement with all peers.
type caseReport struct {
	PayloadSize int    `json:"payload_size"`
	Backlog     int64  `json:"backlog"`
	Clients     string `json:"clients,omitempty"`
	Work        work   `json:"work"`
	Peers       []cell `json:"peers"`
}

// cell is what one peer did in one measurement.
type cell struct {
	Peer string `json:"peer"`
	// Synced: an answer means that it is on flash.
	Synced  bool              `json:"synced_before_answer"`
	Rounds  int               `json:"rounds"`
	Figures map[metric]spread `json:"figures"`
	// Querator is our rate divided by this one's, round by round; not there for our own.
	Querator *spread `json:"querator_times_as_fast,omitempty"`
}

// cases puts the samples of the rounds together.
func (r *report) cases() []caseReport {
	var all []caseReport
	for _, key := range r.keys {
		c := caseReport{PayloadSize: key.Size, Backlog: key.Backlog, Clients: key.Clients, Work: key.Work}
		own := r.samples[cellKey{key, ownName}]
		for _, p := range r.peers {
			samples := r.samples[cellKey{key, p.name()}]
			if len(samples) == 0 {
				continue
			}
			one := cell{Peer: p.name(), Synced: p.durable(), Rounds: len(samples), Figures: spreads(samples)}
			if p.name() != ownName && key.Work != starting {
				one.Querator = ratios(own, samples)
			}
			c.Peers = append(c.Peers, one)
		}
		all = append(all, c)
	}
	return all
}

// ratios divides our rates by others of the same rounds.
func ratios(own, others []sample) *spread {
	var all []float64
	for i := range min(len(own), len(others)) {
		if rate := others[i][itemsPerSecond]; rate > 0 {
			all = append(all, own[i][itemsPerSecond]/rate)
		}
	}
	if len(all) == 0 {
		return nil
	}
	s := newSpread(all)
	return &s
}

// best returns the fastest of the peers that sync before they answer, our own and the raw disk aside; nil if none.
func (c *caseReport) best() *cell {
	var best *cell
	for i := range c.Peers {
		p := &c.Peers[i]
		if !p.Synced || p.Peer == ownName || p.Peer == rawName || p.Querator == nil {
			continue
		}
		if best == nil || p.Figures[itemsPerSecond].Median > best.Figures[itemsPerSecond].Median {
			best = p
		}
	}
	return best
}

// writeJSON writes everything to a file.
func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
