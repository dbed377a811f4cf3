// Package pb has the messages of the HTTP API, generated from the .proto files
// beside it. Field numbers and JSON names are fixed by the Querator API; see
// the head of queue.proto.
//
// The proto package is queratoredge.v1, so that one program may link these
// messages and those of Querator's own client.
//
// To regenerate after a change, with protoc 3.21 or later and protoc-gen-go of
// the version of google.golang.org/protobuf in go.mod on the PATH:
//
//	go generate ./agent/pb
package pb

//go:generate protoc -I ../.. --go_out=../.. --go_opt=paths=source_relative agent/pb/reply.proto agent/pb/queue.proto agent/pb/queues.proto agent/pb/storage.proto agent/pb/agent.proto agent/pb/uplink.proto
