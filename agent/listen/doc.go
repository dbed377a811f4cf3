// Package listen is the agent's end of the Unix socket: it makes the socket, bounds the connections, says who
// is calling, and removes the socket at the end.
//
// Three things about Unix sockets shape it. A socket file stays when its process dies, so a file that is there
// is dialled first: it is removed only when nobody answers. Permissions are checked at connect, so they must be
// right before the first connect can succeed. And bind and listen are two steps between which a socket looks
// dead, so it must not be seen before both are done. Therefore the socket is made under a temporary name in
// the same directory, closed to all but the owner, given its group and mode, and then linked to its path: link
// fails if anything is there, where rename would replace the socket of an agent that started at the same time.
//
// Two agents that start at once on the same stale socket may still meet between the look at the file and its
// removal, for some microseconds; one of them is then not reachable. The lock of the data directory keeps
// two agents off the same data in any case.
//
// Under a service manager the socket comes from there, listening and with its rights (Inherit). It outlives the
// agent: who connects while none runs waits in the kernel for the next one.
//
// Linux only (SO_PEERCRED).
package listen
