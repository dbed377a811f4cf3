package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kapetan-io/querator-edge/agent/config"
)

func (e *env) bundleCommand() *cobra.Command {
	var flags doctorFlags
	var audit bool
	cmd := &cobra.Command{
		Use:   "bundle [FILE]",
		Short: "Write an archive for whoever helps with a problem",
		Long: `Write a tar.gz with what doctor finds, the configuration without secrets, status, metrics, the list of the stored
files, the end of the log where it may be read, and what the system says of itself. Payloads are not in it; names of
queues and ids are. FILE is - for standard output; without it, the file is querator-bundle-TIME.tar.gz here.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := fmt.Sprintf("querator-bundle-%s.tar.gz", time.Now().UTC().Format("20060102-150405"))
			if len(args) > 0 {
				name = args[0]
			}
			return e.bundle(cmd.Context(), name, &flags, audit)
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&audit, "audit", true, "audit all queues; each partition serves nobody for about a second for a million items")
	return cmd
}

// bundle writes the archive.
func (e *env) bundle(ctx context.Context, name string, flags *doctorFlags, audit bool) error {
	if name == "-" {
		return e.writeBundle(ctx, e.stdout, flags, audit)
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := e.writeBundle(ctx, f, flags, audit); err != nil {
		f.Close()
		return fmt.Errorf("%w; %s is not complete", err, name)
	}
	if err := f.Close(); err != nil {
		return err
	}
	e.note("Wrote %s; look through it before you give it away", name)
	return nil
}

// bundler adds files to an archive.
type bundler struct {
	*env
	tar *tar.Writer
	now time.Time
	err error // the first of writing
}

// maxBundled bounds each file of the archive; the log is cut at its beginning, everything else at its end.
const maxBundled = 4 << 20

func (e *env) writeBundle(ctx context.Context, w io.Writer, flags *doctorFlags, audit bool) error {
	loaded, err := e.doctorConfig(flags)
	if err != nil {
		return err
	}
	zip := gzip.NewWriter(w)
	b := &bundler{env: e, tar: tar.NewWriter(zip), now: time.Now()}
	b.add("version.txt", []byte("querator "+e.version+"\n"))
	b.add("config.txt", configText(loaded))
	list, err := e.examine(ctx, flags)
	b.json("doctor.json", list, err)
	b.ask(ctx, audit)
	for i := range loaded.Config.PartitionStorages {
		b.add(fmt.Sprintf("files-%d.txt", i), fileList(loaded.Config.PartitionStorages[i].StorageDir))
	}
	b.add("files-definitions.txt", fileList(loaded.Config.QueueStorage.StorageDir))
	b.add("log.txt", tail(withoutSecrets(logTail(ctx)), maxBundled))
	for _, path := range []string{"/proc/version", "/proc/cmdline", "/proc/meminfo", "/proc/loadavg", "/proc/uptime", "/proc/self/mountinfo", "/etc/os-release"} {
		text, err := os.ReadFile(path)
		if err != nil {
			text = []byte(err.Error() + "\n")
		}
		b.add("system/"+filepath.Base(path)+".txt", withoutSecrets(text))
	}
	if b.err == nil {
		b.err = b.tar.Close()
	}
	if b.err == nil {
		b.err = zip.Close()
	}
	return b.err
}

// ask adds what the agent says of itself.
func (b *bundler) ask(ctx context.Context, audit bool) {
	ctx, cancel := b.limited(ctx)
	defer cancel()
	status, err := b.client().Status(ctx)
	b.json("status.json", status, err)
	if audit {
		found, err := b.client().Audit(ctx, "")
		b.json("audit.json", found, err)
	}
	for _, path := range []string{"/health", "/metrics"} {
		text, err := b.client().Get(ctx, path)
		if err != nil {
			text = []byte(err.Error() + "\n")
		}
		b.add(path[1:]+".txt", text)
	}
}

func (b *bundler) add(name string, text []byte) {
	if b.err != nil {
		return
	}
	text = text[:min(len(text), maxBundled)]
	b.err = b.tar.WriteHeader(&tar.Header{Name: "querator-bundle/" + name, Mode: 0o600, Size: int64(len(text)), ModTime: b.now, Format: tar.FormatPAX})
	if b.err == nil {
		_, b.err = b.tar.Write(text)
	}
}

// json adds a value, or why there is none.
func (b *bundler) json(name string, v any, err error) {
	if err != nil {
		v = map[string]string{"error": err.Error()}
	}
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		text = []byte(err.Error())
	}
	b.add(name, append(text, '\n'))
}

// secretKey matches the names of settings whose values are nobody's business, secretURL the user and the password
// in an address, secretWord what looks like a secret in a line of text.
func secretKey() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(^|[.\-_\]])(pass|password|passphrase|secret|token|credentials?|creds|seed|nkey|key|jwt)([.\-_]|$)`)
}

func secretURL() *regexp.Regexp { return regexp.MustCompile(`://[^/@\s"']+@`) }

func secretWord() *regexp.Regexp {
	return regexp.MustCompile(`(?i)\b((?:[a-z]+[_.-])*(?:password|passphrase|secret|token|seed|nkey|jwt)["']?\s*[:=]\s*)("[^"]*"|'[^']*'|[^\s,;}]+)`)
}

// withoutSecrets removes what looks like a secret from a text.
func withoutSecrets(text []byte) []byte {
	text = secretURL().ReplaceAll(text, []byte("://(removed)@"))
	return secretWord().ReplaceAll(text, []byte("${1}(removed)"))
}

// configText lists the settings with where they came from, without secrets.
func configText(loaded *config.Loaded) []byte {
	var b bytes.Buffer
	for _, s := range loaded.Settings() {
		if secretKey().MatchString(s.Key) && s.Value != `""` {
			s.Value = "(removed)"
		}
		fmt.Fprintf(&b, "%s = %s\t# %s\n", s.Key, withoutSecrets([]byte(s.Value)), s.Origin)
	}
	return b.Bytes()
}

// fileList lists the files of a store: modes, sizes, times and paths, as far as they may be seen.
func fileList(dir string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n", dir)
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { // Errors are in the list.
		if err != nil {
			fmt.Fprintf(&b, "? %v\n", err)
			return nil
		}
		fi, err := d.Info()
		if err != nil {
			return nil // It has gone meanwhile.
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			rel = path
		}
		fmt.Fprintf(&b, "%s %12d %s %q\n", fi.Mode(), fi.Size(), fi.ModTime().UTC().Format(time.RFC3339), rel)
		if b.Len() > maxBundled {
			return fs.SkipAll
		}
		return nil
	})
	return b.Bytes()
}

// logTimeout bounds how long the journal may take.
const logTimeout = 20 * time.Second

// logTail returns the end of the agent's log in the journal, or why there is none.
func logTail(ctx context.Context) []byte {
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "journalctl", "--no-pager", "--unit", "querator.service", "--lines", "3000", "--output", "short-iso")
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		out = append(out, fmt.Sprintf("journalctl: %v\n", err)...)
	}
	return out
}

// tail returns the last bytes of a text, from the beginning of a line.
func tail(text []byte, most int) []byte {
	if len(text) <= most {
		return text
	}
	text = text[len(text)-most:]
	if i := strings.IndexByte(string(text), '\n'); i >= 0 {
		text = text[i+1:]
	}
	return text
}
