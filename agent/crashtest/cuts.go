package crashtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/kapetan-io/querator-edge/agent/crashtest/flashfs"
)

// PowerCuts uses an agent on a flashfs.Device and cuts the power again and again.
// After each cut the kernel counts as booted anew: the agent sees another boot id
// and a time since boot that has begun again.
type PowerCuts struct {
	*Rounds
	Device *flashfs.Device
	// Starts are how long the agent took to be ready, each time that it was let.
	Starts []time.Duration
	// Lost and Kept sum up what was not synced at the cuts.
	Lost, Kept flashfs.Outcome
	// Journals counts the journals with commits in them that the cuts have left, and
	// UsedAgain the value logs in use that had been those of earlier segments. Carried
	// counts the value logs that have records of a journal behind their values.
	Journals, UsedAgain, Carried int
	// Beside runs beside the load, until its context ends; nil is nothing.
	Beside func(ctx context.Context, p *Process)
	// Failures: calls of the device fail at random moments, too. Failed counts the
	// times.
	Failures bool
	Failed   int

	scratch   string
	settings  string
	boots     int
	isFailing bool
}

// powerConfig makes segments small, so that many begin, and partitions rest soon. In
// half of the runs they have to take turns, too.
const powerConfig = `
memory-limit = "32MiB"
[limits]
max-in-flight-bytes = "32MiB"
[partition]
idle-close = "1s"
max-open = %d
`

// NewPowerCuts mounts a device and creates the fixed queues on it. scratch is an
// empty directory with a short name. Close unmounts.
func NewPowerCuts(ctx context.Context, binary, scratch string, model flashfs.Model, r *rand.Rand) (*PowerCuts, error) {
	mount, config := filepath.Join(scratch, "m"), filepath.Join(scratch, configFile)
	if err := os.Mkdir(mount, 0o700); err != nil {
		return nil, err
	}
	d, err := flashfs.Start(mount, model)
	if err != nil {
		return nil, err
	}
	c := &PowerCuts{
		Rounds: &Rounds{
			Agent: &Agent{
				Binary: binary, Dir: filepath.Join(mount, "data"), Socket: filepath.Join(scratch, "s"),
				Args: []string{"--config", config},
			},
			Book: NewBook(), Rand: r,
		},
		Device: d, scratch: scratch,
	}
	if err := c.reboot(); err != nil {
		return nil, err
	}
	return c, c.Setup(ctx)
}

// Configure adds settings, from the next start on.
func (c *PowerCuts) Configure(settings string) error {
	c.settings = settings
	return c.configure()
}

func (c *PowerCuts) configure() error {
	open := 0
	if c.Rand.IntN(2) == 0 {
		open = 1 + c.Rand.IntN(3)
	}
	return os.WriteFile(filepath.Join(c.scratch, configFile), append(fmt.Appendf(nil, powerConfig, open), c.settings...), 0o600)
}

// configFile is the name of the configuration in the scratch directory.
const configFile = "c.toml"

// Close unmounts the device.
func (c *PowerCuts) Close() error { return c.Device.Close() }

// reboot begins a run of the kernel.
func (c *PowerCuts) reboot() error {
	c.boots++
	b, err := NewBoot(c.scratch, c.boots, time.Duration(1+c.Rand.IntN(100))*time.Second)
	c.Agent.Boot = b
	return errors.Join(err, c.configure())
}

// Cut starts the agent, checks what is there, loads it, and cuts the power at a
// random moment of all this.
func (c *PowerCuts) Cut(ctx context.Context) error {
	if err := c.Device.SetDelay(time.Duration(c.Rand.IntN(3)) * time.Millisecond); err != nil {
		return err
	}
	how := c.Rand.IntN(20)
	if how < 4 && c.Failures && c.Rand.IntN(2) == 0 {
		if err := c.fail(1 + c.Rand.IntN(3)); err != nil {
			return err
		}
	}
	p, err := c.start()
	if err != nil {
		return err
	}
	if how < 4 { // In the middle of its start, and of recovery.
		rest(ctx, time.Duration(c.Rand.Int64N(int64(c.usualStart()))))
		return c.cut(p)
	}
	defer p.Kill()
	if err := c.check(ctx, p); err != nil {
		return err
	}
	if how == 4 { // Before anything was done; what recovery wrote may be lost.
		return c.cut(p)
	}
	load := NewLoad(c.Book, p, c.Rand.Uint64())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		load.Run(ctx)
	}()
	leave := c.goBeside(ctx, p)
	isCut := c.end(ctx, p, load, how)
	if isCut {
		err = c.stop(p)
	}
	load.Stop()
	<-ended
	leave()
	if err != nil {
		return err
	}
	wasFailing := c.isFailing
	if err := c.heal(); err != nil {
		return err
	}
	if err := c.judgeLog(p); err != nil && !wasFailing {
		return err
	}
	if !isCut {
		return nil
	}
	return c.lose()
}

// goBeside starts Beside. The function that it returns ends it.
func (c *PowerCuts) goBeside(ctx context.Context, p *Process) (leave func()) {
	if c.Beside == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	left := make(chan struct{})
	go func() {
		defer close(left)
		c.Beside(ctx, p)
	}()
	return func() { cancel(); <-left }
}

// usualStart is a little more than a start takes.
func (c *PowerCuts) usualStart() time.Duration {
	if len(c.Starts) == 0 {
		return 100 * time.Millisecond
	}
	return c.Starts[len(c.Starts)-1]*5/4 + 10*time.Millisecond
}

// end waits for the moment of the cut. It reports false when the agent was killed
// instead, and goes on in the same boot.
func (c *PowerCuts) end(ctx context.Context, p *Process, load *Load, how int) bool {
	switch how {
	case 5, 6, 7: // Right after a queue was created.
		select {
		case <-load.Created():
		case <-time.After(300 * time.Millisecond):
		}
		rest(ctx, time.Duration(c.Rand.IntN(5000))*time.Microsecond)
	case 8: // While it shuts down, or after.
		rest(ctx, time.Duration(20+c.Rand.IntN(200))*time.Millisecond)
		load.Ending()
		_ = p.Signal(syscall.SIGTERM)
		rest(ctx, time.Duration(c.Rand.IntN(60))*time.Millisecond)
	case 9: // Without a load: the partitions come to rest.
		rest(ctx, 100*time.Millisecond)
		load.Stop()
		rest(ctx, time.Duration(c.Rand.IntN(1500))*time.Millisecond)
	case 10, 11: // The agent dies alone, and the power goes soon after the next start.
		rest(ctx, time.Duration(20+c.Rand.IntN(300))*time.Millisecond)
		c.kill(p)
		return false
	case 13, 14, 15, 16:
		rest(ctx, time.Duration(5+c.Rand.IntN(400))*time.Millisecond)
		return !c.Failures || c.failUnder(ctx, p, load)
	case 12: // Long enough for many segments.
		rest(ctx, time.Duration(500+c.Rand.IntN(2000))*time.Millisecond)
	default:
		rest(ctx, time.Duration(5+c.Rand.IntN(400))*time.Millisecond)
	}
	return true
}

// cut cuts the power while no load runs.
func (c *PowerCuts) cut(p *Process) error {
	if err := c.stop(p); err != nil {
		return err
	}
	if err := c.heal(); err != nil {
		return err
	}
	return c.lose()
}

// CutAll cuts the power while no load runs, and keeps nothing that was not synced.
func (c *PowerCuts) CutAll(p *Process) error {
	if err := c.stop(p); err != nil {
		return err
	}
	return c.loseAs(flashfs.KeepNone, flashfs.KeepNone)
}

// stop is the moment of the cut: nothing is written or answered after it.
func (c *PowerCuts) stop(p *Process) error {
	if err := c.Device.Freeze(); err != nil {
		return err
	}
	_ = p.Signal(syscall.SIGKILL) // It may have ended.
	if err := c.Device.Die(); err != nil {
		return err
	}
	p.Kill()
	return nil
}

// lose takes what was not synced, or some of it, and boots.
func (c *PowerCuts) lose() error {
	pages := []flashfs.Keep{flashfs.KeepNone, flashfs.KeepAll, flashfs.KeepSome, flashfs.KeepTorn, flashfs.KeepTorn}
	names := []flashfs.Keep{flashfs.KeepNone, flashfs.KeepAll, flashfs.KeepSome, flashfs.KeepSome}
	return c.loseAs(pages[c.Rand.IntN(len(pages))], names[c.Rand.IntN(len(names))])
}

func (c *PowerCuts) loseAs(pages, names flashfs.Keep) error {
	out, err := c.Device.Cut(flashfs.Cut{Seed: c.Rand.Uint64(), Pages: pages, Names: names})
	if err != nil {
		return err
	}
	c.Kept.Pages += out.KeptPages
	c.Kept.TornPages += out.TornPages
	c.Kept.Names += out.KeptNames
	c.Lost.Pages += out.Pages - out.KeptPages
	c.Lost.Names += out.Names - out.KeptNames
	c.Book.PowerCut()
	if err := c.count(); err != nil {
		return err
	}
	return c.reboot()
}

// count adds up what recovery will have to go by: journals that are not empty, value
// logs that hold more than their segments, whose headers name a stamp, and those with
// records of the journal beside them, which begin with its magic.
func (c *PowerCuts) count() error {
	journals, err := c.countFiles("journal", func(f *os.File) (bool, error) {
		ring, err := io.ReadAll(f)
		return len(bytes.TrimLeft(ring, "\x00")) > 0, err
	})
	if err != nil {
		return err
	}
	again, err := c.countFiles("*.vlog", func(f *os.File) (bool, error) {
		header := make([]byte, 16)
		_, err := io.ReadFull(f, header)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil // It was being made.
		}
		return binary.LittleEndian.Uint64(header[8:]) > 0, err
	})
	c.Journals += journals
	c.UsedAgain += again
	if err != nil {
		return err
	}
	carried, err := c.countFiles("*.vlog", func(f *os.File) (bool, error) {
		if _, err := os.Lstat(filepath.Join(filepath.Dir(f.Name()), "journal")); err != nil {
			return false, nil // It has been written to the log.
		}
		log, err := io.ReadAll(f)
		return bytes.Contains(log, []byte("qej\x03")), err
	})
	c.Carried += carried
	return err
}

// countFiles returns how many files of that name in segments are counted.
func (c *PowerCuts) countFiles(name string, counts func(f *os.File) (bool, error)) (n int, err error) {
	paths, err := filepath.Glob(filepath.Join(c.Agent.Dir, "partitions", "*", "*", name))
	if err != nil {
		return 0, err
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return 0, err
		}
		ok, err := counts(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return 0, err
		}
		if ok {
			n++
		}
	}
	return n, nil
}

// check waits until the agent is ready, compares it with the book, and has it
// count everything.
func (c *PowerCuts) check(ctx context.Context, p *Process) error {
	begin := time.Now()
	if err := p.Ready(readyTimeout); err != nil {
		return err
	}
	c.Starts = append(c.Starts, time.Since(begin))
	if err := c.compare(ctx, p); err != nil {
		return err
	}
	return p.audit(ctx, c.Agent.Binary)
}

// audit runs the program's own audit.
func (p *Process) audit(ctx context.Context, binary string) error {
	out, err := exec.CommandContext(ctx, binary, "--socket", p.socket, "audit").CombinedOutput()
	if err != nil {
		return fmt.Errorf("querator audit: %w\n%s", err, out)
	}
	return nil
}
