package client

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/kapetan-io/querator-edge/agent/frame"
	"github.com/kapetan-io/querator-edge/agent/paths"
	"github.com/kapetan-io/querator-edge/agent/pb"
)

const (
	// maxReply bounds the memory that one reply may take. The agent's own bounds are far below.
	maxReply = 256 << 20
	// idleConns is how many connections stay open between calls, for programs that make many at once.
	idleConns   = 64
	idleTimeout = time.Minute
)

// contentType is the format of requests and, unless something goes wrong very early, of replies.
const contentType = "application/protobuf"

// Client makes the calls of the agent's API. Its zero value is ready for use. The fields are not to be changed
// after the first call; the methods may be called from any goroutine. A Client must not be copied.
type Client struct {
	// Socket is the path of the agent's socket. Empty: QUERATOR_SOCKET, else where an agent of this user or of
	// the system has it.
	Socket string
	// Endpoint replaces Socket: unix:///path, or http://host:port for an agent behind a forwarder.
	Endpoint string
	// Dial replaces the way to the agent, whatever Socket and Endpoint say.
	Dial func(ctx context.Context) (net.Conn, error)
	// HTTPClient replaces everything below the API; Dial is not used then.
	HTTPClient *http.Client

	once  sync.Once
	err   error // what was wrong with the fields
	http  *http.Client
	local *localTransport // nil when calls go through http alone
	base  string          // such as http://agent
	place string          // what error messages call the agent's address
}

// Close closes the connections that are open and not in use. The client can be used again.
func (c *Client) Close() {
	if c.setUp() == nil {
		c.http.CloseIdleConnections()
	}
}

// Address returns where the client looks for the agent: unix:///path or http://host:port.
func (c *Client) Address() (string, error) {
	if err := c.setUp(); err != nil {
		return "", err
	}
	return c.place, nil
}

func (c *Client) setUp() error {
	c.once.Do(func() { c.err = c.resolve() })
	return c.err
}

// resolve works out where the agent is.
func (c *Client) resolve() error {
	c.base = "http://agent" // Names no host: the dialer knows where to go.
	path := c.Socket
	switch {
	case strings.HasPrefix(c.Endpoint, "unix://"):
		path = strings.TrimPrefix(c.Endpoint, "unix://")
	case c.Endpoint != "":
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return &Error{kind: ErrInvalid,
				Message: fmt.Sprintf("endpoint '%s' is invalid; use unix:///path/of/the.sock or http://host:port", c.Endpoint)}
		}
		c.base = u.Scheme + "://" + u.Host + strings.TrimSuffix(u.Path, "/")
		c.place, path = c.base, ""
	}
	if c.place == "" && c.Dial == nil && c.HTTPClient == nil && path == "" {
		var err error
		if path, err = paths.Process().ClientSocket(); err != nil {
			return &Error{kind: ErrInvalid, cause: err,
				Message: fmt.Sprintf("the agent's socket is not known; set %s: %v", paths.SocketVariable, err)}
		}
	}
	c.place = cmp.Or(c.place, "unix://"+path)
	c.http = c.HTTPClient
	if c.http == nil {
		transport := c.transport(path)
		c.local, _ = transport.(*localTransport)
		c.http = &http.Client{Transport: transport}
	}
	return nil
}

// transport returns one that keeps connections open. path is the socket, or empty when the endpoint is a host.
func (c *Client) transport(path string) http.RoundTripper {
	var dialer net.Dialer
	switch {
	case c.Dial != nil:
		return &localTransport{dial: c.Dial}
	case path != "":
		return &localTransport{dial: func(ctx context.Context) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		}}
	}
	return &http.Transport{
		MaxIdleConns:        idleConns,
		MaxIdleConnsPerHost: idleConns,
		IdleConnTimeout:     idleTimeout,
		DisableCompression:  true,
	}
}

// call sends req to the path and decodes the reply into out, which may be nil.
func (c *Client) call(ctx context.Context, path string, req, out proto.Message) error {
	body, err := proto.Marshal(req)
	if err != nil {
		return &Error{kind: ErrInvalid, cause: err, Message: fmt.Sprintf("%s: %v", path, err)}
	}
	reply, err := c.post(ctx, path, body)
	if err != nil || out == nil {
		return err
	}
	if err := proto.Unmarshal(reply, out); err != nil {
		return &Error{kind: ErrInternal, cause: err, Message: fmt.Sprintf("%s: the reply cannot be read: %v", path, err)}
	}
	return nil
}

// post sends an encoded request and returns the encoded reply, or an error if the agent answered with one.
func (c *Client) post(ctx context.Context, path string, body []byte) ([]byte, error) {
	return c.postAs(ctx, path, frame.CallOf(path), body)
}

// postAs is post for a call that goes on streams as the kind, 0 if it does not go there.
func (c *Client) postAs(ctx context.Context, path string, kind frame.Call, body []byte) ([]byte, error) {
	if err := c.setUp(); err != nil {
		return nil, err
	}
	if c.local == nil {
		resp, err := c.do(ctx, path, contentType, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		reply, err := readReply(resp)
		if err != nil {
			return nil, c.transportError(ctx, err)
		}
		return reply, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, c.transportError(ctx, err)
	}
	a, err := c.local.exchange(ctx, path, kind, body)
	switch {
	case err != nil:
		return nil, c.transportError(ctx, err)
	case a.code != http.StatusOK:
		return nil, replyError(a)
	}
	return a.body, nil
}

// do sends a request and returns the answer with its body, or an error if the agent answered with one.
func (c *Client) do(ctx context.Context, path, media string, body io.Reader) (*http.Response, error) {
	if err := c.setUp(); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, body)
	if err != nil {
		return nil, &Error{kind: ErrInvalid, cause: err, Message: err.Error()}
	}
	if _, known := body.(*bytes.Reader); !known {
		req.ContentLength = -1 // 0 would mean the same to net/http alone.
	}
	req.Header.Set("Content-Type", media)
	req.Header.Set("Accept", contentType)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.transportError(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	reply, err := readReply(resp)
	if err != nil {
		return nil, c.transportError(ctx, err)
	}
	return nil, replyError(answerOf(resp, reply))
}

// readReply reads and closes the body of resp.
func readReply(resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	if resp.ContentLength > maxReply {
		return nil, largeReply(resp.ContentLength)
	}
	if n := resp.ContentLength; n >= 0 {
		reply := make([]byte, n)
		_, err := io.ReadFull(resp.Body, reply)
		return reply, err
	}
	reply, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if len(reply) > maxReply {
		return nil, fmt.Errorf("the reply has more than %d bytes", maxReply)
	}
	return reply, err
}

// replyError turns an answer that is not 200 into an error.
func replyError(a *answer) error {
	var reply pb.Reply
	media, _, _ := mime.ParseMediaType(a.mediaType)
	err := fmt.Errorf("content type '%s'", media)
	switch media {
	case contentType:
		err = proto.Unmarshal(a.body, &reply)
	case "application/json":
		err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(a.body, &reply)
	}
	if err != nil {
		status := cmp.Or(a.status, strings.TrimSpace(fmt.Sprint(a.code, " ", http.StatusText(a.code))))
		return &Error{Code: a.code, kind: ErrInternal, cause: err,
			Message: fmt.Sprintf("%s, and the answer is not of the agent: %v", status, err)}
	}
	code := cmp.Or(int(reply.Code), a.code)
	return &Error{Code: code, Message: reply.Message, kind: kindOf(code, reply.Message)}
}

// requestTimeout returns what a call asks the agent for: nine tenths of what is left of the context's deadline, so
// that the agent's answer comes before it, within the bounds of the API; or a minute.
func requestTimeout(ctx context.Context) string {
	const least, most = 11 * time.Millisecond, 15*time.Minute - time.Second
	left := time.Minute
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline) / 10 * 9
	}
	return min(max(left, least), most).String()
}
