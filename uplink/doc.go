// Package uplink delivers the events of a device to a NATS JetStream stream: none lost while the outbox holds
// them, none stored twice that the server can recognise, in order for each partition, whatever becomes of the
// network, the clocks, the server and the device.
//
// # One partition
//
// The events of a partition have gap-free numbers and go on one subject of their own (package event). The server
// numbers the messages of its stream; the number of the last message on the subject is the fence. The pump
// sends events from the tail on: the first message of whatever it sends carries the fence, and the server refuses
// it if anything else was stored on the subject since. So bytes of a connection that was believed dead, and
// arrive later, are refused, and so is a second device of the same name.
//
// On every connection and after every error the pump reads the last message on the subject back and compares its
// identity with the outbox (readback.go):
//
//	nothing there, nothing delivered    begin
//	nothing there, but delivered        aged out: go on; another stream, or the number of the event is that of
//	                                    another message: the server lost it; send again what is retained
//	the last one that was delivered     go on behind it
//	a later one of ours                 its receipt was lost: it counts as delivered
//	an earlier one of ours              the server lost acknowledged events: they are sent again
//	ours, but beyond what we know       the device was set back: all of that epoch counts as delivered
//	of an earlier queue of this name    go on behind it (epochs.go)
//	not ours                            another installation: go on behind it; if that happens again while
//	                                    both send, two devices have one name, and the uplink stops
//
// No message is ever tried again by itself: after an error the outcome is read back first. The outbox keeps
// delivered events for some minutes, since a server acknowledges before its disk has them. While they are kept and
// nothing is sent, the subject is read back too: once events go out again after an error of any partition, since a
// cluster may have another leader then; two and a half minutes after the last event, when every server has synced,
// or after the first look of a device that was started; and a last time before the outbox lets go of them.
//
// # Ways to send
//
// One event at a time is fenced and exact on any server. A batch is stored as a whole or not at all, and is
// exact too; a server that does not know batches stores their messages one by one, so the pump sends a batch of
// one on each connection first and looks whether the receipt counts it. Where there are no batches, a window of
// messages goes out: the first one fenced, each other one refused unless the last message of the stream is the one
// before it. So whatever part of a window is refused, nothing behind it is stored, and order holds. Where others
// publish into the stream between two messages of a window the rest of it is refused too, and sent again; windows
// get smaller then, down to one event at a time. A stream with replicas gets one event at a time: its servers keep
// the identity of what they refused in such a way as if they had it. So does one whose settings the device may not see.
//
// Nothing is ever sent without a fence or a message that it has to follow. So the dedupe window of the stream is
// needed in one case only: there is nothing on the subject though events were delivered, and the login may not
// ask whether the stream is another one. What is retained is then sent one by one, and the server drops what it knows.
//
// While about as many events come as go, items are being completed, and the pump makes room for that: it waits forty
// times as long as it has worked (makeRoom), unless events are old, take much room, or somebody waits for them.
//
// How much goes out at once follows the link (sizer.go), and what the network may carry the budget (meter.go).
//
// # Errors of the server
//
//	disconnected     dial again, with full jitter
//	no_reply         read back; after three, dial again
//	no_stream        wait 1 s to 5 min
//	fence            read back at once; again and again: wait 0.2 to 5 s, alarm
//	duplicate        a batch has what the server knows: send singly
//	remote_full      wait 1 s to 5 min, keep everything
//	busy             wait 1 to 30 s
//	too_large        leave the payload out, then the labels; then a gap event takes the place
//	no_batch         use windows
//	batch_broken     read back, send less at once
//	misconfigured    wait 5 min
//	denied           wait 5 min
//	auth             dial again, with full jitter
//
// Nothing is dropped because of an error of the server but the parts of an event that it finds too large.
//
// # Goroutines
//
// Run is the pump; beside it there are the three of the connection, one that waits for network links, and one for
// all downlinks (package downlink). All
// other methods may be called by any goroutine, and share a mutex with the pump.
package uplink
