package crashtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

// sighting is an item as the agent shows it.
type sighting struct {
	queue     string
	partition int
	scheduled bool
	client.StoredItem
}

// picture is all that an agent holds, as far as it can be seen from outside.
type picture struct {
	queues map[string]client.QueueInfo
	items  []sighting // by queue, partition and id
	status *pb.AgentStatusResponse
}

// moving returns how many items are on their way between queues, where no list
// shows them.
func (p *picture) moving() int64 {
	n := int64(0)
	for _, q := range p.status.Queues {
		for _, part := range q.Partitions {
			n += part.Moving
		}
	}
	return n
}

// beside begins the names of queues that the book does not know.
const beside = "beside-"

// look takes a picture of an agent that nobody uses. What the agent does by
// itself meanwhile can make it inconsistent.
func (p *Process) look(ctx context.Context) (*picture, error) {
	list, err := p.Client.ListQueues(ctx, "", 0)
	if err != nil {
		return nil, fmt.Errorf("list queues: %w", err)
	}
	pic := &picture{queues: make(map[string]client.QueueInfo)}
	for _, q := range list {
		if strings.HasPrefix(q.Name, beside) {
			continue
		}
		pic.queues[q.Name] = q
		for part := range q.Partitions {
			if err := p.lookAt(ctx, pic, q.Name, part); err != nil {
				return nil, fmt.Errorf("list %s/%d: %w", q.Name, part, err)
			}
		}
	}
	pic.status = &pb.AgentStatusResponse{}
	if err := p.call(ctx, "/v1/agent.status", &pb.AgentStatusRequest{}, pic.status); err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	return pic, nil
}

// lookAt adds the items of a partition.
func (p *Process) lookAt(ctx context.Context, pic *picture, name string, part int) error {
	for _, scheduled := range []bool{false, true} {
		read := p.Client.ListItems
		if scheduled {
			read = p.Client.ListScheduled
		}
		for page := (client.Page{Limit: 20000}); ; {
			got, err := read(ctx, name, part, page)
			if err != nil {
				return err
			}
			for i := range got {
				pic.items = append(pic.items, sighting{name, part, scheduled, got[i]})
			}
			if len(got) == 0 {
				break
			}
			last, err := queue.ParseID(got[len(got)-1].ID)
			if err != nil {
				return err
			}
			page.Pivot = queue.NewID(last.Seq()+1, last.Tag()).String()
		}
	}
	return nil
}

// call makes a call that Client has not, or not with all that the answer holds.
func (p *Process) call(ctx context.Context, path string, in, out proto.Message) error {
	body, err := proto.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/protobuf")
	req.Header.Set("Accept", "application/protobuf")
	resp, err := p.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return proto.Unmarshal(data, out)
}
