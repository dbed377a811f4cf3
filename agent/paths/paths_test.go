package paths_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/paths"
)

const root, user = 0, 1000

// env makes an environment out of a table of variables and a list of the paths that exist.
func env(uid int, variables map[string]string, exist ...string) paths.Env {
	return paths.Env{
		Getenv: func(name string) string { return variables[name] },
		EUID:   uid,
		Exists: func(path string) bool { return slices.Contains(exist, path) },
	}
}

type vars = map[string]string

func TestDataDir(t *testing.T) {
	for _, test := range []struct {
		name string
		env  paths.Env
		want string
	}{
		{"systemd", env(user, vars{"STATE_DIRECTORY": "/var/lib/q", "HOME": "/home/a"}), "/var/lib/q"},
		{"systemd, several", env(root, vars{"STATE_DIRECTORY": "/var/lib/q:/var/lib/r"}), "/var/lib/q"},
		{"root", env(root, vars{"HOME": "/root", "XDG_STATE_HOME": "/x"}), "/var/lib/querator"},
		{"state home", env(user, vars{"HOME": "/home/a", "XDG_STATE_HOME": "/x"}), "/x/querator"},
		{"relative state home", env(user, vars{"HOME": "/home/a", "XDG_STATE_HOME": "x"}), "/home/a/.local/state/querator"},
		{"home", env(user, vars{"HOME": "/home/a"}), "/home/a/.local/state/querator"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.env.DataDir()
			if got != test.want || err != nil {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
	if _, err := env(user, nil).DataDir(); !errors.Is(err, paths.ErrNoHome) {
		t.Errorf("without HOME: got %v, want ErrNoHome", err)
	}
}

func TestAgentSocket(t *testing.T) {
	for _, test := range []struct {
		name string
		env  paths.Env
		want string
	}{
		{"systemd", env(user, vars{"RUNTIME_DIRECTORY": "/run/q", "XDG_RUNTIME_DIR": "/run/user/1000"}), "/run/q/querator.sock"},
		{"root", env(root, vars{"XDG_RUNTIME_DIR": "/run/user/0"}), "/run/querator/querator.sock"},
		{"user", env(user, vars{"XDG_RUNTIME_DIR": "/run/user/1000"}), "/run/user/1000/querator/querator.sock"},
		{"user without runtime directory", env(user, vars{"HOME": "/home/a"}), "/home/a/.local/state/querator/querator.sock"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.env.AgentSocket()
			if got != test.want || err != nil {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestClientSocketFindsTheAgent(t *testing.T) {
	const system, mine = "/run/querator/querator.sock", "/run/user/1000/querator/querator.sock"
	session := vars{"XDG_RUNTIME_DIR": "/run/user/1000"}
	for _, test := range []struct {
		name string
		env  paths.Env
		want string
	}{
		{"variable", env(user, vars{"QUERATOR_SOCKET": "/s", "XDG_RUNTIME_DIR": "/run/user/1000"}, mine, system), "/s"},
		{"own agent first", env(user, session, mine, system), mine},
		{"system agent", env(user, session, system), system},
		{"none runs", env(user, session), mine},
		{"no home, system agent", env(user, nil, system), system},
		{"root", env(root, session, mine), system},
		{"unit of the client does not count", env(root, vars{"RUNTIME_DIRECTORY": "/run/camera"}), system},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.env.ClientSocket()
			if got != test.want || err != nil {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
	if _, err := env(user, nil).ClientSocket(); !errors.Is(err, paths.ErrNoHome) {
		t.Errorf("without anything: got %v, want ErrNoHome", err)
	}
}

// A client of the system's agent learns of its configuration, one of the user's own of that.
func TestConfigurationOfTheAgentThatIsFound(t *testing.T) {
	const system, mine = "/run/querator/querator.sock", "/run/user/1000/querator/querator.sock"
	const systemConfig, myConfig = "/etc/querator/querator.toml", "/home/a/.config/querator/querator.toml"
	session := vars{"HOME": "/home/a", "XDG_RUNTIME_DIR": "/run/user/1000"}
	named := vars{"HOME": "/home/a", "QUERATOR_SOCKET": system}
	for _, test := range []struct {
		env          paths.Env
		config, data string
	}{
		{env(user, session, system, systemConfig, myConfig), systemConfig, "/var/lib/querator"},
		{env(user, session, mine, system, systemConfig, myConfig), myConfig, "/home/a/.local/state/querator"},
		{env(user, session, myConfig), myConfig, "/home/a/.local/state/querator"},
		{env(user, named, mine, systemConfig), systemConfig, "/var/lib/querator"},
		{env(root, nil, systemConfig), systemConfig, "/var/lib/querator"},
	} {
		e := test.env.OfClient()
		data, err := e.DataDir()
		if got := e.ConfigFile(); got != test.config || data != test.data || err != nil {
			t.Errorf("%+v: %q and %q, %v; want %q and %q", test.env, got, data, err, test.config, test.data)
		}
	}
}

func TestClientAndAgentAgree(t *testing.T) {
	for _, e := range []paths.Env{
		env(root, nil),
		env(user, vars{"HOME": "/home/a"}),
		env(user, vars{"HOME": "/home/a", "XDG_RUNTIME_DIR": "/run/user/1000"}),
		env(user, vars{"HOME": "/home/a", "XDG_STATE_HOME": "/state"}),
	} {
		agent, err := e.AgentSocket()
		if err != nil {
			t.Fatal(err)
		}
		if client, err := e.ClientSocket(); client != agent || err != nil {
			t.Errorf("client %q, %v; agent %q", client, err, agent)
		}
	}
}

func TestConfigFile(t *testing.T) {
	const system = "/etc/querator/querator.toml"
	home := vars{"HOME": "/home/a"}
	for _, test := range []struct {
		name string
		env  paths.Env
		want string
	}{
		{"variable, missing file too", env(user, vars{"QUERATOR_CONFIG": "/c.toml"}), "/c.toml"},
		{"root", env(root, home, system), system},
		{"root without a system file", env(root, home, "/home/a/.config/querator/querator.toml"), "/home/a/.config/querator/querator.toml"},
		{"not for others", env(user, home, system), ""},
		{"home", env(user, home, "/home/a/.config/querator/querator.toml"), "/home/a/.config/querator/querator.toml"},
		{"config home", env(user, vars{"HOME": "/home/a", "XDG_CONFIG_HOME": "/x"}, "/x/querator/querator.toml"), "/x/querator/querator.toml"},
		{"none", env(user, home), ""},
		{"no home", env(user, nil), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.env.ConfigFile(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestProcess(t *testing.T) {
	t.Setenv("QUERATOR_SOCKET", "/tmp/from-the-environment.sock")
	if got, err := paths.Process().ClientSocket(); got != "/tmp/from-the-environment.sock" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
