package main_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/config"
)

// TestReadme runs what the README shows, against an agent of its own: the sessions line by line with their output,
// and the examples in other languages.
func TestReadme(t *testing.T) {
	needProgram(t, "curl")
	needProgram(t, "python3")
	r := newReader(t)
	blocks := readmeBlocks(t)
	ran := make(map[string]int)
	for _, b := range blocks {
		ran[b.language]++
		switch b.language {
		case "console":
			r.session(b)
		case "sh":
			r.example(b, "example.sh", "sh")
		case "python":
			r.example(b, "example.py", "python3")
		case "go":
			r.example(b, "main.go", "go", "run")
		case "toml": // Which may name users that are not here.
			path := filepath.Join(t.TempDir(), "q.toml")
			if err := os.WriteFile(path, []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := config.Load(path); err != nil {
				t.Errorf("the configuration in the README: %v", err)
			}
		default:
			t.Errorf("the README has a block in %q, which nobody checks", b.language)
		}
	}
	for _, language := range []string{"console", "sh", "python", "go"} {
		if ran[language] == 0 {
			t.Errorf("the README has no block in %q", language)
		}
	}
}

// TestReadmeLinks checks that the files that the README names are there.
func TestReadmeLinks(t *testing.T) {
	links := regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(readme(t), -1)
	if len(links) == 0 {
		t.Fatal("the README has no links")
	}
	for _, l := range links {
		if _, err := os.Stat(filepath.Join(root, l[1])); err != nil {
			t.Errorf("the README links to %s: %v", l[1], err)
		}
	}
}

// needProgram ends the test where a program is missing. On the machines that judge changes that is a failure.
func needProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing, so the examples of the README cannot be run", name)
	}
	t.Skipf("%s is missing, so the examples of the README were NOT run", name)
}

// block is a fenced block of the README.
type block struct {
	language string
	prints   string // what the text before it says that it prints
	text     string
}

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func readmeBlocks(t *testing.T) []block {
	t.Helper()
	fence := regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")
	prints := regexp.MustCompile("this prints\\s+`([^`]+)`")
	text := readme(t)
	var blocks []block
	end := 0
	for _, m := range fence.FindAllStringSubmatchIndex(text, -1) {
		b := block{language: text[m[2]:m[3]], text: text[m[4]:m[5]]}
		if p := prints.FindStringSubmatch(text[end:m[0]]); p != nil {
			b.prints = p[1]
		}
		end = m[1]
		blocks = append(blocks, b)
	}
	return blocks
}

// reader does what a reader of the README does, in a home directory of its own.
type reader struct {
	t     *testing.T
	home  string
	agent *exec.Cmd
	ids   map[string]string // ids in the README to those of this run
}

func newReader(t *testing.T) *reader {
	r := &reader{t: t, home: t.TempDir(), ids: make(map[string]string)}
	build := exec.Command("go", "build", "-o", filepath.Join(r.home, "bin", "querator"), "./cmd/querator")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, out)
	}
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *reader) socket() string { return filepath.Join(r.home, "s.sock") }

// start starts the agent and returns when it has said that it serves.
func (r *reader) start() {
	r.t.Helper()
	cmd := exec.Command(filepath.Join(r.home, "bin", "querator"), "agent", "--data-dir", filepath.Join(r.home, "data"), "--socket", r.socket())
	cmd.Env = []string{"HOME=" + r.home, "PATH=" + os.Getenv("PATH")}
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.agent = cmd
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, r.socket()) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		r.t.Fatalf("the agent said %q (%v) and logged:\n%s", line, err, log.String())
	}
}

// kill ends the agent with SIGKILL.
func (r *reader) kill() {
	if err := r.agent.Process.Kill(); err != nil {
		r.t.Error(err)
	}
	_ = r.agent.Wait() // It was killed.
}

// run runs a command in the home directory and returns its output; stdout and stderr share a pipe, as on a
// terminal.
func (r *reader) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = r.home
	cmd.Env = append(os.Environ(), "QUERATOR_SOCKET="+r.socket(), "QUERATOR_ENDPOINT=",
		"PATH="+filepath.Join(r.home, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	return cmd
}

const exampleTimeout = time.Minute

// session runs the lines of a block that begin with "$ " and compares what they print with what follows them.
func (r *reader) session(b block) {
	r.t.Helper()
	for part := range strings.SplitSeq("\n"+b.text, "\n$ ") {
		line, want, _ := strings.Cut(part, "\n")
		if line == "" {
			continue
		}
		if strings.HasPrefix(line, "kill -9 $(pidof querator)") {
			// Only the agent of this test; there may be others on the machine.
			r.kill()
			r.start()
			continue
		}
		for shown, real := range r.ids {
			line = strings.ReplaceAll(line, shown, real)
		}
		ctx, cancel := context.WithTimeout(r.t.Context(), exampleTimeout)
		out, err := r.command(ctx, "sh", "-c", line).CombinedOutput()
		cancel()
		if err != nil {
			r.t.Fatalf("$ %s\n%s%v", line, out, err)
		}
		got := string(out)
		r.learn(want, got)
		if normal(got) != normal(want) {
			r.t.Errorf("$ %s\nprints\n%s\nand not, as the README says,\n%s", line, got, want)
		}
	}
}

// learn notes which ids stand for those of the README.
func (r *reader) learn(want, got string) {
	id := regexp.MustCompile(`\b[0-9A-Za-z]{27}\b`)
	shown, real := id.FindAllString(want, -1), id.FindAllString(got, -1)
	for i := range min(len(shown), len(real)) {
		r.ids[shown[i]] = real[i]
	}
}

// normal returns output with what differs from run to run replaced: ids, times, durations, and the widths of
// columns that follow from them.
func normal(s string) string {
	s = regexp.MustCompile(`\b[0-9A-Za-z]{27}\b`).ReplaceAllString(s, "ID")
	s = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`).ReplaceAllString(s, "TIME")
	s = regexp.MustCompile(`\b(\d+(\.\d+)?(h|m|s|ms|µs))+\b`).ReplaceAllString(s, "DURATION")
	s = regexp.MustCompile(` +`).ReplaceAllString(s, " ")
	return strings.TrimSpace(s)
}

// example runs a block as a program and compares its standard output with what the README says.
func (r *reader) example(b block, file string, command ...string) {
	r.t.Helper()
	if b.prints == "" {
		r.t.Errorf("the README does not say what its example in %s prints", b.language)
	}
	path := filepath.Join(r.home, file)
	if err := os.WriteFile(path, []byte(b.text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), exampleTimeout)
	defer cancel()
	cmd := r.command(ctx, command[0], append(command[1:], path)...)
	if b.language == "go" {
		cmd.Dir = root // So that the module is found.
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		r.t.Errorf("the example in %s: %v\n%s%s", b.language, err, out, stderr.String())
		return
	}
	if got := strings.TrimSpace(string(out)); got != b.prints {
		r.t.Errorf("the example in %s prints %q, and not %q\n%s", b.language, got, b.prints, stderr.String())
	}
}
