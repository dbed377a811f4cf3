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
// The package starts no goroutines. A call runs on the goroutine that net/http
// gave its connection.
package api
