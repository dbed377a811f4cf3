package client

import (
	"context"

	"github.com/kapetan-io/querator-edge/agent/pb"
)

// AccessQuestion asks whether somebody may do something.
type AccessQuestion struct {
	// Queue is the queue; empty is the agent as a whole.
	Queue string
	// Operation is produce, consume, read or admin.
	Operation string
	// User is a user by name or number, with Groups beside those that the system's files give the user, and the system
	// unit of its process. An empty User is this process, as the kernel knows it; the rest is then not looked at.
	User   string
	Groups []string
	Unit   string
}

// AccessAnswer says whether it is allowed, and why.
type AccessAnswer struct {
	Allowed bool `json:"allowed"`
	// Reason says why in words; Rule is the rule that decides, from 1, and Origin its place; 0 is none.
	Reason string `json:"reason"`
	Rule   int    `json:"rule,omitempty"`
	Origin string `json:"origin,omitempty"`
	// UID, GID, Groups and Unit are who was judged. Unknown says which of groups and unit are not known.
	UID     uint32   `json:"uid"`
	GID     uint32   `json:"gid"`
	Groups  []uint32 `json:"groups,omitempty"`
	Unit    string   `json:"unit,omitempty"`
	Unknown []string `json:"unknown,omitempty"`
}

// CheckAccess asks the agent about its access rules. Everybody may ask about himself; to ask about others takes the
// right to read the agent as a whole.
func (c *Client) CheckAccess(ctx context.Context, q AccessQuestion) (*AccessAnswer, error) {
	var resp pb.AgentAccessResponse
	err := c.call(ctx, "/v1/agent.access", &pb.AgentAccessRequest{
		QueueName: q.Queue, Operation: q.Operation, User: q.User, Groups: q.Groups, Unit: q.Unit,
	}, &resp)
	if err != nil {
		return nil, err
	}
	return &AccessAnswer{
		Allowed: resp.Allowed, Reason: resp.Reason, Rule: int(resp.Rule), Origin: resp.Origin,
		UID: resp.Uid, GID: resp.Gid, Groups: resp.Groups, Unit: resp.Unit, Unknown: resp.Unknown,
	}, nil
}
