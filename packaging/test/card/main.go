// Command card is a memory card for an emulated machine: it serves a disk image over the protocol of network block
// devices, on a Unix socket, to one client. Like a real card it keeps what is written in a cache of its own, until it is
// told to flush. SIGUSR1 pulls the plug at one of the next writes or flushes: that one and all later ones are not
// answered, and of each page in the cache a coin decides whether it reached the flash. So is it when the client goes
// without saying so.
//
//	card -seed 7 IMAGE SOCKET
//
// It says on standard output what became of the cache, and ends when the client has gone.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	seed := flag.Uint64("seed", 1, "what decides about the pages in the cache")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: card [-seed N] IMAGE SOCKET")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), flag.Arg(1), *seed); err != nil {
		fmt.Fprintln(os.Stderr, "card:", err)
		os.Exit(1)
	}
}

// run serves the image to the first client that connects.
func run(image, socket string, seed uint64) error {
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	d, err := newDisk(f, seed)
	if err != nil {
		return err
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	conn, err := ln.Accept()
	ln.Close() // The socket's file goes with it.
	if err != nil {
		return err
	}
	defer conn.Close()
	pull := make(chan os.Signal, 1)
	signal.Notify(pull, syscall.SIGUSR1)
	defer signal.Stop(pull)
	err = serve(bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn)), d, pull)
	switch {
	case err == nil:
		fmt.Printf("switched off in order after %d flushes\n", d.flushes)
		return d.flush()
	case !errors.Is(err, errPulled) && !errors.Is(err, errGone):
		return err
	}
	lost, kept, cutErr := d.cut()
	if cutErr != nil {
		return cutErr
	}
	fmt.Printf("power cut (%v): %d pages of 4 KiB were in the cache, %d of them are lost; %d flushes before; seed %d\n",
		err, lost+kept, lost, d.flushes, seed)
	if errors.Is(err, errPulled) {
		_, err = io.Copy(io.Discard, conn) // What the client sends until it has gone.
		return err
	}
	return nil
}
