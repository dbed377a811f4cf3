package config

import (
	"fmt"
	"strings"
	"time"
)

// Downlink brings the messages of a subject of a JetStream stream into a queue, over the connection of the uplink.
type Downlink struct {
	// Queue is where the items go; it has one downlink.
	Queue string `toml:"queue"`
	// Stream is the JetStream stream. "{device}" and "{queue}" in Subject and Doorbell are replaced; an empty Doorbell is
	// none.
	Stream   string `toml:"stream"`
	Subject  string `toml:"subject"`
	Doorbell string `toml:"doorbell"`
	// Poll is the time between looks; 0: that of the profile.
	Poll time.Duration `toml:"poll,empty"`
	// Start is StartAll or StartNew.
	Start string `toml:"start"`
}

// Values of Downlink.Start.
const (
	StartAll = "all" // Everything that the stream has for the device.
	StartNew = "new" // What comes after the first look.
)

// Bounds.
const (
	// All downlinks take turns in one goroutine.
	maxDownlinks = 64
	minPoll      = time.Second
	maxPoll      = 24 * time.Hour
	maxSubject   = 255
)

// DefaultDownlink returns what a [[downlink]] is before its keys are read: without a queue.
func DefaultDownlink() Downlink {
	return Downlink{
		Stream: "QUERATOR-DOWN", Subject: "querator-down.{device}.{queue}", Doorbell: "querator-bell.{device}.{queue}", Start: StartAll,
	}
}

func (c *Config) checkDownlinks(k *checker) {
	if n := len(c.Downlinks); n > maxDownlinks {
		k.add("downlink", fmt.Sprintf("has %d entries", n), fmt.Sprintf("allowed: up to %d", maxDownlinks))
	}
	seen := make(map[string]string)
	for i := range c.Downlinks {
		d := &c.Downlinks[i]
		key := indexKey("downlink", i)
		if !c.Uplink.On() {
			k.add(key, "needs a connection to a server", "set url in [uplink]; an uplink that is to send nothing has queues = []")
		}
		if d.Queue == "" {
			k.add(key+".queue", "is missing", "name the queue that the items go to")
		} else if k.nameText(key+".queue", d.Queue, maxNameBytes) {
			if first, taken := seen[d.Queue]; taken {
				k.add(key+".queue", show(d.Queue)+" is the queue of "+first+" too", "a queue has one downlink; let its subject have wildcards")
			}
			seen[d.Queue] = key
		}
		if d.Stream == "" || len(d.Stream) > maxSubject || strings.ContainsAny(d.Stream, " .*>\t\r\n/\\") {
			k.add(key+".stream", show(d.Stream)+" is not the name of a stream", "allowed: up to 255 bytes without white space and . * > / \\")
		}
		k.subject(key+".subject", d.Subject)
		if d.Doorbell != "" {
			k.subject(key+".doorbell", d.Doorbell)
		}
		if d.Poll != 0 {
			k.duration(key+".poll", d.Poll, minPoll, maxPoll)
		}
		k.oneOf(key+".start", d.Start, StartAll, StartNew)
	}
}

// subject refuses what nobody can subscribe to, when the names are put in.
func (k *checker) subject(key, v string) {
	plain := strings.NewReplacer("{device}", "d", "{queue}", "q").Replace(v)
	bad := plain == "" || len(v) > maxSubject || strings.ContainsAny(plain, " \t\r\n{}")
	for token := range strings.SplitSeq(plain, ".") {
		bad = bad || token == ""
	}
	if bad {
		k.add(key, show(v)+" is not a subject", `write tokens with dots between, such as "querator-down.{device}.{queue}"`)
	}
}
