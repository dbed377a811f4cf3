package api

import (
	"context"
	"time"

	"github.com/kapetan-io/querator-edge/agent/pb"
)

// Uplink is what the calls of the uplink work on. Its methods are called from the
// goroutines of requests.
type Uplink interface {
	// Status fills in the state.
	Status(ctx context.Context, s *pb.UplinkStatusResponse)
	// Control does one of the actions; ctx bounds flush and test.
	Control(ctx context.Context, action UplinkAction, s *pb.UplinkStatusResponse) error
}

// UplinkAction is what uplink.control is to do.
type UplinkAction string

// The actions.
const (
	UplinkPause     UplinkAction = "pause"
	UplinkResume    UplinkAction = "resume"
	UplinkReconnect UplinkAction = "reconnect"
	UplinkFlush     UplinkAction = "flush"
	UplinkTest      UplinkAction = "test"
)

// Bounds of the time of flush.
const (
	defaultFlush = 30 * time.Second
	maxFlush     = time.Hour
)

// uplinkOff is the state where none is configured.
const uplinkOff = "off"

func uplinkStatus(c *call, _ *pb.UplinkStatusRequest) error {
	s := &pb.UplinkStatusResponse{State: uplinkOff}
	if c.h.uplink != nil {
		c.h.uplink.Status(c.r.Context(), s)
	}
	return c.reply(s)
}

func uplinkControl(c *call, req *pb.UplinkControlRequest) error {
	action := UplinkAction(req.Action)
	switch action {
	case UplinkPause, UplinkResume, UplinkReconnect, UplinkFlush, UplinkTest:
	default:
		return badRequest("action is invalid; '%s' is not one of pause, resume, reconnect, flush, test", req.Action)
	}
	timeout := defaultFlush
	if req.RequestTimeout != "" {
		d, err := time.ParseDuration(req.RequestTimeout)
		if err != nil || d <= 0 || d > maxFlush {
			return badRequest("request_timeout is invalid; '%s' is not a duration up to 1h", req.RequestTimeout)
		}
		timeout = d
	}
	if c.h.uplink == nil {
		return &wireError{code: codeFailed, msg: "no uplink is configured; set url in [uplink] and restart the agent"}
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), timeout)
	defer cancel()
	s := &pb.UplinkStatusResponse{}
	if err := c.h.uplink.Control(ctx, action, s); err != nil {
		return err
	}
	c.h.uplink.Status(c.r.Context(), s)
	return c.reply(s)
}
