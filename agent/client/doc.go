// Package client talks to the agent: the calls of its API with plain Go types, and a Worker that leases items,
// runs a handler for each, and completes or retries them.
//
// The zero Client reaches the agent of this machine through its default socket:
//
//	var c client.Client
//	err := c.Produce(ctx, "readings", client.ProduceItem{Payload: []byte("21.4")})
//
// A program shares one Client among its goroutines. While several calls are under way the client makes those that
// are small on one connection, where they are written, read and committed together: goroutines that have a Client
// each get less done, and cost the agent more.
//
// Nothing is tried twice behind the caller's back, except by a Worker. A call ends with its context; what the
// agent was doing for it then may have taken effect or not. An error is an *Error, of one of the kinds that are
// listed there and told apart with errors.Is, or the error of the context.
package client
