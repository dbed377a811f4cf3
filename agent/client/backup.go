package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/kapetan-io/querator-edge/agent/pb"
)

// BackupOptions say what is to be backed up. The zero value is everything.
type BackupOptions struct {
	Queue string // empty: all
	// Partition, if not nil, is the only partition of Queue that is wanted.
	Partition *int
	// Since is the head of an earlier back-up (backup.Head.Encode), of which nothing is sent again; empty: all is
	// sent.
	Since []byte
}

// streamType is the content type of back-ups.
const streamType = "application/octet-stream"

// Backup has the agent take a back-up, of queues that go on meanwhile, and returns the stream, in the format of
// package queue/backup. The caller reads it to its end without long breaks, since the agent keeps what it has not
// sent yet, and closes it. What was read is a back-up only if the stream is sound up to its end mark: that is for
// backup.Reader to say. The error of reading Is ErrUnavailable when the agent ended before.
func (c *Client) Backup(ctx context.Context, o BackupOptions) (io.ReadCloser, error) {
	req := &pb.AgentBackupRequest{QueueName: o.Queue, Since: o.Since}
	if o.Partition != nil {
		req.Partition = proto.Int32(int32(clampInt(*o.Partition)))
	}
	body, err := proto.Marshal(req)
	if err != nil {
		return nil, &Error{kind: ErrInvalid, cause: err, Message: err.Error()}
	}
	resp, err := c.do(ctx, "/v1/agent.backup", contentType, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if media := resp.Header.Get("Content-Type"); media != streamType {
		resp.Body.Close()
		return nil, &Error{Code: resp.StatusCode, kind: ErrInternal,
			Message: fmt.Sprintf("agent.backup: the answer is of content type '%s', not a back-up", media)}
	}
	return &backupStream{ReadCloser: resp.Body, place: c.place}, nil
}

// backupStream is an answer of any length. One that breaks off says so.
type backupStream struct {
	io.ReadCloser
	place string
}

func (s *backupStream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	// Its cause is not given: as io.ErrUnexpectedEOF it would look like a file that is damaged.
	return n, &Error{kind: ErrUnavailable, sent: true,
		Message: fmt.Sprintf("the connection to the agent at %s broke before the end: %v", s.place, rootCause(err))}
}

// Restored says what was restored.
type Restored struct {
	Queues     int   `json:"queues"`
	Partitions int   `json:"partitions"`
	Items      int64 `json:"items"`
	// Notes are what the user should know, in words, such as what the back-up lacks.
	Notes []string `json:"notes,omitempty"`
}

// Restore sends a full back-up to the agent, which restores all that it has, or nothing. A queue that exists, and
// into which anything was ever put, is an error of kind ErrDuplicate.
func (c *Client) Restore(ctx context.Context, stream io.Reader) (*Restored, error) {
	resp, err := c.do(ctx, "/v1/agent.restore", streamType, stream)
	if err != nil {
		return nil, err
	}
	reply, err := readReply(resp)
	if err != nil {
		return nil, c.transportError(ctx, err)
	}
	var m pb.AgentRestoreResponse
	if err := proto.Unmarshal(reply, &m); err != nil {
		return nil, &Error{kind: ErrInternal, cause: err, Message: fmt.Sprintf("agent.restore: the reply cannot be read: %v", err)}
	}
	return &Restored{Queues: int(m.Queues), Partitions: int(m.Partitions), Items: m.Items, Notes: m.Notes}, nil
}
