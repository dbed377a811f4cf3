package backup

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/kapetan-io/querator-edge/queue"
)

// Every option of a queue is in its back-up, those too that are added one day.
func TestHeadHasEveryOption(t *testing.T) {
	var info queue.Info
	fields := reflect.ValueOf(&info).Elem()
	for i := range fields.NumField() {
		switch f := fields.Field(i); v := f.Interface().(type) {
		case string, queue.FullPolicy:
			f.SetString("text")
		case bool:
			f.SetBool(true)
		case time.Time:
			f.Set(reflect.ValueOf(time.Unix(int64(i), 0).UTC()))
		default:
			if !f.CanInt() && !f.CanUint() {
				t.Fatalf("%s is a %T: say here what a value of it is", fields.Type().Field(i).Name, v)
			}
			f.Set(reflect.ValueOf(1).Convert(f.Type()))
		}
	}
	data, err := json.Marshal(newQueueHead(&queue.BackupQueue{Definition: queue.Definition{Info: info, Paused: true}}))
	if err != nil {
		t.Fatal(err)
	}
	var q QueueHead
	if err := json.Unmarshal(data, &q); err != nil {
		t.Fatal(err)
	}
	if got := q.definition(); got.Info != info || !got.Paused {
		t.Errorf("got  %+v\nwant %+v", got.Info, info)
	}
}
