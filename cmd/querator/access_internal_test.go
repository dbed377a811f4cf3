package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// rulesFile writes a configuration with rules and returns its path.
func rulesFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "q.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const someRules = `
[[access]]
user = "4711"
queues = ["readings", "camera-*"]
allow = ["produce"]
[[access]]
group = "815"
queues = ["*"]
deny = ["admin"]
[[access]]
unit = "camera.service"
queues = ["*"]
allow = ["consume", "admin"]
`

func TestAccessCheck(t *testing.T) {
	file := rulesFile(t, someRules)
	for _, test := range []struct {
		args string
		code int
		want string
	}{
		{"--user 4711 --queue readings --do produce", 0, "allowed by rule 1 (F:2)"},
		{"--user 4711 --queue camera-7 --do produce", 0, "allowed by rule 1 (F:2)"},
		{"--user 4711 --queue readings --do consume", 1, "refused: no rule is about it"},
		{"--user 4712 --queue readings --do produce", 1, "refused: no rule is about it"},
		{"--user 4711 --unit camera.service --queue x --do consume", 0, "allowed by rule 3 (F:10)"},
		{"--user 4711 --unit camera.service --do admin", 0, "allowed by rule 3 (F:10)"},
		{"--user 4711 --unit camera.service --group 815 --do admin", 1, "refused by rule 2 (F:6)"},
		{"--user root --do admin", 0, "allowed: root may do everything"},
	} {
		r := command(t.Context(), "", "", append([]string{"access", "check", "--config", file, "--data-dir", "/nowhere"},
			strings.Fields(test.args)...)...)
		text, _, _ := strings.Cut(r.stdout, "\n")
		text = strings.TrimSpace(strings.TrimPrefix(regexp.MustCompile(`\(.*:`).ReplaceAllString(text, "(F:"), "answer"))
		if r.code != test.code || text != test.want {
			t.Errorf("%s: exit %d, %q, %q; want %d, %q", test.args, r.code, r.stdout, r.stderr, test.code, test.want)
		}
	}
}

func TestAccessCheckMistakes(t *testing.T) {
	file := rulesFile(t, someRules)
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--user", "root"}, 2, "--do '' is invalid; use one of produce, consume, read, admin"},
		{[]string{"--user", "root", "--do", "write"}, 2, "--do 'write' is invalid"},
		{[]string{"--do", "read"}, 2, "--user is missing"},
		{[]string{"--user", "no-such-user", "--do", "read"}, 2, `there is no user "no-such-user"`},
		{[]string{"--user", "root", "--group", "no-such-group", "--do", "read"}, 2, `there is no group "no-such-group"`},
	} {
		r := command(t.Context(), "", "", append([]string{"access", "check", "--config", file}, test.args...)...)
		if r.code != test.code || !strings.Contains(r.stderr, test.want) {
			t.Errorf("%v: exit %d, %q; want %d, %q", test.args, r.code, r.stderr, test.code, test.want)
		}
	}
	wrong := rulesFile(t, "[[access]]\nuser = \"no-such-user\"\nqueues = [\"*\"]\nallow = [\"read\"]\n")
	for _, args := range [][]string{{"access", "check", "--user", "root", "--do", "read"}, {"config", "check"}} {
		r := command(t.Context(), "", "", append(args, "--config", wrong)...)
		if r.code != exitConfig || !strings.Contains(r.stderr, `q.toml:2: access[0].user: there is no user "no-such-user"`) {
			t.Errorf("%v: exit %d, %q", args, r.code, r.stderr)
		}
	}
}

// The agent is asked about the process itself, and about others.
func TestAccessCheckOfARunningAgent(t *testing.T) {
	socket := serveAgent(t, 1<<20)
	for _, args := range [][]string{{}, {"--user", "4711", "--group", "815"}} {
		r := command(t.Context(), socket, "", append([]string{"access", "check", "--running", "--queue", "q", "--do", "consume"}, args...)...)
		if r.code != 0 || !strings.Contains(r.stdout, "allowed: there are no rules") {
			t.Errorf("%v: exit %d, %q, %q", args, r.code, r.stdout, r.stderr)
		}
	}
	r := command(t.Context(), socket, "", "access", "check", "--running", "--user", "no-such-user", "--queue", "q", "--do", "consume")
	if r.code != 1 || !strings.Contains(r.stderr, `user is invalid; there is no user "no-such-user"`) {
		t.Errorf("exit %d, %q", r.code, r.stderr)
	}
}
