// Package paths says where the agent keeps its files and its socket when nobody has said otherwise. The agent
// and its clients both ask here, so that they find each other without configuration.
//
// It uses the standard library only, keeps no state, and may be called from any goroutine.
package paths

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// Names of the environment variables that replace a default. A command-line flag beats them, they beat the
// configuration file.
const (
	SocketVariable = "QUERATOR_SOCKET"
	ConfigVariable = "QUERATOR_CONFIG"
)

// Places that root uses, and that a client of an ordinary user falls back on.
const (
	systemDataDir = "/var/lib/querator"
	systemSocket  = "/run/querator/querator.sock"
	systemConfig  = "/etc/querator/querator.toml"

	program    = "querator"
	socketName = "querator.sock"
	configName = "querator.toml"
)

// ErrNoHome is returned when no default exists because the environment names no home directory.
var ErrNoHome = errors.New("no home directory is known (HOME is not set)")

// Env is what the defaults depend on. Tests fill it in; programs use Process.
type Env struct {
	// Getenv returns the value of an environment variable, "" if it is not set.
	Getenv func(name string) string
	// EUID is the effective user id; 0 is root and uses the places of the system.
	EUID int
	// Exists reports whether something is at a path.
	Exists func(path string) bool
}

// Process returns the environment of this process.
func Process() Env {
	return Env{
		Getenv: os.Getenv,
		EUID:   os.Geteuid(),
		Exists: func(path string) bool {
			_, err := os.Stat(path)
			return err == nil
		},
	}
}

// DataDir returns the directory that the agent keeps its data in: $STATE_DIRECTORY (set by systemd), for root
// /var/lib/querator, else $XDG_STATE_HOME/querator or ~/.local/state/querator. It may not exist yet.
// The error is ErrNoHome.
func (e Env) DataDir() (string, error) {
	if dir := e.unitDirectory("STATE_DIRECTORY"); dir != "" {
		return dir, nil
	}
	if e.EUID == 0 {
		return systemDataDir, nil
	}
	return e.userDir("XDG_STATE_HOME", ".local/state")
}

// AgentSocket returns the path that the agent listens on by default: in $RUNTIME_DIRECTORY (set by systemd),
// for root /run/querator/querator.sock, else in $XDG_RUNTIME_DIR/querator, or in the default data directory
// when that is not set. A configured data directory does not move it, since a client would not know.
// The error is ErrNoHome.
func (e Env) AgentSocket() (string, error) {
	if dir := e.unitDirectory("RUNTIME_DIRECTORY"); dir != "" {
		return filepath.Join(dir, socketName), nil
	}
	if e.EUID == 0 {
		return systemSocket, nil
	}
	if dir := e.absolute("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, program, socketName), nil
	}
	dir, err := e.DataDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, socketName), nil
}

// ClientSocket returns the path that a client dials by default: QUERATOR_SOCKET, else the default socket of
// an agent of the same user if one is there, else the socket of the system's agent if that is there, else the
// first of the two, for the error text. The error is ErrNoHome.
//
// The directories that systemd gives to a unit are left out: in a client they are those of the client's unit.
func (e Env) ClientSocket() (string, error) {
	if path := e.Getenv(SocketVariable); path != "" {
		return path, nil
	}
	path, err := e.withoutUnit().AgentSocket()
	if err == nil && e.Exists(path) {
		return path, nil
	}
	if e.Exists(systemSocket) {
		return systemSocket, nil
	}
	return path, err
}

// OfClient returns the environment of the agent that a client finds by default (see ClientSocket): root's where that
// is the system's agent. So a program of an ordinary user finds the configuration of the agent that it talks to.
func (e Env) OfClient() Env {
	e = e.withoutUnit()
	if path, err := e.ClientSocket(); err == nil && path == systemSocket {
		e.EUID = 0
	}
	return e
}

// ConfigFile returns the configuration file to read when no flag names one: QUERATOR_CONFIG whether or not
// it exists, else /etc/querator/querator.toml for root or $XDG_CONFIG_HOME/querator/querator.toml (~/.config
// if that is not set) if it exists, else "".
func (e Env) ConfigFile() string {
	if path := e.Getenv(ConfigVariable); path != "" {
		return path
	}
	if e.EUID == 0 && e.Exists(systemConfig) {
		return systemConfig
	}
	dir, err := e.userDir("XDG_CONFIG_HOME", ".config")
	if err != nil {
		return ""
	}
	if path := filepath.Join(dir, configName); e.Exists(path) {
		return path
	}
	return ""
}

// withoutUnit returns e without the directories that systemd gives to a unit.
func (e Env) withoutUnit() Env {
	getenv := e.Getenv
	e.Getenv = func(name string) string {
		if name == "STATE_DIRECTORY" || name == "RUNTIME_DIRECTORY" {
			return ""
		}
		return getenv(name)
	}
	return e
}

// userDir returns the program's directory under the one that an XDG variable names, or under its default
// below the home directory.
func (e Env) userDir(variable, fallback string) (string, error) {
	if dir := e.absolute(variable); dir != "" {
		return filepath.Join(dir, program), nil
	}
	home := e.absolute("HOME")
	if home == "" {
		return "", ErrNoHome
	}
	return filepath.Join(home, fallback, program), nil
}

// unitDirectory returns the first directory of a variable of systemd, which may list several with colons.
func (e Env) unitDirectory(variable string) string {
	first, _, _ := strings.Cut(e.Getenv(variable), ":")
	if !filepath.IsAbs(first) {
		return ""
	}
	return filepath.Clean(first)
}

// absolute returns the value of a variable that must hold an absolute path, else "": the XDG specification
// asks for relative values to be ignored.
func (e Env) absolute(variable string) string {
	if dir := e.Getenv(variable); filepath.IsAbs(dir) {
		return dir
	}
	return ""
}
