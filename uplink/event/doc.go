// Package event renders the events of a partition for NATS, and names them.
//
// # Names
//
// The events of a partition go on one subject, prefix.device.queue.partition; what happened to the item is the
// CloudEvents type. In a subject the bytes of a queue name other than A-Z a-z 0-9 _ - are written %XX. The
// identity of an event is device/queue/partition/epoch/sequence: the epoch has 16 hexadecimal digits and is new
// at every start of the agent, so that a restored copy of a device never uses an identity twice.
//
// # Formats
//
// binary is the binary mode of the CloudEvents binding for NATS (a work in progress, in 1.0.3 of the
// specification): the attributes are headers with the prefix ce-, the body is the data. structured is one JSON
// object with the content type application/cloudevents+json. packed is a JSON array of such objects, compressed
// with zstd; the binding knows no such mode, so a consumer has to be told.
//
// The data is JSON in all of them: queue, partition, the item's id, attempts, created_at and payload_size; then,
// as configured, source_id, kind, encoding and reference; then the payload as utf8, or as bytes in base64. A
// payload that is too large is left out, and the attributes payloadomitted, payloadsize and payloadsha256 say so.
// A gap event has gap instead of an item: first and last sequence of the events that are gone, how many of each
// kind, and why.
//
// The attribute time is there only if the clock could be believed; otherwise clocktrust is "untrusted", and
// bootid and uptimems say when it was on the only clock that the device has.
package event
