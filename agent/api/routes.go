package api

import (
	"google.golang.org/protobuf/proto"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/frame"
	"github.com/kapetan-io/querator-edge/agent/pb"
)

// Paths that are answered to GET.
const (
	pathHealth     = "/health"
	pathMetricsURL = "/metrics"
	pathOpenAPI    = "/openapi.yaml"
)

// Body limits in bytes, beside those of produce and import.
const (
	limitSmall  = 512
	limitUpdate = 512_000
	limitOther  = 256_000
	limitBackup = 4_000_000 // the head of an earlier back-up names all its segments
)

// page is what is answered to GET.
type page struct {
	op    access.Operation
	serve func(c *call)
}

// pages returns them by their paths.
func pages() map[string]page {
	return map[string]page{
		pathHealth:     {access.Open, (*call).health},
		pathMetricsURL: {access.Read, (*call).writeMetrics},
		pathOpenAPI:    {access.Open, (*call).writeOpenAPI},
		// Its calls are looked at one by one.
		frame.Path: {access.Open, (*call).stream},
	}
}

// route is one call of the API.
type route struct {
	// op is what the call does, which the caller must be allowed on the queue that
	// the request names, or on the agent as a whole when it names none.
	op    access.Operation
	limit int64 // of the body, in bytes
	// copies is how many copies of the body are made while the call is served.
	copies int64
	// request and reply say which messages the call takes and gives; reply is
	// nil for pb.Reply. They are for the tests that compare the documentation.
	request, reply proto.Message
	// serve parses the body, does what is asked and writes the reply. An error
	// that it returns is the reply.
	serve func(c *call, f format, body []byte) error
	// bodyStream is the body, replyStream the reply in place of a message: a
	// back-up, which is not held in memory. serve then reads the body by itself.
	bodyStream, replyStream bool
}

// message is a pointer to a generated message of type M.
type message[M any] interface {
	*M
	proto.Message
}

// plain makes a route of a function that takes a parsed request. Whether the
// caller may make it has been checked when the function is called.
func plain[M any, P message[M]](op access.Operation, limit int64, reply proto.Message, f func(c *call, req P) error) *route {
	return filtered(op, limit, reply, func(c *call, req P) error {
		if err := c.may(queueOf(req)); err != nil {
			return err
		}
		return f(c, req)
	})
}

// filtered is plain for a function that looks itself at what the caller may do.
func filtered[M any, P message[M]](op access.Operation, limit int64, reply proto.Message, f func(c *call, req P) error) *route {
	return &route{op: op, limit: limit, copies: 1, request: P(new(M)), reply: reply, serve: func(c *call, fm format, body []byte) error {
		req := P(new(M))
		if err := decode(fm, body, req); err != nil {
			return err
		}
		return f(c, req)
	}}
}

// imports is the route of the import: its items are parsed, and all of them are in
// one commit.
func imports(limit int64) *route {
	rt := plain(access.Admin, limit, &pb.StorageItemsImportResponse{}, itemsImport)
	rt.copies = 2
	return rt
}

// refused makes a route of a call of Querator that has nothing to work on here.
func refused(what string) *route {
	return &route{op: access.Open, limit: limitOther, serve: func(*call, format, []byte) error {
		return &wireError{code: codeFailed, msg: what + " storage not configured"}
	}}
}

// routes returns the calls by their paths. Every other path answers 501, those
// that Querator reserves and does not serve included.
func routes(o *Options) map[string]*route {
	m := map[string]*route{
		"/v1/queue.produce": {op: access.Produce, limit: o.MaxProduceBody, request: &pb.QueueProduceRequest{},
			serve: queueProduce},
		"/v1/queue.lease": {op: access.Consume, limit: limitSmall, request: &pb.QueueLeaseRequest{},
			reply: &pb.QueueLeaseResponse{}, serve: queueLease},
		"/v1/queue.complete": {op: access.Consume, limit: limitOther, request: &pb.QueueCompleteRequest{},
			serve: queueComplete},
		"/v1/queue.retry":   plain(access.Consume, limitOther, nil, queueRetry),
		"/v1/queue.extend":  plain(access.Consume, limitOther, &pb.QueueExtendResponse{}, queueExtend),
		"/v1/queue.stats":   plain(access.Read, limitSmall, &pb.QueueStatsResponse{}, queueStats),
		"/v1/queue.clear":   plain(access.Admin, limitSmall, nil, queueClear),
		"/v1/queue.reload":  plain(access.Admin, limitSmall, nil, queueReload),
		"/v1/queue.pause":   plain(access.Admin, limitOther, nil, queuePause),
		"/v1/queue.resume":  plain(access.Admin, limitOther, nil, queueResume),
		"/v1/queue.redrive": plain(access.Admin, limitOther, &pb.QueueRedriveResponse{}, queueRedrive),

		"/v1/queues.create": plain(access.Admin, limitOther, nil, queuesCreate),
		"/v1/queues.update": plain(access.Admin, limitUpdate, nil, queuesUpdate),
		"/v1/queues.list":   filtered(access.Read, limitOther, &pb.QueuesListResponse{}, queuesList),
		"/v1/queues.info":   plain(access.Read, limitOther, &pb.QueueInfo{}, queuesInfo),
		"/v1/queues.delete": plain(access.Admin, limitOther, nil, queuesDelete),

		"/v1/storage/items.list":     plain(access.Read, limitOther, &pb.StorageItemsListResponse{}, itemsList),
		"/v1/storage/items.import":   imports(o.MaxImportBody),
		"/v1/storage/items.delete":   plain(access.Admin, limitOther, nil, itemsDelete),
		"/v1/storage/scheduled.list": plain(access.Read, limitOther, &pb.StorageItemsListResponse{}, scheduledList),

		"/v1/agent.status":   plain(access.Read, limitOther, &pb.AgentStatusResponse{}, agentStatus),
		"/v1/agent.audit":    plain(access.Read, limitOther, &pb.AgentAuditResponse{}, agentAudit),
		"/v1/agent.backup":   backupRoute(),
		"/v1/agent.restore":  {op: access.Admin, reply: &pb.AgentRestoreResponse{}, bodyStream: true, serve: agentRestore},
		"/v1/uplink.status":  plain(access.Read, limitSmall, &pb.UplinkStatusResponse{}, uplinkStatus),
		"/v1/uplink.control": plain(access.Admin, limitSmall, &pb.UplinkStatusResponse{}, uplinkControl),
		"/v1/agent.access":   filtered(access.Open, limitOther, &pb.AgentAccessResponse{}, agentAccess),
	}
	for what, names := range map[string][]string{
		"namespace":    {"namespaces.create", "namespaces.update", "namespaces.list", "namespaces.delete"},
		"user":         {"users.create", "users.list", "users.delete"},
		"api key":      {"apikeys.create", "apikeys.list", "apikeys.delete"},
		"role":         {"roles.create", "roles.list", "roles.update", "roles.delete"},
		"role binding": {"rolebindings.create", "rolebindings.list", "rolebindings.delete"},
	} {
		for _, name := range names {
			m["/v1/"+name] = refused(what)
		}
	}
	return m
}
