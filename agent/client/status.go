package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/kapetan-io/querator-edge/agent/pb"
)

// Status is the state of the agent at one moment.
type Status struct {
	Version   string    `json:"version"`
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"started_at,omitzero"`
	// Uptime is running time, which a step of the clock does not change.
	Uptime      time.Duration `json:"uptime"`
	Listen      []string      `json:"listen"`
	ConfigFiles []string      `json:"config_files"`
	Memory      MemoryStatus  `json:"memory"`
	// Connections are those that are open, MaxConnections how many may be.
	Connections    int             `json:"connections"`
	MaxConnections int             `json:"max_connections"`
	Clock          ClockStatus     `json:"clock"`
	Storages       []StorageStatus `json:"storages"`
	Queues         []QueueStatus   `json:"queues"`
	// Ledger is the sum over all partitions of all queues.
	Ledger Ledger `json:"ledger"`
	// Problems are what a person should look after.
	Problems []Problem `json:"problems"`
	// DeviceWritten is what the kernel has written to devices for the agent since it started, in bytes; 0 is not
	// known.
	DeviceWritten int64        `json:"device_written_bytes"`
	Access        AccessStatus `json:"access"`
}

// AccessStatus is what the access rules do: how many there are (without any, whoever can connect may do everything),
// and the calls that were refused since the agent started, by what they were.
type AccessStatus struct {
	Rules          int    `json:"rules"`
	RefusedProduce uint64 `json:"refused_produce"`
	RefusedConsume uint64 `json:"refused_consume"`
	RefusedRead    uint64 `json:"refused_read"`
	RefusedAdmin   uint64 `json:"refused_admin"`
}

// Problem is something that a person should look after.
type Problem struct {
	Failing bool   `json:"failing"` // something does not work at all; else it is a warning
	About   string `json:"about"`
	Text    string `json:"text"`
	Hint    string `json:"hint,omitempty"`
}

// MemoryStatus is in bytes; a limit of 0 is none.
type MemoryStatus struct {
	Limit         int64 `json:"limit_bytes"`
	Used          int64 `json:"used_bytes"`
	Anonymous     int64 `json:"anonymous_bytes"`
	InFlight      int64 `json:"in_flight_bytes"`
	InFlightLimit int64 `json:"in_flight_limit_bytes"`
}

// ClockStatus is what the agent thinks of the wall clock. Scheduled items wait until it is trusted.
type ClockStatus struct {
	Now     time.Time `json:"now,omitzero"`
	Trusted bool      `json:"trusted"`
	Boot    string    `json:"boot"`
	Reason  string    `json:"reason,omitempty"` // why it is trusted or not
}

// StorageStatus is a place that queues or partitions are kept in; sizes are in bytes.
type StorageStatus struct {
	Name   string `json:"name"` // empty for the storage of queue definitions
	Driver string `json:"driver"`
	Dir    string `json:"dir,omitempty"`
	Free   int64  `json:"free_bytes"`
	Total  int64  `json:"total_bytes"`
	// Floor is how many free bytes there have to be for produce.
	Floor int64 `json:"floor_bytes"`
	// FileSystem is its kind, such as ext4.
	FileSystem string `json:"file_system,omitempty"`
	// FreeInodes and FloorInodes are the same for inodes; both are 0 where the file system does not count them.
	FreeInodes  int64  `json:"free_inodes"`
	FloorInodes int64  `json:"floor_inodes"`
	Failure     string `json:"failure,omitempty"`
}

// QueueStatus is a queue with its exact figures.
type QueueStatus struct {
	Info         QueueInfo         `json:"info"`
	Paused       bool              `json:"paused"`
	LeaseWaiting int               `json:"lease_waiting"`
	InFlight     int               `json:"in_flight"`
	Partitions   []PartitionStatus `json:"partitions"`
	Failure      string            `json:"failure,omitempty"`
}

// PartitionStatus is a partition with its exact figures.
type PartitionStatus struct {
	Partition    int   `json:"partition"`
	Ready        int64 `json:"ready"`
	Leased       int64 `json:"leased"`
	Scheduled    int64 `json:"scheduled"`
	HeldForClock int64 `json:"held_for_clock"`
	// Moving are the items on their way to another queue: held, and neither ready nor leased.
	Moving int64 `json:"moving"`
	// Bytes are those of payloads and labels, and 64 more for each item.
	Bytes            int64         `json:"bytes"`
	AverageAge       time.Duration `json:"average_age"`
	AverageLeaseLeft time.Duration `json:"average_lease_left"`
	Ledger           Ledger        `json:"ledger"`
	Usage            Usage         `json:"usage"`
	Failure          string        `json:"failure,omitempty"`
}

// Ledger counts what became of every item since the partition was created.
type Ledger struct {
	Produced    uint64 `json:"produced"`
	Imported    uint64 `json:"imported"`
	MovedIn     uint64 `json:"moved_in"`
	Completed   uint64 `json:"completed"`
	Dead        uint64 `json:"dead"`
	Expired     uint64 `json:"expired"`
	Cleared     uint64 `json:"cleared"`
	Deleted     uint64 `json:"deleted"`
	Dropped     uint64 `json:"dropped"`
	Quarantined uint64 `json:"quarantined"`
	MovedOut    uint64 `json:"moved_out"`
	Leases      uint64 `json:"leases"`
	Retries     uint64 `json:"retries"`
	Lapsed      uint64 `json:"lapsed"`
}

// Usage is what a partition occupies and has cost since it was opened.
type Usage struct {
	Disk         int64 `json:"disk_bytes"`
	Written      int64 `json:"written_bytes"`
	Syncs        int64 `json:"syncs"`
	Segments     int   `json:"segments"`
	OpenSegments int   `json:"open_segments"`
	Payload      int64 `json:"payload_bytes"` // bytes of payloads that came in meanwhile
}

// MarshalJSON writes durations as strings, as 1m0s.
func (s Status) MarshalJSON() ([]byte, error) {
	type plain Status
	return json.Marshal(struct {
		plain
		Uptime string `json:"uptime"`
	}{plain(s), s.Uptime.String()})
}

// MarshalJSON writes durations as strings, as 1m0s.
func (p PartitionStatus) MarshalJSON() ([]byte, error) {
	type plain PartitionStatus
	return json.Marshal(struct {
		plain
		AverageAge       string `json:"average_age"`
		AverageLeaseLeft string `json:"average_lease_left"`
	}{plain(p), p.AverageAge.String(), p.AverageLeaseLeft.String()})
}

// Status returns the state of the agent and of all its queues.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	var w pb.AgentStatusResponse
	if err := c.call(ctx, "/v1/agent.status", &pb.AgentStatusRequest{}, &w); err != nil {
		return nil, err
	}
	s := &Status{
		Version: w.Version, PID: int(w.Pid), StartedAt: fromTimestamp(w.StartedAt), Uptime: parseDuration(w.Uptime),
		Listen: w.Listen, ConfigFiles: w.ConfigFiles,
		Memory: MemoryStatus{
			Limit: w.Memory.GetLimitBytes(), Used: w.Memory.GetUsedBytes(), Anonymous: w.Memory.GetAnonymousBytes(),
			InFlight: w.Memory.GetInFlightBytes(), InFlightLimit: w.Memory.GetInFlightLimitBytes(),
		},
		Connections: int(w.Connections.GetOpen()), MaxConnections: int(w.Connections.GetLimit()),
		Clock: ClockStatus{
			Now: fromTimestamp(w.Clock.GetNow()), Trusted: w.Clock.GetTrusted(), Boot: w.Clock.GetBoot(),
			Reason: w.Clock.GetReason(),
		},
		Ledger: ledgerFromWire(w.Ledger), DeviceWritten: w.DeviceWrittenBytes,
		Access: AccessStatus{
			Rules:          int(w.Access.GetRules()),
			RefusedProduce: w.Access.GetRefusedProduce(), RefusedConsume: w.Access.GetRefusedConsume(),
			RefusedRead: w.Access.GetRefusedRead(), RefusedAdmin: w.Access.GetRefusedAdmin(),
		},
	}
	for _, p := range w.Problems {
		s.Problems = append(s.Problems, Problem{Failing: p.Failing, About: p.About, Text: p.Text, Hint: p.Hint})
	}
	for _, st := range w.Storages {
		s.Storages = append(s.Storages, StorageStatus{
			Name: st.Name, Driver: st.Driver, Dir: st.Dir, Free: st.FreeBytes, Total: st.TotalBytes,
			Floor: st.FloorBytes, FreeInodes: st.FreeInodes, FloorInodes: st.FloorInodes, Failure: st.Failure,
			FileSystem: st.FileSystem,
		})
	}
	for _, q := range w.Queues {
		s.Queues = append(s.Queues, queueStatusFromWire(q))
	}
	return s, nil
}

func queueStatusFromWire(w *pb.QueueStatus) QueueStatus {
	q := QueueStatus{
		Paused: w.Paused, LeaseWaiting: int(w.LeaseWaiting), InFlight: int(w.InFlight), Failure: w.Failure,
	}
	if w.Info != nil {
		q.Info = queueFromWire(w.Info)
	}
	for _, p := range w.Partitions {
		q.Partitions = append(q.Partitions, PartitionStatus{
			Partition: int(p.Partition), Ready: p.Ready, Leased: p.Leased, Scheduled: p.Scheduled,
			HeldForClock: p.HeldForClock, Moving: p.Moving, Bytes: p.Bytes, AverageAge: parseDuration(p.AverageAge),
			AverageLeaseLeft: parseDuration(p.AverageLeaseLeft), Ledger: ledgerFromWire(p.Ledger),
			Usage: Usage{
				Disk: p.Usage.GetDiskBytes(), Written: p.Usage.GetWrittenBytes(), Syncs: p.Usage.GetSyncs(),
				Segments: int(p.Usage.GetSegments()), OpenSegments: int(p.Usage.GetOpenSegments()),
				Payload: p.Usage.GetPayloadBytes(),
			},
			Failure: p.Failure,
		})
	}
	return q
}

func ledgerFromWire(w *pb.Ledger) Ledger {
	return Ledger{
		Produced: w.GetProduced(), Imported: w.GetImported(), MovedIn: w.GetMovedIn(),
		Completed: w.GetCompleted(), Dead: w.GetDead(), Expired: w.GetExpired(), Cleared: w.GetCleared(),
		Deleted: w.GetDeleted(), Dropped: w.GetDropped(), Quarantined: w.GetQuarantined(), MovedOut: w.GetMovedOut(),
		Leases: w.GetLeases(), Retries: w.GetRetries(), Lapsed: w.GetLapsed(),
	}
}

// Get returns the body that the agent answers to GET: /health, /metrics or /openapi.yaml, whatever the code.
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	if err := c.setUp(); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, &Error{kind: ErrInvalid, cause: err, Message: err.Error()}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.transportError(ctx, err)
	}
	text, err := readReply(resp)
	if err != nil {
		return nil, c.transportError(ctx, err)
	}
	return text, nil
}
