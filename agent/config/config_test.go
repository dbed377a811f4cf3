package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/agent/config"
)

// shipped is the commented default configuration of the repository.
const shipped = "../../querator.toml"

func TestShippedFileIsTheDefaults(t *testing.T) {
	l, err := config.Load(shipped)
	if err != nil {
		t.Fatal(err)
	}
	if want := config.Default(); !reflect.DeepEqual(l.Config, want) {
		t.Errorf("querator.toml gives\n%+v\nbut the defaults are\n%+v", l.Config, want)
	}
	if err := l.Config.Validate(); err != nil {
		t.Errorf("the defaults are not valid: %v", err)
	}
}

// Every setting stands in the file, in the order of the struct, under a comment.
func TestShippedFileHasEverySetting(t *testing.T) {
	l, err := config.Load(shipped)
	if err != nil {
		t.Fatal(err)
	}
	lines := readLines(t, shipped)
	last := 0
	for _, s := range l.Settings() {
		if s.Key == "queue" || s.Key == "access" || s.Key == "downlink" {
			continue // Commented out; TestShippedExample reads it.
		}
		line := lineOf(t, s)
		if line <= last {
			t.Errorf("%s stands in line %d, before the setting that precedes it in line %d", s.Key, line, last)
		}
		last = line
		if !strings.HasPrefix(lines[line-2], "# ") {
			t.Errorf("%s has no comment in the line before it", s.Key)
		}
	}
}

// The commented-out example holds every key of a queue, with the defaults of the code.
func TestShippedExample(t *testing.T) {
	lines := readLines(t, shipped)
	for i, line := range lines {
		if line == "url = []" {
			lines[i] = `url = ["nats://hub"]` // A downlink needs an uplink.
		}
	}
	example := regexp.MustCompile(`^#[^# ]`)
	for i, line := range lines {
		if example.MatchString(line) {
			lines[i] = line[1:]
		}
	}
	path := write(t, t.TempDir(), "querator.toml", strings.Join(lines, "\n"))
	l, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	queue := config.DefaultQueue()
	queue.Name = "readings"
	want.Queues = []config.Queue{queue}
	want.Uplink.URL = []string{"nats://hub"}
	down := config.DefaultDownlink()
	down.Queue = "orders"
	want.Downlinks = []config.Downlink{down}
	want.Access = []config.Access{{
		User: "sensor", Queues: []string{"readings", "camera-*"}, Allow: []string{"produce", "read"},
	}}
	if !reflect.DeepEqual(l.Config, want) {
		t.Errorf("got %+v, want %+v", l.Config, want)
	}
	keys := 0
	for _, s := range l.Settings() {
		if strings.HasPrefix(s.Key, "queue[0].") || strings.HasPrefix(s.Key, "access[0].") || strings.HasPrefix(s.Key, "downlink[0].") {
			keys++
			lineOf(t, s)
		}
	}
	if keys != reflect.TypeFor[config.Queue]().NumField()+reflect.TypeFor[config.Access]().NumField()+reflect.TypeFor[config.Downlink]().NumField() {
		t.Errorf("the examples have %d settings", keys)
	}
}

func TestSettingsSayWhereTheyCameFrom(t *testing.T) {
	dir := t.TempDir()
	main := write(t, dir, "querator.toml", `
memory-limit = "128MiB"
log-level = "debug"
[limits]
max-connections = 10
read-timeout = "1m30s"
[[partition-storage]]
name = "one"
[[partition-storage]]
name = "two"
driver = "memory"
`)
	write(t, dir, "conf.d/20-b.toml", `limits = { max-connections = 30 }`)
	write(t, dir, "conf.d/10-a.toml", `
limits.max-connections = 20
limits.idle-timeout = "10s"
queue = [
  { name = "a" },
  { name = "b", dead-queue = "a" },
]
`)
	write(t, dir, "conf.d/.30-hidden.toml", `this is not TOML`)
	write(t, dir, "conf.d/30-not-ours.toml.dpkg-new", `this is not TOML`)
	l, err := config.Load(main)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Override("socket.mode", "0600", config.OriginFlag); err != nil {
		t.Fatal(err)
	}
	confA, confB := filepath.Join(dir, "conf.d/10-a.toml"), filepath.Join(dir, "conf.d/20-b.toml")
	if want := []string{main, confA, confB}; !reflect.DeepEqual(l.Files, want) {
		t.Errorf("files: got %q, want %q", l.Files, want)
	}
	got := map[string]config.Setting{}
	for _, s := range l.Settings() {
		got[s.Key] = s
	}
	for _, want := range []config.Setting{
		{"memory-limit", `"128MiB"`, main + ":2"},
		{"data-dir", `""`, "default"},
		{"socket.mode", `"0600"`, "flag"},
		{"limits.max-connections", "30", confB + ":1"},
		{"limits.read-timeout", `"1m30s"`, main + ":6"},
		{"limits.idle-timeout", `"10s"`, confA + ":3"},
		{"limits.max-in-flight-bytes", `""`, "default"},
		{"limits.max-produce-body", `"5MB"`, "default"},
		{"partition-storage[0].name", `"one"`, main + ":8"},
		{"partition-storage[0].affinity", "1", "default"},
		{"partition-storage[1].name", `"two"`, main + ":10"},
		{"partition-storage[1].driver", `"memory"`, main + ":11"},
		{"queue[0].name", `"a"`, confA + ":5"},
		{"queue[0].expire-timeout", `"24h"`, "default"},
		{"queue[1].dead-queue", `"a"`, confA + ":6"},
	} {
		if got[want.Key] != want {
			t.Errorf("got  %s\nwant %s", got[want.Key], want)
		}
		if origin := l.Origin(want.Key); origin != want.Origin {
			t.Errorf("origin of %s: got %q", want.Key, origin)
		}
	}
}

func TestListsReplaceAsAWhole(t *testing.T) {
	dir := t.TempDir()
	main := write(t, dir, "querator.toml", `
[[queue]]
name = "a"
max-attempts = 3
[[queue]]
name = "b"
`)
	second := write(t, dir, "conf.d/a.toml", "[[queue]]\nname = \"c\"\n")
	l, err := config.Load(main)
	if err != nil {
		t.Fatal(err)
	}
	want := config.DefaultQueue()
	want.Name = "c"
	if !reflect.DeepEqual(l.Config.Queues, []config.Queue{want}) {
		t.Errorf("got %+v", l.Config.Queues)
	}
	if got := l.Origin("queue[0].name"); got != second+":2" {
		t.Errorf("queue[0].name comes from %s", got)
	}
	for _, key := range []string{"queue[0].max-attempts", "queue[1].name"} {
		if got := l.Origin(key); got != "default" {
			t.Errorf("%s comes from %s, though its list was replaced", key, got)
		}
	}
}

// Values in other spellings than those of querator.toml.
func TestSpellings(t *testing.T) {
	path := write(t, t.TempDir(), "q.toml", `
"memory-limit" = 67_108_864
'log-level' = 'warn'
[limits]
max-produce-body = "4096"
max-in-flight-bytes = "512KiB"
read-timeout = "1500ms"
[socket]
mode = "600"
`)
	l, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	c := l.Config
	if c.MemoryLimit != 64*config.MiB || c.LogLevel != config.LevelWarn || c.Limits.MaxProduceBody != 4096 ||
		c.Limits.MaxInFlightBytes != 512*config.KiB || c.Limits.ReadTimeout != 1500*time.Millisecond || c.Socket.Mode != 0o600 {
		t.Errorf("got %+v", c)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]config.Size{
		"0": 0, "1": 1, "12B": 12, "5MB": 5000000, "5kB": 5000, "5KB": 5000, "3KiB": 3072, "64MiB": 64 << 20, "2GiB": 2 << 30,
		"-1KiB": -1024, "8589934591GiB": 8589934591 << 30,
	} {
		got, ok := config.ParseSize(text)
		if got != want || !ok {
			t.Errorf("%q: got %d, %t; want %d", text, got, ok, want)
		}
		if again, ok := config.ParseSize(got.String()); again != want || !ok {
			t.Errorf("%q prints as %q, which reads as %d, %t", text, got, again, ok)
		}
	}
	for _, text := range []string{"", "B", "MiB", "1.5MiB", "5 MB", "5mb", "5Mb", "+5", "0x10", "five", "8589934592GiB", "9223372036854775808", "1KiBB"} {
		if got, ok := config.ParseSize(text); ok {
			t.Errorf("%q: got %d, want it refused", text, got)
		}
	}
}

func readLines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(text), "\n")
}

// write puts a file under dir and returns its path.
func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// lineOf returns the line that a setting came from, and fails the test if it did not come from a file.
func lineOf(t *testing.T, s config.Setting) int {
	t.Helper()
	line, err := strconv.Atoi(s.Origin[strings.LastIndex(s.Origin, ":")+1:])
	if err != nil {
		t.Fatalf("%s comes from %q, not from a line of a file", s.Key, s.Origin)
	}
	return line
}

func TestFloor(t *testing.T) {
	for _, test := range []struct {
		minFree config.Size
		total   config.Size
		want    config.Size
	}{
		{0, 32 * config.MiB, 8 * config.MiB},
		{0, 10000 * config.MiB, 100 * config.MiB},
		{0, 32 * config.GiB, 256 * config.MiB},
		{0, 0, 8 * config.MiB},
		{64 * config.MiB, 32 * config.MiB, 64 * config.MiB},
	} {
		s := config.Storage{MinFree: test.minFree}
		if got := s.Floor(int64(test.total)); got != int64(test.want) {
			t.Errorf("min-free %s of %s: %d, want %s", test.minFree, test.total, got, test.want)
		}
	}
}
