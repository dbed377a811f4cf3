// Package serve is an HTTP/1.1 server for local sockets. It serves the handlers
// of net/http, and uses its parser for all but the plainest heads; what it leaves out is what costs time
// between two processes of one machine: the server of net/http reads ahead on
// every connection, in a goroutine of its own, while a handler runs, to notice
// that the client goes. Here this begins only when a handler takes longer than a
// moment, as a waiting lease does.
//
// # A connection
//
// One goroutine has the connection from its beginning to its end:
//
//	wait for a byte (IdleTimeout) ─► read the head (HeaderTimeout, MaxHeaderBytes)
//	    ▲                                   │ what does not parse: 400, 431, close
//	    │                                   ▼
//	    └── keep-alive ◄── write the rest ◄── handler
//
// A client that is alone and makes one request after the other is waited for in
// the kernel for a moment, see package poll.
//
// The handler sets the deadlines for the body and for the reply with
// http.ResponseController. A reply with a Content-Length is written in one
// piece, one without in chunks. A body that the handler has left over is read as
// far as it is small; else the connection ends.
//
// A handler can take the connection (http.ResponseController, Hijack) until it returns;
// it has to end what it does there when Leaving of the http.ResponseWriter is closed,
// since Drain and Shutdown wait for it as for any request.
//
// While a handler runs for longer than watchAfter, and has read the body to its
// end, a second goroutine, which the first waits for, reads on: when the client
// has closed the connection the context of the request ends.
package serve
