package flashfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"
)

// ErrNoFUSE is why Start fails where FUSE cannot be used.
var ErrNoFUSE = errors.New("FUSE cannot be used here: that takes root and the device /dev/fuse")

// ErrWordSize is why Start fails in a program of 32 bits.
var ErrWordSize = errors.New("the FUSE library does not compile for 32 bits; the tests of 64 bits cut the power")

// Device is a file system that is served by a process of its own. Its methods are
// safe for use by any goroutine.
type Device struct {
	// Dir is where it is mounted.
	Dir string

	cmd *exec.Cmd
	in  io.WriteCloser

	mu      sync.Mutex // one command at a time
	replies *json.Decoder
}

// Start mounts an empty file system on a directory. The program is this one,
// started again; see IsServer. Close unmounts, and so does the end of this
// process, however it comes.
func Start(dir string, model Model) (*Device, error) {
	if strconv.IntSize == 32 {
		return nil, ErrWordSize
	}
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil || os.Geteuid() != 0 {
		return nil, errors.Join(ErrNoFUSE, err)
	} else if err := f.Close(); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	d := &Device{Dir: dir, cmd: exec.Command(self)}
	d.cmd.Env = append(os.Environ(), serveEnv+"="+dir)
	d.cmd.Stderr = os.Stderr
	if d.in, err = d.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	d.replies = json.NewDecoder(out)
	if _, err := d.ask(&command{Do: "mount", Model: model}); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// ask sends a command and waits for the answer.
func (d *Device) ask(c *command) (*reply, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := json.NewEncoder(d.in).Encode(c); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Do, err)
	}
	var r reply
	if err := d.replies.Decode(&r); err != nil {
		return nil, fmt.Errorf("%s: the server of the file system has gone: %w", c.Do, err)
	}
	if r.Error != "" {
		return nil, fmt.Errorf("%s: %s", c.Do, r.Error)
	}
	return &r, nil
}

// Freeze is the moment of the cut: from now on nobody gets an answer.
func (d *Device) Freeze() error {
	_, err := d.ask(&command{Do: "freeze"})
	return err
}

// Die lets go of those who wait, with an error. Whoever used the file system was
// killed before, so that nobody sees it.
func (d *Device) Die() error {
	_, err := d.ask(&command{Do: "die"})
	return err
}

// Cut mounts what the power cut has left. Nobody uses the file system any more.
func (d *Device) Cut(c Cut) (Outcome, error) {
	r, err := d.ask(&command{Do: "cut", Cut: &c})
	if err != nil {
		return Outcome{}, err
	}
	return r.Outcome, nil
}

// SetRules replaces all rules.
func (d *Device) SetRules(rules ...*Rule) error {
	_, err := d.ask(&command{Do: "rules", Rules: rules})
	return err
}

// SetDelay makes syncs take up to so long.
func (d *Device) SetDelay(limit time.Duration) error {
	_, err := d.ask(&command{Do: "delay", Delay: limit})
	return err
}

// State is what a device has done and has left to do.
type State struct {
	Unsynced Unsynced
	Syncs    int // that succeeded, since the last cut
	Faults   int // calls that a rule has hit, since the last cut
}

// Look tells the state.
func (d *Device) Look() (State, error) {
	r, err := d.ask(&command{Do: "look"})
	if err != nil {
		return State{}, err
	}
	return State{Unsynced: r.Unsynced, Syncs: r.Syncs, Faults: r.Faults}, nil
}

// Dump writes what the last cut has left to a directory elsewhere.
func (d *Device) Dump(dir string) error {
	_, err := d.ask(&command{Do: "dump", Dir: dir})
	return err
}

// Close unmounts and ends the process.
func (d *Device) Close() error {
	return errors.Join(d.in.Close(), d.cmd.Wait())
}
