package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/client"
)

func (e *env) uplinkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "uplink",
		Short: "Look at the uplink to NATS, and control it",
		Long: `The uplink sends an event for every item that is done to a NATS server ([uplink] in the configuration), and
brings items from there into queues ([[downlink]]). Without a command below it shows the state.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.uplinkStatus(cmd.Context()) },
	}
	cmd.AddCommand(
		e.uplinkSimple("status", "Show the state of the uplink, what waits, and what is wrong", e.uplinkStatus),
		e.uplinkSimple("pause", "Disconnect, also over restarts, until resumed; events are kept, and no items come", e.uplinkPause),
		e.uplinkSimple("resume", "Go on after a pause, or after an identity conflict was put right", e.uplinkResume),
		e.uplinkSimple("reconnect", "Connect anew, with credentials and certificates read again", e.uplinkReconnect),
		e.uplinkSimple("flush", "Send all events that wait, have the downlinks look for items, and say how many events are left after --timeout", e.uplinkFlush),
		e.uplinkSimple("test", "Check login, rights and the settings of the streams, and say what to change", e.uplinkTest),
	)
	return cmd
}

func (e *env) uplinkSimple(name, short string, run func(ctx context.Context) error) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context()) },
	}
}

func (e *env) uplinkStatus(ctx context.Context) error {
	ctx, cancel := e.limited(ctx)
	defer cancel()
	s, err := e.client().Uplink(ctx)
	if err != nil {
		return err
	}
	return e.print(s, nil, func(t *columns) { uplinkTable(t, s) })
}

// uplinkTable is the state for people.
func uplinkTable(t *columns, s *client.UplinkStatus) {
	if s.State == "off" {
		t.row("state", "off: no url in [uplink]")
		return
	}
	t.row("state", fmt.Sprintf("%s, for %s", s.State, s.Since))
	if s.Error != "" {
		t.row("trouble", s.Error)
	}
	t.row("device", s.Device)
	if s.URL != "" {
		t.row("server", fmt.Sprintf("%s, nats-server %s", s.URL, s.Server))
	}
	if s.Mode != "" {
		t.row("mode", s.Mode)
	}
	waits := fmt.Sprintf("%d in %d partition(s), %s on flash", s.Pending, s.Partitions, bytesText(s.Bytes))
	if s.Pending > 0 {
		waits += fmt.Sprintf(", the oldest %s old", s.Oldest)
	}
	t.row("waiting", waits)
	if s.Blocked > 0 {
		t.row("full", fmt.Sprintf("%d partition(s) refuse completes", s.Blocked))
	}
	t.row("delivered", fmt.Sprintf("%d in %d connection(s)", s.Delivered, s.Connects))
	if s.Resent+s.Lost+s.Gaps+s.Shortened+s.Conflicts > 0 {
		t.row("notable", fmt.Sprintf("%d sent again, %d lost, %d gap(s) told of, %d shortened, %d fence(s) refused",
			s.Resent, s.Lost, s.Gaps, s.Shortened, s.Conflicts))
	}
	t.row("network", fmt.Sprintf("%s out, %s in; %s today, %s this month", bytesText(int64(s.BytesOut)), bytesText(int64(s.BytesIn)),
		bytesText(s.DayBytes), bytesText(s.MonthBytes)))
	for i := range s.Downlinks {
		downlinkRows(t, &s.Downlinks[i])
	}
}

// downlinkRows is the state of a downlink for people.
func downlinkRows(t *columns, d *client.Downlink) {
	text := fmt.Sprintf("%s: %s, %d taken", d.Queue, d.State, d.Taken)
	if d.Waiting > 0 {
		text += fmt.Sprintf(", %d wait", d.Waiting)
	}
	if d.Skipped > 0 {
		text += fmt.Sprintf(", %d skipped", d.Skipped)
	}
	if d.Missed > 0 {
		text += fmt.Sprintf(", up to %d missed", d.Missed)
	}
	t.row("downlink", fmt.Sprintf("%s; at %d of %s, %s", text, d.Sequence, d.Stream, d.Subject))
	for _, note := range []string{d.Error, d.LastSkipped} {
		if note != "" {
			t.row("", note)
		}
	}
}

// uplinkText is the state in one line.
func uplinkText(s *client.UplinkStatus) string {
	text := fmt.Sprintf("%s for %s, %d event(s) delivered, %d wait", s.State, durationText(s.Since), s.Delivered, s.Pending)
	if s.Pending > 0 {
		text += ", the oldest for " + durationText(s.Oldest)
	}
	return text
}

// controlUplink has the agent do something with its uplink.
func (e *env) controlUplink(ctx context.Context, action string) (*client.UplinkStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout+5*time.Second)
	defer cancel()
	return e.client().ControlUplink(ctx, action, e.timeout)
}

func (e *env) uplinkPause(ctx context.Context) error {
	s, err := e.controlUplink(ctx, "pause")
	if err != nil {
		return err
	}
	return e.report(s, "Paused: events are kept until the uplink is resumed")
}

func (e *env) uplinkResume(ctx context.Context) error {
	s, err := e.controlUplink(ctx, "resume")
	if err != nil {
		return err
	}
	return e.report(s, "Resumed: %d event(s) wait", s.Pending)
}

func (e *env) uplinkReconnect(ctx context.Context) error {
	s, err := e.controlUplink(ctx, "reconnect")
	if err != nil {
		return err
	}
	return e.report(s, "Connecting anew")
}

func (e *env) uplinkFlush(ctx context.Context) error {
	s, err := e.controlUplink(ctx, "flush")
	if err != nil {
		return err
	}
	if err := e.report(s, "Flushed: %d event(s) are left", s.Left); err != nil {
		return err
	}
	if s.Left > 0 {
		return fmt.Errorf("%d event(s) were not delivered in %s; the uplink is %s", s.Left, e.timeout, s.State)
	}
	return nil
}

func (e *env) uplinkTest(ctx context.Context) error {
	s, err := e.controlUplink(ctx, "test")
	if err != nil {
		return err
	}
	wrong := 0
	for i := range s.Findings {
		if f := &s.Findings[i]; !f.OK && !f.Unknown {
			wrong++
		}
	}
	if err := e.print(s.Findings, anys(s.Findings), func(t *columns) { findingsTable(t, s.Findings) }); err != nil {
		return err
	}
	if wrong > 0 {
		return errors.New("the uplink cannot work as it should; change what is listed")
	}
	return nil
}

func findingsTable(t *columns, findings []client.UplinkFinding) {
	t.row("CHECK", "RESULT", "FOUND")
	for i := range findings {
		f := &findings[i]
		result := "ok"
		switch {
		case f.Unknown:
			result = "unknown"
		case !f.OK:
			result = "WRONG"
		}
		t.row(f.Name, result, f.Text)
		if f.Fix != "" {
			t.row("", "", "-> "+f.Fix)
		}
	}
}
