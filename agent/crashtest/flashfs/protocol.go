package flashfs

import (
	"os"
	"time"
)

// serveEnv holds, in the environment of the server's process, where to mount.
const serveEnv = "QUERATOR_FLASHFS"

// IsServer reports whether this process was started by Start to be a server. Then
// it calls Serve and ends.
func IsServer() bool { return os.Getenv(serveEnv) != "" }

// command is what a Device asks of its server, one JSON value a line.
type command struct {
	Do    string
	Model Model         `json:",omitempty"`
	Cut   *Cut          `json:",omitempty"`
	Rules []*Rule       `json:",omitempty"`
	Dir   string        `json:",omitempty"`
	Delay time.Duration `json:",omitempty"`
}

// reply is the answer.
type reply struct {
	Error    string   `json:",omitempty"`
	Outcome  Outcome  `json:",omitzero"`
	Unsynced Unsynced `json:",omitzero"`
	Syncs    int
	Faults   int
}
