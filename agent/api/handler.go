package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/metrics"
	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

// Defaults of Options, in bytes.
const (
	DefaultMaxProduceBody = 5_000_000
	DefaultMaxImportBody  = 64_000_000
	DefaultMaxInFlight    = 128_000_000
)

// DefaultBodyTimeout is the default of Options.BodyTimeout; bodies go over a
// local socket.
const DefaultBodyTimeout = 30 * time.Second

// DefaultIdleTimeout is the default of Options.IdleTimeout.
const DefaultIdleTimeout = 5 * time.Minute

// Options are what a Handler is made of. The zero value of a field means its
// default.
type Options struct {
	// Service has the queues. Required.
	Service *queue.Service
	// Version is the build's; it is in health and status. Default "dev-build".
	Version string

	// MaxProduceBody and MaxImportBody are the greatest bodies of queue.produce
	// and storage/items.import, in bytes. The limits of the other calls are
	// fixed.
	MaxProduceBody int64
	MaxImportBody  int64
	// MaxInFlight bounds the bytes of all bodies that are held at a time, with what
	// is parsed of them.
	MaxInFlight int64
	// Budget takes the place of one of MaxInFlight bytes, for large items of leases to
	// share it (queue.Config.Large).
	Budget *Budget
	// BodyTimeout is how long a client may take to send a body, and how long to
	// take each part of a reply. Then its connection is closed.
	BodyTimeout time.Duration

	// IdleTimeout is how long a stream stays open on which there are no calls.
	IdleTimeout time.Duration

	// Guard says who may do what, and how much. Default one that lets everybody do
	// everything. It knows callers by the Peer method of the http.ResponseWriter,
	// which package serve has.
	Guard *access.Guard
	// Collect adds to the page that GET /metrics writes what the handler does not
	// know: all but the requests and the bytes in flight. Queues that shows does
	// not report are not named on it. It is called from the goroutine of the
	// request; nil adds nothing.
	Collect func(ctx context.Context, page *metrics.Page, shows func(queue string) bool)
	// Problems returns what a person should look after beside partitions that
	// fail, for health and status. It is called from the goroutine of the
	// request; nil knows of none.
	Problems func(ctx context.Context) []Problem
	// Status fills in what the process knows and the service does not: times,
	// memory, connections, clock, storages. It is called for each agent.status,
	// from the goroutine of the request; nil leaves these fields empty.
	Status func(ctx context.Context, status *pb.AgentStatusResponse)
	// Uplink is what the calls of the uplink work on; nil where none is configured.
	Uplink Uplink
	// LogError is told the cause of every 500; nil drops it. It is called from
	// the goroutine of the request.
	LogError func(path string, err error)
}

// Handler serves the API. It may be called from any goroutine; it keeps nothing
// between calls beside counters. It bounds the time that bodies take by itself:
// the http.Server that it is given to must have no ReadTimeout and WriteTimeout,
// since a lease may wait for 15 minutes, and should have a ReadHeaderTimeout.
type Handler struct {
	service  *queue.Service
	version  string
	status   func(context.Context, *pb.AgentStatusResponse)
	collect  func(context.Context, *metrics.Page, func(string) bool)
	problems func(context.Context) []Problem
	uplink   Uplink
	logError func(path string, err error)
	budget   *Budget
	guard    *access.Guard
	// largeLists holds a token while a list has large items in memory.
	largeLists chan struct{}
	items      slabs[queue.Item] // of produces
	replies    slabs[byte]       // of leases

	bodyTimeout, idleTimeout time.Duration

	routes   map[string]*route // read only after New
	pages    map[string]page
	requests *metrics.Requests
}

// New returns a handler. It starts nothing, so there is nothing to close.
func New(o Options) *Handler {
	def := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&o.MaxProduceBody, DefaultMaxProduceBody)
	def(&o.MaxImportBody, DefaultMaxImportBody)
	def(&o.MaxInFlight, DefaultMaxInFlight)
	if o.BodyTimeout <= 0 {
		o.BodyTimeout = DefaultBodyTimeout
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = DefaultIdleTimeout
	}
	if o.Version == "" {
		o.Version = "dev-build"
	}
	if o.Budget == nil {
		o.Budget = NewBudget(o.MaxInFlight)
	}
	if o.Guard == nil {
		o.Guard = access.New(access.Options{})
	}
	if o.Collect == nil {
		o.Collect = func(context.Context, *metrics.Page, func(string) bool) {}
	}
	if o.Problems == nil {
		o.Problems = func(context.Context) []Problem { return nil }
	}
	if o.Status == nil {
		o.Status = func(context.Context, *pb.AgentStatusResponse) {}
	}
	if o.LogError == nil {
		o.LogError = func(string, error) {}
	}
	h := &Handler{
		service:  o.Service,
		version:  o.Version,
		status:   o.Status,
		collect:  o.Collect,
		problems: o.Problems, uplink: o.Uplink,
		logError: o.LogError,
		budget:   o.Budget, largeLists: make(chan struct{}, 1),
		items:   slabs[queue.Item]{least: leastItems, most: mostItems},
		replies: slabs[byte]{least: leastReply, most: mostReply},
		guard:   o.Guard,

		bodyTimeout: o.BodyTimeout, idleTimeout: o.IdleTimeout,
	}
	h.routes, h.pages = routes(&o), pages()
	h.requests = metrics.NewRequests(countedPaths(h.routes))
	return h
}

// Budget returns the budget of bytes in flight, for the status of the process.
func (h *Handler) Budget() *Budget { return h.budget }

// call is one request on its way.
type call struct {
	h        *Handler
	w        http.ResponseWriter
	r        *http.Request
	rc       *http.ResponseController
	peer     *access.Peer // nil: nobody knows
	op       access.Operation
	reserved int64 // bytes of the budget
	small    int64 // those of them that are of a small request
	loan     *loan // of bytes that the engine holds too; nil for none
	bodyRead bool  // the whole of the body has been read
	code     int   // of the reply; 0 before it
	observed bool  // it is in the metrics
	hasty    bool  // it would rather not be begun than wait (errWaits)
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	c := &call{h: h, w: w, r: r, rc: http.NewResponseController(w)}
	if known, ok := w.(interface{ Peer() any }); ok {
		c.peer, _ = known.Peer().(*access.Peer)
	}
	defer func() {
		c.release()
		if now := time.Now(); !c.observed {
			h.requests.Observe(r.URL.Path, c.code, now.Sub(begin), now)
		}
	}()
	w.Header().Set("X-Content-Type-Options", "nosniff")
	c.boundBody()
	if r.Method == http.MethodGet && c.get() {
		return
	}
	if err := c.post(); err != nil {
		c.fail(err)
	}
}

// get answers the few requests that are no calls, and reports whether this was
// one of them.
func (c *call) get() bool {
	p, ok := c.h.pages[c.r.URL.Path]
	if !ok {
		return false
	}
	err := c.h.guard.Check(c.peer, p.op, agentWide)
	if err == nil && p.op != access.Open {
		err = c.h.guard.Admit(c.peer)
	}
	if err != nil {
		c.fail(err)
		return true
	}
	p.serve(c)
	return true
}

// post answers a call. An error that it returns is the answer.
func (c *call) post() error {
	if c.r.Method != http.MethodPost {
		return badRequest("http method '%s' not allowed; only POST", c.r.Method)
	}
	if !isToken(c.r.Header.Get("Authorization")) {
		return &wireError{code: http.StatusUnauthorized, msg: "invalid authorization header format"}
	}
	rt, ok := c.h.routes[c.r.URL.Path]
	if !ok {
		return &wireError{code: http.StatusNotImplemented, msg: "no such method; " + c.r.URL.Path}
	}
	c.op = rt.op
	if before, ok := c.w.(interface{ Admitted() bool }); !ok || !before.Admitted() {
		if err := c.h.guard.Admit(c.peer); err != nil {
			return c.refuse(rt.limit, err)
		}
	}
	if rt.bodyStream {
		return rt.serve(c, formatJSON, nil)
	}
	body, err := c.readBody(rt.limit)
	if err != nil {
		return err
	}
	raw := c.r.Header.Get("Content-Type")
	f, _, ok := parseFormat(raw)
	if !ok {
		return contentError("Content-Type header '%s' is invalid format or unrecognized content type", raw)
	}
	if rt.copies > 0 {
		if err := c.awaitParsed(f, body, rt.copies); err != nil {
			return err
		}
	}
	return rt.serve(c, f, body)
}

// isToken reports whether an Authorization header is none, or has a token. There are no
// accounts: any token is as good as none.
func isToken(header string) bool { return header == "" || strings.HasPrefix(header, "Bearer ") }
