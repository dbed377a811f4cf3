package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/kapetan-io/querator-edge/agent/api"
	"github.com/kapetan-io/querator-edge/agent/pb"
	"github.com/kapetan-io/querator-edge/queue/backup"
)

// examples returns the requests that openapi.yaml shows, by path, in JSON and
// in protobuf.
func examples(t testing.TB) map[string][2][]byte {
	t.Helper()
	type content struct {
		Schema struct {
			Ref string `yaml:"$ref"`
		}
		Example any
	}
	var doc struct {
		Paths map[string]struct {
			Post struct {
				RequestBody struct{ Content map[string]content } `yaml:"requestBody"`
			}
		}
	}
	if err := yaml.Unmarshal([]byte(api.OpenAPI), &doc); err != nil {
		t.Fatal(err)
	}
	out := map[string][2][]byte{}
	for _, path := range calls {
		c := doc.Paths[path].Post.RequestBody.Content["application/json"]
		name := "queratoredge.v1." + strings.TrimPrefix(c.Schema.Ref, "#/components/schemas/")
		mt, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		text, err := json.Marshal(c.Example)
		if err != nil {
			t.Fatal(err)
		}
		m := mt.New().Interface()
		if err := protojson.Unmarshal(text, m); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		binary, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		out[path] = [2][]byte{text, binary}
	}
	return out
}

// FuzzCalls sends anything to any call: the answer is always one that clients
// know, and never an internal error.
func FuzzCalls(f *testing.F) {
	w := newWorld(f)
	w.create("readings")
	w.create("readings-dead")
	for path, ex := range examples(f) {
		i := byte(slices.Index(calls, path))
		f.Add(i, false, ex[0])
		f.Add(i, true, ex[1])
		f.Add(i, false, bytes.ReplaceAll(ex[0], []byte(`"`), []byte(`'`)))
		f.Add(i, true, append(bytes.Clone(ex[1]), 0x80))
	}
	f.Fuzz(func(t *testing.T, call byte, binary bool, body []byte) {
		path := calls[int(call)%len(calls)]
		// A lease may wait for 15 minutes.
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		req := httptest.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader(body))
		if binary {
			req.Header.Set("Content-Type", "application/protobuf")
		}
		rec := httptest.NewRecorder()
		w.h.ServeHTTP(rec, req)
		if lines := w.takeLog(); len(lines) > 0 {
			t.Fatalf("%s %q: internal error: %s", path, body, lines)
		}
		switch rec.Code {
		case 200, 400, 453, 454, 455:
		default:
			t.Fatalf("%s %q answers %d %s", path, body, rec.Code, rec.Body)
		}
		if rec.Code != http.StatusOK {
			var reply pb.Reply
			if err := protojson.Unmarshal(rec.Body.Bytes(), &reply); err != nil || int(reply.Code) != rec.Code || reply.Message == "" {
				t.Fatalf("%s %q: %v in %s", path, body, err, rec.Body)
			}
		} else if rec.Header().Get("Content-Type") == "application/octet-stream" {
			if r, err := backup.NewReader(rec.Body); err != nil || r.ReadAll(nil) != nil {
				t.Fatalf("%s %q: the reply is no back-up: %v", path, body, err)
			}
		} else if !json.Valid(rec.Body.Bytes()) {
			t.Fatalf("%s %q: the reply is no JSON: %s", path, body, rec.Body)
		}
	})
}
