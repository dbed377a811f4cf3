package agent

import (
	"io"
	stdlog "log"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/systemd"
	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
)

// newLog returns the log: JSON, or lines for people on a terminal. In the journal
// every line has its priority as well, which the journal takes off again. level
// decides what is logged.
func newLog(cfg *config.Config, w io.Writer, console, journal bool, level *logLevel) zerolog.Logger {
	level.set(cfg.LogLevel)
	if w == nil {
		return zerolog.Nop()
	}
	if cfg.LogFormat == config.FormatConsole || cfg.LogFormat == config.FormatAuto && console {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: os.Getenv("NO_COLOR") != "" || !console}
	}
	if journal {
		w = journalWriter{w}
	}
	return zerolog.New(w).Sample(level).With().Timestamp().Logger()
}

// journalWriter puts the priority of the journal before each line.
type journalWriter struct{ io.Writer }

// WriteLevel writes one line.
func (w journalWriter) WriteLevel(level zerolog.Level, line []byte) (int, error) {
	priority := systemd.PriorityInfo
	switch level {
	case zerolog.DebugLevel, zerolog.TraceLevel:
		priority = systemd.PriorityDebug
	case zerolog.WarnLevel:
		priority = systemd.PriorityWarning
	case zerolog.ErrorLevel, zerolog.FatalLevel, zerolog.PanicLevel:
		priority = systemd.PriorityError
	}
	prefix := systemd.Prefix(priority)
	n, err := w.Write(append([]byte(prefix), line...))
	return max(0, n-len(prefix)), err
}

// newHTTPLog sends what the HTTP server has to say, which is about clients that
// break off or send garbage, to the log at debug level.
func newHTTPLog(log zerolog.Logger) *stdlog.Logger {
	return stdlog.New(lineWriter(func(line string) { log.Debug().Str("from", "http").Msg(line) }), "", 0)
}

type lineWriter func(line string)

func (w lineWriter) Write(p []byte) (int, error) {
	w(strings.TrimSpace(string(p)))
	return len(p), nil
}

// storeEvents logs what the stores have to say.
func (a *Agent) storeEvents() badgerstore.Events {
	return badgerstore.Events{
		SetAside: func(from, to, reason string) {
			a.summary.count(&a.summary.aside)
			a.log.Warn().Str("from", from).Str("to", to).Str("reason", reason).Msg("directory set aside")
		},
		Dropped: func(dir string, commits int) {
			a.log.Info().Str("segment", dir).Int("commits", commits).
				Msg("dropped what a power cut left half written; none of it was acknowledged")
		},
		Failed: func(dir string, err error) {
			a.log.Error().Str("dir", dir).Err(err).Msg("background work of the store failed; it will be tried again")
		},
	}
}

// engineEvents logs what the engine has to say.
func (a *Agent) engineEvents() queue.Events {
	dropped, stuck := newRepeats(time.Minute), newRepeats(time.Hour)
	return queue.Events{
		PartitionFailed: func(q string, p int, err error) {
			a.summary.count(&a.summary.failed)
			a.log.Error().Str("queue", q).Int("partition", p).Err(err).
				Msg("the partition failed; nothing of it is acknowledged until it has been opened again")
		},
		Dropped: func(q string, p, n int, why string) {
			if sum, due := dropped.add(repeatKey(q, p, why), n); due {
				a.log.Warn().Str("queue", q).Int("partition", p).Int("items", sum).Str("why", why).Msg(dropText(why))
			}
		},
		MoveStuck: func(q string, p int, dead string, items int) {
			if _, due := stuck.add(repeatKey(q, p, dead), items); due {
				a.log.Warn().Str("queue", q).Int("partition", p).Str("dead-queue", dead).Int("items", items).
					Msg("dead items wait for a dead queue that is not there; create it, or update the queue without it")
			}
		},
		EventsLost: func(q string, p int, gap queue.Gap) {
			if _, due := stuck.add(repeatKey(q, p, gap.Reason), int(gap.Events())); due {
				a.log.Warn().Str("queue", q).Int("partition", p).Uint64("first", gap.First).Uint64("last", gap.Last).
					Str("reason", gap.Reason).Msg("events that were not delivered are given up; a gap stands for them")
			}
		},
		Rebuilt: func(q string, partitions int, why error) {
			a.summary.count(&a.summary.rebuilt)
			a.log.Error().Str("queue", q).Int("partitions", partitions).Err(why).
				Msg("the definition of the queue was lost; its items are served, its options are defaults: check them")
		},
		Quarantined: func(q queue.Quarantine) {
			a.summary.quarantined(q)
			e := a.log.Error().Str("queue", q.Queue).Int("partition", q.Partition).Int("items", q.Items)
			if q.Items > 0 {
				e = e.Str("first", q.First.String()).Str("last", q.Last.String())
			}
			e.Str("path", q.Path).Err(q.Err).
				Msg("stored data is damaged; what cannot be read was given up and counts as quarantined, the rest is served")
		},
	}
}

// dropText says why items are dropped.
func dropText(why string) string {
	if why == "full" {
		return "items dropped; the queue is full, and its policy is to drop the oldest"
	}
	return "items dropped; the queue has no dead queue"
}
