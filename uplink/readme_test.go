package uplink_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/kapetan-io/querator-edge/uplink"
	"github.com/kapetan-io/querator-edge/uplink/downlink"
)

// readmeBlock returns the text of a code block of the README.
func readmeBlock(t testing.TB, kind string) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```" + kind + "\n(.*?)```").FindSubmatch(text)
	if m == nil {
		t.Fatalf("the README has no %s", kind)
	}
	return string(m[1])
}

// TestREADME starts a server with the configuration of the README, creates its stream, and has a device with no
// other rights deliver events and test itself.
func TestREADME(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	conf := strings.Replace(readmeBlock(t, "conf"), "$STORE_DIR", dir, 1)
	file := filepath.Join(dir, "server.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	opts.Host, opts.Port, opts.NoLog, opts.NoSigs = "127.0.0.1", freePort(t), true, true
	s := &stand{t: t, opts: opts}
	s.start()
	t.Cleanup(s.stop)

	var stream map[string]any
	if err := json.Unmarshal([]byte(readmeBlock(t, "json")), &stream); err != nil {
		t.Fatal(err)
	}
	boss := s.admin(nats.UserInfo("admin", "admin"))
	api(t, boss, "STREAM.CREATE.QUERATOR", stream)

	tr := newTruth()
	src := newSource(tr, partName{"readings", 0})
	cfg := configFor("nats://" + s.addr())
	cfg.Hub.User, cfg.Hub.PasswordFile = "device", secretFile(t, "secret")
	r := run(t, cfg, src, nil)
	src.boxes[0].produce(100)
	r.drained(src)
	mustBeExact(t, tr, boss)
	for _, f := range r.Test(t.Context()) {
		if !f.OK && !f.Unknown {
			t.Errorf("finding %+v", f)
		}
	}
}

// TestREADMEDownlink has a device with no other rights than those of the README take items from its stream, at
// once when they are published, and test itself; what is another device's it cannot read.
func TestREADMEDownlink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "server.conf")
	conf := fmt.Sprintf("jetstream { store_dir: %q }\naccounts { Q { jetstream: enabled, users: [\n{ user: admin, password: admin }\n%s ] } }",
		dir, readmeBlock(t, "downlink-conf"))
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	opts.Host, opts.Port, opts.NoLog, opts.NoSigs = "127.0.0.1", -1, true, true
	s := &stand{t: t, opts: opts}
	s.start()
	t.Cleanup(s.stop)
	var stream map[string]any
	if err := json.Unmarshal([]byte(readmeBlock(t, "downlink")), &stream); err != nil {
		t.Fatal(err)
	}
	boss := s.admin(nats.UserInfo("admin", "admin"))
	api(t, boss, "STREAM.CREATE.QUERATOR-DOWN", stream)

	b := newDownBenchOn(t, s, boss)
	b.config = func(c *uplink.Config) { c.Hub.User, c.Hub.PasswordFile = "device", secretFile(t, "secret") }
	b.start()
	for range 3 {
		b.send(20)
		b.exact(1)
	}
	b.until("the doorbell is heard", func(s downlink.Status) bool { return s.Doorbell && s.State == downlink.StateWaiting })
	var wrong []string
	for _, f := range b.device.Test(t.Context()) {
		if strings.HasPrefix(f.Name, "downlink ") && !f.OK {
			t.Errorf("finding %+v", f)
		}
	}
	b.config = func(c *uplink.Config) {
		c.Hub.User, c.Hub.PasswordFile = "device", secretFile(t, "secret")
		c.Downlinks[0].Subject, c.Downlinks[0].Doorbell = "querator-down.other.orders", "querator-bell.other.orders"
	}
	b.stopDevice()
	b.start()
	b.until("it is denied", func(s downlink.Status) bool { return s.Class == "denied" })
	for _, f := range b.device.Test(t.Context()) {
		if strings.HasPrefix(f.Name, "downlink ") && f.Fix != "" {
			wrong = append(wrong, f.Name)
		}
	}
	if got, want := strings.Join(wrong, ", "), "downlink orders: create, downlink orders: doorbell"; got != want {
		t.Errorf("what is wrong: %s; want %s", got, want)
	}
}

// TestTestFindsWhatIsWrong has streams that would lose events, and one that is not there.
func TestTestFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	b := newBench(t, map[string]any{
		"discard": "old", "duplicate_window": int64(1e9), "allow_direct": false, "allow_atomic": false, "max_msg_size": 1000,
		"max_msgs_per_subject": 5,
	})
	wrong := func() map[string]bool {
		r := run(t, b.config(), b.src, nil)
		defer r.stop()
		bad := map[string]bool{}
		for _, f := range r.Test(t.Context()) {
			if !f.OK && !f.Unknown {
				if f.Fix == "" {
					t.Errorf("%s is wrong, and nothing is said about what to change", f.Name)
				}
				bad[f.Name] = true
			}
		}
		return bad
	}
	bad := wrong()
	for _, name := range []string{"discard", "direct gets", "atomic batches", "dedupe window", "largest message", "messages a subject"} {
		if !bad["stream: "+name] {
			t.Errorf("%s was not found: %v", name, bad)
		}
	}
	if len(bad) != 6 {
		t.Errorf("findings %v", bad)
	}
	api(t, b.admin(), "STREAM.DELETE.QUERATOR", nil)
	if bad := wrong(); !bad["publish"] {
		t.Errorf("a missing stream was not found: %v", bad)
	}
	b.stop()
	if bad := wrong(); !bad["connection"] {
		t.Errorf("a missing server was not found: %v", bad)
	}
}
