package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/backup"
)

// streamType is the content type of back-ups.
const streamType = "application/octet-stream"

// streamMemory is about what the buffers of a stream take.
const streamMemory = 2 << 20

func backupRoute() *route {
	rt := plain(access.Read, limitBackup, nil, agentBackup)
	rt.replyStream = true
	return rt
}

// agentBackup streams a back-up. What goes wrong after its beginning is in the
// stream, which then lacks its end.
func agentBackup(c *call, req *pb.AgentBackupRequest) error {
	if req.QueueName == agentWide {
		// Of all, there may be some that the caller may not read.
		err := c.h.eachQueue(c.r.Context(), func(info *queue.Info) error { return c.may(info.Name) })
		if err != nil {
			return err
		}
	}
	r := &backup.Request{Queue: req.QueueName, Partition: -1, Version: c.h.version, Now: time.Now()}
	if req.Partition != nil {
		if r.Partition = int(*req.Partition); r.Partition < 0 {
			return badRequest("partition is invalid; '%d' is not a valid partition", r.Partition)
		}
	}
	if len(req.Since) > 0 {
		head, err := backup.DecodeHead(req.Since)
		if err != nil {
			return badRequest("since is invalid; it is not the head of a back-up")
		}
		r.Since = head
	}
	ctx := c.r.Context()
	t, err := backup.Take(ctx, c.h.service, r)
	if err != nil {
		return err
	}
	defer t.Close()
	c.take(t.StateBytes() + streamMemory)
	c.code = http.StatusOK
	c.w.Header().Set("Content-Type", streamType)
	c.w.WriteHeader(c.code)
	if err := t.Copy(ctx, &steadyWriter{c}); err != nil {
		c.code = codeGone // In the metrics: it was not answered in full.
	}
	return nil
}

// steadyWriter writes a reply of any length: each part has to be taken in time.
type steadyWriter struct{ c *call }

func (w *steadyWriter) Write(p []byte) (int, error) {
	_ = w.c.rc.SetWriteDeadline(time.Now().Add(w.c.h.bodyTimeout))
	return w.c.w.Write(p)
}

// steadyReader reads a body of any length: each part has to come in time.
type steadyReader struct{ c *call }

func (r *steadyReader) Read(p []byte) (int, error) {
	_ = r.c.rc.SetReadDeadline(time.Now().Add(r.c.h.bodyTimeout))
	n, err := r.c.r.Body.Read(p)
	if errors.Is(err, io.EOF) {
		r.c.bodyRead = true
	}
	return n, err
}

// agentRestore restores queues from a back-up, which is the body.
func agentRestore(c *call, _ format, _ []byte) error {
	if err := c.may(agentWide); err != nil {
		return err
	}
	raw := c.r.Header.Get("Content-Type")
	if media, _, _ := strings.Cut(raw, ";"); !strings.EqualFold(strings.TrimSpace(media), streamType) {
		return contentError("Content-Type header '%s' is invalid format or unrecognized content type; a back-up is '%s'", raw, streamType)
	}
	if err := c.reserve(streamMemory, streamMemory); err != nil {
		return err
	}
	r, err := backup.NewReader(&steadyReader{c})
	if err != nil {
		return restoreError(err)
	}
	// The stream is read to its end before anything counts, so that a client that
	// goes away takes nothing with it.
	done, err := backup.Put(context.WithoutCancel(c.r.Context()), c.h.service, r)
	if err != nil {
		return restoreError(err)
	}
	_ = c.rc.SetReadDeadline(time.Time{})
	return c.reply(&pb.AgentRestoreResponse{
		Queues: int32(done.Queues), Partitions: int32(done.Partitions), Items: done.Items, Notes: done.Notes,
	})
}

// restoreError turns the error of a body that is no sound back-up into one of
// the client.
func restoreError(err error) error {
	if errors.Is(err, queue.ErrCorrupt) || errors.Is(err, queue.ErrFormat) {
		return badRequest("%s", textOf(err))
	}
	return err
}
