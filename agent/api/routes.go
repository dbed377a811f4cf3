package api

import (
	"google.golang.org/protobuf/proto"

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
)

// route is one call of the API.
type route struct {
	limit int64 // of the body, in bytes
	// request and reply say which messages the call takes and gives; reply is
	// nil for pb.Reply. They are for the tests that compare the documentation.
	request, reply proto.Message
	// serve parses the body, does what is asked and writes the reply. An error
	// that it returns is the reply.
	serve func(c *call, f format, body []byte) error
}

// message is a pointer to a generated message of type M.
type message[M any] interface {
	*M
	proto.Message
}

// plain makes a route of a function that takes a parsed request.
func plain[M any, P message[M]](limit int64, reply proto.Message, f func(c *call, req P) error) *route {
	return &route{limit: limit, request: P(new(M)), reply: reply, serve: func(c *call, fm format, body []byte) error {
		req := P(new(M))
		if err := decode(fm, body, req); err != nil {
			return err
		}
		return f(c, req)
	}}
}

// refused makes a route of a call of Querator that has nothing to work on here.
func refused(what string) *route {
	return &route{limit: limitOther, serve: func(*call, format, []byte) error {
		return &wireError{code: codeFailed, msg: what + " storage not configured"}
	}}
}

// routes returns the calls by their paths. Every other path answers 501, those
// that Querator reserves and does not serve included.
func routes(o *Options) map[string]*route {
	m := map[string]*route{
		"/v1/queue.produce": {limit: o.MaxProduceBody, request: &pb.QueueProduceRequest{}, serve: queueProduce},
		"/v1/queue.lease": {limit: limitSmall, request: &pb.QueueLeaseRequest{}, reply: &pb.QueueLeaseResponse{},
			serve: queueLease},
		"/v1/queue.complete": {limit: limitOther, request: &pb.QueueCompleteRequest{}, serve: queueComplete},
		"/v1/queue.retry":    plain(limitOther, nil, queueRetry),
		"/v1/queue.extend":   plain(limitOther, &pb.QueueExtendResponse{}, queueExtend),
		"/v1/queue.stats":    plain(limitSmall, &pb.QueueStatsResponse{}, queueStats),
		"/v1/queue.clear":    plain(limitSmall, nil, queueClear),
		"/v1/queue.reload":   plain(limitSmall, nil, queueReload),
		"/v1/queue.pause":    plain(limitOther, nil, queuePause),
		"/v1/queue.resume":   plain(limitOther, nil, queueResume),
		"/v1/queue.redrive":  plain(limitOther, &pb.QueueRedriveResponse{}, queueRedrive),

		"/v1/queues.create": plain(limitOther, nil, queuesCreate),
		"/v1/queues.update": plain(limitUpdate, nil, queuesUpdate),
		"/v1/queues.list":   plain(limitOther, &pb.QueuesListResponse{}, queuesList),
		"/v1/queues.info":   plain(limitOther, &pb.QueueInfo{}, queuesInfo),
		"/v1/queues.delete": plain(limitOther, nil, queuesDelete),

		"/v1/storage/items.list":     plain(limitOther, &pb.StorageItemsListResponse{}, itemsList),
		"/v1/storage/items.import":   plain(o.MaxImportBody, &pb.StorageItemsImportResponse{}, itemsImport),
		"/v1/storage/items.delete":   plain(limitOther, nil, itemsDelete),
		"/v1/storage/scheduled.list": plain(limitOther, &pb.StorageItemsListResponse{}, scheduledList),

		"/v1/agent.status": plain(limitOther, &pb.AgentStatusResponse{}, agentStatus),
		"/v1/agent.audit":  plain(limitOther, &pb.AgentAuditResponse{}, agentAudit),
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
