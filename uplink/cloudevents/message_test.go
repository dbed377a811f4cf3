package cloudevents_test

import (
	"bytes"
	"context"
	"strings"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/binding/format"
	"github.com/cloudevents/sdk-go/v2/binding/spec"
	"github.com/nats-io/nats.go"
)

// message is one of NATS as the SDK wants to see it: what a receiver by the NATS binding has to do.
type message struct{ m *nats.Msg }

// prefixed knows the attributes by their headers.
func prefixed() *spec.Versions { return spec.WithPrefix("ce-") }

func (m message) contentType() string { return m.m.Header.Get("Content-Type") }

// ReadEncoding implements binding.MessageReader.
func (m message) ReadEncoding() binding.Encoding {
	if format.IsFormat(m.contentType()) {
		return binding.EncodingStructured
	}
	return binding.EncodingBinary
}

// ReadStructured implements binding.MessageReader.
func (m message) ReadStructured(ctx context.Context, w binding.StructuredWriter) error {
	if m.ReadEncoding() != binding.EncodingStructured {
		return binding.ErrNotStructured
	}
	return w.SetStructuredEvent(ctx, format.Lookup(m.contentType()), bytes.NewReader(m.m.Data))
}

// ReadBinary implements binding.MessageReader.
func (m message) ReadBinary(_ context.Context, w binding.BinaryWriter) error {
	if m.ReadEncoding() != binding.EncodingBinary {
		return binding.ErrNotBinary
	}
	version := prefixed().Version(m.m.Header["ce-specversion"][0])
	for name, values := range m.m.Header {
		attr := version.Attribute(name)
		var err error
		switch {
		case attr != nil:
			err = w.SetAttribute(attr, values[0])
		case name == "ce-datacontenttype":
			err = w.SetAttribute(version.AttributeFromKind(spec.DataContentType), values[0])
		case strings.HasPrefix(name, "ce-"):
			err = w.SetExtension(strings.TrimPrefix(name, "ce-"), values[0])
		}
		if err != nil {
			return err
		}
	}
	return w.SetData(bytes.NewReader(m.m.Data))
}

// GetAttribute implements binding.MessageMetadataReader.
func (m message) GetAttribute(k spec.Kind) (spec.Attribute, any) {
	attr := prefixed().Version("1.0").AttributeFromKind(k)
	return attr, m.m.Header["ce-"+attr.Name()]
}

// GetExtension implements binding.MessageMetadataReader.
func (m message) GetExtension(name string) any { return m.m.Header["ce-"+name] }

// Finish implements binding.Message.
func (m message) Finish(error) error { return nil }
