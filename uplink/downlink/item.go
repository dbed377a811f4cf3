package downlink

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kapetan-io/querator-edge/queue"
	"github.com/kapetan-io/querator-edge/uplink/hub"
)

// Headers of a message that become fields of the item; upper and lower case are the same. The payload is the data.
const (
	HeaderSourceID  = "Querator-Source-Id"
	HeaderEncoding  = "Querator-Encoding"
	HeaderKind      = "Querator-Kind"
	HeaderReference = "Querator-Reference"
	// HeaderEnqueueAt is a time of RFC 3339; the item cannot be leased before.
	HeaderEnqueueAt = "Querator-Enqueue-At"
)

// maxField is the most bytes of a header that becomes a field.
const maxField = 4096

// itemOf makes an item of a message, or says why it can never be one.
func itemOf(m *hub.Message, stream string, made int64, maxPayload int) (it queue.Item, why string) {
	if len(m.Data) > maxPayload {
		return it, tooLarge(len(m.Data), maxPayload)
	}
	fields := map[string]*string{
		strings.ToLower(HeaderSourceID): &it.SourceID, strings.ToLower(HeaderEncoding): &it.Encoding,
		strings.ToLower(HeaderKind): &it.Kind, strings.ToLower(HeaderReference): &it.Reference,
	}
	for name, values := range m.Header {
		if len(values) == 0 {
			continue
		}
		v := values[0]
		if field := fields[strings.ToLower(name)]; field != nil {
			if len(v) > maxField || !utf8.ValidString(v) {
				return it, fmt.Sprintf("header %s is not UTF-8 text of up to %d bytes", name, maxField)
			}
			*field = v
		} else if strings.EqualFold(name, HeaderEnqueueAt) {
			at, err := time.Parse(time.RFC3339, v)
			if err != nil {
				return it, fmt.Sprintf("header %s is %.40q, which is not a time such as 2026-01-02T15:04:05Z", name, v)
			}
			it.EnqueueAt = at.UTC()
		}
	}
	if it.SourceID == "" {
		it.SourceID = stream + "/" + strconv.FormatInt(made, 36) + "/" + strconv.FormatUint(m.Seq, 10)
	}
	it.Payload = m.Data
	return it, ""
}

func tooLarge(size, most int) string {
	return fmt.Sprintf("the payload has %d bytes, more than the %d that an item may have here", size, most)
}
