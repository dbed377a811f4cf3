package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/config"
)

func (e *env) accessCommand() *cobra.Command {
	return group("access", "Look at who may do what", e.accessCheckCommand())
}

func (e *env) accessCheckCommand() *cobra.Command {
	var flags config.Flags
	var q client.AccessQuestion
	var running bool
	cmd := &cobra.Command{
		Use:   "check --do OPERATION [--user USER] [--queue QUEUE]",
		Short: "Say whether a user may do something, and by which rule",
		Long: `Say whether a user may do something with a queue, and by which rule of the configuration. OPERATION is produce,
consume, read or admin; without --queue it is about the agent as a whole: status, audit, metrics. A user has the
groups that /etc/passwd and /etc/group give it; --group and --unit add what a process of it may have besides.

It reads the configuration as it is now. With --running it asks the agent, which may have read it earlier; then
without --user it is about the process itself, as the agent knows it. Exits with 1 if the answer is no.`,
		Example: `  querator access check --user sensor --queue readings --do produce
  querator access check --user 1000 --group video --unit camera.service --queue frames --do consume
  querator access check --running --queue readings --do produce`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, ok := access.ParseOperation(q.Operation); !ok {
				return usagef("--do '%s' is invalid; use one of %s", q.Operation, strings.Join(config.Operations(), ", "))
			}
			if q.User == "" && (!running || len(q.Groups) > 0 || q.Unit != "") {
				return usagef("--user is missing")
			}
			flags.Socket = e.socket
			answer, err := e.checkAccess(cmd.Context(), flags, q, running)
			if err != nil {
				return err
			}
			return e.accessReport(answer)
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.Operation, "do", "", "what is to be done: "+strings.Join(config.Operations(), ", "))
	f.StringVar(&q.User, "user", "", "name or number of a user")
	f.StringSliceVar(&q.Groups, "group", nil, "a further group of its process, by name or number; may be repeated")
	f.StringVar(&q.Unit, "unit", "", "system unit of its process, such as camera.service")
	f.StringVar(&q.Queue, "queue", "", "name of a queue; empty is the agent as a whole")
	f.BoolVar(&running, "running", false, "ask the agent that is running")
	agentFlags(cmd, &flags)
	return cmd
}

// checkAccess asks the agent, or the rules of the configuration.
func (e *env) checkAccess(ctx context.Context, flags config.Flags, q client.AccessQuestion, running bool) (*client.AccessAnswer, error) {
	if running {
		ctx, cancel := e.limited(ctx)
		defer cancel()
		return e.client().CheckAccess(ctx, q)
	}
	loaded, err := config.LoadAgent(flags, e.agentPaths())
	if err != nil {
		return nil, err
	}
	rules, err := access.Compile(loaded, access.Accounts{})
	if err != nil {
		return nil, err
	}
	who, err := (access.Accounts{}).FindCaller(q.User, q.Groups, q.Unit)
	if err != nil {
		return nil, usagef("%v", err)
	}
	op, _ := access.ParseOperation(q.Operation) // It was checked.
	d := rules.Explain(who, agentUser(loaded), op, q.Queue)
	return &client.AccessAnswer{
		Allowed: d.Allowed, Reason: d.String(), Rule: d.Rule, Origin: d.Origin,
		UID: who.UID, GID: who.GID, Groups: who.Groups, Unit: who.Unit,
	}, nil
}

// agentUser returns the user that the agent runs as: who owns its data, or, before there are any, who asks.
func agentUser(l *config.Loaded) uint32 {
	var st unix.Stat_t
	if unix.Stat(l.Config.DataDir, &st) == nil {
		return st.Uid
	}
	return uint32(os.Geteuid())
}

// errRefused says that the answer was no. The answer has been printed.
var errRefused = errors.New("it is refused")

func (e *env) accessReport(a *client.AccessAnswer) error {
	err := e.print(a, nil, func(t *columns) {
		t.row("answer", a.Reason)
		t.row("user", a.UID)
		t.row("groups", groupsText(a))
		t.row("unit", dash(a.Unit))
		if len(a.Unknown) > 0 {
			t.row("not known", strings.Join(a.Unknown, ", ")+": rules that allow do not count on it, rules that deny do")
		}
	})
	if err == nil && !a.Allowed {
		err = errRefused
	}
	return err
}

// groupsText lists the groups of a caller, the first one before its supplementary ones.
func groupsText(a *client.AccessAnswer) string {
	var list []string
	if a.GID != ^uint32(0) {
		list = append(list, fmt.Sprint(a.GID))
	}
	for _, g := range a.Groups {
		if g != a.GID {
			list = append(list, fmt.Sprint(g))
		}
	}
	return dash(strings.Join(list, ", "))
}
