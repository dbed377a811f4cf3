package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/api"
	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/agent/listen"
	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue"
)

// operations says what each path is, as people are told in querator.toml and openapi.yaml.
var operations = map[string]access.Operation{
	"/v1/queue.produce": access.Produce,

	"/v1/queue.lease":    access.Consume,
	"/v1/queue.complete": access.Consume,
	"/v1/queue.retry":    access.Consume,
	"/v1/queue.extend":   access.Consume,

	"/v1/queue.stats":            access.Read,
	"/v1/queues.list":            access.Read,
	"/v1/queues.info":            access.Read,
	"/v1/storage/items.list":     access.Read,
	"/v1/storage/scheduled.list": access.Read,
	"/v1/agent.status":           access.Read,
	"/v1/agent.audit":            access.Read,
	"/v1/agent.backup":           access.Read,
	"/v1/uplink.status":          access.Read,
	"/v1/uplink.control":         access.Admin,
	"/metrics":                   access.Read,

	"/v1/queue.clear":          access.Admin,
	"/v1/queue.reload":         access.Admin,
	"/v1/queue.pause":          access.Admin,
	"/v1/queue.resume":         access.Admin,
	"/v1/queue.redrive":        access.Admin,
	"/v1/queues.create":        access.Admin,
	"/v1/queues.update":        access.Admin,
	"/v1/queues.delete":        access.Admin,
	"/v1/storage/items.import": access.Admin,
	"/v1/storage/items.delete": access.Admin,
	"/v1/agent.restore":        access.Admin,

	"/health":       access.Open,
	"/openapi.yaml": access.Open,
	// About oneself; about others it is a read of the agent as a whole.
	"/v1/agent.access": access.Open,
}

func TestEveryPathIsOneOperation(t *testing.T) {
	got := api.OperationsOfPaths()
	for path, op := range got {
		want, ok := operations[path]
		if !ok && op == access.Open {
			continue // A call of Querator that there is nothing behind here, or a stream (TestStreamAccess).
		}
		if op != want || op == access.None {
			t.Errorf("%s is %q, want %q; a new call needs an operation in routes.go, and a line here", path, op, want)
		}
	}
	for path := range operations {
		if _, ok := got[path]; !ok {
			t.Errorf("%s is not served", path)
		}
	}
}

// stranger is a user that is neither root nor who runs the tests.
const stranger = 5001

// guarded starts an API where everybody who calls is the stranger. rules are as in a file.
func guarded(t testing.TB, rules string) (*world, *access.Guard) {
	t.Helper()
	guard := access.New(access.Options{
		Identify: func(net.Conn) (listen.Cred, error) { return listen.Cred{UID: stranger, GID: stranger}, nil },
	})
	w := newWorld(t, func(o *api.Options, _ *queue.Limits) { o.Guard = guard })
	guard.Reload(rulesOf(t, rules))
	return w, guard
}

func rulesOf(t testing.TB, text string) *access.Rules {
	t.Helper()
	path := filepath.Join(t.TempDir(), "q.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := access.Compile(l, access.Accounts{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func allow(queues string, ops ...string) string {
	return fmt.Sprintf("[[access]]\nqueues = [%s]\nallow = [\"%s\"]\n", queues, strings.Join(ops, `", "`))
}

// asPeer gives the handler a peer, as the server does.
type asPeer struct {
	*httptest.ResponseRecorder
	peer any
}

func (a asPeer) Peer() any { return a.peer }

// callAs makes one call as the stranger, without a connection.
func (w *world) callAs(t testing.TB, method, path, contentType string, body []byte) *httptest.ResponseRecorder {
	t.Helper()
	peer, refusal := w.h.Greet(nil)
	if refusal != nil {
		t.Fatalf("refused: %s", refusal)
	}
	defer w.h.Leave(peer)
	// A lease may wait for 15 minutes.
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	req := httptest.NewRequestWithContext(ctx, method, "http://unix/", bytes.NewReader(body))
	req.URL.Path = path
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	rec := asPeer{httptest.NewRecorder(), peer}
	w.h.ServeHTTP(rec, req)
	return rec.ResponseRecorder
}

// naming returns the example of a call with another queue in it, in both formats; ok says that it names one.
func naming(t testing.TB, path string, example []byte, queue string) (text, binary []byte, ok bool) {
	t.Helper()
	m := requestOf(t, path)
	if err := proto.Unmarshal(example, m); err != nil {
		t.Fatal(err)
	}
	field := m.ProtoReflect().Descriptor().Fields().ByName("queueName")
	if field != nil {
		m.ProtoReflect().Set(field, protoreflect.ValueOfString(queue))
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	binary, err = proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return text, binary, field != nil
}

func requestOf(t testing.TB, path string) proto.Message {
	t.Helper()
	name := api.RequestNames()[path]
	mt, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return mt.New().Interface()
}

// Each call is let in by a rule that allows its operation, and refused without: on the agent as a whole, on
// another queue than the rule's, in both formats.
func TestCallsNeedTheirOperation(t *testing.T) {
	ex := examples(t)
	everything := []string{"produce", "consume", "read", "admin"}
	for _, name := range everything {
		w, guard := guarded(t, allow(`"mine*"`, name))
		for _, path := range slices.Sorted(maps.Keys(operations)) {
			if !strings.HasPrefix(path, "/v1/") {
				continue
			}
			check := func(queue string, want bool) {
				text, binary, named := naming(t, path, ex[path][1], queue)
				want = want && (named || path == "/v1/queues.list")
				for contentType, body := range map[string][]byte{"application/json": text, "application/protobuf": binary} {
					rec := w.callAs(t, http.MethodPost, path, contentType, body)
					if got := rec.Code != http.StatusForbidden; got != want {
						t.Errorf("%s on %q with %s, allowed %s on mine*: %d %s", path, queue, contentType, name, rec.Code, rec.Body)
					}
				}
			}
			if path == "/v1/queues.list" || path == "/v1/agent.restore" {
				continue // Never refused; see TestListShowsWhatOneMayRead. The other is about the agent as a whole.
			}
			has := operations[path].String() == name
			// A redrive, and a queue with a dead queue, touch a second queue, which is not ours.
			two := path == "/v1/queue.redrive" || path == "/v1/queues.create" || path == "/v1/queues.update"
			check("mine-1", has && !two)
			check("readings", false)
			check("Mine-1", false)
			check(" mine-1", false)
		}
		if rec := w.callAs(t, http.MethodGet, "/metrics", "", nil); rec.Code != http.StatusForbidden {
			t.Errorf("/metrics without a rule for the agent as a whole: %d", rec.Code)
		}
		guard.Reload(rulesOf(t, allow(`"*"`, name)))
		for path, op := range operations {
			method, body := http.MethodPost, ex[path][0]
			if !strings.HasPrefix(path, "/v1/") {
				method = http.MethodGet
			}
			want := op.String() == name || op == access.Open || path == "/v1/queues.list"
			if path == "/v1/queue.redrive" {
				want = false // It takes produce on the other queue, too.
			}
			if path == "/v1/agent.access" {
				want = name == "read" // The example asks about somebody else.
			}
			if path == "/v1/queues.create" || path == "/v1/queues.update" {
				want = want && !bytes.Contains(body, []byte("dead_queue"))
			}
			if rec := w.callAs(t, method, path, "", body); (rec.Code != http.StatusForbidden) != want {
				t.Errorf("%s, allowed %s on *: %d %s", path, name, rec.Code, rec.Body)
			}
		}
		guard.Reload(rulesOf(t, allow(`"*"`, everything...)))
		for path := range operations {
			if rec := w.callAs(t, http.MethodPost, path, "", ex[path][0]); rec.Code == http.StatusForbidden {
				t.Errorf("%s, allowed everything: %s", path, rec.Body)
			}
		}
	}
}

func TestRefusalIsOfTheContract(t *testing.T) {
	w, guard := guarded(t, allow(`"mine"`, "produce"))
	for _, test := range []struct{ path, body, want string }{
		{"/v1/queue.produce", `{"queue_name":"other"}`, "user 5001 may not produce to queue 'other'; the access rules of this agent do not allow it"},
		{"/v1/queue.lease", `{"queue_name":"mine"}`, "user 5001 may not consume from queue 'mine'; the access rules of this agent do not allow it"},
		{"/v1/queues.info", `{"queue_name":"nowhere"}`, "user 5001 may not read queue 'nowhere'; the access rules of this agent do not allow it"},
		{"/v1/queues.delete", `{}`, "user 5001 may not administer the agent as a whole; the access rules of this agent do not allow it"},
	} {
		w.post(test.path, test.body).refused(t, http.StatusForbidden, test.want)
	}
	for op, want := range map[access.Operation]uint64{access.Produce: 1, access.Consume: 1, access.Read: 1, access.Admin: 1} {
		if got := guard.Refusals(op); got != want {
			t.Errorf("%d refusals of %s are counted, want %d", got, op, want)
		}
	}
	guard.Reload(nil)
	text := string(w.do(http.MethodGet, "/metrics", nil).body)
	for _, want := range []string{`querator_refused_total{operation="produce"} 1`, `http_requests_total{path="/v1/queue.lease",code="403"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in the metrics", want)
		}
	}
}

// A connection goes from one queue to the next, also in one packet: each request is judged by itself.
func TestRulesHoldForEachRequestOfAConnection(t *testing.T) {
	w, guard := guarded(t, allow(`"mine"`, "read"))
	guard.Reload(nil)
	w.create("mine")
	w.create("other")
	guard.Reload(rulesOf(t, allow(`"mine"`, "read")))
	c, err := net.Dial("unix", w.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	request := func(queue string) string {
		body := `{"queue_name":"` + queue + `"}`
		return fmt.Sprintf("POST /v1/queues.info HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	if _, err := io.WriteString(c, request("mine")+request("other")+request("mine")+request("other")); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	status := func() int {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	for i, want := range []int{200, 403, 200, 403} {
		if got := status(); got != want {
			t.Errorf("request %d: %d, want %d", i+1, got, want)
		}
	}
	// Rules that change while a connection is open count from its next request on.
	guard.Reload(rulesOf(t, allow(`"other"`, "read")))
	if _, err := io.WriteString(c, request("mine")); err != nil {
		t.Fatal(err)
	}
	if got := status(); got != http.StatusForbidden {
		t.Errorf("after a reload: %d", got)
	}
}

func TestListShowsWhatOneMayRead(t *testing.T) {
	w, guard := guarded(t, "")
	for i := range 30 {
		w.create(fmt.Sprintf("q%02d", i))
	}
	deny := "[[access]]\nqueues = [\"q*5\"]\ndeny = [\"read\"]\n"
	guard.Reload(rulesOf(t, deny+allow(`"q1*", "q2*"`, "read")))
	list := func(body string) (names []string) {
		var reply pb.QueuesListResponse
		a := w.callAs(t, http.MethodPost, "/v1/queues.list", "", []byte(body))
		if err := protojson.Unmarshal(a.Body.Bytes(), &reply); err != nil {
			t.Fatalf("%v in %s", err, a.Body)
		}
		for _, q := range reply.Items {
			names = append(names, q.QueueName)
		}
		return names
	}
	var want []string
	for i := 10; i < 30; i++ {
		if i%10 != 5 {
			want = append(want, fmt.Sprintf("q%02d", i))
		}
	}
	if got := list(`{}`); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	// A page is full as long as there are more.
	if got := list(`{"limit":7,"pivot":"q03"}`); !slices.Equal(got, want[:7]) {
		t.Errorf("got %q, want %q", got, want[:7])
	}
	guard.Reload(rulesOf(t, allow(`"none"`, "read")))
	if got := list(`{}`); got != nil {
		t.Errorf("got %q, want nothing", got)
	}
	// The agent as a whole may be read, one queue may not.
	guard.Reload(rulesOf(t, deny+allow(`"*"`, "read")))
	for _, path := range []string{"/v1/agent.status", "/v1/agent.audit"} {
		text := w.callAs(t, http.MethodPost, path, "", []byte(`{}`)).Body.String()
		if !strings.Contains(text, `"q14"`) || strings.Contains(text, `"q15"`) {
			t.Errorf("%s: q14 is not shown, or q15 is: %s", path, text)
		}
	}
	if rec := w.callAs(t, http.MethodPost, "/v1/agent.backup", "", []byte(`{}`)); rec.Code != http.StatusForbidden {
		t.Errorf("a back-up of all queues, one of which may not be read: %d", rec.Code)
	}
}

// Calls that concern two queues take rights on both.
func TestTwoQueues(t *testing.T) {
	w, guard := guarded(t, "")
	w.create("mine")
	w.create("feed")
	w.create("other")
	w.create("fed", `"dead_queue":"other"`)
	const options = `"lease_timeout":"1m","expire_timeout":"24h","requested_partitions":1`
	guard.Reload(rulesOf(t, allow(`"mine", "fed", "new"`, "admin")+allow(`"feed"`, "produce")))
	for _, test := range []struct {
		path, body string
		want       int
	}{
		{"/v1/queue.redrive", `{"queue_name":"mine","target_queue":"feed"}`, 200},
		{"/v1/queue.redrive", `{"queue_name":"mine","target_queue":"other"}`, 403},
		{"/v1/queue.redrive", `{"queue_name":"mine"}`, 403},
		{"/v1/queue.redrive", `{"queue_name":"feed","target_queue":"feed"}`, 403},
		{"/v1/queues.create", `{"queue_name":"new","dead_queue":"other",` + options + `}`, 403},
		{"/v1/queues.create", `{"queue_name":"new","dead_queue":"feed",` + options + `}`, 200},
		{"/v1/queues.update", `{"queue_name":"mine","dead_queue":"other",` + options + `}`, 403},
		{"/v1/queues.update", `{"queue_name":"mine","dead_queue":"feed",` + options + `}`, 200},
		// What it is already, somebody else has decided.
		{"/v1/queues.update", `{"queue_name":"fed","dead_queue":"other",` + options + `}`, 200},
	} {
		if rec := w.callAs(t, http.MethodPost, test.path, "", []byte(test.body)); rec.Code != test.want {
			t.Errorf("%s %s: %d %s, want %d", test.path, test.body, rec.Code, rec.Body, test.want)
		}
	}
}

// FuzzAccess tries to learn something of a queue, or to change it, that the caller has no right on.
func FuzzAccess(f *testing.F) {
	const secret = "the-payload-of-others"
	w, guard := guarded(f, "")
	w.create("mine")
	w.create("other")
	w.create("others-dead")
	w.produce("other", secret, secret)
	held := w.lease("other", 1)
	before := w.ledger(f, "other")
	guard.Reload(rulesOf(f, allow(`"mine", "mine-*"`, "produce", "consume", "read", "admin")))
	paths := append(slices.Sorted(maps.Keys(operations)), "/v1/users.list", "/V1/queues.list", "/v1/queue.stats/", "//v1/queue.stats")
	ex := examples(f)
	for path := range operations {
		i := byte(slices.Index(paths, path))
		if path == "/v1/agent.restore" {
			f.Add(i, true, "application/octet-stream", []byte("querator backup 1\n"))
			continue
		}
		if !strings.HasPrefix(path, "/v1/") {
			f.Add(i, false, "", []byte(nil))
			continue
		}
		for _, name := range []string{"other", "mine", "mine-/../other", "oth%65r", "OTHER", "other\x00", "mine\nother", "*", ""} {
			text, binary, _ := naming(f, path, ex[path][1], name)
			f.Add(i, true, "application/json", text)
			f.Add(i, true, "application/protobuf", binary)
			f.Add(i, true, "application/protobuf", append(bytes.Clone(binary), "\x0a\x05other"...))
		}
		f.Add(i, true, "", []byte(`{"queue_name":"mine","queueName":"other"}`))
		f.Add(i, true, "", []byte(`{"queue_name":"\u006fther"}`))
		f.Add(i, true, "", []byte(`{"queue_name":"other","partition":0,"ids":["`+held.Items[0].Id+`"]}`))
		f.Add(i, true, "", []byte(`{"queue_name":"mine","partition":0,"ids":["`+held.Items[0].Id+`"],"request_timeout":"1s"}`))
		f.Add(i, true, "", []byte(`{"queue_name":"mine","target_queue":"other","dead_queue":"other"}`))
		f.Add(i, true, "", []byte(`{"pivot":"o","limit":1000}`))
	}
	f.Fuzz(func(t *testing.T, call byte, post bool, contentType string, body []byte) {
		path, method := paths[int(call)%len(paths)], http.MethodGet
		if post {
			method = http.MethodPost
		}
		text := w.callAs(t, method, path, contentType, body).Body.String()
		for _, leak := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), held.Items[0].Id} {
			if strings.Contains(text, leak) && !bytes.Contains(body, []byte(leak)) {
				t.Fatalf("%s %s %q: the reply has %q: %s", method, path, body, leak, text)
			}
		}
		if path == "/v1/queues.list" && (strings.Contains(text, `"other`) || strings.Contains(text, "\x05other")) {
			t.Fatalf("%s %q: the reply shows the queue: %s", path, body, text)
		}
		if after := w.ledger(t, "other"); after != before {
			t.Fatalf("%s %s %q: the queue has changed from %s to %s", method, path, body, before, after)
		}
	})
}

// ledger returns what was done with a queue, and what it is, without asking the API.
func (w *world) ledger(t testing.TB, name string) string {
	t.Helper()
	q, err := w.svc.Queue(name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := q.Stats(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	p := &s.Partitions[0]
	return fmt.Sprintf("%+v %d ready %d leased %+v paused %t", p.Ledger, p.Ready, p.Leased, q.Info(), q.Paused())
}
