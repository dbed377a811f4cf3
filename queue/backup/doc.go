// Package backup has the format of back-ups: a stream that can be written to a
// file or a pipe while it is made, and read without knowing what it will be. It
// takes back-ups of a queue.Service (Take), restores them (Put), and makes one of
// a chain of incremental ones (Chain).
//
// # The stream
//
// A back-up begins with the line
//
//	querator backup 1
//
// with a newline, 18 bytes; the number is the version of the format. Frames
// follow, up to the last one:
//
//	byte      kind of the frame, a letter
//	uvarint   length of the body
//	n bytes   body
//	4 bytes   CRC-32C, little endian, of the checksum of the frame before (of the
//	          first line for the first), then kind, length and body
//
// So a frame that is damaged, missing, doubled or in a wrong place is found where
// it stands, and what was read before it is sound. Uvarints have 7 bits a byte,
// the low ones first. The frames, in this order:
//
//	H   once: the Head as JSON: when and of what, the definitions of the queues,
//	    and for each partition its tag and how much of which segment belongs to
//	    it. Partitions are numbered in its order, from 0.
//	P   for each partition that has one: its state. Body: uvarint number of the
//	    partition, then the state in the form of the store.
//	S   for each segment of which something follows, by partition, then by span:
//	    uvarint number of the partition, span, and how many items and commits of
//	    it earlier back-ups have.
//	D   any number for each segment: a part of it, in the form of the store.
//	L   wherever something could not be read: what is missing, in words.
//	Z   once, the last: the numbers of frames P, S, D and L, as uvarints.
//	X   in the place of Z when whoever wrote could not go on: why, in words.
//
// Nothing follows after Z. A stream without Z is not a back-up. For example, a
// back-up without queues, whose head is the two bytes {} (it has more in truth):
//
//	71 75 65 ... 31 0a           "querator backup 1\n"
//	48 02 7b 7d 14 a2 e8 78      H
//	5a 04 00 00 00 00 5a 79 8c 8d  Z
//
// # Kinds
//
// A full back-up has all of each segment. An incremental one has a parent, and of
// each segment only what the parent (and those before it) has not; its head and
// its states are whole, so that the last of a chain decides what is restored. A
// manifest has a head and no more: it is what an incremental back-up can be made
// against when the parent itself is somewhere else.
//
// Segments only grow: what a back-up has of one is a beginning of it, described
// by a queue.BackupMark. What is sent of a segment in two back-ups joins without
// gaps; Chain checks that.
//
// # Versions
//
// A reader refuses a stream of a newer version. Unknown fields of the head are
// ignored; unknown frames are an error, so a new kind of frame is a new version.
//
//	1  the first
package backup
