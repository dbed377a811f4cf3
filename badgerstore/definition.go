package badgerstore

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

const (
	letterDefinition = 'q'
	definitionFormat = 1
	maxDefinition    = 1 << 20 // bytes; a definition takes a few hundred
)

func definitionKey(name string) []byte { return append([]byte{letterDefinition}, name...) }

// definition is the stored form of a queue.Definition. Texts are bytes, which
// JSON holds in base64, since queue names need not be UTF-8. Fields are only
// added; definitionFormat rises when an older version would misread one.
type definition struct {
	Name          []byte        `json:"name"`
	DeadQueue     []byte        `json:"dead_queue,omitempty"`
	Reference     []byte        `json:"reference,omitempty"`
	LeaseTimeout  time.Duration `json:"lease_timeout"`
	ExpireTimeout time.Duration `json:"expire_timeout"`
	MaxAttempts   int           `json:"max_attempts,omitempty"`
	Partitions    int           `json:"requested_partitions"`
	MaxItems      int64         `json:"max_items,omitempty"`
	MaxBytes      int64         `json:"max_bytes,omitempty"`
	FullPolicy    string        `json:"full_policy,omitempty"`
	ReleaseOnExit bool          `json:"release_on_exit,omitempty"`
	CreatedAt     time.Time     `json:"created_at"`
	UpdatedAt     time.Time     `json:"updated_at"`
	Places        []place       `json:"places"`
	Paused        bool          `json:"paused,omitempty"`
	Deleting      bool          `json:"deleting,omitempty"`
	Restoring     bool          `json:"restoring,omitempty"`
}

type place struct {
	Storage []byte `json:"storage"`
	Tag     []byte `json:"tag"`
}

// encodeDefinition returns the stored form: a version byte, JSON, and CRC-32C of
// both, little endian.
func encodeDefinition(d *queue.Definition) ([]byte, error) {
	f := definition{
		Name: []byte(d.Name), DeadQueue: []byte(d.DeadQueue), Reference: []byte(d.Reference),
		LeaseTimeout: d.LeaseTimeout, ExpireTimeout: d.ExpireTimeout, MaxAttempts: d.MaxAttempts,
		Partitions: d.RequestedPartitions, CreatedAt: d.CreatedAt.UTC(), UpdatedAt: d.UpdatedAt.UTC(),
		MaxItems: d.MaxItems, MaxBytes: d.MaxBytes, FullPolicy: string(d.FullPolicy),
		Paused: d.Paused, Deleting: d.Deleting, Restoring: d.Restoring,
		ReleaseOnExit: d.ReleaseOnExit,
	}
	for i := range d.Places {
		f.Places = append(f.Places, place{Storage: []byte(d.Places[i].Storage), Tag: d.Places[i].Tag[:]})
	}
	text, err := json.Marshal(&f)
	if err != nil || len(text) > maxDefinition {
		return nil, &queue.Error{Kind: queue.ErrInvalid, Queue: d.Name, Err: err,
			Msg: fmt.Sprintf("the definition of queue %q cannot be stored: %d bytes of at most %d", d.Name, len(text), maxDefinition)}
	}
	value := append([]byte{definitionFormat}, text...)
	return binary.LittleEndian.AppendUint32(value, crc32.Checksum(value, crc32.MakeTable(crc32.Castagnoli))), nil
}

func decodeDefinition(value []byte) (d queue.Definition, err error) {
	end := len(value) - 4
	if end < 1 || crc32.Checksum(value[:end], crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(value[end:]) {
		return d, errCorrupt("definition", "its checksum is wrong")
	}
	if value[0] != definitionFormat {
		return d, errNewer("definition", "it has version %d, known is %d", value[0], definitionFormat)
	}
	var f definition
	if err := json.Unmarshal(value[1:end], &f); err != nil {
		return d, errCorrupt("definition", "%v", err)
	}
	d = queue.Definition{
		Info: queue.Info{
			Name: string(f.Name), DeadQueue: string(f.DeadQueue), Reference: string(f.Reference),
			LeaseTimeout: f.LeaseTimeout, ExpireTimeout: f.ExpireTimeout, MaxAttempts: f.MaxAttempts,
			RequestedPartitions: f.Partitions, CreatedAt: f.CreatedAt, UpdatedAt: f.UpdatedAt,
			MaxItems: f.MaxItems, MaxBytes: f.MaxBytes, FullPolicy: queue.FullPolicy(f.FullPolicy),
			ReleaseOnExit: f.ReleaseOnExit,
		},
		Paused: f.Paused, Deleting: f.Deleting, Restoring: f.Restoring,
	}
	for i := range f.Places {
		p := queue.Place{Storage: string(f.Places[i].Storage)}
		if copy(p.Tag[:], f.Places[i].Tag) != queue.TagSize || len(f.Places[i].Tag) != queue.TagSize {
			return d, errCorrupt("definition", "a tag has %d bytes", len(f.Places[i].Tag))
		}
		d.Places = append(d.Places, p)
	}
	return d, nil
}
