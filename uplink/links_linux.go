package uplink

import (
	"context"
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// watchLinks calls up whenever a network interface comes up or gets an address, until ctx ends. Where the kernel
// does not tell, it returns at once: the next try to connect then comes in its own time.
func watchLinks(ctx context.Context, up func()) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return
	}
	groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd) // There is nothing to tell anybody.
		return
	}
	f := os.NewFile(uintptr(fd), "netlink")
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	defer func() {
		if stop() {
			_ = f.Close() // It was only read from.
		}
	}()
	buf := make([]byte, 16<<10)
	for {
		n, err := f.Read(buf)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, unix.ENOBUFS):
			up() // Too much happened to be told of; something may be up.
		case err != nil:
			return
		case linkUp(buf[:n]):
			up()
		}
	}
}

// linkUp reports whether messages of the kernel tell of an interface that is up and running, or of an address.
func linkUp(b []byte) bool {
	const header = unix.SizeofNlMsghdr
	for len(b) >= header {
		size := int(binary.NativeEndian.Uint32(b[0:4]))
		kind := binary.NativeEndian.Uint16(b[4:6])
		if size < header || size > len(b) {
			return false
		}
		switch kind {
		case unix.RTM_NEWADDR:
			return true
		case unix.RTM_NEWLINK:
			if body := b[header:size]; len(body) >= unix.SizeofIfInfomsg {
				const wanted = unix.IFF_UP | unix.IFF_RUNNING
				if flags := binary.NativeEndian.Uint32(body[8:12]); flags&wanted == wanted && flags&unix.IFF_LOOPBACK == 0 {
					return true
				}
			}
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return false
}
