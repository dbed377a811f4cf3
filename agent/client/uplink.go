package client

import (
	"context"
	"time"

	"github.com/kapetan-io/querator-edge/agent/pb"
)

// UplinkStatus is what the uplink knows of itself at one moment.
type UplinkStatus struct {
	// State is off, connecting, connected, paused, budget, closed, stopped or ended; Since is how long.
	State string        `json:"state"`
	Since time.Duration `json:"since"`
	// Class and Error say what is wrong, LastError what was wrong last.
	Class     string `json:"class,omitempty"`
	Error     string `json:"error,omitempty"`
	LastError string `json:"last_error,omitempty"`
	Device    string `json:"device,omitempty"`
	URL       string `json:"url,omitempty"`
	Server    string `json:"server_version,omitempty"`
	Mode      string `json:"mode,omitempty"`
	// Counted since the agent started; Lost are the events that were given up, whether a gap event has told of them or not
	// yet.
	Connects  uint64 `json:"connects"`
	Delivered uint64 `json:"delivered"`
	Resent    uint64 `json:"resent"`
	Conflicts uint64 `json:"conflicts"`
	Shortened uint64 `json:"shortened"`
	Gaps      uint64 `json:"gaps"`
	Lost      uint64 `json:"lost"`
	// The outboxes: their number, the events that wait, what they occupy, and the age of the oldest event.
	Partitions int           `json:"partitions"`
	Pending    uint64        `json:"pending"`
	Bytes      int64         `json:"bytes"`
	Oldest     time.Duration `json:"oldest"`
	Blocked    int           `json:"blocked"`
	// Bytes on the network.
	BytesOut   uint64 `json:"bytes_out"`
	BytesIn    uint64 `json:"bytes_in"`
	DayBytes   int64  `json:"day_bytes"`
	MonthBytes int64  `json:"month_bytes"`
	// Left is what a flush left, Findings what a test found.
	Left     uint64          `json:"left,omitempty"`
	Findings []UplinkFinding `json:"findings,omitempty"`
	// Downlinks are in the order of the configuration.
	Downlinks []Downlink `json:"downlinks,omitempty"`
}

// Downlink is what a downlink knows of itself at one moment.
type Downlink struct {
	Queue   string `json:"queue"`
	Stream  string `json:"stream"`
	Subject string `json:"subject"`
	// State is offline, waiting, taking, full, paused or trouble.
	State string `json:"state"`
	// Class and Error say what is wrong, LastError what was wrong last.
	Class     string `json:"class,omitempty"`
	Error     string `json:"error,omitempty"`
	LastError string `json:"last_error,omitempty"`
	// Doorbell says that a doorbell would be heard.
	Doorbell bool `json:"doorbell"`
	// Sequence is the number in the stream up to which everything was taken. Taken, Skipped and Missed count since
	// the queue exists: messages that became items, that could not, and numbers that were gone before.
	Sequence uint64 `json:"sequence"`
	Taken    uint64 `json:"taken"`
	Skipped  uint64 `json:"skipped"`
	Missed   uint64 `json:"missed"`
	// Waiting is how many messages were on the server at the last look.
	Waiting     uint64 `json:"waiting"`
	LastSkipped string `json:"last_skipped,omitempty"`
}

// UplinkFinding is one thing that a test of the uplink looked at.
type UplinkFinding struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Unknown bool   `json:"unknown,omitempty"`
	Text    string `json:"text"`
	Fix     string `json:"fix,omitempty"`
}

// Uplink returns the state of the uplink.
func (c *Client) Uplink(ctx context.Context) (*UplinkStatus, error) {
	var resp pb.UplinkStatusResponse
	if err := c.call(ctx, "/v1/uplink.status", &pb.UplinkStatusRequest{}, &resp); err != nil {
		return nil, err
	}
	return uplinkFromWire(&resp), nil
}

// ControlUplink has the uplink pause, resume, reconnect, flush or test itself. timeout bounds a flush and a test;
// 0 is that of the agent.
func (c *Client) ControlUplink(ctx context.Context, action string, timeout time.Duration) (*UplinkStatus, error) {
	req := &pb.UplinkControlRequest{Action: action}
	if timeout > 0 {
		req.RequestTimeout = timeout.String()
	}
	var resp pb.UplinkStatusResponse
	if err := c.call(ctx, "/v1/uplink.control", req, &resp); err != nil {
		return nil, err
	}
	return uplinkFromWire(&resp), nil
}

func uplinkFromWire(r *pb.UplinkStatusResponse) *UplinkStatus {
	s := &UplinkStatus{
		State: r.State, Class: r.Class, Error: r.Error, LastError: r.LastError, Device: r.Device, URL: r.Url,
		Server: r.ServerVersion, Mode: r.Mode, Connects: r.Connects, Delivered: r.Delivered, Resent: r.Resent,
		Conflicts: r.Conflicts, Shortened: r.Shortened, Gaps: r.Gaps, Lost: r.Lost, Partitions: int(r.Partitions),
		Pending: r.Pending, Bytes: r.Bytes, Blocked: int(r.Blocked), BytesOut: r.BytesOut, BytesIn: r.BytesIn,
		DayBytes: r.DayBytes, MonthBytes: r.MonthBytes, Left: r.Left,
	}
	// The agent writes durations that can be read; what cannot be counts as none.
	s.Since, _ = time.ParseDuration(r.Since)
	s.Oldest, _ = time.ParseDuration(r.Oldest)
	for _, d := range r.Downlinks {
		s.Downlinks = append(s.Downlinks, Downlink{
			Queue: d.Queue, Stream: d.Stream, Subject: d.Subject, State: d.State, Class: d.Class, Error: d.Error, LastError: d.LastError,
			Doorbell: d.Doorbell, Sequence: d.Sequence, Taken: d.Taken, Skipped: d.Skipped, Missed: d.Missed, Waiting: d.Waiting,
			LastSkipped: d.LastSkipped,
		})
	}
	for _, f := range r.Findings {
		s.Findings = append(s.Findings, UplinkFinding{Name: f.Name, OK: f.Ok, Unknown: f.Unknown, Text: f.Text, Fix: f.Fix})
	}
	return s
}
