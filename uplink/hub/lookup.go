package hub

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Last is the last message on a subject, or the one that was asked for.
type Last struct {
	Found   bool
	Seq     uint64 // in the stream; also of a message of the server's that stands where the last one was, and is none
	Subject string // only where it was asked for by its number
	MsgID   string // the identity of the message, or of the event that a marker names
}

// Last reads back the last message on a subject. It needs the right to publish to
// $JS.API.DIRECT.GET.<stream>.<subject>; a stream without direct gets is asked through its leader.
func (c *Conn) Last(ctx context.Context, stream, subject string, timeout time.Duration) (Last, error) {
	m, err := c.request(ctx, "$JS.API.DIRECT.GET."+stream+"."+subject, nil, timeout)
	if errors.Is(err, ErrNoResponders) {
		return c.lastOfLeader(ctx, stream, subject, timeout)
	}
	if err != nil {
		return Last{}, err
	}
	switch status := m.Header.Get("Status"); status {
	case "":
	case "404":
		return Last{}, nil
	case "408": // The replica has to catch up first.
		return Last{}, fmt.Errorf("%w: %s", ErrNoReply, m.Header.Get("Description"))
	default:
		return Last{}, fmt.Errorf("%w: status %s, %s", ErrAnswer, status, m.Header.Get("Description"))
	}
	seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil {
		return Last{}, fmt.Errorf("%w: a message without a sequence", ErrAnswer)
	}
	return lastOf(seq, m.Header), nil
}

func lastOf(seq uint64, h nats.Header) Last {
	if h.Get(headerReason) != "" {
		return Last{Seq: seq}
	}
	l := Last{Found: true, Seq: seq, MsgID: h.Get(nats.MsgIdHdr)}
	if l.MsgID == "" {
		l.MsgID = h.Get(headerMarker)
	}
	return l
}

// lastOfLeader is Last for streams that do not allow direct gets.
func (c *Conn) lastOfLeader(ctx context.Context, stream, subject string, timeout time.Duration) (Last, error) {
	return c.ofLeader(ctx, stream, map[string]any{"last_by_subj": subject}, timeout)
}

// At asks the leader of a stream for the message of a number, whatever its subject. A device need not have the right.
func (c *Conn) At(ctx context.Context, stream string, seq uint64, timeout time.Duration) (Last, error) {
	return c.ofLeader(ctx, stream, map[string]any{"seq": seq}, timeout)
}

// ofLeader asks the leader of a stream for a message.
func (c *Conn) ofLeader(ctx context.Context, stream string, which map[string]any, timeout time.Duration) (Last, error) {
	ask, err := json.Marshal(which)
	if err != nil {
		return Last{}, err
	}
	m, err := c.request(ctx, "$JS.API.STREAM.MSG.GET."+stream, ask, timeout)
	if err != nil {
		return Last{}, err
	}
	var answer struct {
		Message struct {
			Subject string `json:"subject"`
			Seq     uint64 `json:"seq"`
			Headers string `json:"hdrs"`
		} `json:"message"`
		Error *APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return Last{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if answer.Error != nil {
		if answer.Error.ErrCode == 10037 { // No message found.
			return Last{}, nil
		}
		return Last{}, answer.Error
	}
	var h nats.Header
	if answer.Message.Headers != "" {
		raw, err := base64.StdEncoding.DecodeString(answer.Message.Headers)
		if err == nil {
			h, err = nats.DecodeHeadersMsg(raw)
		}
		if err != nil {
			return Last{}, fmt.Errorf("%w: %w", ErrAnswer, err)
		}
	}
	l := lastOf(answer.Message.Seq, h)
	l.Subject = answer.Message.Subject
	return l, nil
}

// StreamInfo is what matters here of a stream.
type StreamInfo struct {
	Created time.Time    `json:"created"`
	Config  StreamConfig `json:"config"`
	State   struct {
		Messages uint64    `json:"messages"`
		FirstSeq uint64    `json:"first_seq"`
		LastSeq  uint64    `json:"last_seq"`
		LastAt   time.Time `json:"last_ts"`
	} `json:"state"`
	Error *APIError `json:"error"`
}

// LastAt is when the server stored the last message, in nanoseconds since 1970; 0 if there was none.
func (i *StreamInfo) LastAt() int64 {
	if i.State.LastAt.Year() < 1970 {
		return 0
	}
	return i.State.LastAt.UnixNano()
}

// StreamConfig is how a stream was set up.
type StreamConfig struct {
	Subjects      []string      `json:"subjects"`
	Retention     string        `json:"retention"`
	Discard       string        `json:"discard"`
	Storage       string        `json:"storage"`
	Replicas      int           `json:"num_replicas"`
	MaxAge        time.Duration `json:"max_age"`
	MaxMsgSize    int           `json:"max_msg_size"`
	MaxPerSubject int64         `json:"max_msgs_per_subject"`
	Duplicates    time.Duration `json:"duplicate_window"`
	AllowDirect   bool          `json:"allow_direct"`
	AllowAtomic   bool          `json:"allow_atomic"`
	AllowRollup   bool          `json:"allow_rollup_hdrs"`
	AllowTTL      bool          `json:"allow_msg_ttl"`
	Sealed        bool          `json:"sealed"`
	NoReceipts    bool          `json:"no_ack"`
}

// Covers reports whether a subject of a stream, with wildcards, takes a subject.
func Covers(have, want string) bool {
	h, w := strings.Split(have, "."), strings.Split(want, ".")
	for i := range h {
		if h[i] == ">" {
			return i < len(w)
		}
		if i >= len(w) || h[i] != "*" && h[i] != w[i] {
			return false
		}
	}
	return len(h) == len(w)
}

// Info asks for the settings of a stream, for which a device need not have the right.
func (c *Conn) Info(ctx context.Context, stream string, timeout time.Duration) (*StreamInfo, error) {
	m, err := c.request(ctx, infoSubject(stream), nil, timeout)
	if err != nil {
		return nil, err
	}
	var info StreamInfo
	if err := json.Unmarshal(m.Data, &info); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if info.Error != nil {
		return nil, info.Error
	}
	return &info, nil
}
