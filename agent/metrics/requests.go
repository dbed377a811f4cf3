package metrics

import (
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// otherPath is the path label of all requests that are not routed, so that
// nobody can make as many series as there are paths.
const otherPath = "other"

// codes are the codes of answers; every other is counted as the last.
var codes = [...]int{200, 400, 401, 403, 453, 454, 455, 499, 501, 503, 500}

// Requests counts and times requests by path and code. It is safe for use by
// any goroutine.
type Requests struct {
	paths map[string]*path // read only
	order []string
	other path
}

// path is what is known of one path.
type path struct {
	codes [len(codes)]atomic.Uint64

	mu    sync.Mutex
	count uint64
	sum   time.Duration
	now   *window // nil before the first request
	last  *window
}

// NewRequests returns the counters for these paths.
func NewRequests(paths []string) *Requests {
	r := &Requests{paths: make(map[string]*path, len(paths)), order: paths}
	for _, p := range paths {
		r.paths[p] = &path{}
	}
	return r
}

// Observe counts one request that was answered at now.
func (r *Requests) Observe(name string, code int, took time.Duration, now time.Time) {
	p := r.paths[name]
	if p == nil {
		p = &r.other
	}
	i := 0
	for i < len(codes)-1 && codes[i] != code {
		i++
	}
	p.codes[i].Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn(now)
	p.count++
	p.sum += took
	p.now.add(took)
}

// turn begins a new window when it is time to.
func (p *path) turn(now time.Time) {
	switch {
	case p.now == nil:
		p.now = &window{begin: now}
	case now.Sub(p.now.begin) >= windowLength:
		p.last, p.now = p.now, &window{begin: now}
	}
}

// Write adds the requests to a page, without those that nobody has made.
func (r *Requests) Write(page *Page, now time.Time) {
	for _, name := range r.order {
		r.paths[name].write(page, name, now)
	}
	r.other.write(page, otherPath, now)
}

func (p *path) write(page *Page, name string, now time.Time) {
	for i := range codes {
		if n := p.codes[i].Load(); n > 0 {
			page.Set(RequestsTotal, float64(n), name, strconv.Itoa(codes[i]))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now == nil {
		return
	}
	p.turn(now)
	var both window
	for _, w := range []*window{p.now, p.last} {
		if w != nil && now.Sub(w.begin) < 2*windowLength {
			both.merge(w)
		}
	}
	for _, q := range []float64{0.5, 0.99} {
		page.Set(RequestDuration, both.quantile(q), name, strconv.FormatFloat(q, 'g', -1, 64))
	}
	page.add(RequestDuration, "_sum", p.sum.Seconds(), []string{name})
	page.add(RequestDuration, "_count", float64(p.count), []string{name})
}

// Count is how often something happened.
type Count struct {
	Name  string
	Count uint64
}

// Answered returns how many requests were answered, by code, without those that
// there were none of.
func (r *Requests) Answered() []Count {
	var list []Count
	for i, code := range codes {
		n := r.other.codes[i].Load()
		for _, p := range r.paths {
			n += p.codes[i].Load()
		}
		if n > 0 {
			list = append(list, Count{strconv.Itoa(code), n})
		}
	}
	return list
}

// windowLength is half of what the quantiles look back.
const windowLength = 150 * time.Second

// A window counts durations in buckets, each an eighth of an octave wide, from
// 1 µs to over an hour, so that a quantile is right to 5 %.
const (
	perOctave = 8
	octaves   = 32
)

type window struct {
	begin   time.Time
	total   uint64
	buckets [perOctave*octaves + 1]uint32
}

func (w *window) add(d time.Duration) {
	i := 0
	if us := float64(d) / float64(time.Microsecond); us > 1 {
		i = min(int(math.Log2(us)*perOctave)+1, len(w.buckets)-1)
	}
	w.buckets[i]++
	w.total++
}

func (w *window) merge(o *window) {
	w.total += o.total
	for i, n := range o.buckets {
		w.buckets[i] += n
	}
}

// quantile returns the middle of the bucket that has the quantile, in seconds,
// or NaN if there was nothing.
func (w *window) quantile(q float64) float64 {
	if w.total == 0 {
		return math.NaN()
	}
	rank := uint64(math.Ceil(q * float64(w.total)))
	for i, n := range w.buckets {
		if rank <= uint64(n) {
			return math.Exp2((float64(i)-0.5)/perOctave) / 1e6
		}
		rank -= uint64(n)
	}
	return math.NaN()
}
