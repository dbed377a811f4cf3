package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/paths"
)

// env is an ordinary user with these variables and no files in the default places.
func env(variables map[string]string) paths.Env {
	return paths.Env{
		Getenv: func(name string) string { return variables[name] },
		EUID:   1000,
		Exists: func(string) bool { return false },
	}
}

type vars = map[string]string

func TestWithoutAnyFile(t *testing.T) {
	l, err := config.LoadAgent(config.Flags{}, env(vars{"HOME": "/home/a", "XDG_RUNTIME_DIR": "/run/user/1000"}))
	if err != nil {
		t.Fatal(err)
	}
	c := l.Config
	for _, test := range []struct{ got, want string }{
		{c.DataDir, "/home/a/.local/state/querator"},
		{c.Socket.Path, "/run/user/1000/querator/querator.sock"},
		{c.QueueStorage.StorageDir, "/home/a/.local/state/querator/queues"},
		{c.PartitionStorages[0].StorageDir, "/home/a/.local/state/querator/partitions"},
		{c.Limits.MaxInFlightBytes.String(), "16MiB"},
		{l.Origin("data-dir"), config.OriginDefault},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}

func TestFlagBeatsEnvironmentBeatsFile(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir, "q.toml", "data-dir = \"/file\"\nsocket.path = \"/file.sock\"")
	other := write(t, dir, "other/q.toml", "data-dir = \"/other\"")
	home := vars{"HOME": "/home/a", "QUERATOR_CONFIG": file}
	both := vars{"HOME": "/home/a", "QUERATOR_CONFIG": file, "QUERATOR_SOCKET": "/env.sock"}
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name                                     string
		flags                                    config.Flags
		env                                      vars
		socket, socketOrigin, dataDir, dirOrigin string
	}{
		{"file", config.Flags{}, home, "/file.sock", file + ":2", "/file", file + ":1"},
		{"environment", config.Flags{}, both, "/env.sock", "environment", "/file", file + ":1"},
		{"flags", config.Flags{Socket: "/flag.sock", DataDir: "data"}, both, "/flag.sock", "flag", filepath.Join(cwd, "data"), "flag"},
		{"flag names the file", config.Flags{Config: other}, both, "/env.sock", "environment", "/other", other + ":1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, err := config.LoadAgent(test.flags, env(test.env))
			if err != nil {
				t.Fatal(err)
			}
			if l.Config.Socket.Path != test.socket || l.Origin("socket.path") != test.socketOrigin {
				t.Errorf("socket %q from %q", l.Config.Socket.Path, l.Origin("socket.path"))
			}
			if l.Config.DataDir != test.dataDir || l.Origin("data-dir") != test.dirOrigin {
				t.Errorf("data directory %q from %q", l.Config.DataDir, l.Origin("data-dir"))
			}
		})
	}
}

func TestNamedFileMustExist(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.toml")
	for _, test := range []struct {
		name  string
		flags config.Flags
		env   vars
	}{
		{"flag", config.Flags{Config: missing}, vars{"HOME": "/home/a"}},
		{"environment", config.Flags{}, vars{"HOME": "/home/a", "QUERATOR_CONFIG": missing}},
	} {
		_, err := config.LoadAgent(test.flags, env(test.env))
		if err == nil {
			t.Fatalf("%s: a missing file was accepted", test.name)
		}
		checkKind(t, err, missing)
	}
}

func TestNoHome(t *testing.T) {
	_, err := config.LoadAgent(config.Flags{}, env(nil))
	if want := "data-dir: has no default: no home directory is known (HOME is not set); set it, or set HOME"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if !errors.Is(err, config.ErrConfig) {
		t.Errorf("%v is not ErrConfig", err)
	}
	l, err := config.LoadAgent(config.Flags{DataDir: "/data", Socket: "/s"}, env(nil))
	if err != nil || l.Config.QueueStorage.StorageDir != "/data/queues" {
		t.Errorf("with flags: got %+v, %v", l, err)
	}
}

// A directory that was left empty may be the one that another storage names.
func TestDefaultDirectoryTaken(t *testing.T) {
	file := write(t, t.TempDir(), "q.toml", "data-dir = \"/d\"\n[[partition-storage]]\nname = \"a\"\nstorage-dir = \"/d/queues\"")
	_, err := config.LoadAgent(config.Flags{Config: file}, env(vars{"HOME": "/home/a"}))
	want := file + `:4: partition-storage[0].storage-dir: "/d/queues" is that of queue-storage.storage-dir too; each storage needs a directory of its own`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestOverride(t *testing.T) {
	for _, test := range []struct{ key, text, want string }{
		{"limits.max-connections", "5", ""},
		{"memory-limit", "33554432", ""},
		{"shutdown.timeout", "3s", ""},
		{"limits.max-connections", "many", `flag: limits.max-connections: "many" is not a whole number; use digits without quotes`},
		{"memory-limit", "1MiB", `flag: memory-limit: 1MiB is out of range; allowed: 32MiB to 1024GiB`},
		{"memory", "1MiB", `flag: memory: unknown key; known keys: see querator.toml`},
		{"limits", "1", `flag: limits: unknown key; known keys: see querator.toml`},
		{"log-level.x", "1", `flag: log-level.x: unknown key; known keys: see querator.toml`},
		{"queue[0].name", "a", `flag: queue[0].name: unknown key; known keys: see querator.toml`},
		{"queue", "a", `flag: queue: unknown key; known keys: see querator.toml`},
		{"", "a", `flag: unknown key; known keys: see querator.toml`},
	} {
		l, err := config.Load("")
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := l.Override(test.key, test.text, config.OriginFlag); err != nil {
			got = err.Error()
		} else if origin := l.Origin(test.key); origin != config.OriginFlag {
			t.Errorf("%s comes from %q", test.key, origin)
		}
		if got != test.want {
			t.Errorf("%s = %s: got %q, want %q", test.key, test.text, got, test.want)
		}
	}
}
