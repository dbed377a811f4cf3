// Package hub is the way to a NATS server: one connection, what it needs of files, publishing with receipts,
// reading back the last message of a subject, and what each answer of a server means.
//
// A connection is used once. Nothing reconnects behind the caller's back: with the reconnect logic of nats.go
// come a second queue that publishes after it has reported failure, and a client that closes for ever after two
// refused logins. Here a Conn ends with its TCP connection, and whoever owns it dials the next one, which reads
// keys, certificates and passwords again.
//
// Replies to publishes and to requests come on two subjects, below _INBOX_<device>. Both are read by the
// goroutine that waits, out of bounded channels; a reply that is late is dropped, since its number is not waited
// for any more. What nats.go needs are three goroutines a connection, which end with Close.
package hub
