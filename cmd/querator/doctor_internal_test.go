package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/doctor"
)

func TestDoctor(t *testing.T) {
	socket, dir := serveAgent(t, 64<<20), t.TempDir()
	r := command(t.Context(), socket, "", "doctor", "--data-dir", dir, "--sync-time", "50ms", "--output", "json")
	var out struct {
		Findings          []doctor.Finding
		Failing, Warnings int
	}
	if err := json.Unmarshal([]byte(r.stdout), &out); err != nil {
		t.Fatalf("%v: %s%s", err, r.stdout, r.stderr)
	}
	checks := map[string]int{}
	for _, f := range out.Findings {
		checks[f.Check]++
		if f.Text == "" || f.Level != doctor.OK && f.Level != doctor.Unknown && f.Hint == "" {
			t.Errorf("a finding says nothing, or not what to do: %+v", f)
		}
	}
	for _, want := range []string{"agent", "socket", "storage badger-0", "storage of definitions", "damage", "memory", "memory cgroup", "clock", "kernel"} {
		if checks[want] == 0 {
			t.Errorf("nothing is said of %q: %+v", want, out.Findings)
		}
	}
	if (r.code == exitFailure) != (out.Failing > 0) {
		t.Errorf("exit %d with %d failing", r.code, out.Failing)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}

func TestDoctorFindsDamageAndNoAgent(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "partitions", "q-000000-partition", "quarantine", "0001"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := command(t.Context(), filepath.Join(dir, "none"), "", "doctor", "--data-dir", dir, "--sync-time", "0")
	if r.code != exitFailure || !strings.Contains(r.stdout, "quarantine/0001") || !strings.Contains(r.stdout, "the agent does not answer") {
		t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// TestBundle checks that the archive has what it should, and neither payloads nor secrets.
func TestBundle(t *testing.T) {
	socket, dir := serveAgent(t, 64<<20), t.TempDir()
	for _, args := range [][]string{{"queues", "create", "readings"}, {"produce", "readings", "my-payload"}} {
		if r := command(t.Context(), socket, "", args...); r.code != 0 {
			t.Fatal(r.stderr)
		}
	}
	file := filepath.Join(dir, "b.tar.gz")
	r := command(t.Context(), socket, "", "doctor", "bundle", file, "--data-dir", dir, "--sync-time", "0")
	if r.code != 0 {
		t.Fatal(r.stderr)
	}
	if r := command(t.Context(), socket, "", "doctor", "bundle", file, "--data-dir", dir, "--sync-time", "0"); r.code == 0 {
		t.Error("a file that was there is overwritten")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	zip, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for in := tar.NewReader(zip); ; {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(h.Name, "querator-bundle/")] = string(body)
	}
	for name, want := range map[string]string{
		"config.txt": "memory-limit", "status.json": `"readings"`, "audit.json": `"produced": 1`, "metrics.txt": "http_requests_total",
		"health.txt": `"status":"pass"`, "doctor.json": `"memory cgroup"`, "files-0.txt": "partitions", "log.txt": "", "version.txt": "1.2.3",
	} {
		if got, ok := files[name]; !ok || !strings.Contains(got, want) {
			t.Errorf("%s has no %q: %s", name, want, got)
		}
	}
	for name, text := range files {
		if strings.Contains(text, "my-payload") || strings.Contains(text, "bXktcGF5bG9hZ") {
			t.Errorf("%s has a payload", name)
		}
	}
}

func TestSecretsAreRemoved(t *testing.T) {
	for text, want := range map[string]string{
		"tls://me:pw@nats.example:4222": "tls://(removed)@nats.example:4222",
		`{"password":"a b","x":1}`:      `{"password":(removed),"x":1}`,
		"token = abc, seed: 'S U'":      "token = (removed), seed: (removed)",
		"keeps ready=1 monkey=2":        "keeps ready=1 monkey=2",
	} {
		if got := string(withoutSecrets([]byte(text))); got != want {
			t.Errorf("%s becomes %s, want %s", text, got, want)
		}
	}
	for _, key := range []string{"uplink.password", "uplink.nkey-seed", "uplink.creds", "uplink.tls.key", "access[0].token"} {
		if !secretKey().MatchString(key) {
			t.Errorf("%s is not taken for a secret", key)
		}
	}
	loaded, err := config.Load("")
	if err != nil {
		t.Fatal(err)
	}
	if text := string(configText(loaded)); strings.Contains(text, "removed") {
		t.Errorf("a setting that is no secret is removed:\n%s", text)
	}
}
