package crashtest_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/crashtest"
)

// hog is what a user does who wants all connections: it opens them, sends the beginning of a large body on each,
// keeps them, and opens those anew that are closed. It says how many were refused.
const hog = `
import resource, socket, sys, select
path, n, head = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode().decode("unicode_escape").encode()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
def connect():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    s.connect(path)
    try:
        s.sendall(head + b"x" * 100000)
    except OSError:
        pass
    s.setblocking(False)
    return s
conns = [connect() for _ in range(n)]
refused = 0
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0.01)[0]:
    for i, s in enumerate(conns):
        try:
            data = s.recv(4096)
        except BlockingIOError:
            continue
        except OSError:
            data = b""
        refused += 1
        s.close()
        conns[i] = connect()
        break
print(refused, flush=True)
`

// One user takes all the connections that it can get, and fills them with large requests. Another one comes, each
// time with a new connection, and is served.
func TestOneUserKeepsNobodyOut(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: only root can run programs as another user; .ci/run does")
	}
	const user, python = 11001, "/usr/bin/python3" // One that every user may run.
	if _, err := os.Stat(python); err != nil && os.Getenv("CI") != "true" {
		t.Skipf("NOT RUN: %v", err)
	}
	a := newAgent(t)
	dir := filepath.Dir(a.Dir)
	config := filepath.Join(dir, "q.toml")
	text := fmt.Sprintf("[socket]\ngroup = \"%d\"\n[limits]\nmax-connections = 200\n", user)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	a.Args = append(a.Args, "--config", config)
	p := started(t, a)
	createQueue(t, p, plainQueue("quiet"))

	head := `POST /v1/queue.produce HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n`
	cmd := exec.Command(python, "-c", hog, a.Socket, "300", head)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}, Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	out := bufio.NewReader(stdout)
	if line, err := out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("the other user says %q, %v", line, err)
	}
	var slowest time.Duration
	for range 20 {
		begin := time.Now()
		fresh := &crashtest.Process{Client: &client.Client{Socket: a.Socket}}
		if err := useQuietly(t.Context(), fresh); err != nil {
			t.Fatalf("another client is not served: %v", err)
		}
		fresh.Client.Close()
		slowest = max(slowest, time.Since(begin))
	}
	if _, err := in.Write([]byte("end\n")); err != nil {
		t.Fatal(err)
	}
	line, err := out.ReadString('\n')
	refused, convErr := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || convErr != nil || refused == 0 {
		t.Errorf("the greedy user says %q, %v; want that some were refused", line, err)
	}
	t.Logf("%d connections of the greedy user were refused; the other one waited %s at most", refused, slowest.Round(time.Millisecond))
}
