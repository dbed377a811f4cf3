package api

// An internal test: it compares the document with the table of routes.

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/kapetan-io/querator-edge/agent/frame"
	"github.com/kapetan-io/querator-edge/agent/pb"
)

type openAPIDoc struct {
	OpenAPI    string
	Paths      map[string]map[string]openAPIOperation
	Components struct {
		Schemas   map[string]openAPISchema
		Responses map[string]openAPIBody
	}
}

type openAPIOperation struct {
	OperationID string `yaml:"operationId"`
	Summary     string
	RequestBody openAPIBody `yaml:"requestBody"`
	Responses   map[string]openAPIBody
}

type openAPIBody struct {
	Ref     string `yaml:"$ref"`
	Content map[string]struct {
		Schema  openAPISchema
		Example any
	}
}

type openAPISchema struct {
	Ref             string `yaml:"$ref"`
	Type            string
	Format          string
	ContentEncoding string `yaml:"contentEncoding"`
	Items           *openAPISchema
	Properties      map[string]openAPISchema
	Description     string
}

func readOpenAPI(t *testing.T) *openAPIDoc {
	t.Helper()
	var doc openAPIDoc
	if err := yaml.Unmarshal([]byte(OpenAPI), &doc); err != nil {
		t.Fatal(err)
	}
	return &doc
}

func TestOpenAPIHasTheRoutes(t *testing.T) {
	doc := readOpenAPI(t)
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		t.Errorf("the document is of version %q, want 3.1", doc.OpenAPI)
	}
	want := map[string]string{pathHealth: "get", pathMetricsURL: "get", pathOpenAPI: "get", frame.Path: "get"}
	for path, rt := range routes(&Options{}) {
		if rt.request != nil || rt.bodyStream {
			want[path] = "post"
		}
	}
	for path, method := range want {
		ops, ok := doc.Paths[path]
		if !ok {
			t.Errorf("%s is served and not in the document", path)
			continue
		}
		if op, ok := ops[method]; !ok || len(ops) != 1 || op.Summary == "" || op.OperationID == "" {
			t.Errorf("%s: want one operation %q with a summary and an id, got %+v", path, method, ops)
		}
	}
	for path := range doc.Paths {
		if _, ok := want[path]; !ok {
			t.Errorf("%s is in the document and not served", path)
		}
	}
}

// TestOpenAPIHasTheMessages compares the messages of each route with those of
// the document, and decodes the examples.
func TestOpenAPIHasTheMessages(t *testing.T) {
	doc := readOpenAPI(t)
	for path, rt := range routes(&Options{}) {
		if rt.request == nil && !rt.bodyStream {
			continue
		}
		op := doc.Paths[path]["post"]
		reply := rt.reply
		if reply == nil {
			reply = &pb.Reply{}
		}
		if rt.bodyStream {
			checkStream(t, path+" request", op.RequestBody)
		} else {
			doc.checkBody(t, path+" request", op.RequestBody, rt.request)
		}
		if rt.replyStream {
			checkStream(t, path+" reply", op.Responses["200"])
		} else {
			doc.checkBody(t, path+" reply", op.Responses["200"], reply)
		}
		doc.checkBody(t, path+" error", op.Responses["default"], &pb.Reply{})
	}
}

func checkStream(t *testing.T, where string, body openAPIBody) {
	t.Helper()
	if _, ok := body.Content[streamType]; !ok || len(body.Content) != 1 {
		t.Errorf("%s: want content of type %s and no other", where, streamType)
	}
}

func (d *openAPIDoc) checkBody(t *testing.T, where string, body openAPIBody, m proto.Message) {
	t.Helper()
	if body.Ref != "" {
		body = d.Components.Responses[strings.TrimPrefix(body.Ref, "#/components/responses/")]
	}
	content, ok := body.Content["application/json"]
	if !ok {
		t.Errorf("%s: no JSON content", where)
		return
	}
	name := string(m.ProtoReflect().Descriptor().Name())
	if want := "#/components/schemas/" + name; content.Schema.Ref != want {
		t.Errorf("%s: schema %q, want %q", where, content.Schema.Ref, want)
	}
	data, err := json.Marshal(content.Example)
	if err != nil {
		t.Fatal(err)
	}
	if content.Example == nil {
		t.Errorf("%s: no example", where)
	}
	if err := protojson.Unmarshal(data, m.ProtoReflect().New().Interface()); err != nil {
		t.Errorf("%s: the example does not decode: %v", where, err)
	}
}

// TestOpenAPIHasTheFields compares each schema with its message, and every
// message has one.
func TestOpenAPIHasTheFields(t *testing.T) {
	doc := readOpenAPI(t)
	seen := map[string]bool{}
	for _, file := range []protoreflect.FileDescriptor{
		pb.File_agent_pb_reply_proto, pb.File_agent_pb_queue_proto, pb.File_agent_pb_queues_proto,
		pb.File_agent_pb_storage_proto, pb.File_agent_pb_agent_proto, pb.File_agent_pb_uplink_proto,
	} {
		for i := range file.Messages().Len() {
			m := file.Messages().Get(i)
			name := string(m.Name())
			seen[name] = true
			schema, ok := doc.Components.Schemas[name]
			if !ok {
				t.Errorf("message %s has no schema", name)
				continue
			}
			checkFields(t, name, schema, m)
		}
	}
	for name := range doc.Components.Schemas {
		if !seen[name] {
			t.Errorf("schema %s has no message", name)
		}
	}
}

func checkFields(t *testing.T, name string, schema openAPISchema, m protoreflect.MessageDescriptor) {
	t.Helper()
	var want []string
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		want = append(want, f.JSONName())
		got, ok := schema.Properties[f.JSONName()]
		if !ok {
			t.Errorf("%s.%s is not in its schema", name, f.JSONName())
			continue
		}
		if w := schemaOf(f); shortSchema(&got) != w {
			t.Errorf("%s.%s is %s, want %s", name, f.JSONName(), shortSchema(&got), w)
		}
		if got.Description == "" && got.Ref == "" {
			t.Errorf("%s.%s is not described", name, f.JSONName())
		}
	}
	for field := range schema.Properties {
		if !slices.Contains(want, field) {
			t.Errorf("%s.%s is in the schema and not in the message", name, field)
		}
	}
}

// schemaOf says how a field has to be described.
func schemaOf(f protoreflect.FieldDescriptor) string {
	if f.IsMap() {
		return "object"
	}
	var s string
	switch f.Kind() {
	case protoreflect.MessageKind:
		if s = string(f.Message().Name()); s == "Timestamp" {
			s = "string date-time"
		}
	case protoreflect.BytesKind:
		s = "string base64"
	case protoreflect.BoolKind:
		s = "boolean"
	case protoreflect.Int32Kind, protoreflect.Uint32Kind:
		s = "integer " + f.Kind().String()
	case protoreflect.Int64Kind, protoreflect.Uint64Kind:
		s = "string " + f.Kind().String()
	default:
		s = f.Kind().String()
	}
	if f.IsList() {
		return "[]" + s
	}
	return s
}

func shortSchema(s *openAPISchema) string {
	switch {
	case s.Ref != "":
		return strings.TrimPrefix(s.Ref, "#/components/schemas/")
	case s.Type == "array":
		return "[]" + shortSchema(s.Items)
	case s.Format == "go-duration":
		return s.Type
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s%s", s.Type, s.Format, s.ContentEncoding))
}

// TestOpenAPITellsTheLimits holds the texts to the body limits.
func TestOpenAPITellsTheLimits(t *testing.T) {
	doc := struct {
		Paths map[string]map[string]struct{ Description string }
	}{}
	if err := yaml.Unmarshal([]byte(OpenAPI), &doc); err != nil {
		t.Fatal(err)
	}
	o := Options{MaxProduceBody: DefaultMaxProduceBody, MaxImportBody: DefaultMaxImportBody}
	texts := map[int64]string{limitSmall: "512 bytes", limitOther: "256 kB", limitUpdate: "512 kB", limitBackup: "4 MB",
		DefaultMaxProduceBody: "5 MB", DefaultMaxImportBody: "64 MB"}
	for path, rt := range routes(&o) {
		if rt.request == nil {
			continue
		}
		text := strings.Join(strings.Fields(doc.Paths[path]["post"].Description), " ")
		if want := "Body limit: " + texts[rt.limit]; !strings.Contains(text, want) {
			t.Errorf("%s: %q does not say %q", path, text, want)
		}
	}
}
