package crashtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
)

// Build builds the program into dir and returns its path.
func Build(dir string) (string, error) {
	path := filepath.Join(dir, "querator")
	out, err := exec.Command("go", "build", "-o", path, "github.com/kapetan-io/querator-edge/cmd/querator").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
}

// Agent says how an agent is started.
type Agent struct {
	Binary string
	Dir    string // the data directory
	Socket string
	Args   []string // further arguments
	Env    []string // further environment
	// User is the uid and gid to run as; 0 is those of the test.
	User uint32
	// Boot is the run of the kernel that it is started in; nil is the real one.
	Boot *Boot
	// Launch starts the command in place of its own method; nil is that.
	Launch func(*exec.Cmd) error
}

// Process is a running agent.
type Process struct {
	// Client talks to it. Its connections are of this process only.
	Client *client.Client
	// HTTP is for calls that Client does not have; any host name reaches it.
	HTTP *http.Client

	cmd    *exec.Cmd
	socket string
	stderr output
	done   chan struct{} // closed when the process has ended
	err    error         // of Wait; valid after done
}

// output keeps what a process wrote, up to a bound.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const maxOutput = 1 << 20

// Write never fails; what is too much is dropped.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(p[:min(len(p), max(0, maxOutput-o.buf.Len()))])
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Start starts an agent and returns at once; it may not be ready yet. The caller
// ends it with Kill or Wait.
func (a *Agent) Start() (*Process, error) {
	args := append([]string{"agent", "--data-dir", a.Dir, "--socket", a.Socket}, a.Args...)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", a.Socket)
	}
	p := &Process{
		Client: &client.Client{Socket: a.Socket},
		HTTP:   &http.Client{Transport: &http.Transport{DialContext: dial}},
		socket: a.Socket, done: make(chan struct{}),
	}
	if a.Boot != nil {
		p.cmd = a.Boot.command(a.Binary, args...)
	} else {
		p.cmd = exec.Command(a.Binary, args...)
	}
	p.cmd.Env = append(os.Environ(), a.Env...)
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if a.User != 0 {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.User, Gid: a.User}
	}
	launch := a.Launch
	if launch == nil {
		launch = (*exec.Cmd).Start
	}
	if err := launch(p.cmd); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// errEnded is returned when the agent has ended by itself.
var errEnded = errors.New("the agent has ended")

// Ready waits until the agent serves, at most for the timeout.
func (p *Process) Ready(timeout time.Duration) error {
	late := time.After(timeout)
	every := time.NewTicker(2 * time.Millisecond)
	defer every.Stop()
	for {
		resp, err := p.HTTP.Get("http://agent/health")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(resp.Status)
		}
		select {
		case <-every.C:
		case <-p.done:
			return fmt.Errorf("%w: %s\n%s", errEnded, p.cmd.ProcessState, p.Stderr())
		case <-late:
			return fmt.Errorf("not ready after %s: %w\n%s", timeout, err, p.Stderr())
		}
	}
}

// Kill ends the agent without a warning and waits until it is gone.
func (p *Process) Kill() {
	_ = p.Signal(syscall.SIGKILL)
	<-p.done
	p.close()
}

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Wait waits for the end of the agent and returns its exit code, or -1 if it was
// ended by a signal; an error says that the timeout came first.
func (p *Process) Wait(timeout time.Duration) (code int, err error) {
	select {
	case <-p.done:
		p.close()
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(timeout):
		return 0, fmt.Errorf("the agent has not ended in %s\n%s", timeout, p.Stderr())
	}
}

func (p *Process) close() {
	p.Client.Close()
	p.HTTP.CloseIdleConnections()
}

// Stderr returns what the agent wrote to its log.
func (p *Process) Stderr() string { return p.stderr.String() }

// Pid returns the number of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }
