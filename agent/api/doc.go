// Package api serves the HTTP API of the agent: the calls of the Querator API
// under /v1, the additions of Querator Edge, and GET /health, /metrics and
// /openapi.yaml.
//
// A call goes through these steps, and the first that fails answers it:
//
//  1. method, Authorization header, path (handler.go)
//  2. the body is read, within the size limit of the path and the budget of
//     bytes in flight (body.go, budget.go)
//  3. Content-Type, then the parser: both answer 455 (wire.go)
//  4. the access rules: whether the caller may do it to this queue (may.go,
//     routes.go), before anybody learns whether there is such a queue
//  5. the queue is looked up, then what only exists on the wire is validated:
//     durations, names, namespaces (validate.go); the rest is the business of
//     package queue
//  6. the reply is written in the format that Accept names (reply.go)
//
// Every error becomes a code and a text in errors.go. Clients of Querator know
// a fixed list of codes and refuse JSON fields they do not know, so replies of
// the calls that Querator has carry nothing of our own in JSON.
//
// A call runs on the goroutine of its connection. The four calls by which items go through
// a queue have none of their own where they are small (exchange.go), nor do they on a
// stream (stream.go): steps 2 to 5 are the same there, in the goroutine that reads for
// many, and step 6 belongs to whoever writes (begun.go). A stream
// ends with the handler's call, and all that it has started with it; nothing else in
// the package starts goroutines.
package api
