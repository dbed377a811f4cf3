//go:build !386 && !arm

package flashfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// host is the server's process.
type host struct {
	dir   string
	conn  *fuse.Server
	fs    *server
	image []image // what the last cut has left
}

// Serve is the main function of the server's process: it obeys commands from in
// until that ends, then unmounts.
func Serve(in io.Reader, out io.Writer) error {
	h := &host{dir: os.Getenv(serveEnv)}
	commands, replies := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var c command
		if err := commands.Decode(&c); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return errors.Join(err, h.unmount())
		}
		var r reply
		if err := h.obey(&c, &r); err != nil {
			r.Error = err.Error()
		}
		if err := replies.Encode(&r); err != nil {
			return errors.Join(err, h.unmount())
		}
	}
}

func (h *host) obey(c *command, r *reply) error {
	switch c.Do {
	case "mount":
		return h.mount(newTree(c.Model))
	case "freeze":
		h.turn(frozen)
	case "die":
		h.turn(dead)
	case "cut":
		return h.cut(c.Cut, r)
	case "rules":
		h.fs.mu.Lock()
		defer h.fs.mu.Unlock()
		h.fs.rules = c.Rules
	case "delay":
		h.fs.mu.Lock()
		defer h.fs.mu.Unlock()
		h.fs.maxDelay = c.Delay
	case "look":
		h.fs.mu.Lock()
		defer h.fs.mu.Unlock()
		r.Unsynced, r.Syncs, r.Faults = h.fs.unsynced(), h.fs.syncs, h.fs.faults
	case "dump":
		return dump(h.image, c.Dir)
	default:
		return fmt.Errorf("BUG: unknown command %q", c.Do)
	}
	return nil
}

func (h *host) turn(to phase) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	h.fs.phase = to
	h.fs.move.Broadcast()
}

func (h *host) mount(t *tree) error {
	h.fs = newServer(t)
	conn, err := fuse.NewServer(h.fs, h.dir, &fuse.MountOptions{
		FsName: "flashfs", Name: "flashfs", DirectMountStrict: true, DisableXAttrs: true, DisableReadDirPlus: true,
		AllowOther: true, Options: []string{"default_permissions"}, Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		return fmt.Errorf("a FUSE file system cannot be mounted on %s: %w", h.dir, err)
	}
	go conn.Serve()
	h.conn = conn
	return conn.WaitMount()
}

// unmountPatience is how long an unmounted file system is waited for.
const unmountPatience = 10 * time.Second

// unmount ends the mount. A file system goes only when it is mounted nowhere any
// more, and a mount namespace that another process has made meanwhile holds a copy
// for as long as it lives: that one gets errors from then on.
func (h *host) unmount() error {
	if h.conn == nil {
		return nil
	}
	conn := h.conn
	h.turn(dead)
	h.conn = nil
	ended := make(chan error, 1)
	go func() {
		err := conn.Unmount()
		if err == nil {
			conn.Wait()
		}
		ended <- err
	}()
	late := time.NewTimer(unmountPatience)
	defer late.Stop()
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("unmount %s: %w", h.dir, err)
		}
	case <-late.C:
		h.turn(gone)
	}
	return nil
}

// cut mounts what a power cut leaves. Nobody uses the file system.
func (h *host) cut(c *Cut, r *reply) error {
	delay := h.fs.maxDelay
	if err := h.unmount(); err != nil {
		return err
	}
	t, outcome := h.fs.tree.cut(*c)
	r.Outcome = outcome
	h.image = t.image()
	if err := h.mount(t); err != nil {
		return err
	}
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	h.fs.maxDelay = delay
	return nil
}

// dump writes an image to an empty directory elsewhere.
func dump(files []image, dir string) error {
	for i := range files {
		if err := files[i].write(filepath.Join(dir, files[i].path)); err != nil {
			return err
		}
	}
	return nil
}

func (i *image) write(path string) error {
	if i.isDir {
		return os.MkdirAll(path, 0o700)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, os.FileMode(i.mode&0o777))
	if err != nil {
		return err
	}
	err = f.Truncate(i.size)
	for no, data := range i.pages {
		if data == nil || err != nil {
			continue
		}
		_, err = f.WriteAt(data[:min(pageSize, i.size-no*pageSize)], no*pageSize)
	}
	return errors.Join(err, f.Close(), os.Chtimes(path, i.mtime, i.mtime))
}
