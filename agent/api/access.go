package api

import (
	"net/http"
	"strings"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/pb"
)

// agentAccess says whether somebody may do something, and why. Everybody may ask
// about himself; about others, who may read the agent as a whole.
func agentAccess(c *call, req *pb.AgentAccessRequest) error {
	op, ok := access.ParseOperation(req.Operation)
	if !ok {
		return badRequest("operation is invalid; '%s' is not one of (%s)", req.Operation, strings.Join(config.Operations(), ", "))
	}
	who := c.h.guard.Caller(c.peer)
	decision := c.h.guard.Decide(c.peer, op, req.QueueName)
	if req.User != "" {
		if err := c.mayAlso(access.Read, agentWide); err != nil {
			return err
		}
		var err error
		if who, err = (access.Accounts{}).FindCaller(req.User, req.Groups, req.Unit); err != nil {
			return &wireError{code: http.StatusBadRequest, msg: "user is invalid; " + err.Error()}
		}
		decision = c.h.guard.Explain(who, op, req.QueueName)
	}
	out := &pb.AgentAccessResponse{
		Allowed: decision.Allowed, Reason: decision.String(), Rule: int32(decision.Rule), Origin: decision.Origin,
		Uid: who.UID, Gid: who.GID, Groups: who.Groups, Unit: who.Unit,
	}
	if !who.GroupsKnown {
		out.Unknown = append(out.Unknown, "groups")
	}
	if !who.UnitKnown {
		out.Unknown = append(out.Unknown, "unit")
	}
	return c.reply(out)
}
