package agent

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/device"
	"github.com/kapetan-io/querator-edge/agent/pb"
)

// status fills in what the process knows of itself.
func (a *Agent) status(_ context.Context, s *pb.AgentStatusResponse) {
	s.Pid = int32(os.Getpid())
	s.StartedAt = timestamppb.New(a.started)
	s.Uptime = time.Since(a.started).Truncate(time.Millisecond).String()
	s.Listen = []string{a.cfg.Socket.Path}
	if files := a.files.Load(); files != nil {
		s.ConfigFiles = *files
	}
	s.Memory = &pb.MemoryStatus{
		LimitBytes: int64(a.cfg.MemoryLimit), UsedBytes: runtimeMemory(), AnonymousBytes: anonymous(),
	}
	s.Connections = &pb.ConnectionStatus{Open: int32(a.conns.Load()), Limit: int32(a.maxConns())}
	s.Clock = &pb.ClockStatus{
		Now: timestamppb.New(a.clock.Now()), Trusted: a.clock.Trusted(), Boot: a.clock.Boot(), Reason: a.trust.reason(),
	}
	s.DeviceWrittenBytes = deviceWritten()
	s.Storages = a.places()
}

// places tells of all storages, that of the definitions first.
func (a *Agent) places() []*pb.StorageStatus {
	definitions := a.place("", a.cfg.QueueStorage.Driver, a.cfg.QueueStorage.StorageDir)
	if err := a.stores.meta.Failure(); err != nil {
		definitions.Failure = err.Error()
	}
	list := []*pb.StorageStatus{definitions}
	for i := range a.cfg.PartitionStorages {
		p := &a.cfg.PartitionStorages[i]
		list = append(list, a.place(p.Name, p.Driver, p.StorageDir))
	}
	return list
}

// place tells of one storage. That of the definitions, which has no name, has no
// floor: a definition is small.
func (a *Agent) place(name, driver, dir string) *pb.StorageStatus {
	s := &pb.StorageStatus{Name: name, Driver: driver}
	if driver == config.DriverMemory {
		return s
	}
	s.Dir, s.FloorBytes = dir, a.stores.floors[name]
	d, err := device.FileSystemOf(dir)
	if err != nil {
		s.Failure = err.Error()
		return s
	}
	s.FileSystem, s.FreeBytes, s.TotalBytes = d.Kind, d.Free, d.Total
	if d.HasInodes && name != "" {
		s.FreeInodes, s.FloorInodes = d.FreeInodes, int64(a.cfg.Storage.MinFreeInodes)
	}
	return s
}

// banner is what a person sees who starts the agent by hand.
func banner(cfg *config.Config) string {
	var b strings.Builder
	sock := cfg.Socket.Path
	fmt.Fprintf(&b, "querator serves its queues on %s\n", sock)
	fmt.Fprintf(&b, "They are kept in %s. Try, in a second terminal:\n\n", cfg.DataDir)
	post := func(path, body string) {
		fmt.Fprintf(&b, "  curl --unix-socket %s http://unix/v1/%s --json '%s'\n", sock, path, body)
	}
	post("queues.create", `{"queue_name":"readings","lease_timeout":"1m","expire_timeout":"24h","requested_partitions":1}`)
	post("queue.produce", `{"queue_name":"readings","request_timeout":"1m","items":[{"utf8":"hello"}]}`)
	post("queue.lease", `{"queue_name":"readings","client_id":"me","batch_size":1,"request_timeout":"5s"}`)
	b.WriteString("\nEnd it with ctrl-c; kill -9 loses nothing either.\n")
	return b.String()
}
