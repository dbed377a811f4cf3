package api_test

import (
	"testing"

	"github.com/kapetan-io/querator-edge/queue"
)

func TestOverload(t *testing.T) {
	w := newWorld(t, func(_ *apiOptions, l *queue.Limits) { l.MaxWaiting = 1 })
	w.create("q")
	first := make(chan *answer)
	go func() {
		first <- w.post("/v1/queue.lease", `{"queue_name":"q","client_id":"a","batch_size":1,"request_timeout":"1m"}`)
	}()
	w.waitFor("the lease waits", func() bool { return w.logical("q").LeaseWaiting == 1 })
	w.post("/v1/queue.lease", `{"queue_name":"q","client_id":"b","batch_size":1,"request_timeout":"1m"}`).refused(t, 454,
		"queue is overloaded; try again later")
	w.produce("q", "x")
	<-first
}

func TestShutdown(t *testing.T) {
	w := newWorld(t)
	w.create("q")
	waiting := make(chan *answer)
	go func() {
		waiting <- w.post("/v1/queue.lease", `{"queue_name":"q","client_id":"a","batch_size":1,"request_timeout":"1m"}`)
	}()
	w.waitFor("the lease waits", func() bool { return w.logical("q").LeaseWaiting == 1 })
	if err := w.svc.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	(<-waiting).refused(t, 453, "queue is shutting down")
	for path, body := range map[string]string{
		"/v1/queue.produce": `{"queue_name":"q","request_timeout":"1m","items":[{}]}`,
		"/v1/queue.stats":   `{"queue_name":"q"}`,
		"/v1/queues.create": `{"queue_name":"new","lease_timeout":"1m","expire_timeout":"1m","requested_partitions":1}`,
		"/v1/queues.list":   `{}`,
		"/v1/queues.info":   `{"queue_name":"q"}`,
		"/v1/queues.delete": `{"queue_name":"q"}`,
		"/v1/agent.status":  `{}`,
	} {
		if msg := w.post(path, body).message(t, 453); msg != "service is shutting down" {
			t.Errorf("%s: %q", path, msg)
		}
	}
}
