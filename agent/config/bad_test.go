package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/config"
)

// longName has one byte more than a queue's name may have.
var longName = strings.Repeat("n", 513)

// TestBadInput pins what a user reads, one problem a line, without the name of the file before the line.
func TestBadInput(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"unknown key", "memory_limit = 1", `1: memory_limit: unknown key; did you mean memory-limit?`},
		{"unknown key in a table", "[shutdown]\n\nafter = 1", `3: shutdown.after: unknown key; known here: timeout`},
		{"unknown table", "[clocks]\ntrust = \"ntp\"", `1: clocks: unknown key; did you mean clock?`},
		{"odd key", "[\"a b\"]\nc = 1", `1: "a b": unknown key; known here: memory-limit, data-dir, log-level, log-format, socket, access, limits, queue-storage, partition-storage, queue, partition, durability, clock, shutdown, storage, metrics, uplink, downlink`},
		{"unknown key of an element", "[[queue]]\nname = \"a\"\n[[queue]]\nname = \"b\"\nnam = 1", `5: queue[1].nam: unknown key; did you mean name?`},

		{"size", "memory-limit = \"64 MB\"", `1: memory-limit: "64 MB" is not a size; use a number of bytes or a string such as "64MiB", "5MB" or "512KiB"`},
		{"size of another type", "memory-limit = 6.4", `1: memory-limit: 6.4 is not a size; use a number of bytes or a string such as "64MiB", "5MB" or "512KiB"`},
		{"size left empty", "memory-limit = \"\"", `1: memory-limit: "" is not a size; use a number of bytes or a string such as "64MiB", "5MB" or "512KiB"`},
		{"size too small", "memory-limit = \"31MiB\"", `1: memory-limit: 31MiB is out of range; allowed: 32MiB to 1024GiB`},
		{"negative size", "[limits]\nmax-produce-body = -1", `2: limits.max-produce-body: -1B is out of range; allowed: 1KiB to 64MB`},
		{"duration", "limits.read-timeout = \"60\"", `1: limits.read-timeout: "60" is not a duration; use a string with a unit, such as "30s", "500ms" or "1h30m"`},
		{"duration of another type", "limits.read-timeout = 60", `1: limits.read-timeout: 60 is not a duration; use a string with a unit, such as "30s", "500ms" or "1h30m"`},
		{"duration out of range", "shutdown.timeout = \"0s\"", `1: shutdown.timeout: 0s is out of range; allowed: 1s to 10m`},
		{"negative duration", "durability.commit-delay = \"-1ms\"", `1: durability.commit-delay: -1ms is out of range; allowed: 0s to 1s`},
		{"lease sync", "partition.lease-sync = \"1001ms\"", `1: partition.lease-sync: 1.001s is out of range; allowed: 10ms to 1s`},
		{"number of another type", "limits.max-connections = \"10\"", `1: limits.max-connections: "10" is not a whole number; use digits without quotes`},
		{"number out of range", "limits.max-connections = 0", `1: limits.max-connections: 0 is out of range; allowed: 1 to 65536`},
		{"number beyond 32 bits", "limits.max-connections = 4294967297", `1: limits.max-connections: 4294967297 is out of range; allowed: up to 2147483647`},
		{"text of another type", "log-level = 3", `1: log-level: 3 is not a string; put the text in double quotes`},
		{"choice", "log-level = \"INFO\"", `1: log-level: "INFO" is not known; allowed: debug, info, warn, error`},
		{"trust", "clock.trust = \"never\"", `1: clock.trust: "never" is not known; allowed: auto, ntp, always`},
		{"relative path", "data-dir = \"data\"", `1: data-dir: "data" is a relative path; use an absolute path, or leave it empty for the default`},
		{"path with a zero byte", "data-dir = \"/a\\u0000b\"", `1: data-dir: "/a\x00b" contains a control character; use a printable path`},

		{"min-free too small", "storage.min-free = \"8388607\"", `1: storage.min-free: 8388607B is out of range; allowed: 8MiB to 1024GiB`},
		{"compression", "[storage]\ncompression = \"gzip\"", `2: storage.compression: "gzip" is not known; allowed: s2, zstd`},
		{"negative inodes", "[storage]\nmin-free-inodes = -1", `2: storage.min-free-inodes: -1 is out of range; allowed: 0 to 1000000000`},
		{"quota", "[[queue]]\nname = \"q\"\nmax-items = -1\nmax-bytes = -1\nfull-policy = \"\"",
			`3: queue[0].max-items: -1 is out of range; allowed: 0 to 2147483647
4: queue[0].max-bytes: -1B is out of range; allowed: 0B to 1048576GiB
5: queue[0].full-policy: "" is not known; allowed: reject, drop-oldest`},

		{"mode as a number", "socket.mode = 0o660", `1: socket.mode: 432 is not a permission; use an octal string such as "0660"`},
		{"mode not octal", "socket.mode = \"0680\"", `1: socket.mode: "0680" is not a permission; use an octal string such as "0660"`},
		{"mode for the world", "socket.mode = \"0666\"", `1: socket.mode: 0666 lets every user of the device connect; allow the owner and a group only, such as "0660"`},
		{"mode without owner", "socket.mode = \"0060\"", `1: socket.mode: 0060 keeps the owner out; the owner needs 6, such as "0660" or "0600"`},
		{"mode with more", "socket.mode = \"4660\"", `1: socket.mode: 4660 is more than permissions; allowed: "0600" to "0770"`},
		{"group", "socket.group = \"a b\"", `1: socket.group: "a b" is not a group; use a group's name or number, or "" to leave it`},

		{"table expected", "socket = 1", `1: socket: 1 is not a table; write [socket] and its keys below`},
		{"array expected", "[queue]\nname = \"a\"", `1: queue: a table is not an array of tables; write [[queue]] and its keys below`},
		{"array of numbers", "queue = [1]", `1: queue: an array is not an array of tables; write [[queue]] and its keys below`},
		{"table where a value goes", "[log-level]\na = 1", `1: log-level: a table is not a string; put the text in double quotes`},

		{"no storage", "partition-storage = []", `1: partition-storage: there is none; at least one [[partition-storage]] is needed to keep items in`},
		{"storage without a name", "[[partition-storage]]\ndriver = \"badger\"", `1: partition-storage[0].name: is missing; each storage needs a name`},
		{"storage with a strange name", "[[partition-storage]]\nname = \"a/b\"", `2: partition-storage[0].name: "a/b" is not a storage name; allowed: 1 to 64 of a-z A-Z 0-9 . _ -`},
		{"storages of one name", "[[partition-storage]]\nname = \"a\"\nstorage-dir = \"/a\"\n[[partition-storage]]\nname = \"a\"\nstorage-dir = \"/b\"", `5: partition-storage[1].name: "a" is the name of partition-storage[0] too; names must differ`},
		{"storages without directories", "[[partition-storage]]\nname = \"a\"\nstorage-dir = \"/a\"\n[[partition-storage]]\nname = \"b\"", `4: partition-storage[1].storage-dir: is empty; each badger storage needs a directory of its own if there are several`},
		{"storages in one directory", "[[partition-storage]]\nname = \"a\"\nstorage-dir = \"/a\"\n[[partition-storage]]\nname = \"b\"\nstorage-dir = \"/x/../a/\"", `6: partition-storage[1].storage-dir: "/a" is that of partition-storage[0].storage-dir too; each storage needs a directory of its own`},
		{"partitions among the queues", "queue-storage.storage-dir = \"/a\"\n[[partition-storage]]\nname = \"b\"\nstorage-dir = \"/a\"", `4: partition-storage[0].storage-dir: "/a" is that of queue-storage.storage-dir too; each storage needs a directory of its own`},
		{"driver", "[[partition-storage]]\nname = \"a\"\ndriver = \"bolt\"", `3: partition-storage[0].driver: "bolt" is not known; allowed: badger, memory`},
		{"affinity", "[[partition-storage]]\nname = \"a\"\naffinity = 0", `3: partition-storage[0].affinity: 0 is out of range; allowed: 1 to 1000000`},

		{"rule about nothing", "[[access]]\nuser = \"a\"\nallow = [\"read\"]", `1: access[0].queues: is empty; name the queues that the rule is about, such as ["readings", "camera-*"], or ["*"] for all`},
		{"rule that decides nothing", "[[access]]\nqueues = [\"*\"]", `1: access[0]: has to either allow or deny something; add one of allow = ["produce"] and deny = ["produce"]`},
		{"rule that decides both", "[[access]]\nqueues = [\"*\"]\nallow = [\"read\"]\ndeny = [\"admin\"]", `1: access[0]: has to either allow or deny something; add one of allow = ["produce"] and deny = ["produce"]`},
		{"unknown operation", "[[access]]\nqueues = [\"*\"]\nallow = [\"read\", \"write\"]", `3: access[0].allow[1]: "write" is not known; allowed: produce, consume, read, admin`},
		{"operation twice", "[[access]]\nqueues = [\"*\"]\nallow = [\"read\", \"read\"]", `3: access[0].allow[1]: "read" stands there twice; name each operation once`},
		{"operations in one text", "[[access]]\nqueues = [\"*\"]\nallow = \"read\"", `1: access[0]: has to either allow or deny something; add one of allow = ["produce"] and deny = ["produce"]
3: access[0].allow: "read" is not a list of strings; write a list such as ["one", "two"]`},
		{"pattern", "[[access]]\nqueues = [\"a\", \"~b\", \"\"]\nallow = [\"read\"]", `2: access[0].queues[1]: "~b" contains '~'; allowed: up to 512 bytes without white space and '~'
2: access[0].queues[2]: is empty; write "*" for all queues`},
		{"user", "[[access]]\nuser = \"a:b\"\nqueues = [\"*\"]\nallow = [\"read\"]", `2: access[0].user: "a:b" is not a name; use the name or the number of an account`},
		{"unit without a type", "[[access]]\nunit = \"camera\"\nqueues = [\"*\"]\nallow = [\"read\"]", `2: access[0].unit: "camera" has no type; did you mean "camera.service"?`},
		{"slice", "[[access]]\nunit = \"user.slice\"\nqueues = [\"*\"]\nallow = [\"read\"]", `2: access[0].unit: "user.slice" is a slice, which has no processes of its own; use the name of a unit in it, such as "camera.service"`},
		{"truth", "[[queue]]\nname = \"a\"\nrelease-on-exit = 1", `3: queue[0].release-on-exit: 1 is not true or false; write true or false, without quotes`},

		{"queue without a name", "[[queue]]", `1: queue[0].name: is missing; each queue needs a name`},
		{"queue with white space", "[[queue]]\nname = \"a b\"", `2: queue[0].name: "a b" contains white space; allowed: up to 512 bytes without white space and '~'`},
		{"queue with a tilde", "[[queue]]\nname = \"~a\"", `2: queue[0].name: "~a" contains '~'; allowed: up to 512 bytes without white space and '~'`},
		{"queue with a long name", "[[queue]]\nname = \"" + longName + "\"", `2: queue[0].name: the name has 513 bytes; allowed: up to 512 bytes without white space and '~'`},
		{"queues of one name", "[[queue]]\nname = \"a\"\n[[queue]]\nname = \"a\"", `4: queue[1].name: "a" is the name of queue[0] too; names must differ`},
		{"lease longer than life", "[[queue]]\nname = \"a\"\nexpire-timeout = \"30s\"", `3: queue[0].lease-timeout: 1m is longer than the expire timeout; at most 30s, or raise expire-timeout`},
		{"queue timeout", "[[queue]]\nname = \"a\"\nlease-timeout = \"-1s\"", `3: queue[0].lease-timeout: -1s is out of range; allowed: 1µs to 87600h`},
		{"attempts", "[[queue]]\nname = \"a\"\nmax-attempts = 65537", `3: queue[0].max-attempts: 65537 is out of range; allowed: 0 to 65536`},
		{"own dead queue", "[[queue]]\nname = \"a\"\ndead-queue = \"a\"", `3: queue[0].dead-queue: is the queue itself; name another queue, or leave it out to delete dead items`},
		{"chain of dead queues", "[[queue]]\nname = \"a\"\ndead-queue = \"b\"\n[[queue]]\nname = \"b\"\ndead-queue = \"c\"", `3: queue[0].dead-queue: "b" has a dead queue of its own; a dead queue must not have one`},
		{"reference", "[[queue]]\nname = \"a\"\nreference = \"" + strings.Repeat("r", 2001) + "\"", `3: queue[0].reference: has 2001 bytes; allowed: up to 2000`},
		{"partitions", "[[queue]]\nname = \"a\"\nrequested-partitions = 0", `3: queue[0].requested-partitions: 0 is out of range; allowed: 1 to 256`},

		{"downlink without an uplink", "[[downlink]]\nqueue = \"a\"", `1: downlink[0]: needs a connection to a server; set url in [uplink]; an uplink that is to send nothing has queues = []`},
		{"downlink without a queue", "uplink.url = [\"nats://h\"]\n[[downlink]]", `2: downlink[0].queue: is missing; name the queue that the items go to`},
		{"downlinks of one queue", "uplink.url = [\"nats://h\"]\n[[downlink]]\nqueue = \"a\"\n[[downlink]]\nqueue = \"a\"", `5: downlink[1].queue: "a" is the queue of downlink[0] too; a queue has one downlink; let its subject have wildcards`},
		{"stream of a downlink", "uplink.url = [\"nats://h\"]\n[[downlink]]\nqueue = \"a\"\nstream = \"a.b\"", `4: downlink[0].stream: "a.b" is not the name of a stream; allowed: up to 255 bytes without white space and . * > / \`},
		{"subject of a downlink", "uplink.url = [\"nats://h\"]\n[[downlink]]\nqueue = \"a\"\nsubject = \"a.{host}\"", `4: downlink[0].subject: "a.{host}" is not a subject; write tokens with dots between, such as "querator-down.{device}.{queue}"`},
		{"doorbell of a downlink", "uplink.url = [\"nats://h\"]\n[[downlink]]\nqueue = \"a\"\ndoorbell = \"a..b\"", `4: downlink[0].doorbell: "a..b" is not a subject; write tokens with dots between, such as "querator-down.{device}.{queue}"`},
		{"poll of a downlink", "uplink.url = [\"nats://h\"]\n[[downlink]]\nqueue = \"a\"\npoll = \"10ms\"", `4: downlink[0].poll: 10ms is out of range; allowed: 1s to 24h`},
		{"start of a downlink", "uplink.url = [\"nats://h\"]\n[[downlink]]\nqueue = \"a\"\nstart = \"now\"", `4: downlink[0].start: "now" is not known; allowed: all, new`},

		{"body larger than its share", "limits.max-produce-body = \"17MiB\"", `1: limits.max-produce-body: 17MiB is more than a quarter of memory-limit (64MiB); lower it, raise memory-limit or set limits.max-in-flight-bytes`},
		{"body larger than what may be in flight", "limits.max-in-flight-bytes = \"1MB\"", `1: limits.max-in-flight-bytes: 1MB is less than limits.max-produce-body (5MB); raise it or lower limits.max-produce-body`},
		{"body larger than what one user may have in flight", "limits.max-user-in-flight-bytes = \"1MB\"", `1: limits.max-user-in-flight-bytes: 1MB is less than limits.max-produce-body (5MB); raise it or lower limits.max-produce-body`},
		{"more in flight than memory", "limits.max-in-flight-bytes = \"65MiB\"", `1: limits.max-in-flight-bytes: 65MiB is out of range; allowed: limits.max-produce-body (5MB) to memory-limit (64MiB)`},

		{"no quotes", "log-format = \"auto\"\nmemory-limit = 64MiB", `2: not TOML: expected a top-level item to end with a newline, comment, or EOF, but got 'M' instead; text values stand in double quotes`},
		{"no value", "# a\nlog-level =\n", `2: log-level: not TOML: expected value but found '\n' instead; text values stand in double quotes`},
		{"key twice", "log-level = \"info\"\nlog-level = \"warn\"", `2: log-level: Key 'log-level' has already been defined; a file may set a key once`},
		{"table twice", "[clock]\n[socket]\n[clock]", `3: Key 'clock' has already been defined; a file may set a key once`},
		{"not UTF-8", "log-level = \"\xff\"", `1: log-level: not TOML: invalid UTF-8 byte: 0xff; text values stand in double quotes`},
		{"deep", "a = 1\nb = " + strings.Repeat("[", 101), `2: too many open brackets; allowed: up to 100`},
		{"long line", "\n# " + strings.Repeat("x", 4096), `2: the line is too long; allowed: up to 4096 bytes`},

		{"several, in order of place", "log-level = \"x\"\nbad = 1\n[limits]\nmax-connections = 0\nread-timeout = 1\n[clock]\ntrust = \"\"",
			`1: log-level: "x" is not known; allowed: debug, info, warn, error
2: bad: unknown key; known here: memory-limit, data-dir, log-level, log-format, socket, access, limits, queue-storage, partition-storage, queue, partition, durability, clock, shutdown, storage, metrics, uplink, downlink
4: limits.max-connections: 0 is out of range; allowed: 1 to 65536
5: limits.read-timeout: 1 is not a duration; use a string with a unit, such as "30s", "500ms" or "1h30m"
7: clock.trust: "" is not known; allowed: auto, ntp, always`},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, t.TempDir(), "q.toml", test.text)
			l, err := config.Load(path)
			if err == nil {
				t.Fatalf("loaded as %+v", l.Config)
			}
			if got := strings.ReplaceAll(err.Error(), path+":", ""); got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
			checkKind(t, err, path)
		})
	}
}

// checkKind holds that an error is of the class and names a file.
func checkKind(t testing.TB, err error, file string) {
	t.Helper()
	if !errors.Is(err, config.ErrConfig) {
		t.Errorf("%v is not ErrConfig", err)
	}
	var one *config.Error
	if !errors.As(err, &one) {
		t.Fatalf("%v is not an *Error", err)
	}
	if one.File != file {
		t.Errorf("%v names the file %q, want %q", err, one.File, file)
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	good := write(t, dir, "good.toml", "")
	missing := filepath.Join(dir, "missing.toml")
	large := write(t, dir, "large.toml", strings.Repeat("# a comment\n", 30000))
	for _, test := range []struct{ path, want string }{
		{missing, missing + ": cannot be read: no such file or directory; check the path and who may read it"},
		{dir, dir + ": cannot be read: is a directory; check the path and who may read it"},
		{large, large + ": the file is too large; allowed: up to 256KiB"},
	} {
		_, err := config.Load(test.path)
		if err == nil || err.Error() != test.want {
			t.Errorf("%s: got %v, want %s", test.path, err, test.want)
			continue
		}
		checkKind(t, err, test.path)
	}
	if err := os.MkdirAll(filepath.Join(dir, "conf.d/folder.toml"), 0o755); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "conf.d/folder.toml")
	_, err := config.Load(good)
	if want := folder + ": cannot be read: is a directory; check the path and who may read it"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestConfDirThatIsAFile(t *testing.T) {
	dir := t.TempDir()
	good := write(t, dir, "good.toml", "")
	conf := write(t, dir, "conf.d", "")
	_, err := config.Load(good)
	if want := conf + ": cannot be listed: not a directory; let the agent's user read it, or remove it"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Problems of several files are reported in reading order, those of a replaced value too, and a problem
// between two values at the one that was set.
func TestProblemsOfSeveralFiles(t *testing.T) {
	dir := t.TempDir()
	main := write(t, dir, "q.toml", "log-level = 1\nshutdown.timeout = \"11m\"")
	a := write(t, dir, "conf.d/a.toml", "log-level = \"info\"\nclock.trust = true")
	b := write(t, dir, "conf.d/b.toml", "\nmemory-limit = \"32MiB\"\nlimits.max-produce-body = \"9MiB\"")
	_, err := config.Load(main)
	want := main + `:1: log-level: 1 is not a string; put the text in double quotes
` + main + `:2: shutdown.timeout: 11m is out of range; allowed: 1s to 10m
` + a + `:2: clock.trust: true is not a string; put the text in double quotes
` + b + `:3: limits.max-produce-body: 9MiB is more than a quarter of memory-limit (32MiB); lower it, raise memory-limit or set limits.max-in-flight-bytes`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

func TestValidateWithoutFiles(t *testing.T) {
	c := config.Default()
	c.Limits.MaxConnections = 0
	err := c.Validate()
	if want := "limits.max-connections: 0 is out of range; allowed: 1 to 65536"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if !errors.Is(err, config.ErrConfig) {
		t.Errorf("%v is not ErrConfig", err)
	}
}
