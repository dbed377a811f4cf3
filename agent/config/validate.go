package config

import (
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Bounds. The upper ones are far beyond any use on a device; they catch a wrong unit or a slip of the finger.
const (
	minMemoryLimit = 32 * MiB
	maxMemoryLimit = 1024 * GiB
	minProduceBody = KiB
	maxProduceBody = 64 * MB

	maxConnections = 65536
	maxWaiting     = 1000000

	maxUserRequests = 1000000
	maxBatch        = 65536
	maxHeld         = 10000000
	maxAffinity     = 1000000
	maxPartitions   = 256

	minClientTimeout = time.Second
	maxClientTimeout = time.Hour
	maxIdleTimeout   = 24 * time.Hour
	minLeaseSync     = 10 * time.Millisecond
	maxCommitDelay   = time.Second
	maxShutdown      = 10 * time.Minute
	maxMinFree       = 1024 * GiB
	maxMinFreeInodes = 1000000000
	maxMetricQueues  = 10000

	// Bounds of the API for a queue.
	maxNameBytes      = 512
	maxDeadNameBytes  = 500
	maxReferenceBytes = 2000
	maxAttempts       = 65536
	maxItems          = math.MaxInt32
	maxBytes          = 1024 * 1024 * GiB
	minQueueTimeout   = time.Microsecond
	maxQueueTimeout   = 10 * 365 * 24 * time.Hour

	maxStorageName = 64
)

// Validate checks every bound. The error is Errors without files and lines, in the order of the settings.
func (c *Config) Validate() error { return c.problems().asError() }

// problems returns what is out of bounds, each with its key.
func (c *Config) problems() Errors {
	var k checker
	k.size("memory-limit", c.MemoryLimit, minMemoryLimit, maxMemoryLimit)
	k.path("data-dir", c.DataDir)
	k.oneOf("log-level", c.LogLevel, LevelDebug, LevelInfo, LevelWarn, LevelError)
	k.oneOf("log-format", c.LogFormat, FormatAuto, FormatJSON, FormatConsole)
	c.Socket.check(&k)
	c.checkAccess(&k)
	c.Limits.check(&k, c.MemoryLimit)
	k.oneOf("queue-storage.driver", c.QueueStorage.Driver, DriverBadger, DriverMemory)
	k.path("queue-storage.storage-dir", c.QueueStorage.StorageDir)
	c.checkStorages(&k)
	c.checkQueues(&k)
	k.count("partition.max-leased", c.Partition.MaxLeased, 1, maxHeld)
	k.count("partition.max-scheduled", c.Partition.MaxScheduled, 1, maxHeld)
	k.duration("partition.idle-close", c.Partition.IdleClose, time.Second, maxIdleTimeout)
	k.count("partition.max-open", c.Partition.MaxOpen, 0, maxHeld)
	k.duration("partition.lease-sync", c.Partition.LeaseSync, minLeaseSync, defaultLeaseSync)
	k.duration("durability.commit-delay", c.Durability.CommitDelay, 0, maxCommitDelay)
	k.oneOf("clock.trust", c.Clock.Trust, TrustAuto, TrustNTP, TrustAlways)
	k.duration("shutdown.timeout", c.Shutdown.Timeout, time.Second, maxShutdown)
	if c.Storage.MinFree != 0 {
		k.size("storage.min-free", c.Storage.MinFree, leastMinFree, maxMinFree)
	}
	k.oneOf("storage.compression", c.Storage.Compression, CompressionS2, CompressionZstd)
	k.count("storage.min-free-inodes", c.Storage.MinFreeInodes, 0, maxMinFreeInodes)
	k.count("metrics.max-queues", c.Metrics.MaxQueues, 0, maxMetricQueues)
	c.Uplink.check(&k)
	c.checkDownlinks(&k)
	return k.found
}

func (s *Socket) check(k *checker) {
	k.path("socket.path", s.Path)
	const owner, world fs.FileMode = 0o600, 0o007
	mode := formatMode(s.Mode)
	switch {
	case s.Mode&world != 0:
		k.add("socket.mode", mode+" lets every user of the device connect", `allow the owner and a group only, such as "0660"`)
	case s.Mode&owner != owner:
		k.add("socket.mode", mode+" keeps the owner out", `the owner needs 6, such as "0660" or "0600"`)
	case s.Mode&^fs.ModePerm != 0:
		k.add("socket.mode", mode+" is more than permissions", `allowed: "0600" to "0770"`)
	}
	// Whether the group exists is known when the socket is made; a name of digits is a number.
	if strings.ContainsFunc(s.Group, isSpaceOrControl) || strings.HasPrefix(s.Group, "-") {
		k.add("socket.group", fmt.Sprintf("%q is not a group", s.Group), `use a group's name or number, or "" to leave it`)
	}
}

func (l *Limits) check(k *checker, memory Size) {
	k.count("limits.max-connections", l.MaxConnections, 1, maxConnections)
	k.count("limits.max-waiting-requests", l.MaxWaitingRequests, 1, maxWaiting)
	k.count("limits.max-waiting-leases", l.MaxWaitingLeases, 1, maxWaiting)
	k.size("limits.max-produce-body", l.MaxProduceBody, minProduceBody, maxProduceBody)
	k.count("limits.max-produce-batch", l.MaxProduceBatch, 1, maxBatch)
	k.count("limits.max-lease-batch", l.MaxLeaseBatch, 1, maxBatch)
	k.count("limits.max-complete-batch", l.MaxCompleteBatch, 1, maxBatch)
	k.count("limits.max-user-requests", l.MaxUserRequests, 0, maxUserRequests)
	k.count("limits.max-user-connections", l.MaxUserConnections, 0, maxConnections)
	k.count("limits.max-user-waiting-leases", l.MaxUserWaitingLeases, 0, maxWaiting)
	k.size("limits.max-user-in-flight-bytes", l.MaxUserInFlightBytes, 0, memory)
	k.count("limits.max-holders", l.MaxHolders, 0, maxConnections)
	l.checkInFlight(k, memory)
	k.duration("limits.read-timeout", l.ReadTimeout, minClientTimeout, maxClientTimeout)
	k.duration("limits.idle-timeout", l.IdleTimeout, minClientTimeout, maxIdleTimeout)
	k.duration("limits.write-timeout", l.WriteTimeout, minClientTimeout, maxClientTimeout)
}

// checkInFlight holds the bytes in flight against the largest body, which would never be let in otherwise,
// and against the memory limit, unless one of those is out of range itself.
func (l *Limits) checkInFlight(k *checker, memory Size) {
	const key, body = "limits.max-in-flight-bytes", "limits.max-produce-body"
	if memory < minMemoryLimit || l.MaxProduceBody > maxProduceBody {
		return
	}
	switch {
	case l.MaxInFlightBytes < 0 || l.MaxInFlightBytes > memory:
		k.add(key, l.MaxInFlightBytes.String()+" is out of range",
			fmt.Sprintf("allowed: limits.max-produce-body (%s) to memory-limit (%s)", l.MaxProduceBody, memory))
	case l.MaxInFlightBytes == 0 && l.MaxProduceBody > memory/inFlightShare:
		k.add(body, fmt.Sprintf("%s is more than a quarter of memory-limit (%s)", l.MaxProduceBody, memory),
			"lower it, raise memory-limit or set limits.max-in-flight-bytes").also = "memory-limit"
	case l.MaxUserInFlightBytes > 0 && l.MaxUserInFlightBytes < l.MaxProduceBody:
		k.add("limits.max-user-in-flight-bytes", fmt.Sprintf("%s is less than limits.max-produce-body (%s)", l.MaxUserInFlightBytes, l.MaxProduceBody),
			"raise it or lower limits.max-produce-body").also = body
	case l.MaxInFlightBytes > 0 && l.MaxInFlightBytes < l.MaxProduceBody:
		k.add(key, fmt.Sprintf("%s is less than limits.max-produce-body (%s)", l.MaxInFlightBytes, l.MaxProduceBody),
			"raise it or lower limits.max-produce-body").also = body
	}
}

func (c *Config) checkStorages(k *checker) {
	if len(c.PartitionStorages) == 0 {
		k.add("partition-storage", "there is none", "at least one [[partition-storage]] is needed to keep items in")
	}
	onFlash := 0
	for _, s := range c.PartitionStorages {
		if s.Driver == DriverBadger {
			onFlash++
		}
	}
	names, dirs := map[string]string{}, map[string]string{}
	if c.QueueStorage.Driver == DriverBadger && c.QueueStorage.StorageDir != "" {
		dirs[filepath.Clean(c.QueueStorage.StorageDir)] = "queue-storage.storage-dir"
	}
	for i, s := range c.PartitionStorages {
		key := "partition-storage[" + strconv.Itoa(i) + "]"
		k.storageName(key+".name", s.Name, names)
		k.oneOf(key+".driver", s.Driver, DriverBadger, DriverMemory)
		k.count(key+".affinity", s.Affinity, 1, maxAffinity)
		k.path(key+".storage-dir", s.StorageDir)
		if s.Driver != DriverBadger {
			continue
		}
		if s.StorageDir == "" {
			if onFlash > 1 {
				k.add(key+".storage-dir", "is empty", "each badger storage needs a directory of its own if there are several")
			}
			continue
		}
		dir := filepath.Clean(s.StorageDir)
		if first, taken := dirs[dir]; taken {
			k.add(key+".storage-dir", fmt.Sprintf("%q is that of %s too", dir, first), "each storage needs a directory of its own")
		} else {
			dirs[dir] = key + ".storage-dir"
		}
	}
}

func (c *Config) checkQueues(k *checker) {
	names, dead := map[string]string{}, map[string]string{}
	for i, q := range c.Queues {
		key := "queue[" + strconv.Itoa(i) + "]"
		k.queueName(key+".name", q.Name, names)
		dead[q.Name] = q.DeadQueue
	}
	for i, q := range c.Queues {
		q.check(k, "queue["+strconv.Itoa(i)+"]", dead[q.DeadQueue])
	}
}

// check checks all but the name. deadOfDead is the dead queue of q's dead queue, which must not have one.
func (q *Queue) check(k *checker, key, deadOfDead string) {
	k.duration(key+".lease-timeout", q.LeaseTimeout, minQueueTimeout, maxQueueTimeout)
	k.duration(key+".expire-timeout", q.ExpireTimeout, minQueueTimeout, maxQueueTimeout)
	if q.ExpireTimeout >= minQueueTimeout && q.LeaseTimeout > q.ExpireTimeout {
		k.add(key+".lease-timeout", formatDuration(q.LeaseTimeout)+" is longer than the expire timeout",
			"at most "+formatDuration(q.ExpireTimeout)+", or raise expire-timeout").also = key + ".expire-timeout"
	}
	k.count(key+".max-attempts", q.MaxAttempts, 0, maxAttempts)
	switch {
	case q.DeadQueue == "":
	case q.DeadQueue == q.Name:
		k.add(key+".dead-queue", "is the queue itself", "name another queue, or leave it out to delete dead items")
	case deadOfDead != "":
		k.add(key+".dead-queue", fmt.Sprintf("%q has a dead queue of its own", q.DeadQueue), "a dead queue must not have one")
	default:
		k.nameText(key+".dead-queue", q.DeadQueue, maxDeadNameBytes)
	}
	if len(q.Reference) > maxReferenceBytes {
		k.add(key+".reference", fmt.Sprintf("has %d bytes", len(q.Reference)), fmt.Sprintf("allowed: up to %d", maxReferenceBytes))
	}
	k.count(key+".requested-partitions", q.RequestedPartitions, 1, maxPartitions)
	k.count(key+".max-items", q.MaxItems, 0, maxItems)
	k.size(key+".max-bytes", q.MaxBytes, 0, maxBytes)
	k.oneOf(key+".full-policy", q.FullPolicy, PolicyReject, PolicyDropOldest)
}

// checker gathers what is out of bounds.
type checker struct{ found Errors }

func (k *checker) add(key, msg, hint string) *Error {
	e := &Error{Key: key, Msg: msg, Hint: hint}
	k.found = append(k.found, e)
	return e
}

func (k *checker) count(key string, v, low, high int) {
	if v < low || v > high {
		k.add(key, fmt.Sprintf("%d is out of range", v), fmt.Sprintf("allowed: %d to %d", low, high))
	}
}

func (k *checker) size(key string, v, low, high Size) {
	if v < low || v > high {
		k.add(key, v.String()+" is out of range", fmt.Sprintf("allowed: %s to %s", low, high))
	}
}

func (k *checker) duration(key string, v, low, high time.Duration) {
	if v < low || v > high {
		k.add(key, formatDuration(v)+" is out of range",
			fmt.Sprintf("allowed: %s to %s", formatDuration(low), formatDuration(high)))
	}
}

func (k *checker) oneOf(key, v string, allowed ...string) {
	if !slices.Contains(allowed, v) {
		k.add(key, show(v)+" is not known", "allowed: "+strings.Join(allowed, ", "))
	}
}

// path refuses relative paths, which would depend on where the agent was started.
func (k *checker) path(key, v string) {
	switch {
	case v == "":
	case !filepath.IsAbs(v):
		k.add(key, show(v)+" is a relative path", "use an absolute path, or leave it empty for the default")
	case strings.ContainsFunc(v, unicode.IsControl):
		k.add(key, show(v)+" contains a control character", "use a printable path")
	}
}

func (k *checker) storageName(key, v string, seen map[string]string) {
	strange := func(r rune) bool {
		return r != '.' && (r > unicode.MaxASCII || !isBare(byte(r)))
	}
	switch {
	case v == "":
		k.add(key, "is missing", "each storage needs a name")
	case len(v) > maxStorageName || strings.ContainsFunc(v, strange):
		k.add(key, show(v)+" is not a storage name", fmt.Sprintf("allowed: 1 to %d of a-z A-Z 0-9 . _ -", maxStorageName))
	default:
		k.unique(key, v, seen)
	}
}

func (k *checker) queueName(key, v string, seen map[string]string) {
	if v == "" {
		k.add(key, "is missing", "each queue needs a name")
	} else if k.nameText(key, v, maxNameBytes) {
		k.unique(key, v, seen)
	}
}

// nameText applies the API's rules for the name of a queue.
func (k *checker) nameText(key, v string, most int) bool {
	hint := fmt.Sprintf("allowed: up to %d bytes without white space and '~'", most)
	switch {
	case len(v) > most:
		k.add(key, fmt.Sprintf("the name has %d bytes", len(v)), hint)
	case strings.ContainsFunc(v, unicode.IsSpace):
		k.add(key, show(v)+" contains white space", hint)
	case strings.Contains(v, "~"):
		k.add(key, show(v)+" contains '~'", hint)
	default:
		return true
	}
	return false
}

func (k *checker) unique(key, v string, seen map[string]string) {
	if first, taken := seen[v]; taken {
		k.add(key, show(v)+" is the name of "+strings.TrimSuffix(first, ".name")+" too", "names must differ")
		return
	}
	seen[v] = key
}

func isSpaceOrControl(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
