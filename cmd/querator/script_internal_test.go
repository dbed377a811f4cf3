package main

// The tests are inside the package since a command cannot be imported.

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/agent"
	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/api"
	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/serve"
	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/queue/memstore"
)

var update = flag.Bool("update", false, "write what the commands printed into the scripts of testdata")

// serveAgent serves the API over queues in memory on a Unix socket until the test ends, and returns the socket.
func serveAgent(t *testing.T, storeBytes int64) string { return serveAgentWith(t, storeBytes, nil) }

// serveAgentWith does the same with an uplink.
func serveAgentWith(t *testing.T, storeBytes int64, uplink api.Uplink) string {
	clock := queue.SystemClock(nil)
	service, err := queue.Open(t.Context(), queue.Config{
		Meta: memstore.NewMeta(), Clock: clock,
		Storages: []queue.NamedStorage{{
			Name: "mem", Affinity: 1, Storage: memstore.New(memstore.Options{MaxBytes: storeBytes, Boot: clock.Boot()}),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "q") // Short: a socket's path is.
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	guard := access.New(access.Options{Shares: access.Shares{Holders: 10}})
	h := api.New(api.Options{Service: service, Version: "test", Guard: guard, Uplink: uplink,
		LogError: func(path string, err error) { t.Errorf("%s: internal error: %v", path, err) }})
	server := &serve.Server{Handler: h, Greet: h.Greet, Leave: h.Leave, Begin: h}
	ctx, stopWatching := context.WithCancel(context.Background())
	watched := make(chan error, 1)
	go func() { watched <- guard.Watch(ctx, service.ReleaseHolders) }()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // ErrServerClosed, at the end.
	}()
	t.Cleanup(func() {
		if err := service.Shutdown(context.Background()); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		_ = server.Close()
		<-served
		stopWatching()
		if err := <-watched; err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
	})
	return path
}

// result is what a command did.
type result struct {
	stdout, stderr string
	code           int
}

// command runs one command line in this process.
func command(ctx context.Context, socket, stdin string, args ...string) result {
	var stdout, stderr bytes.Buffer
	e := &env{
		stdin: strings.NewReader(stdin), stdout: &stdout, stderr: &stderr, version: "1.2.3",
		getenv: func(name string) string {
			return map[string]string{"QUERATOR_SOCKET": socket, "HOME": "/nowhere"}[name]
		},
		runAgent: func(context.Context, agent.Options) error {
			return &client.Error{Message: "no agent in tests"}
		},
	}
	// The zero client asks the environment of the process.
	if socket != "" {
		e.shared = &client.Client{Socket: socket}
	}
	code := e.run(ctx, args)
	return result{stdout.String(), stderr.String(), code}
}

// TestScripts runs the command lines in testdata/*.script, each file with an agent of its own. Of the lines after
// a command, "<" is its stdin, ">" its stdout, "!" its stderr and "?" its exit code if that is not 0. Ids, times
// and columns are made equal; in a command, ID1 is the first id that was printed.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.script")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".script"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(text))
			switch {
			case got == string(text):
			case *update:
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			default:
				t.Errorf("%s: the commands did not do what it says; -update writes what they did:\n%s", file, got)
			}
		})
	}
}

// script is one script that is being run.
type script struct {
	t      *testing.T
	socket string
	dir    string
	ids    []string
	out    strings.Builder
}

// runScript runs a script and returns it with what the commands really printed.
func runScript(t *testing.T, text string) string {
	s := &script{t: t, socket: serveAgent(t, 64<<20), dir: t.TempDir()}
	var line string
	var stdin []string
	begun := false
	finish := func() {
		if begun {
			s.step(line, stdin)
		}
		begun, stdin = false, nil
	}
	for l := range strings.Lines(text) {
		l = strings.TrimSuffix(l, "\n")
		switch {
		case strings.HasPrefix(l, "$ "):
			finish()
			line, begun = l[2:], true
		case strings.HasPrefix(l, "< "):
			stdin = append(stdin, l[2:])
		case l == "" || l[0] == '#':
			finish()
			fmt.Fprintln(&s.out, l)
		}
	}
	finish()
	return s.out.String()
}

// step runs one command and writes it with its outcome.
func (s *script) step(line string, stdin []string) {
	fmt.Fprintf(&s.out, "$ %s\n", line)
	var in string
	for _, l := range stdin {
		fmt.Fprintf(&s.out, "< %s\n", l)
		in += s.withIDs(l) + "\n"
	}
	socket := s.socket
	if rest, ok := strings.CutPrefix(line, "NOAGENT "); ok {
		line, socket = rest, filepath.Join(s.dir, "none")
	}
	args := splitArgs(line)
	for i := range args {
		args[i] = s.withIDs(strings.ReplaceAll(args[i], "DIR", s.dir)) // In this order: an id may have DIR in it.
	}
	var r result
	if n := len(args); n > 2 && args[n-2] == ">" {
		r = command(s.t.Context(), socket, in, args[:n-2]...)
		if err := os.WriteFile(args[n-1], []byte(r.stdout), 0o644); err != nil {
			s.t.Fatal(err)
		}
		r.stdout = ""
	} else {
		r = command(s.t.Context(), socket, in, args...)
	}
	s.print(">", r.stdout, args)
	s.print("!", r.stderr, args)
	if r.code != 0 {
		fmt.Fprintf(&s.out, "? %d\n", r.code)
	}
}

// withIDs puts ids in place of their names.
func (s *script) withIDs(text string) string {
	for n, id := range s.ids {
		text = regexp.MustCompile(fmt.Sprintf(`\bID%d\b`, n+1)).ReplaceAllLiteralString(text, id)
	}
	return text
}

func (s *script) print(mark, text string, args []string) {
	for l := range strings.Lines(text) {
		fmt.Fprintln(&s.out, strings.TrimRight(mark+" "+s.normal(strings.TrimSuffix(l, "\n"), args), " "))
	}
}

// normal makes a line the same in every run.
func (s *script) normal(line string, args []string) string {
	line = regexp.MustCompile(`\b0000[0-9A-Za-z]{23}\b`).ReplaceAllStringFunc(line, func(id string) string {
		for i, known := range s.ids {
			if known == id {
				return fmt.Sprintf("ID%d", i+1)
			}
		}
		s.ids = append(s.ids, id)
		return fmt.Sprintf("ID%d", len(s.ids))
	})
	line = regexp.MustCompile(`\b20\d\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z|\b)`).ReplaceAllString(line, "TIME")
	line = strings.ReplaceAll(line, s.dir, "DIR")
	line = strings.ReplaceAll(line, s.socket, "SOCKET")
	if args[0] == "stats" || args[0] == "status" {
		line = regexp.MustCompile(`\b(\d+h)?(\d+m)?(\d[\d.]*(m|µ|n)?s)?(\d+m\b)?\b`).ReplaceAllStringFunc(line, func(d string) string {
			if strings.ContainsAny(d, "hms") {
				return "AGE"
			}
			return d
		})
	}
	return regexp.MustCompile(`(\S)  +`).ReplaceAllString(line, "$1  ")
}

// splitArgs splits at blanks outside single quotes.
func splitArgs(line string) []string {
	var args []string
	var arg strings.Builder
	quoted, begun := false, false
	for _, r := range line {
		switch {
		case r == '\'':
			quoted, begun = !quoted, true
		case r == ' ' && !quoted:
			if begun {
				args = append(args, arg.String())
			}
			arg.Reset()
			begun = false
		default:
			arg.WriteRune(r)
			begun = true
		}
	}
	if begun {
		args = append(args, arg.String())
	}
	return args
}
