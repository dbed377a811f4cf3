// Package head reads the heads of plain HTTP/1.1 requests and replies: those
// that lie whole in a buffer and say nothing unusual, as nearly all do between
// two processes of one machine. Whatever else there is, it leaves to net/http, so
// it has no rules of its own: a head that it reads means to net/http the same
// (the fuzz tests compare them), and one that it does not read is no error.
//
// The parser of net/http takes about 10 µs for a head on a small machine, on
// either side, which is as much as the queue needs for an item beside the sync.
//
// What is plain:
//
//	request line   POST or GET, a path of letters, digits and -._/ without a query, HTTP/1.1
//	status line    HTTP/1.1, three digits, text
//	header lines   a name of letters, digits and -, a colon, a value of visible ASCII, space and tab;
//	               at most 24 lines
//	a body         has a Content-Length; replies must have one
//
// Not plain are Transfer-Encoding, Connection, Expect, Upgrade, Trailer, Pragma,
// a second Host or Content-Length, and a head that is not there whole.
package head
