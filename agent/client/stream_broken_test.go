package client_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/frame"
	"github.com/kapetan-io/querator-edge/agent/pb"
)

// An agent may say Bye at any time: nobody notices.
func TestByeAgainAndAgain(t *testing.T) {
	f := newFake()
	f.onStream = func(s *fakeStream, call int) {
		if call == 15 {
			s.bye()
		}
	}
	c := &client.Client{Socket: serveUnix(t, f)}
	defer c.Close()
	const callers, rounds = 8, 40
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for round := range rounds {
				if err := workOnce(t.Context(), c, fmt.Sprintf("%d-%d", caller, round)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if completed, _ := f.payloads(); len(completed) != callers*rounds {
		t.Errorf("completed %d items, want %d", len(completed), callers*rounds)
	}
	if f.askedFor() < 3 {
		t.Errorf("%d streams, want many", f.askedFor())
	}
}

// A connection may break at any time. Then no call ends as if it had been done without being done, none is done
// twice, and the error says what is not known.
func TestBreaksAgainAndAgain(t *testing.T) {
	f := newFake()
	f.onStream = func(s *fakeStream, call int) {
		if call == 30 {
			_ = s.conn.Close()
		}
	}
	c := &client.Client{Socket: serveUnix(t, f)}
	defer c.Close()
	const callers, rounds = 16, 100
	var mu sync.Mutex
	outcome := make(map[string]error)
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for round := range rounds {
				name := fmt.Sprintf("%d-%d", caller, round)
				err := c.Produce(t.Context(), "q", client.ProduceItem{Payload: []byte(name)})
				mu.Lock()
				outcome[name] = err
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	c.Close()
	got := make(map[string]int)
	for _, s := range f.opened() {
		<-s.over
		s.calls.Wait() // What it had read is done.
	}
	_, ready := f.payloads()
	for _, payload := range ready {
		got[payload]++
	}
	broken := 0
	for name, err := range outcome {
		switch n := got[name]; {
		case err == nil && n != 1:
			t.Errorf("%s is there %d times, want once", name, n)
		case err != nil && n > 1:
			t.Errorf("%s is there %d times, want once at most", name, n)
		case err != nil:
			broken++
			checkBroken(t, err, "")
		}
	}
	if broken == 0 || broken > callers*f.askedFor() {
		t.Errorf("%d calls of %d on %d streams failed", broken, callers*rounds, f.askedFor())
	}
}

// checkBroken checks the error of a call whose answer did not come.
func checkBroken(t *testing.T, err error, why string) {
	t.Helper()
	if !errors.Is(err, client.ErrUnavailable) || !strings.Contains(err.Error(), "broke, the request may have taken effect: ") ||
		!strings.Contains(err.Error(), why) {
		t.Errorf("got %v, want ErrUnavailable that says that the request may have taken effect: %s", err, why)
	}
	// Kinds that say that nothing was done would be wrong.
	for _, kind := range []error{client.ErrInvalid, client.ErrNotFound, client.ErrLeaseLost, client.ErrDuplicate,
		client.ErrTryAgain, client.ErrInternal} {
		if errors.Is(err, kind) {
			t.Errorf("%v is %v too", err, kind)
		}
	}
}

// Calls that were not sent are made another way; those that may have been are not.
func TestBreaksBeforeAllIsSent(t *testing.T) {
	eachPipe(t, func(t *testing.T, f *fake, c *client.Client) {
		reading, breaks := make(chan struct{}), make(chan struct{})
		f.script = func(conn net.Conn, r *bufio.Reader) {
			// This one answers the first call, which opened the stream, and reads one more.
			req, _, _ := readRequest(r)
			_, _ = conn.Write(replyFrame(req.ID, 400, &pb.Reply{Code: 400, Message: "invalid storage id; 'none' does not exist"}))
			close(reading)
			_, _, _ = readRequest(r)
			<-breaks
		}
		crowd(t, f, c)
		<-reading
		produce := func(name string) <-chan error {
			done := make(chan error, 1)
			go func() { done <- c.Produce(t.Context(), "q", client.ProduceItem{Payload: []byte(name)}) }()
			synctest.Wait()
			return done
		}
		read, written, waiting := produce("read"), produce("being written"), produce("waiting")
		f.script = nil
		close(breaks)
		checkBroken(t, <-read, "")
		checkBroken(t, <-written, "")
		if err := <-waiting; err != nil {
			t.Errorf("the call that was not sent: %v", err)
		}
		if len(f.ready) != 1 || string(f.ready[0].payload) != "waiting" {
			t.Errorf("%d items are there, want the one that was not sent, once", len(f.ready))
		}
		beside(t, c)
		if f.askedFor() != 1 {
			t.Errorf("%d streams: a second one at once may break as the first", f.askedFor())
		}
		time.Sleep(2 * time.Second)
		beside(t, c)
		if f.askedFor() != 2 {
			t.Errorf("%d streams, want a second one", f.askedFor())
		}
	})
}

func TestRepliesThatMakeNoSense(t *testing.T) {
	refusal := &pb.Reply{Code: 400, Message: "a frame is shorter than its head"}
	for _, test := range []struct {
		name   string
		reply  func(id uint32) []byte
		closes bool // the agent, after it
		why    string
	}{
		{"unknown id", func(id uint32) []byte { return replyFrame(id+1000, 200, &pb.Reply{Code: 200}) }, false,
			"a call that was not made"},
		{"answered twice", func(uint32) []byte { return replyFrame(1, 200, &pb.Reply{Code: 200}) }, false,
			"a call that was not made, 1"},
		{"shorter than its head", func(uint32) []byte { return make([]byte, 16) }, false, "unexpected EOF"},
		{"huge", func(id uint32) []byte {
			return frame.AppendReply(nil, frame.Reply{ID: id, Code: 200, Body: math.MaxUint32 - frame.ReplyHead})
		}, false, "bytes, more than"},
		{"broken rule", func(uint32) []byte { return replyFrame(0, 400, refusal) }, false,
			"the agent ends the stream: a frame is shorter than its head"},
		{"broken rule, and the reply too", func(uint32) []byte {
			return append(frame.AppendReply(nil, frame.Reply{Code: 455, Body: 2}), "\xff\xff"...)
		}, false, "the agent ends the stream: 455, and the answer is not of the agent: "},
		{"breaks off in a head", func(uint32) []byte { return make([]byte, 3) }, true, "unexpected EOF"},
		{"breaks off in a body", func(id uint32) []byte { return replyFrame(id, 200, refusal)[:20] }, true, "unexpected EOF"},
		{"breaks off after Bye", func(uint32) []byte { return replyFrame(0, frame.Bye, &pb.Reply{}) }, true, "unexpected EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				c := servePipe(t, f)
				ends := make(chan struct{})
				f.script = func(conn net.Conn, r *bufio.Reader) {
					defer close(ends)
					req, _, _ := readRequest(r)
					_, _ = conn.Write(replyFrame(req.ID, 400, &pb.Reply{Code: 400, Message: "invalid storage id; 'none' does not exist"}))
					_, _, _ = readRequest(r)
					req, _, _ = readRequest(r)
					_, _ = conn.Write(test.reply(req.ID)) // The client may not read all of it.
					if !test.closes {
						_, _ = io.Copy(io.Discard, r)
					}
				}
				crowd(t, f, c)
				one, other := leaseLater(t.Context(), c), leaseLater(t.Context(), c)
				checkBroken(t, (<-one).err, test.why)
				checkBroken(t, (<-other).err, test.why)
				<-ends // The client closes it.
				f.script = nil
				time.Sleep(2 * time.Second) // For so long nobody tries.
				for round := range 10 {
					if err := workOnce(t.Context(), c, fmt.Sprint(round)); err != nil {
						t.Fatal(err)
					}
				}
				if f.askedFor() != 2 {
					t.Errorf("%d streams, want a second one", f.askedFor())
				}
			})
		})
	}
}

// An answer that cannot be read is the matter of one call.
func TestAnswerThatMakesNoSense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := servePipe(t, f)
		f.script = func(conn net.Conn, r *bufio.Reader) {
			req, _, _ := readRequest(r)
			_, _ = conn.Write(replyFrame(req.ID, 400, &pb.Reply{Code: 400, Message: "invalid storage id; 'none' does not exist"}))
			for _, code := range []uint16{200, 503, 503} {
				req, _, err := readRequest(r)
				if err != nil {
					return
				}
				b := frame.AppendReply(nil, frame.Reply{ID: req.ID, Code: code, Body: 2})
				_, _ = conn.Write(append(b, "\xff\xff"...)) // The client may be gone.
			}
			_, _ = io.Copy(io.Discard, r)
		}
		crowd(t, f, c)
		for _, want := range []string{"the reply to a lease cannot be read", "503 Service Unavailable, and the answer is not of the agent",
			"503 Service Unavailable, and the answer is not of the agent"} {
			_, err := c.Lease(t.Context(), "q", client.LeaseOptions{})
			if !errors.Is(err, client.ErrInternal) || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got %v, want ErrInternal with %q", err, want)
			}
		}
		if f.askedFor() != 1 {
			t.Errorf("%d streams, want one", f.askedFor())
		}
	})
}
