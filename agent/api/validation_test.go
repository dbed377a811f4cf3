package api_test

import (
	"fmt"
	"strings"
	"testing"
)

// unknownID is well-formed and names nothing.
const unknownID = "2NvxCDoVtZAPgSVSQYPhmAZ8FJq"

// refusal is a request and the exact text that refuses it.
type refusal struct{ body, want string }

func (w *world) refuse(path string, cases []refusal) {
	w.t.Helper()
	for _, tc := range cases {
		if got := w.post(path, tc.body).message(w.t, 400); got != tc.want {
			w.t.Errorf("%s %.200s\n got %q\nwant %q", path, tc.body, got, tc.want)
		}
	}
}

// atSign replaces @ in the cases of one call by what makes them valid so far.
func atSign(common string, cases []refusal) []refusal {
	for i := range cases {
		cases[i].body = strings.Replace(cases[i].body, "@", common, 1)
	}
	return cases
}

func TestQueueLookUpComesFirst(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{
		"/v1/queue.produce", "/v1/queue.lease", "/v1/queue.complete", "/v1/queue.retry", "/v1/queue.extend",
		"/v1/queue.stats", "/v1/queue.clear", "/v1/queue.reload", "/v1/queue.pause", "/v1/queue.resume",
		"/v1/queue.redrive", "/v1/queues.info", "/v1/storage/items.list", "/v1/storage/items.import",
		"/v1/storage/items.delete", "/v1/storage/scheduled.list",
	} {
		w.refuse(path, []refusal{
			{`{}`, "queue name is invalid; queue name cannot be empty"},
			{`{"queue_name":" \t\n"}`, "queue name is invalid; queue name cannot be empty"},
			{`{"queue_name":"invalid~queue"}`, "queue name is invalid; 'invalid~queue' cannot contain '~' character"},
			{`{"queue_name":"nope"}`, "queue does not exist; no such queue named 'nope'"},
			{`{"queue_name":"not here"}`, "queue does not exist; no such queue named 'not here'"},
		})
	}
	w.refuse("/v1/queue.produce", []refusal{
		{`{"queue_name":"nope","request_timeout":"foo"}`, "queue does not exist; no such queue named 'nope'"},
	})
}

func TestQueueNames(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("n", 513)
	for _, path := range []string{"/v1/queues.create", "/v1/queues.update", "/v1/queues.delete"} {
		w.refuse(path, []refusal{
			{`{"queue_name":"` + long + `"}`, "queue name is invalid; cannot be greater than '512' characters"},
			{`{"queue_name":"` + strings.Repeat("é", 257) + `"}`, "queue name is invalid; cannot be greater than '512' characters"},
			{`{}`, "queue name is invalid; queue name cannot be empty"},
			{`{"queue_name":"\u00a0 "}`, "queue name is invalid; queue name cannot be empty"},
			{`{"queue_name":"invalid queue~name"}`, "queue name is invalid; 'invalid queue~name' cannot contain whitespace"},
			{`{"queue_name":"a\u2003b"}`, "queue name is invalid; 'a\u2003b' cannot contain whitespace"},
			{`{"queue_name":"invalid~queue"}`, "queue name is invalid; 'invalid~queue' cannot contain '~' character"},
		})
	}
	for _, name := range []string{"a/b", "../x", "x:y", "café", long[:512], ".", "Q", "q"} {
		w.create(name)
		if a := w.post("/v1/queues.info", `{"queue_name":"`+name+`"}`); a.code != 200 {
			t.Errorf("queue %.20q: %d %s", name, a.code, a.body)
		}
	}
}

func TestQueueOptions(t *testing.T) {
	w := newWorld(t)
	w.create("dead")
	w.create("taken")
	w.create("has-dead", `"dead_queue":"dead"`)
	long := func(n int) string { return strings.Repeat("x", n) }
	both := func(name string) []refusal {
		return atSign(`{"queue_name":"`+name+`"`, []refusal{
			{`@,"lease_timeout":"1h1h1h1h1h1h1h1h","expire_timeout":"1h1h1h1h1h1h1h1h"}`, "lease timeout is invalid; cannot be greater than '15' characters"},
			{`@,"expire_timeout":"1h1h1h1h1h1h1h1h","lease_timeout":"foo"}`, "expire timeout is invalid; cannot be greater than '15' characters"},
			{`@,"expire_timeout":"foo","lease_timeout":"bar"}`, `expire timeout is invalid; time: invalid duration "foo" - expected format: 60m, 2h or 24h`},
			{`@,"lease_timeout":"foo","namespace":"a b"}`, `lease timeout is invalid; time: invalid duration "foo" - expected format: 8m, 15m or 1h`},
			{`@,"lease_timeout":"1"}`, `lease timeout is invalid; time: missing unit in duration "1" - expected format: 8m, 15m or 1h`},
			{`@,"lease_timeout":"1d"}`, `lease timeout is invalid; time: unknown unit "d" in duration "1d" - expected format: 8m, 15m or 1h`},
			{`@,"lease_timeout":" 1m"}`, `lease timeout is invalid; time: invalid duration " 1m" - expected format: 8m, 15m or 1h`},
			{`@,"namespace":"` + long(257) + `"}`, "namespace name is invalid; cannot be greater than '256' characters"},
			{`@,"namespace":"  "}`, "namespace name is invalid; cannot be empty"},
			{`@,"namespace":"a b~:"}`, "namespace name is invalid; 'a b~:' cannot contain whitespace"},
			{`@,"namespace":"a~:"}`, "namespace name is invalid; 'a~:' cannot contain '~' character"},
			{`@,"namespace":"a:b"}`, "namespace name is invalid; 'a:b' cannot contain ':' character"},
			{`@,"dead_queue":"` + long(501) + `"}`, "dead queue is invalid; cannot be greater than '500' characters"},
			{`@,"dead_queue":"a b~"}`, "dead queue is invalid; 'a b~' cannot contain whitespace"},
			{`@,"dead_queue":"a~b"}`, "dead queue is invalid; 'a~b' cannot contain '~' character"},
			{`@,"dead_queue":"` + name + `"}`, "dead_queue cannot reference itself"},
			{`@,"dead_queue":"nope","reference":"` + long(2001) + `"}`, "dead_queue does not exist; 'nope' was not found, create it first"},
			{`@,"dead_queue":"has-dead"}`, "dead_queue is invalid; 'has-dead' already has its own dead_queue configured"},
			{`@,"reference":"` + long(2001) + `","max_attempts":-1}`, "reference field is invalid; cannot be greater than '2000' characters"},
			{`@,"max_attempts":65537}`, "max attempts is invalid; cannot be greater than 65536"},
			{`@,"max_attempts":-1}`, "max attempts is invalid; cannot be negative number"},
			{`@,"lease_timeout":"1h","expire_timeout":"30m","requested_partitions":1}`,
				"lease timeout is too long; 1h0m0s cannot be greater than the expire timeout 30m0s"},
		})
	}
	w.refuse("/v1/queues.create", both("new"))
	w.refuse("/v1/queues.update", both("taken"))
	w.refuse("/v1/queues.create", atSign(`{"queue_name":"new"`, []refusal{
		{`@}`, "partitions is invalid; cannot be less than 1"},
		{`@,"requested_partitions":-1}`, "partitions is invalid; cannot be less than 1"},
		{`@,"requested_partitions":1}`, "lease timeout is invalid; cannot be empty"},
		{`@,"requested_partitions":1,"lease_timeout":"999ns"}`, "lease timeout is invalid; cannot be empty"},
		{`@,"requested_partitions":1,"lease_timeout":"1m"}`, "expire timeout is invalid; cannot be empty"},
		{`@,"requested_partitions":1,"lease_timeout":"-1m","expire_timeout":"1h"}`, "lease timeout is invalid; cannot be negative"},
		{`@,"requested_partitions":100000,"lease_timeout":"1m","expire_timeout":"1h"}`, "partitions is invalid; cannot be greater than 256"},
	}))
	w.refuse("/v1/queues.create", []refusal{
		{`{"queue_name":"taken","dead_queue":"nope"}`, "invalid queue; 'taken' already exists"},
	})
	w.refuse("/v1/queues.update", []refusal{
		{`{"queue_name":"nope","dead_queue":"nope"}`, "queue does not exist; no such queue named 'nope'"},
	})
	w.refuse("/v1/queues.delete", []refusal{
		{`{"queue_name":"nope","force":true}`, "queue does not exist; no such queue named 'nope'"},
	})
	w.post("/v1/queues.create", `{"queue_name":"new","namespace":"other"}`).refused(t, 453,
		"namespace does not exist; 'other' was not found")
	w.post("/v1/queues.create", `{"queue_name":"ns","namespace":"_system","lease_timeout":"1m","expire_timeout":"1m","requested_partitions":1}`).done(t)
	w.post("/v1/queues.update", `{"queue_name":"ns","namespace":"other","max_attempts":65536}`).done(t)
}

func TestQueuesListBounds(t *testing.T) {
	w := newWorld(t)
	w.refuse("/v1/queues.list", []refusal{
		{`{"limit":-1,"pivot":"~"}`, "limit is invalid; limit cannot be negative"},
		{`{"limit":65537}`, "limit is invalid; cannot be greater than 65536"},
		{`{"pivot":"a~b"}`, "pivot is invalid; 'a~b' cannot contain '~' character"},
	})
	if a := w.post("/v1/queues.list", `{"limit":65536,"pivot":"not a name"}`); a.code != 200 {
		t.Errorf("the greatest limit: %d %s", a.code, a.body)
	}
}

// badTimeout are the request timeouts that all three calls refuse.
func badTimeout(rest string) []refusal {
	return []refusal{
		{`@,"request_timeout":"foo"` + rest, `request timeout is invalid; time: invalid duration "foo" - expected format: 900ms, 5m or 15m`},
		{`@` + rest, "request timeout is required; '5m' is recommended, 15m is the maximum"},
		{`@,"request_timeout":"0s"` + rest, "request timeout is required; '5m' is recommended, 15m is the maximum"},
		{`@,"request_timeout":"16m"` + rest, "request timeout is invalid; maximum timeout is '15m' but '16m0s' was requested"},
	}
}

func tooShort(rest string) []refusal {
	return []refusal{
		{`@,"request_timeout":"10ms"` + rest, "request timeout is invalid; minimum timeout is '10ms' but '10ms' was requested"},
		{`@,"request_timeout":"1ms"` + rest, "request timeout is invalid; minimum timeout is '10ms' but '1ms' was requested"},
		{`@,"request_timeout":"-1s"` + rest, "request timeout is invalid; minimum timeout is '10ms' but '-1s' was requested"},
	}
}

func TestProduceRules(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	const common = `{"queue_name":"q"`
	w.refuse("/v1/queue.produce", atSign(common, badTimeout(`}`)))
	w.refuse("/v1/queue.produce", atSign(common, tooShort(`}`)))
	w.refuse("/v1/queue.produce", atSign(common, []refusal{
		{`@,"request_timeout":"15m"}`, "request timeout is invalid; maximum timeout is '15m' but '15m0s' was requested"},
		{`@,"request_timeout":"1m"}`, "items cannot be empty; at least one item is required"},
		{`@,"request_timeout":"1m","items":[{}` + strings.Repeat(",{}", 1000) + `]}`, "items is invalid; max_produce_batch_size is 1000 but received 1001"},
	}))
	w.post("/v1/queue.produce", `{"queue_name":"q","request_timeout":"11ms","items":[{}]}`).done(t)
	w.post("/v1/queue.produce", `{"queue_name":"q","request_timeout":"14m59s","items":[{}`+strings.Repeat(",{}", 999)+`]}`).done(t)
	if got := w.stats("q").Total; got != 1001 {
		t.Errorf("%d items, want 1001: refused requests must add none", got)
	}
}

func TestLeaseRules(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	w.refuse("/v1/queue.lease", []refusal{
		{`{"queue_name":"q","request_timeout":"foo"}`, `request timeout is invalid; time: invalid duration "foo" - expected format: 900ms, 5m or 15m`},
		{`{"queue_name":"q"}`, "invalid client id; cannot be empty"},
		{`{"queue_name":"q","client_id":" "}`, "invalid client id; cannot be empty"},
		{`{"queue_name":"q","client_id":"c"}`, "invalid batch size; must be greater than zero"},
		{`{"queue_name":"q","client_id":"c","batch_size":-1}`, "invalid batch size; must be greater than zero"},
		{`{"queue_name":"q","client_id":"c","batch_size":1001}`, "invalid batch size; max_lease_batch_size is 1000, but 1001 was requested"},
		{`{"queue_name":"q","client_id":"c","lease_timeout":"foo"}`, `lease timeout is invalid; time: invalid duration "foo" - expected format: 8m, 15m or 1h`},
		{`{"queue_name":"q","client_id":"c","batch_size":1,"request_timeout":"1m","lease_timeout":"-1s"}`, "lease timeout is invalid; cannot be negative"},
	})
	const common = `{"queue_name":"q","client_id":"c"`
	w.refuse("/v1/queue.lease", atSign(common, badTimeout(`,"batch_size":1}`)))
	w.refuse("/v1/queue.lease", atSign(common, tooShort(`,"batch_size":1}`)))
	w.post("/v1/queue.lease", `{"queue_name":"q","client_id":"c","batch_size":1000,"request_timeout":"11ms"}`).refused(t, 454,
		"request timeout; no items are in the queue, try again")
	w.post("/v1/queue.produce", `{"queue_name":"q","request_timeout":"1m","items":[{}]}`).done(t)
	if a := w.post("/v1/queue.lease", `{"queue_name":"q","client_id":"c","batch_size":1,"request_timeout":"15m"}`); a.code != 200 {
		t.Errorf("15m: %d %s", a.code, a.body)
	}
}

func TestCompleteAndExtendRules(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	w.post("/v1/queue.produce", `{"queue_name":"q","request_timeout":"1m","items":[{}]}`).done(t)
	ready := w.items("q")[0].Id
	many := `"x"` + strings.Repeat(`,"x"`, 1000)
	const common = `{"queue_name":"q","request_timeout":"1m"`
	for path, verb := range map[string]string{"/v1/queue.complete": "completed", "/v1/queue.extend": "extended"} {
		w.refuse(path, []refusal{
			{`{"queue_name":"q","partition":65234,"request_timeout":"foo"}`, "partition is invalid; '65234' is not a valid partition"},
			{`{"queue_name":"q","partition":-1}`, "partition is invalid; '-1' is not a valid partition"},
			{`{"queue_name":"q","request_timeout":"foo"}`, `request timeout is invalid; time: invalid duration "foo" - expected format: 900ms, 5m or 15m`},
		})
		w.refuse(path, atSign(common, []refusal{
			{`@}`, "ids is invalid; list of ids cannot be empty"},
			{`@,"ids":[` + many + `]}`, "ids is invalid; max_complete_batch_size is 1000 but received 1001"},
			{`@,"ids":["invalid-id"]}`, "invalid storage id; 'invalid-id': Valid encoded KSUIDs are 27 characters"},
			{`@,"ids":["aWgEPTl1tmebfsQzFP4bxwgy80W"]}`, "invalid storage id; 'aWgEPTl1tmebfsQzFP4bxwgy80W': Valid encoded KSUIDs are bounded" +
				" by 000000000000000000000000000 and aWgEPTl1tmebfsQzFP4bxwgy80V"},
			{`@,"ids":["` + unknownID + `"]}`, "invalid storage id; '" + unknownID + "' does not exist"},
			{`@,"ids":["` + ready + `"]}`, fmt.Sprintf("item(s) cannot be %s; '%s' is not marked as leased", verb, ready)},
		}))
	}
	w.refuse("/v1/queue.complete", atSign(`{"queue_name":"q"`, badTimeout(`,"ids":["`+unknownID+`"]}`)))
	w.refuse("/v1/queue.complete", []refusal{
		{`{"queue_name":"q","request_timeout":"16m"}`, "ids is invalid; list of ids cannot be empty"},
		{`{"queue_name":"q"}`, "ids is invalid; list of ids cannot be empty"},
		// There is no least timeout: this one gets as far as the id.
		{`{"queue_name":"q","request_timeout":"1ms","ids":["x"]}`, "invalid storage id; 'x': Valid encoded KSUIDs are 27 characters"},
		{`{"queue_name":"q","request_timeout":"15m","ids":["x"]}`, "invalid storage id; 'x': Valid encoded KSUIDs are 27 characters"},
	})
	w.refuse("/v1/queue.extend", []refusal{
		{`{"queue_name":"q","request_timeout":"16m"}`, "request timeout is invalid; maximum timeout is '15m' but '16m0s' was requested"},
		{`{"queue_name":"q","request_timeout":"-1s"}`, "request timeout is invalid; cannot be negative"},
		{`{"queue_name":"q","lease_timeout":"foo"}`, `lease timeout is invalid; time: invalid duration "foo" - expected format: 8m, 15m or 1h`},
		{`{"queue_name":"q","lease_timeout":"-1s","ids":["x"]}`, "lease timeout is invalid; cannot be negative"},
	})
}

func TestRetryRules(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	w.post("/v1/queue.produce", `{"queue_name":"q","request_timeout":"1m","items":[{}]}`).done(t)
	ready := w.items("q")[0].Id
	w.refuse("/v1/queue.retry", []refusal{
		{`{"queue_name":"q","partition":65234}`, "partition is invalid; '65234' is not a valid partition"},
		{`{"queue_name":"q"}`, "items is invalid; list of items cannot be empty"},
		{`{"queue_name":"q","items":[{}` + strings.Repeat(",{}", 1000) + `]}`, "items is invalid; max_complete_batch_size is 1000 but received 1001"},
		{`{"queue_name":"q","items":[{"id":"invalid-id"}]}`, "invalid storage id; 'invalid-id': Valid encoded KSUIDs are 27 characters"},
		{`{"queue_name":"q","items":[{"id":"` + unknownID + `"}]}`, "invalid storage id; '" + unknownID + "' does not exist"},
		{`{"queue_name":"q","items":[{"id":"` + ready + `","dead":true}]}`, "item(s) cannot be retried; '" + ready + "' is not marked as leased"},
	})
}

func TestClearAndRedriveRules(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	w.create("q2")
	const neither = "invalid clear request; one of 'queue', 'scheduled' must be true"
	w.refuse("/v1/queue.clear", []refusal{{`{"queue_name":"q"}`, neither}, {`{"queue_name":"q","destructive":true}`, neither}})
	w.post("/v1/queue.clear", `{"queue_name":"q","retry":true}`).message(t, 455)
	w.refuse("/v1/queue.redrive", []refusal{
		{`{"queue_name":"q","target_queue":"q"}`, "target queue is invalid; 'q' is the queue itself"},
		{`{"queue_name":"q","target_queue":"q2","limit":-1}`, "limit is invalid; limit cannot be negative"},
		{`{"queue_name":"q","target_queue":"nope"}`, "queue does not exist; no such queue named 'nope'"},
		{`{"queue_name":"q","target_queue":"q2","request_timeout":"foo"}`, `request timeout is invalid; time: invalid duration "foo" - expected format: 900ms, 5m or 15m`},
	})
}

func TestStorageRules(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	for _, path := range []string{"items.list", "scheduled.list", "items.import", "items.delete"} {
		w.refuse("/v1/storage/"+path, []refusal{
			{`{"queue_name":"q","partition":500}`, "partition is invalid; '500' is not a valid partition"},
		})
	}
	for _, path := range []string{"items.list", "scheduled.list"} {
		w.refuse("/v1/storage/"+path, []refusal{
			{`{"queue_name":"q","pivot":"foo"}`, "invalid storage id; 'foo': Valid encoded KSUIDs are 27 characters"},
			{`{"queue_name":"q","limit":-1}`, "limit is invalid; limit cannot be negative"},
		})
	}
	w.refuse("/v1/storage/items.import", []refusal{{`{"queue_name":"q"}`, "items is invalid; cannot be empty"}})
	w.post("/v1/queue.produce", `{"queue_name":"q","request_timeout":"1m","items":[{}]}`).done(t)
	w.refuse("/v1/storage/items.delete", []refusal{
		{`{"queue_name":"q"}`, "ids is invalid; cannot be empty"},
		{`{"queue_name":"q","ids":["` + w.items("q")[0].Id + `","invalid-id"]}`, "invalid storage id; 'invalid-id': Valid encoded KSUIDs are 27 characters"},
	})
	if got := len(w.items("q")); got != 1 {
		t.Errorf("%d items after a delete that was refused, want 1", got)
	}
	w.post("/v1/storage/items.delete", `{"queue_name":"q","ids":["`+unknownID+`"]}`).done(t)
}
