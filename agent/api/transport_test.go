package api_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kapetan-io/querator-edge/agent/api"
	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

func TestOnlyPost(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/v1/queues.list", "/", "/nothing", "/health/"} {
		for _, method := range []string{"GET", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY"} {
			w.do(method, path, nil).refused(t, 400, "http method '"+method+"' not allowed; only POST")
		}
	}
	if a := w.do("HEAD", "/health", nil); a.code != 400 {
		t.Errorf("HEAD /health answers %d, want 400", a.code)
	}
}

func TestUnknownPaths(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{
		"/v1/foo", "/v1/queues.list/", "/v1/Queues.list", "/health", "/metrics", "/openapi.yaml", "/",
		"/v1/queues.rebalance", "/v1/storage/scheduled.add", "/v1/storage/scheduled.delete", "/v1/storage.items-list",
	} {
		w.post(path, "{}").refused(t, 501, "no such method; "+path)
	}
	w.post("/v1/%ff", "{}").refused(t, 501, "no such method; /v1/\uFFFD")
	if a := w.post("/v1/queues.list?a=b", "{}"); a.code != 200 {
		t.Errorf("with a query string: %d %s", a.code, a.body)
	}
}

func TestCallsThatHaveNothingToWorkOn(t *testing.T) {
	w := newWorld(t)
	for what, paths := range map[string][]string{
		"namespace":    {"namespaces.create", "namespaces.update", "namespaces.list", "namespaces.delete"},
		"user":         {"users.create", "users.list", "users.delete"},
		"api key":      {"apikeys.create", "apikeys.list", "apikeys.delete"},
		"role":         {"roles.create", "roles.list", "roles.update", "roles.delete"},
		"role binding": {"rolebindings.create", "rolebindings.list", "rolebindings.delete"},
	} {
		for _, path := range paths {
			w.post("/v1/"+path, "{}").refused(t, 453, what+" storage not configured")
		}
	}
}

func TestAuthorization(t *testing.T) {
	w := newWorld(t)
	for _, value := range []string{"Basic dXNlcg==", "bearer x", "Bearer", "x"} {
		w.post("/v1/queues.list", "{}", "Authorization", value).refused(t, 401, "invalid authorization header format")
	}
	for _, value := range []string{"Bearer x", "Bearer a b", ""} {
		if a := w.post("/v1/queues.list", "{}", "Authorization", value); a.code != 200 {
			t.Errorf("%q: %d %s", value, a.code, a.body)
		}
	}
	if a := w.do("GET", "/health", nil, "Authorization", "Basic x"); a.code != 200 {
		t.Errorf("health with an Authorization header answers %d", a.code)
	}
}

func TestContentType(t *testing.T) {
	w := newWorld(t)
	for _, value := range []string{"*/*", "application/*", "application/json", "APPLICATION/JSON ; charset=utf-8", "application/json,x"} {
		if a := w.post("/v1/queues.list", "{}", "Content-Type", value); a.code != 200 {
			t.Errorf("%q: %d %s", value, a.code, a.body)
		}
	}
	if a := w.post("/v1/queues.list", "\x18\x01", "Content-Type", "application/protobuf; proto=x"); a.code != 200 {
		t.Errorf("protobuf: %d %s", a.code, a.body)
	}
	for _, value := range []string{"text/plain; charset=utf-8", "application/x-www-form-urlencoded", "json", "application/protobuf2"} {
		w.post("/v1/queues.list", "not even JSON", "Content-Type", value).refused(t, 455,
			"Content-Type header '"+value+"' is invalid format or unrecognized content type")
	}
	// The body is read before its type is judged.
	w.post("/v1/queue.stats", strings.Repeat("x", 600), "Content-Type", "text/plain").refused(t, 400,
		"request body exceeds 512B limit")
}

func TestAccept(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	for _, value := range []string{"*/*", "application/*", "application/json", "application/json, application/protobuf"} {
		w.post("/v1/queue.reload", `{"queue_name":"q"}`, "Accept", value).done(t)
	}
	a := w.post("/v1/queue.reload", `{"queue_name":"q"}`, "Accept", "application/protobuf")
	var reply pb.Reply
	if err := proto.Unmarshal(a.body, &reply); err != nil || reply.Code != 200 || a.header.Get("Content-Type") != "application/protobuf" {
		t.Errorf("protobuf reply: %v, %v, %q", err, &reply, a.header.Get("Content-Type"))
	}
	a = w.post("/v1/queue.reload", `{"queue_name":"nope"}`, "Accept", "application/protobuf")
	if err := proto.Unmarshal(a.body, &reply); err != nil || a.code != 400 || reply.Code != 400 ||
		reply.CodeText != "Bad Request" || reply.Message != "queue does not exist; no such queue named 'nope'" {
		t.Errorf("protobuf error: %v, %d, %v", err, a.code, &reply)
	}
}

func TestAcceptIsJudgedWhenTheWorkIsDone(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	w.post("/v1/queue.produce", `{"queue_name":"q","request_timeout":"1m","items":[{}]}`, "Accept", "text/html;q=1").refused(t, 455,
		"Accept header 'text/html' is invalid format or unrecognized content type,"+
			" only [application/json,application/protobuf] are supported by this method")
	if got := w.stats("q").Total; got != 1 {
		t.Errorf("%d items in the queue, want the one that was produced", got)
	}
	for _, path := range []string{"/v1/queues.list", "/v1/foo"} {
		w.post(path, "{}", "Accept", "text/html").message(t, 455)
	}
}

func TestBodyLimits(t *testing.T) {
	w := newWorld(t)
	for path, tc := range map[string]struct {
		limit int
		text  string
	}{
		"/v1/queue.produce":        {5_000_000, "5.0MB"},
		"/v1/queue.lease":          {512, "512B"},
		"/v1/queue.stats":          {512, "512B"},
		"/v1/queue.clear":          {512, "512B"},
		"/v1/queue.reload":         {512, "512B"},
		"/v1/queues.update":        {512_000, "500.0KiB"},
		"/v1/storage/items.import": {64_000_000, "61.0MiB"},
		"/v1/queue.complete":       {256_000, "250.0KiB"},
		"/v1/queue.retry":          {256_000, "250.0KiB"},
		"/v1/queue.extend":         {256_000, "250.0KiB"},
		"/v1/queues.create":        {256_000, "250.0KiB"},
		"/v1/queues.list":          {256_000, "250.0KiB"},
		"/v1/queues.info":          {256_000, "250.0KiB"},
		"/v1/queues.delete":        {256_000, "250.0KiB"},
		"/v1/storage/items.list":   {256_000, "250.0KiB"},
		"/v1/storage/items.delete": {256_000, "250.0KiB"},
	} {
		// A field that nobody knows, of white space: neither parsed nor stored.
		fits := "{" + strings.Repeat(" ", tc.limit-2) + "}"
		for _, chunked := range []bool{false, true} {
			if chunked && tc.limit > 10_000_000 {
				continue // Nothing new, and slow.
			}
			send := func(body string) *answer {
				var r io.Reader = strings.NewReader(body)
				if chunked {
					r = io.MultiReader(r) // Hides the length.
				}
				return w.do(http.MethodPost, path, r)
			}
			if msg := send(fits + "  "); msg.message(t, 400) != "request body exceeds "+tc.text+" limit" {
				t.Errorf("%s, chunked %v: %s", path, chunked, msg.body)
			}
			if a := send(fits); bytes.Contains(a.body, []byte("exceeds")) {
				t.Errorf("%s, chunked %v: a body of exactly the limit is refused", path, chunked)
			}
		}
	}
}

func TestProduceLimitIsConfigurable(t *testing.T) {
	w := newWorld(t, func(o *api.Options, _ *queue.Limits) { o.MaxProduceBody = 1 << 20 })
	w.post("/v1/queue.produce", strings.Repeat(" ", 1<<20+1)).refused(t, 400, "request body exceeds 1.0MiB limit")
}

func TestBytesInFlightAreBounded(t *testing.T) {
	w := newWorld(t, func(o *api.Options, _ *queue.Limits) { o.MaxInFlight = 100_000 })
	body := "{" + strings.Repeat(" ", 199_998) + "}"
	tooLarge := "the request is too large for this agent: 200000 bytes, and at most 87500 may be in flight;" +
		" raise memory-limit or send smaller parts"
	w.post("/v1/queues.list", body).refused(t, 454, tooLarge)
	msg := w.do("POST", "/v1/queues.list", io.MultiReader(strings.NewReader(body))).message(t, 454)
	if !strings.Contains(msg, "raise memory-limit or send smaller parts") {
		t.Errorf("of unknown length: %q", msg)
	}
	// A body that hangs half way keeps what it has reserved.
	body = "{" + strings.Repeat(" ", 59_998) + "}"
	r, pipe := io.Pipe()
	done := make(chan *answer)
	go func() { done <- w.do("POST", "/v1/queues.list", r, "Content-Length", "") }()
	if _, err := io.WriteString(pipe, body[:40_000]); err != nil {
		t.Fatal(err)
	}
	for w.h.Budget().InFlight() < 40_000 {
		w.do("GET", "/metrics", nil)
	}
	held := w.h.Budget().InFlight()
	if msg := w.post("/v1/queues.list", body).message(t, 454); !strings.HasPrefix(msg, "the agent is busy: ") ||
		!strings.HasSuffix(msg, " bytes of requests are in flight, limit 100000; try again") {
		t.Errorf("with %d bytes held: %q", held, msg)
	}
	if _, err := io.WriteString(pipe, body[40_000:]); err != nil {
		t.Fatal(err)
	}
	_ = pipe.Close()
	if a := <-done; a.code != 200 {
		t.Errorf("the slow one: %d %s", a.code, a.body)
	}
	w.waitFor("the bytes are given back", w.isIdle)
	if a := w.post("/v1/queues.list", body); a.code != 200 {
		t.Errorf("after it: %d %s", a.code, a.body)
	}
}

func TestBodiesThatDoNotParse(t *testing.T) {
	w := newWorld(t)
	for name, tc := range map[string]struct{ body, contains string }{
		"empty":         {"", "syntax error"},
		"no object":     {"[]", "unexpected token"},
		"cut off":       {`{"limit":1`, "unexpected EOF"},
		"unknown":       {`{"bogus":1}`, `unknown field "bogus"`},
		"twice":         {`{"limit":1,"limit":1}`, "duplicate field"},
		"type":          {`{"limit":{}}`, "limit"},
		"range":         {`{"limit":3000000000}`, "limit"},
		"not UTF-8":     {"{\"pivot\":\"\xff\"}", "UTF-8"},
		"two":           {`{}{}`, "unexpected token"},
		"deep":          {`{"a":` + strings.Repeat("[", 50_000), "unknown field"},
		"comment":       {`/* */{}`, "syntax error"},
		"byte order":    {"\ufeff{}", "syntax error"},
		"number as key": {`{1:2}`, "syntax error"},
	} {
		msg := w.post("/v1/queues.list", tc.body).message(t, 455)
		if !strings.Contains(msg, tc.contains) || strings.Contains(msg, "\u00a0") {
			t.Errorf("%s: the message is %q, want it to contain %q", name, msg, tc.contains)
		}
	}
	const protobuf = "application/protobuf"
	w.post("/v1/queues.info", "\x0a\x05abc", "Content-Type", protobuf).message(t, 455)
	w.post("/v1/queue.produce", "\x0a\x05abc", "Content-Type", protobuf).message(t, 455)
	for _, path := range []string{"/v1/queues.info", "/v1/queue.produce", "/v1/queue.complete"} {
		if msg := w.post(path, "\x0a\x01\xff", "Content-Type", protobuf).message(t, 455); !strings.Contains(msg, "UTF-8") {
			t.Errorf("%s: a name that is not UTF-8: %q", path, msg)
		}
	}
	// Unknown fields of protobuf are ignored, an empty body is an empty message.
	for _, body := range []string{"", "\xc2\x3e\x03abc"} {
		if a := w.post("/v1/queues.list", body, "Content-Type", protobuf); a.code != 200 || string(a.body) != "{}" {
			t.Errorf("protobuf body %x: %d %s", body, a.code, a.body)
		}
	}
}

func TestJSONForm(t *testing.T) {
	w := newWorld(t)
	if a := w.post("/v1/queues.list", `{}`); string(a.body) != "{}" {
		t.Errorf("an empty list is %s, want {}", a.body)
	}
	// Both spellings, numbers as texts, null as absent, any white space.
	w.post("/v1/queues.create", " {\n\"queueName\" : \"q\", \"leaseTimeout\":\"1m\",\"expire_timeout\":\"1h30m\","+
		"\"requestedPartitions\":\"2\",\"dead_queue\":null }").done(t)
	w.post("/v1/queue.produce", `{"queueName":"q","requestTimeout":"1m","items":[
		{"bytes":"-_8=","enqueueAt":null,"source_id":"s"},{"bytes":"AAE"},{"utf8":"text","bytes":""},{"utf8":"lost","bytes":"eA=="},{}]}`).done(t)
	for _, bad := range []string{
		`{"items":[{"sourceId":"s"}]}`, `{"items":[{"enqueue_at":"tomorrow"}]}`, `{"items":[{"bytes":"!"}]}`,
		`{"items":[{"enqueue_at":"2026-13-01T00:00:00Z"}]}`,
	} {
		w.post("/v1/queue.produce", bad).message(t, 455)
	}
	a := w.post("/v1/queue.lease", `{"queue_name":"q","client_id":"c","batch_size":10,"request_timeout":"1m"}`)
	s := string(a.body)
	for _, want := range []string{`"bytes":"+/8="`, `"bytes":"AAE="`, `"bytes":"dGV4dA=="`, `"bytes":"eA=="`, `"attempts":1`, `Z"`} {
		if !strings.Contains(s, want) {
			t.Errorf("the lease %s has no %s", s, want)
		}
	}
	for _, not := range []string{`"partition"`, `"kind"`, "leaseDeadline", "null"} {
		if strings.Contains(s, not) {
			t.Errorf("the lease %s has %s", s, not)
		}
	}
	if a := w.post("/v1/queue.stats", `{"queue_name":"q"}`); !bytes.Contains(a.body, []byte(`"logicalQueues":`)) ||
		!bytes.Contains(a.body, []byte(`"total_leased":5`)) {
		t.Errorf("stats are %s", a.body)
	}
	w.post("/v1/queue.stats", `{"queue_name":"q","logical_queues":[]}`).message(t, 455)
	if a := w.post("/v1/queues.info", `{"queue_name":"q"}`); !bytes.Contains(a.body, []byte(`1h30m0s`)) ||
		!bytes.Contains(a.body, []byte(`_system`)) {
		t.Errorf("info is %s", a.body)
	}
}
