package api

import (
	"cmp"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

// readInfo judges what of a queue's options exists on the wire only, in the
// order that clients know, and returns the options.
func readInfo(req *pb.QueueInfo) (queue.Info, error) {
	if err := validateName(req.QueueName); err != nil {
		return queue.Info{}, err
	}
	lease, expire, err := parseTimeouts(req.LeaseTimeout, req.ExpireTimeout)
	if err != nil {
		return queue.Info{}, err
	}
	if err := validateNamespace(req.Namespace); err != nil {
		return queue.Info{}, err
	}
	return queue.Info{
		Name:                req.QueueName,
		DeadQueue:           req.DeadQueue,
		Reference:           req.Reference,
		LeaseTimeout:        lease,
		ExpireTimeout:       expire,
		MaxAttempts:         int(req.MaxAttempts),
		RequestedPartitions: int(req.RequestedPartitions),
		MaxItems:            req.MaxItems,
		MaxBytes:            req.MaxBytes,
		FullPolicy:          queue.FullPolicy(req.FullPolicy),
		ReleaseOnExit:       req.ReleaseOnExit,
	}, nil
}

// mayFeed returns an error unless the caller may let items die into the queue
// that is to be the dead queue of another. present is the one that it has, of
// which nothing changes.
func mayFeed(c *call, dead, present string) error {
	if dead == "" || dead == present {
		return nil
	}
	return c.mayAlso(access.Produce, dead)
}

func queuesCreate(c *call, req *pb.QueueInfo) error {
	if err := mayFeed(c, req.DeadQueue, ""); err != nil {
		return err
	}
	info, err := readInfo(req)
	if err != nil {
		return err
	}
	if req.Namespace != "" && req.Namespace != systemNamespace {
		return &wireError{code: codeFailed, msg: "namespace does not exist; '" + req.Namespace + "' was not found"}
	}
	if err := c.h.service.Create(c.r.Context(), info); err != nil {
		return err
	}
	return c.ok()
}

func queuesUpdate(c *call, req *pb.QueueInfo) error {
	present := ""
	if q, err := c.h.service.Queue(req.QueueName); err == nil {
		present = q.Info().DeadQueue
	}
	if err := mayFeed(c, req.DeadQueue, present); err != nil {
		return err
	}
	info, err := readInfo(req)
	if err != nil {
		return err
	}
	if err := c.h.service.Update(c.r.Context(), info); err != nil {
		return err
	}
	return c.ok()
}

func queuesDelete(c *call, req *pb.QueuesDeleteRequest) error {
	if err := validateName(req.QueueName); err != nil {
		return err
	}
	if err := c.h.service.Delete(c.r.Context(), req.QueueName); err != nil {
		return err
	}
	return c.ok()
}

func queuesInfo(c *call, req *pb.QueuesInfoRequest) error {
	q, err := c.h.service.Queue(req.QueueName)
	if err != nil {
		return err
	}
	f, err := c.replyFormat()
	if err != nil {
		return err
	}
	info := q.Info()
	return c.reply(infoReply(f, &info))
}

// infoReply returns a queue as a call of Querator answers it: what Querator does
// not have is left out of JSON, of which its clients refuse what they do not know.
func infoReply(f format, info *queue.Info) *pb.QueueInfo {
	m := infoMessage(info)
	if f == formatJSON {
		m.MaxItems, m.MaxBytes, m.FullPolicy, m.ReleaseOnExit = 0, 0, "", false
	}
	return m
}

// infoMessage returns all of a queue.
func infoMessage(info *queue.Info) *pb.QueueInfo {
	return &pb.QueueInfo{
		QueueName:           info.Name,
		CreatedAt:           stamp(info.CreatedAt),
		UpdatedAt:           stamp(info.UpdatedAt),
		DeadQueue:           info.DeadQueue,
		Reference:           info.Reference,
		LeaseTimeout:        info.LeaseTimeout.String(),
		ExpireTimeout:       info.ExpireTimeout.String(),
		MaxAttempts:         int32(info.MaxAttempts),
		RequestedPartitions: int32(info.RequestedPartitions),
		Namespace:           systemNamespace,
		MaxItems:            info.MaxItems,
		MaxBytes:            info.MaxBytes,
		FullPolicy:          string(info.FullPolicy),
		ReleaseOnExit:       info.ReleaseOnExit,
	}
}

func queuesList(c *call, req *pb.QueuesListRequest) error {
	infos, err := listShown(c, req.Pivot, int(req.Limit))
	if err != nil {
		return err
	}
	if req.Namespace != "" && req.Namespace != systemNamespace {
		infos = nil // There is nothing in a namespace that is not there.
	}
	l, err := c.startList(1)
	if err != nil {
		return err
	}
	for i := range infos {
		if err := l.add(infoReply(l.f, &infos[i])); err != nil {
			return l.abort(err)
		}
	}
	return l.end()
}

// listShown returns at most limit queues that the caller may read, from pivot on.
func listShown(c *call, pivot string, limit int) ([]queue.Info, error) {
	var shown []queue.Info
	for want := cmp.Or(limit, defaultListLimit); ; {
		infos, err := c.h.service.List(c.r.Context(), pivot, limit)
		if err != nil {
			return nil, err
		}
		for i := range infos {
			if c.shows(infos[i].Name) && len(shown) < want {
				shown = append(shown, infos[i])
			}
		}
		if len(infos) < want || len(shown) == want {
			return shown, nil
		}
		pivot = infos[len(infos)-1].Name + "\x00" // No name lies between the two.
	}
}
