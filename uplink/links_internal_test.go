package uplink

// An internal test: a network link that comes up is an event of the kernel.

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// linkMessage is what the kernel says of an interface.
func linkMessage(kind uint16, flags uint32) []byte {
	b := make([]byte, unix.SizeofNlMsghdr+unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[0:], uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint32(b[unix.SizeofNlMsghdr+8:], flags)
	return b
}

func TestLinkMessages(t *testing.T) {
	t.Parallel()
	const up = unix.IFF_UP | unix.IFF_RUNNING
	down := linkMessage(unix.RTM_NEWLINK, unix.IFF_UP)
	for name, test := range map[string]struct {
		messages []byte
		want     bool
	}{
		"nothing":        {nil, false},
		"up":             {linkMessage(unix.RTM_NEWLINK, up), true},
		"no carrier":     {down, false},
		"loopback":       {linkMessage(unix.RTM_NEWLINK, up|unix.IFF_LOOPBACK), false},
		"gone":           {linkMessage(unix.RTM_DELLINK, up), false},
		"address":        {linkMessage(unix.RTM_NEWADDR, 0), true},
		"the second":     {append(append([]byte(nil), down...), linkMessage(unix.RTM_NEWLINK, up)...), true},
		"cut short":      {linkMessage(unix.RTM_NEWLINK, up)[:20], false},
		"length of zero": {make([]byte, 64), false},
	} {
		if got := linkUp(test.messages); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestWatchLinks has an interface go up and down in a network of its own, which takes root; without it there is nothing
// to see but that watching ends.
func TestWatchLinks(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen, ended, network := make(chan struct{}, 1), make(chan struct{}), make(chan int, 1)
	go func() {
		defer close(ended)
		runtime.LockOSThread() // The thread ends with the goroutine, and its network with it.
		fd := -1
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Logf("no network of its own here: %v", err)
			cancel()
		} else if fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			t.Error(err)
			cancel()
		}
		network <- fd
		watchLinks(ctx, func() {
			select {
			case seen <- struct{}{}:
			default:
			}
		})
	}()
	var flapping sync.WaitGroup
	if fd := <-network; fd >= 0 {
		flapping.Go(func() { flap(ctx, t, fd) })
		select {
		case <-seen:
		case <-ctx.Done():
			t.Error("nothing was heard of an interface that came up")
		}
		cancel()
	}
	flapping.Wait()
	<-ended
}

// flap has the loopback interface of a network go up and down until ctx ends; each time it gets its address.
func flap(ctx context.Context, t *testing.T, network int) {
	defer unix.Close(network)
	runtime.LockOSThread()
	fd := -1
	err := unix.Setns(network, unix.CLONE_NEWNET)
	if err == nil {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		t.Error(err)
		return
	}
	defer unix.Close(fd)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for flags := uint16(unix.IFF_UP); ; flags ^= unix.IFF_UP {
		req, err := unix.NewIfreq("lo")
		if err == nil {
			req.SetUint16(flags)
			err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
		}
		if err != nil {
			t.Error(err)
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
