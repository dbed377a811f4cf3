package agent

// An internal test: what a reload compares.

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/config"
)

func load(t *testing.T, text string) *config.Loaded {
	t.Helper()
	path := filepath.Join(t.TempDir(), "querator.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestChangedSettings(t *testing.T) {
	const two = "[[queue]]\nname = \"a\"\n[[queue]]\nname = \"b\"\n"
	for _, test := range []struct{ before, after, want string }{
		{"", "", ""},
		{two, two, ""},
		{"", `log-level = "debug"`, "log-level"},
		{"memory-limit = \"128MiB\"", "[socket]\nmode = \"0600\"", "memory-limit socket.mode"},
		{"[[queue]]\nname = \"a\"\n", "[[queue]]\nname = \"b\"\n", "queue[0].name"},
	} {
		got := changedSettings(settingsOf(load(t, test.before)), settingsOf(load(t, test.after)))
		if strings.Join(got, " ") != test.want {
			t.Errorf("%q to %q: %q, want %s", test.before, test.after, got, test.want)
		}
	}
	// A queue that comes or goes shows in all its settings, and they are all one.
	queues := liveSetting{keys: []string{"queue"}}
	for _, names := range [][]string{
		changedSettings(settingsOf(load(t, "")), settingsOf(load(t, two))),
		changedSettings(settingsOf(load(t, two)), settingsOf(load(t, ""))),
	} {
		if len(names) < 10 {
			t.Errorf("only %q", names)
		}
		for _, name := range names {
			if !queues.has(name) {
				t.Errorf("%s is not a setting of a queue", name)
			}
		}
	}
	if queues.has("queue-storage.driver") {
		t.Error("queue-storage is a queue")
	}
}
