package config

import (
	"io/fs"
	"time"
)

// Config is the whole list of settings, in the order of querator.toml. The tag is the key in the file; ",empty"
// marks a value that may be left empty, and Resolve fills it in.
type Config struct {
	// MemoryLimit is what the whole process may use, in bytes; at least 32 MiB.
	MemoryLimit Size `toml:"memory-limit"`
	// DataDir is the absolute directory of everything that the agent stores; empty: the default of the user.
	DataDir string `toml:"data-dir"`
	// LogLevel is the least level that is logged: debug, info, warn or error.
	LogLevel string `toml:"log-level"`
	// LogFormat is auto (console on a terminal, else json), json or console.
	LogFormat string `toml:"log-format"`

	Socket            Socket             `toml:"socket"`
	Access            []Access           `toml:"access"`
	Limits            Limits             `toml:"limits"`
	QueueStorage      QueueStorage       `toml:"queue-storage"`
	PartitionStorages []PartitionStorage `toml:"partition-storage"`
	Queues            []Queue            `toml:"queue"`
	Partition         Partition          `toml:"partition"`
	Durability        Durability         `toml:"durability"`
	Clock             Clock              `toml:"clock"`
	Shutdown          Shutdown           `toml:"shutdown"`
	Storage           Storage            `toml:"storage"`
	Metrics           Metrics            `toml:"metrics"`
	Uplink            Uplink             `toml:"uplink"`
	Downlinks         []Downlink         `toml:"downlink"`
	// Further tables go here, and behind [storage] in querator.toml; doc.go says what else a table needs.
}

// Socket says where local processes reach the agent, and who may connect.
type Socket struct {
	// Path is the absolute path of the Unix socket; empty: the default of the user.
	Path string `toml:"path"`
	// Mode is the permission of the socket; the owner may always read and write, others never.
	Mode fs.FileMode `toml:"mode"`
	// Group is the name or number of the socket's group; empty: that of the process.
	Group string `toml:"group"`
}

// Access is a rule that says who may do what with which queues. The rules are read from the first to the last,
// and the first that fits the caller, the queue and the operation decides; what none fits is refused. Without
// rules everybody who can connect may do everything. Package access has the details.
type Access struct {
	// User and Group are names or numbers, Unit is a pattern of names of system units; the rule is about a caller
	// that all of those fit which are not empty.
	User  string `toml:"user"`
	Group string `toml:"group"`
	Unit  string `toml:"unit"`
	// Queues are names, in which "*" stands for any text; at least one. Calls that concern the whole agent are
	// those on "*".
	Queues []string `toml:"queues"`
	// Allow and Deny are the operations (Operations) that the rule grants or refuses; a rule has one of them.
	Allow []string `toml:"allow"`
	Deny  []string `toml:"deny"`
}

// Operations of Access.Allow and Access.Deny.
const (
	OperationProduce = "produce" // Put items in.
	OperationConsume = "consume" // Lease, complete, retry, extend.
	OperationRead    = "read"    // Look at queues and at their items, payloads included.
	OperationAdmin   = "admin"   // Everything else.
)

// Limits bounds what clients may ask of the agent at once.
type Limits struct {
	// MaxConnections is the number of open connections; further ones wait to be accepted.
	MaxConnections int `toml:"max-connections"`
	// MaxWaitingRequests is the number of requests of one queue that its loop has not picked up yet; further
	// ones are answered "overloaded".
	MaxWaitingRequests int `toml:"max-waiting-requests"`
	// MaxWaitingLeases is the number of lease requests that wait for items, in the whole agent.
	MaxWaitingLeases int `toml:"max-waiting-leases"`
	// MaxProduceBody is the largest body of a produce request, in bytes.
	MaxProduceBody Size `toml:"max-produce-body"`
	// MaxProduceBatch is the largest number of items in a produce request.
	MaxProduceBatch int `toml:"max-produce-batch"`
	// MaxLeaseBatch is the largest number of items that a lease request may ask for.
	MaxLeaseBatch int `toml:"max-lease-batch"`
	// MaxCompleteBatch is the largest number of items in a complete or retry request.
	MaxCompleteBatch int `toml:"max-complete-batch"`
	// MaxInFlightBytes bounds the bodies of all requests and answers in progress, in bytes; 0: a quarter of
	// the memory limit.
	MaxInFlightBytes Size `toml:"max-in-flight-bytes,empty"`
	// MaxUserRequests is how many requests a second one user may make, 0: no limit. Root and the agent's own user
	// have none.
	MaxUserRequests int `toml:"max-user-requests"`
	// MaxUserConnections, MaxUserWaitingLeases and MaxUserInFlightBytes are what one user may have of the bounds
	// of that name; 0: seven times what nobody has, so that there is always some left for others.
	MaxUserConnections   int  `toml:"max-user-connections"`
	MaxUserWaitingLeases int  `toml:"max-user-waiting-leases"`
	MaxUserInFlightBytes Size `toml:"max-user-in-flight-bytes,empty"`
	// MaxHolders is the number of processes that may hold leases which end with the process; one user may be
	// seven times as many as are left.
	MaxHolders int `toml:"max-holders"`
	// ReadTimeout is the time in which a client must finish a request that it has begun.
	ReadTimeout time.Duration `toml:"read-timeout"`
	// IdleTimeout is how long a connection without a request stays open.
	IdleTimeout time.Duration `toml:"idle-timeout"`
	// WriteTimeout is the time in which a client must take an answer.
	WriteTimeout time.Duration `toml:"write-timeout"`
}

// QueueStorage says where the definitions of the queues are kept.
type QueueStorage struct {
	// Driver is DriverBadger or DriverMemory.
	Driver string `toml:"driver"`
	// StorageDir is an absolute directory; empty: queues in the data directory. DriverMemory ignores it.
	StorageDir string `toml:"storage-dir"`
}

// PartitionStorage is one place for items. Each partition of a queue lives in one of them.
type PartitionStorage struct {
	// Name identifies the storage in status and errors; unique, 1 to 64 of a-z A-Z 0-9 . _ -.
	Name string `toml:"name"`
	// Driver is DriverBadger or DriverMemory.
	Driver string `toml:"driver"`
	// Affinity is the weight by which new partitions are dealt: 7 and 3 give 70 % and 30 %.
	Affinity int `toml:"affinity"`
	// StorageDir is an absolute directory; empty, for an only badger storage: partitions in the data
	// directory. DriverMemory ignores it.
	StorageDir string `toml:"storage-dir"`
}

// Queue is a queue that exists from the start: the agent creates it if it is absent, and changes nothing if
// it is there. The bounds are those of the API.
type Queue struct {
	// Name is up to 512 bytes without white space and "~".
	Name string `toml:"name"`
	// LeaseTimeout is how long a lease holds unless it is extended.
	LeaseTimeout time.Duration `toml:"lease-timeout"`
	// ExpireTimeout is how long an item may stay in the queue.
	ExpireTimeout time.Duration `toml:"expire-timeout"`
	// MaxAttempts is how many leases an item is given; 0: unlimited.
	MaxAttempts int `toml:"max-attempts"`
	// DeadQueue is the queue for items that are out of attempts or expired; empty: they are deleted.
	DeadQueue string `toml:"dead-queue"`
	// Reference is free text for people, up to 2000 bytes.
	Reference string `toml:"reference"`
	// RequestedPartitions is the number of partitions, at least 1.
	RequestedPartitions int `toml:"requested-partitions"`
	// MaxItems is how many items the queue may hold, all partitions together; 0: no limit.
	MaxItems int `toml:"max-items"`
	// MaxBytes is how many bytes of payloads and labels, and 64 more for each item, it may hold; 0: no limit.
	MaxBytes Size `toml:"max-bytes"`
	// FullPolicy is PolicyReject or PolicyDropOldest.
	FullPolicy string `toml:"full-policy"`
	// ReleaseOnExit makes leases end with the process that leased, unless the lease says otherwise.
	ReleaseOnExit bool `toml:"release-on-exit"`
}

// Partition bounds one partition of a queue.
type Partition struct {
	// MaxLeased is the number of leases that may be out at once.
	MaxLeased int `toml:"max-leased"`
	// MaxScheduled is the number of scheduled items that may be held.
	MaxScheduled int `toml:"max-scheduled"`
	// IdleClose is how long a partition is unused before its store is closed.
	IdleClose time.Duration `toml:"idle-close"`
	// MaxOpen is how many partitions may be open for writing at a time; 0, and more than the memory limit allows, is as
	// many as that allows.
	MaxOpen int `toml:"max-open"`
	// LeaseSync is the time within which a commit of leases alone is synced; at most a second.
	LeaseSync time.Duration `toml:"lease-sync"`
}

// Durability trades latency for flash life. What is acknowledged is always on flash first.
type Durability struct {
	// CommitDelay is how long a commit group gathers beyond the sync before it; at most a second.
	CommitDelay time.Duration `toml:"commit-delay"`
}

// Clock says when the wall clock is believed, which scheduled items wait for.
type Clock struct {
	// Trust is TrustAuto, TrustNTP or TrustAlways.
	Trust string `toml:"trust"`
}

// Shutdown bounds the end of the agent.
type Shutdown struct {
	// Timeout is how long requests in progress may take to finish.
	Timeout time.Duration `toml:"timeout"`
}

// Storage says how items are written, and what is left alone on every disk that they are kept on. Below it produce is
// refused; lease and complete go on, and need that room.
type Storage struct {
	// MinFree is in bytes; 0: 1 % of the file system, at least 8 MiB and at most 256 MiB.
	MinFree Size `toml:"min-free,empty"`
	// MinFreeInodes is a number of inodes; 0: they are not looked at.
	MinFreeInodes int `toml:"min-free-inodes"`
	// Compression is CompressionS2 or CompressionZstd.
	Compression string `toml:"compression"`
}

// Values of Storage.Compression: how new items are compressed on the disk.
const (
	CompressionS2   = "s2"   // Fast.
	CompressionZstd = "zstd" // Fewer bytes.
)

// Metrics says what GET /metrics tells.
type Metrics struct {
	// MaxQueues is how many queues have series of their own; the others are summed up.
	MaxQueues int `toml:"max-queues"`
}

// Floor returns how many bytes stay free of a file system with so many in all.
func (s *Storage) Floor(total int64) int64 {
	if s.MinFree > 0 {
		return int64(s.MinFree)
	}
	return min(max(total/100, int64(leastMinFree)), int64(mostMinFree))
}

// Values of Queue.FullPolicy: what becomes of a produce for which the queue has no room.
const (
	PolicyReject     = "reject"      // It is refused.
	PolicyDropOldest = "drop-oldest" // The oldest ready items go.
)

// Drivers of a storage.
const (
	DriverBadger = "badger" // On flash.
	DriverMemory = "memory" // Gone at every restart.
)

// Values of Clock.Trust.
const (
	TrustAuto   = "auto"   // The kernel says synchronised, or later than the build and the last time on flash.
	TrustNTP    = "ntp"    // Only when the kernel says synchronised.
	TrustAlways = "always" // A board with a clock of its own.
)

// Values of LogLevel and LogFormat.
const (
	LevelDebug = "debug"
	LevelInfo  = "info"
	LevelWarn  = "warn"
	LevelError = "error"

	FormatAuto    = "auto"
	FormatJSON    = "json"
	FormatConsole = "console"
)
