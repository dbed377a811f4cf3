package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Uplink forwards events of items to a NATS server. Without URL there is no uplink.
type Uplink struct {
	// URL lists servers, as nats://, tls://, ws:// or wss:// with host and port; empty: no uplink.
	URL []string `toml:"url"`
	// Device is the name of this device; "{machine-id}" and "{hostname}" in it are replaced.
	Device string `toml:"device"`
	// Stream is the JetStream stream, SubjectPrefix the first token of the subjects.
	Stream        string `toml:"stream"`
	SubjectPrefix string `toml:"subject-prefix"`
	// Queues are the names of the queues that are forwarded; "*" stands for any text.
	Queues []string `toml:"queues"`
	// Also are the events beside those of completed items: dead, expired, dropped.
	Also []string `toml:"also"`

	// At most one kind of login.
	CredentialsFile string `toml:"credentials-file"`
	NKeyFile        string `toml:"nkey-file"`
	TokenFile       string `toml:"token-file"`
	User            string `toml:"user"`
	PasswordFile    string `toml:"password-file"`

	TLSCAFile     string `toml:"tls-ca-file"`
	TLSCertFile   string `toml:"tls-cert-file"`
	TLSKeyFile    string `toml:"tls-key-file"`
	TLSServerName string `toml:"tls-server-name"`
	TLSFirst      bool   `toml:"tls-first"`
	ProxyPath     string `toml:"proxy-path"`

	// Profile is ProfileStandard or ProfileMetered; it gives the values that are empty below.
	Profile    string `toml:"profile"`
	Format     string `toml:"format"`
	Payload    string `toml:"payload"`
	MaxPayload Size   `toml:"max-payload"`

	Mode         string `toml:"mode"`
	Batch        int    `toml:"batch"`
	BatchBytes   Size   `toml:"batch-bytes"`
	Window       int    `toml:"window"`
	CursorMarker bool   `toml:"cursor-marker"`
	// Linger, Ping, Heartbeat and Rate are 0 for that of the profile.
	Linger    time.Duration `toml:"linger,empty"`
	Ping      time.Duration `toml:"ping,empty"`
	Heartbeat time.Duration `toml:"heartbeat,empty"`
	// Rate is in bytes a second, MaxPerDay and MaxPerMonth in bytes; 0: no limit.
	Rate        Size `toml:"rate,empty"`
	MaxPerDay   Size `toml:"max-per-day,empty"`
	MaxPerMonth Size `toml:"max-per-month,empty"`
	// Hours are the times of day that it may connect in, as "22:00-06:00".
	Hours []string `toml:"hours"`

	// OutboxMaxBytes bounds what each partition keeps for events alone; OutboxMaxAge gives events up that are
	// older, 0: none; OnFull is OnFullDropOldest or OnFullBlock.
	OutboxMaxBytes Size          `toml:"outbox-max-bytes"`
	OutboxMaxAge   time.Duration `toml:"outbox-max-age"`
	OnFull         string        `toml:"on-full"`
}

// Values of Uplink.Profile and Uplink.OnFull.
const (
	ProfileStandard = "standard"
	ProfileMetered  = "metered"

	OnFullDropOldest = "drop-oldest" // The oldest events go, and a gap event says so.
	OnFullBlock      = "block"       // Completes are refused.
)

// On reports whether there is an uplink.
func (u *Uplink) On() bool { return len(u.URL) > 0 }

// Metered reports whether each byte costs.
func (u *Uplink) Metered() bool { return u.Profile == ProfileMetered }

// defaultUplink returns the settings of an uplink that is off.
func defaultUplink() Uplink {
	return Uplink{
		Device: "{machine-id}", Stream: "QUERATOR", SubjectPrefix: "querator",
		Queues: []string{"*"}, Also: []string{"dead", "expired", "dropped"},
		Profile: ProfileStandard, Format: "binary", Payload: "none", MaxPayload: 64 * KiB,
		// As much as fits well into one exchange of messages.
		Mode: "auto", Batch: 500, BatchBytes: 256 * KiB, Window: 64,
		// A million events without their payloads, about.
		OutboxMaxBytes: 64 * MiB, OnFull: OnFullDropOldest,
	}
}

// Bounds.
const (
	minOutbox      = 16 * MiB // A segment.
	maxOutbox      = 1024 * GiB
	maxUplinkWait  = time.Hour
	maxUplinkBeat  = 10000 * time.Hour
	maxUplinkBytes = 1024 * 1024 * GiB
)

func (u *Uplink) check(k *checker) {
	k.oneOf("uplink.profile", u.Profile, ProfileStandard, ProfileMetered)
	k.oneOf("uplink.format", u.Format, "binary", "structured", "packed")
	k.oneOf("uplink.payload", u.Payload, "none", "meta", "full")
	k.size("uplink.max-payload", u.MaxPayload, KiB, MiB)
	k.oneOf("uplink.mode", u.Mode, "auto", "batch", "window", "single")
	k.count("uplink.batch", u.Batch, 1, 1000)
	k.size("uplink.batch-bytes", u.BatchBytes, KiB, MiB)
	k.count("uplink.window", u.Window, 1, 256)
	k.duration("uplink.linger", u.Linger, 0, maxUplinkWait)
	k.duration("uplink.ping", u.Ping, 0, maxUplinkWait)
	k.duration("uplink.heartbeat", u.Heartbeat, 0, maxUplinkBeat)
	k.size("uplink.rate", u.Rate, 0, maxUplinkBytes)
	k.size("uplink.max-per-day", u.MaxPerDay, 0, maxUplinkBytes)
	k.size("uplink.max-per-month", u.MaxPerMonth, 0, maxUplinkBytes)
	k.size("uplink.outbox-max-bytes", u.OutboxMaxBytes, minOutbox, maxOutbox)
	k.duration("uplink.outbox-max-age", u.OutboxMaxAge, 0, maxQueueTimeout)
	k.oneOf("uplink.on-full", u.OnFull, OnFullDropOldest, OnFullBlock)
	for _, name := range u.Also {
		if !slices.Contains([]string{"dead", "expired", "dropped"}, name) {
			k.add("uplink.also", fmt.Sprintf("%q is not a kind of event", name), "allowed: dead, expired, dropped")
		}
	}
	for _, hours := range u.Hours {
		if _, _, ok := ParseHours(hours); !ok {
			k.add("uplink.hours", fmt.Sprintf("%q is not a part of the day", hours), `write it as "22:00-06:00"`)
		}
	}
	for _, path := range []struct{ key, value string }{
		{"uplink.credentials-file", u.CredentialsFile}, {"uplink.nkey-file", u.NKeyFile}, {"uplink.token-file", u.TokenFile},
		{"uplink.password-file", u.PasswordFile}, {"uplink.tls-ca-file", u.TLSCAFile}, {"uplink.tls-cert-file", u.TLSCertFile},
		{"uplink.tls-key-file", u.TLSKeyFile},
	} {
		if !strings.HasPrefix(path.value, "credential:") {
			k.path(path.key, path.value)
		}
	}
}

// ParseHours reads a part of the day, as times since midnight; one that ends before it begins goes over midnight.
func ParseHours(text string) (from, to time.Duration, ok bool) {
	a, b, found := strings.Cut(text, "-")
	begin, err1 := time.Parse("15:04", a)
	end, err2 := time.Parse("15:04", b)
	if !found || err1 != nil || err2 != nil || a == b {
		return 0, 0, false
	}
	day := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	return begin.Sub(day), end.Sub(day), true
}
