package config

import (
	"io/fs"
	"time"
)

// Defaults, each with its reason. They suit a board with 512 MB that runs other programs too.
const (
	// An eighth of a 512 MB board; the engine needs far less whatever the backlog.
	defaultMemoryLimit = 64 * MiB
	// Owner and group: a socket is shared by adding a user to its group.
	defaultSocketMode fs.FileMode = 0o660

	// The bound of the Querator server: clients tuned to it meet nothing new.
	defaultMaxConnections = 1000
	// One waiting request for each connection, so that a client alone is never refused.
	defaultMaxWaitingRequests = 1000
	// Ten for each connection, for clients that keep several requests open; a waiting lease is small.
	defaultMaxWaitingLeases = 10000
	// The bounds of the Querator server.
	defaultMaxProduceBody = 5 * MB
	defaultMaxBatch       = 1000
	// In shares of the memory limit: the rest is for the store, the leases and the garbage collector.
	inFlightShare = 4
	// Each costs a file descriptor; nobody has that many workers on a device.
	defaultMaxHolders = 1000
	// 5 MB in a minute is 85 kB/s: slower than any local process that still works.
	defaultReadTimeout  = time.Minute
	defaultWriteTimeout = time.Minute
	// Long enough for a client that polls each minute to keep its connection.
	defaultIdleTimeout = 5 * time.Minute

	// Shown in status; says the driver and leaves room for more.
	defaultStorageName = "badger-0"
	defaultAffinity    = 1

	// A minute is long for local work, and short enough to notice a holder that hangs.
	defaultLeaseTimeout = time.Minute
	// A day of backlog.
	defaultExpireTimeout = 24 * time.Hour
	// Order holds within one partition, so one unless asked for more.
	defaultPartitions = 1

	// 20 full lease batches; a lease costs some hundred bytes of memory at most.
	defaultMaxLeased = 20000
	// A scheduled item costs a due time in memory, its payload stays on flash.
	defaultMaxScheduled = 100000
	// Opening a store costs about 10 ms, keeping it open about a megabyte.
	defaultIdleClose = time.Minute
	// The longest that attempts may go uncounted for an item that crashes the device.
	defaultLeaseSync = time.Second

	// Groups gather during a sync anyway; waiting longer only pays where flash wear matters more.
	defaultCommitDelay = 0
	// Well within the 90 s that systemd gives a unit to stop.
	defaultShutdownTimeout = 10 * time.Second

	// The least is what leasing and completing everything may need, so a small disk gives up more than the share
	// of 1 %. The most is enough for the logs and updates of the other programs on a large one.
	leastMinFree = 8 * MiB
	mostMinFree  = 256 * MiB
	// A segment of items is about seven files; the rest is for the other programs.
	defaultMinFreeInodes = 1000
	// Ten series each: what a small device can send and a fleet can store.
	defaultMetricQueues = 20
)

// Default returns the settings that hold without any file.
func Default() Config {
	return Config{
		MemoryLimit: defaultMemoryLimit,
		LogLevel:    LevelInfo,
		LogFormat:   FormatAuto,
		Socket:      Socket{Mode: defaultSocketMode},
		Limits: Limits{
			MaxConnections:     defaultMaxConnections,
			MaxWaitingRequests: defaultMaxWaitingRequests,
			MaxWaitingLeases:   defaultMaxWaitingLeases,
			MaxProduceBody:     defaultMaxProduceBody,
			MaxProduceBatch:    defaultMaxBatch,
			MaxLeaseBatch:      defaultMaxBatch,
			MaxCompleteBatch:   defaultMaxBatch,
			MaxHolders:         defaultMaxHolders,
			ReadTimeout:        defaultReadTimeout,
			IdleTimeout:        defaultIdleTimeout,
			WriteTimeout:       defaultWriteTimeout,
		},
		QueueStorage:      QueueStorage{Driver: DriverBadger},
		PartitionStorages: []PartitionStorage{{Name: defaultStorageName, Driver: DriverBadger, Affinity: defaultAffinity}},
		Partition: Partition{
			MaxLeased:    defaultMaxLeased,
			MaxScheduled: defaultMaxScheduled,
			IdleClose:    defaultIdleClose,
			LeaseSync:    defaultLeaseSync,
		},
		Durability: Durability{CommitDelay: defaultCommitDelay},
		Clock:      Clock{Trust: TrustAuto},
		Shutdown:   Shutdown{Timeout: defaultShutdownTimeout},
		Storage:    Storage{MinFreeInodes: defaultMinFreeInodes, Compression: CompressionS2},
		Metrics:    Metrics{MaxQueues: defaultMetricQueues},
		Uplink:     defaultUplink(),
	}
}

// DefaultPartitionStorage returns what a [[partition-storage]] is before its keys are read: without a name.
func DefaultPartitionStorage() PartitionStorage {
	return PartitionStorage{Driver: DriverBadger, Affinity: defaultAffinity}
}

// DefaultQueue returns what a [[queue]] is before its keys are read: without a name. The command line creates
// queues with the same values.
func DefaultQueue() Queue {
	return Queue{
		LeaseTimeout:        defaultLeaseTimeout,
		ExpireTimeout:       defaultExpireTimeout,
		RequestedPartitions: defaultPartitions,
		FullPolicy:          PolicyReject,
	}
}
