// Package downlink brings items from a JetStream stream into queues of the device: each message of a subject
// becomes one item, exactly once, whatever becomes of the network, the server, the device and its card.
//
// # Where it stands
//
// A message that was taken is never acknowledged to the server. How far a stream was taken is the device's own
// business: the mark of the feed (queue.FeedMark) is in the commit that adds the items, so both are on flash or
// neither is. It has
//
//	Feed     stream and subject
//	Made     when the stream was created, which tells it from another one of its name
//	Seq      the number in the stream up to which every message on the subject was taken
//	At       when the server stored that message, or one before it if its clock was set back
//	Taken, Skipped, Missed    what became of the messages, for ever
//
// and is moved only from where the downlink believes it to be, so that a commit of which nobody learnt cannot
// happen twice. A device that is set back to an older image of its card is set back with its marks, and takes
// again what that image does not have. Items carry where they come from as their source id too, stream, time of
// creation and number, so that items which outlive a damaged mark are recognised.
//
// # One look at a stream
//
// On every connection, when the consumer is gone and once a day, the downlink asks for the stream's state and
// compares it with the mark (place.go):
//
//	no mark yet                             begin with the first message, or with what comes from now on (start)
//	the stream was created at another time  it was made anew: begin with its first message; alarm
//	its last message is below the mark      the server lost acknowledged messages: go on by time, with what is
//	                                        later than At; alarm
//	its first message is beyond the mark    it was purged, or forgot by age: count what is missing; alarm
//	else                                    go on
//
// The consumer is made by the device and begins with the message that was taken last, if it is there: a later time
// on it says that the server lost it and has given its number to another message. If it is not there, another consumer is
// made, for what is later than the mark: if that begins before the mark, the server was set back and has given the numbers
// to messages for others. Then the state is asked for
// again: if the stream was made anew in between, everything begins again. A consumer has a name that nobody else
// knows, delivers to a subject of its own and numbers what it delivers without gaps, so that nothing can be missing,
// left over from earlier, or taken by a second device of the same name without being noticed; then the consumer is
// made anew, from the mark.
//
// # When it looks
//
// Every Poll, and when the doorbell rings: any message on a subject of core NATS, which costs nothing while it is
// silent, and may be lost, since it only says that there may be something. It takes until there is no more. A server rings before its consumers see the
// message: a ring that names its message is believed until the message has come, after any other there is a second look.
//
// # What is left
//
// A consumer that is not used any more, since its downlink or its connection has ended or it was made anew, is a leftover
// (leftover.go) until the server has said that it is gone: it is asked again over every connection, and with growing
// pauses over the same one, until it must have found it idle. One whose making nobody has confirmed is asked for a second
// time later, since that may arrive after the removal. In the end there is a moment to remove those in use (Timing.Leave);
// a device whose power goes leaves its consumers to the server.
//
// # What waits
//
// A pull is bounded in messages and bytes (PullMessages, PullBytes), and nothing is pulled before what was pulled is in the queue. A queue
// that is full, paused or not there leaves the messages where they are safe: one pull of them in memory, the others on
// the server. A queue that is nearly full gets them a few at a time.
//
// A message that can never become an item is skipped, counted, and reported at most once in five minutes, with
// its number, under which it stays in the stream: a payload beyond MaxPayload or beyond what the queue may hold at
// all, a time that is none, text that is not UTF-8. A message too large to be pulled is never asked for: of it only the
// headers are read.
//
// # Goroutines
//
// Run is the only one; all downlinks take turns in it. Use, Look and Status may be called by any goroutine.
package downlink
