package downlink

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// Finding is one thing that Test looked at.
type Finding struct {
	Name, Text string
	Fix        string // what to change; empty if all is well
}

// Test looks at all that a downlink needs: the rights of the login, and the stream. It changes nothing and takes
// nothing. It may be called by the goroutine that r belongs to.
func Test(ctx context.Context, r *hub.Reader, device string, cfg Config, timeout time.Duration) []Finding {
	cfg, err := cfg.resolve(device)
	if err != nil {
		return []Finding{{"settings", err.Error(), "correct [[downlink]]"}}
	}
	var found []Finding
	add := func(name string, ok bool, text, fix string) {
		if ok {
			fix = ""
		}
		found = append(found, Finding{name, text, fix})
	}
	consumer := cfg.consumer(device)
	if cfg.Doorbell != "" {
		if err := r.Ring(cfg.Doorbell, func(string, uint64) {}); err != nil {
			add("doorbell", false, err.Error(), "try again")
		}
	}
	info, err := r.Info(ctx, cfg.Stream, timeout)
	switch hub.Classify(err) {
	case hub.ClassNone:
	case hub.ClassNoStream:
		add("stream", false, err.Error(), fmt.Sprintf("create the stream %s with a subject for %s", cfg.Stream, cfg.Subject))
		return found
	default:
		add("stream", false, err.Error(), "allow the device to publish $JS.API.STREAM.INFO."+cfg.Stream+", and to subscribe to _INBOX_"+device+".>")
		return found
	}
	for _, right := range r.Rights(ctx, &consumer, timeout) {
		text := right.Subject + " may be published"
		if right.Err != nil {
			text = right.Err.Error()
		}
		add(right.Name, right.Err == nil, text, "allow the device to publish "+right.Subject)
	}
	c := &info.Config
	add("subject", slices.ContainsFunc(c.Subjects, func(s string) bool { return hub.Covers(s, cfg.Subject) }),
		fmt.Sprint(c.Subjects), "add "+cfg.Subject+" to the subjects of the stream "+cfg.Stream)
	add("retention", c.Retention == "limits", c.Retention, "create the stream anew with retention limits: others delete messages, or ask for receipts")
	add("storage", c.Storage == "file", c.Storage, "create the stream anew with file storage")
	if cfg.Doorbell != "" {
		err := r.Refused(cfg.Doorbell)
		text := cfg.Doorbell + " may be subscribed to"
		if err != nil {
			text = err.Error()
		}
		add("doorbell", err == nil, text, "allow the device to subscribe to "+cfg.Doorbell+", or set doorbell to \"\"")
	}
	return found
}
