package config

import (
	"path/filepath"

	"github.com/kapetan-io/querator-edge/agent/paths"
)

// Flags are the flags of the agent's command line that concern the configuration; "" means not given.
// Relative paths are taken from the working directory.
type Flags struct {
	Config, Socket, DataDir string
}

// LoadAgent does all that the agent needs before it starts: it finds the files (flag, QUERATOR_CONFIG,
// default place), reads them, puts the flags and QUERATOR_SOCKET over them, and fills in the values that were
// left empty. The error is Errors; a file that was named and is not there is one.
func LoadAgent(flags Flags, env paths.Env) (*Loaded, error) {
	file := flags.Config
	if file == "" {
		file = env.ConfigFile()
	}
	l, err := Load(file)
	if err != nil {
		return nil, err
	}
	socket, origin := flags.Socket, OriginFlag
	if socket == "" {
		socket, origin = env.Getenv(paths.SocketVariable), OriginEnvironment
	}
	if err := l.overridePath("socket.path", socket, origin); err != nil {
		return nil, err
	}
	if err := l.overridePath("data-dir", flags.DataDir, OriginFlag); err != nil {
		return nil, err
	}
	if err := l.Config.Resolve(env); err != nil {
		return nil, err
	}
	// Directories that were left empty may meet others only now.
	if err := l.check(); err != nil {
		return nil, err
	}
	return l, nil
}

// overridePath overrides a path unless it is "".
func (l *Loaded) overridePath(key, path, origin string) error {
	if path == "" {
		return nil
	}
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	return l.Override(key, path, origin)
}

// Resolve fills in the values that may be left empty: the data directory, the socket, the directories of the
// storages, the bytes in flight. The error is Errors, when the environment gives no default.
func (c *Config) Resolve(env paths.Env) error {
	const hint = "set it, or set HOME"
	if c.DataDir == "" {
		dir, err := env.DataDir()
		if err != nil {
			return Errors{{Key: "data-dir", Msg: "has no default: " + err.Error(), Hint: hint}}
		}
		c.DataDir = dir
	}
	if c.Socket.Path == "" {
		path, err := env.AgentSocket()
		if err != nil {
			return Errors{{Key: "socket.path", Msg: "has no default: " + err.Error(), Hint: hint}}
		}
		c.Socket.Path = path
	}
	if c.QueueStorage.StorageDir == "" && c.QueueStorage.Driver == DriverBadger {
		c.QueueStorage.StorageDir = filepath.Join(c.DataDir, "queues")
	}
	for i := range c.PartitionStorages {
		if s := &c.PartitionStorages[i]; s.StorageDir == "" && s.Driver == DriverBadger {
			s.StorageDir = filepath.Join(c.DataDir, "partitions")
		}
	}
	if c.Limits.MaxInFlightBytes == 0 {
		c.Limits.MaxInFlightBytes = c.MemoryLimit / inFlightShare
	}
	return nil
}
