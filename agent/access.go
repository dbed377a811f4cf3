package agent

import (
	"context"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/config"
)

// newGuard makes what decides who may do what, by the rules and bounds of the
// configuration. The error is config.ErrConfig.
func (a *Agent) newGuard(l *config.Loaded) error {
	rules, err := access.Compile(l, access.Accounts{})
	if err != nil {
		return err
	}
	limits := &l.Config.Limits
	a.guard = access.New(access.Options{
		Rules:   rules,
		Refused: a.logRefusal,
		Shares: access.Shares{
			Connections: a.maxConns(), UserConnections: limits.MaxUserConnections,
			WaitingLeases: limits.MaxWaitingLeases, UserWaitingLeases: limits.MaxUserWaitingLeases,
			UserInFlightBytes: int64(limits.MaxUserInFlightBytes), UserRequests: limits.MaxUserRequests,
			Holders: limits.MaxHolders,
		},
	})
	a.tellOfUnits(rules)
	return nil
}

// tellOfUnits warns of rules that cannot be followed on this device.
func (a *Agent) tellOfUnits(r *access.Rules) {
	if err := a.guard.KnowsUnits(); r.NamesUnits() && err != nil {
		a.log.Warn().Err(err).Msg("access rules by unit allow nothing to anybody, and refuse to all what they refuse")
	}
}

// logRefusal logs that somebody was refused something.
func (a *Agent) logRefusal(r access.Refusal) {
	e := a.log.Warn().Str("operation", r.Operation.String()).Str("queue", r.Queue).Int("times", r.Count)
	if r.Others {
		e.Msg("calls of several users were refused by the access rules")
		return
	}
	e.Uint32("uid", r.UID).Int32("pid", r.PID).Msg("a call was refused by the access rules")
}

// watchHolders ends the leases of processes that end, until ctx ends.
func (a *Agent) watchHolders(ctx context.Context) {
	if err := a.guard.Watch(ctx, a.service.ReleaseHolders); err != nil {
		a.log.Error().Err(err).Msg("leases do not end with the processes that hold them; their timeouts hold")
	}
}
