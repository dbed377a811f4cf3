// Package doctor looks over a device: whether it is fit for durable queues, and
// what a person should do about what it finds. It changes nothing but a file of
// its own in the data directory, on which it measures how long a sync takes, and
// which it removes.
//
// Every check gives at least one Finding, so that a check that could not be made
// shows as such.
package doctor
