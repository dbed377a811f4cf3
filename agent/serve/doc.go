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
// # The crowd
//
// Most requests of most clients are small, and wait for the device. A goroutine for each
// costs more than all that is done for it: it is woken for the request, for the answer,
// and has its own call of the system for whether there is more. So a connection that was
// answered once joins the crowd. Its goroutine sleeps from then on, and one goroutine, the
// reader, waits for all members, with an epoll of its own:
//
//	wait for members with something to read ─► read each; begin what it asks for (Server.Begin)
//	    ▲                                          │ what cannot be begun, is not plain, or has
//	    │                                          │ not come whole after a moment: its goroutine
//	    │                                          ▼
//	    └── write what is answered, without ◄── Batch.Serve: one commit for all of them, by
//	        blocking; the rest, and what is         the reader itself
//	        long: its goroutine
//
// The reader waits in the kernel, in a thread that has nothing else to do: to leave that
// wait to the scheduler was tried, and cost a fifth of the rate and a third more processor
// time with 16 clients.
//
// What comes while the reader serves is its next batch. A reader that the device holds up
// for longer than a moment is replaced by another, and writes what it has the answers of
// when it is back; when there are several of those, what is read is handed over instead of
// served. So a slow device holds up those only whose requests it is about.
//
// The reader never blocks but in Serve. A member belongs to the reader, or, between its
// request and its answer, to whoever writes that; who has left belongs to its goroutine. A
// member that is closed by others is shut down, which the reader notices like the end of a
// client. That is looked for while a request is under way, too: it is aborted then, as it
// is when its time is over.
//
// A connection of which a request was left to its goroutine stays there for some more,
// which are likely to be like it. There a client that is alone and makes one request after
// the other is waited for in the kernel for a moment, see package poll.
//
// # Handlers
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
