package agent

import (
	"fmt"
	"io"
	stdlog "log"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/badgerstore"
	"github.com/kapetan-io/querator-edge/queue"
)

// newLog returns the log: JSON, or lines for people on a terminal.
func newLog(cfg *config.Config, w io.Writer, console bool) zerolog.Logger {
	if w == nil {
		return zerolog.Nop()
	}
	if cfg.LogFormat == config.FormatConsole || cfg.LogFormat == config.FormatAuto && console {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: os.Getenv("NO_COLOR") != "" || !console}
	}
	level, err := zerolog.ParseLevel(cfg.LogLevel)
	if err != nil {
		level = zerolog.InfoLevel // The configuration was validated; this cannot be.
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
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
	drops := &drops{every: time.Minute, log: a.log}
	return queue.Events{
		PartitionFailed: func(q string, p int, err error) {
			a.log.Error().Str("queue", q).Int("partition", p).Err(err).
				Msg("the partition failed; nothing of it is acknowledged until it has been opened again")
		},
		Dropped: drops.add,
	}
}

// drops logs dropped items, at most one line in a while for each queue and
// cause, with the number since the last.
type drops struct {
	every time.Duration
	log   zerolog.Logger

	mu   sync.Mutex
	rows map[string]*dropRow // bounded by maxDropRows
}

type dropRow struct {
	n    int
	last time.Time
}

const maxDropRows = 1000

func (d *drops) add(q string, p, n int, why string) {
	key := fmt.Sprintf("%s\x00%d\x00%s", q, p, why)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.rows == nil || len(d.rows) >= maxDropRows {
		d.rows = make(map[string]*dropRow)
	}
	row := d.rows[key]
	if row == nil {
		row = &dropRow{}
		d.rows[key] = row
	}
	row.n += n
	if time.Since(row.last) < d.every {
		return
	}
	d.log.Warn().Str("queue", q).Int("partition", p).Int("items", row.n).Str("why", why).
		Msg("items dropped; the queue has no dead queue")
	row.n, row.last = 0, time.Now()
}
