package measure

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Reading returns JSON of exactly size bytes, or as many of its first bytes: a reading as sensors send it, with
// fields that vary. i numbers the readings.
func Reading(rnd *rand.Rand, i, size int) []byte {
	at := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC).Add(time.Duration(i)*50*time.Millisecond + time.Duration(rnd.IntN(1e6)))
	text := fmt.Appendf(make([]byte, 0, size+64),
		`{"device":"pi-%04d","sensor":"%s","at":"%s","sequence":%d,"value":%.3f,"quality":%d,"note":"`,
		rnd.IntN(40), pick(rnd, "temperature", "humidity", "pressure", "current", "vibration"),
		at.Format(time.RFC3339Nano), i, 15+10*rnd.NormFloat64(), rnd.IntN(100))
	for len(text) < size-2 {
		text = append(text, pick(rnd, "ok", "nominal", "drift", "recalibrated", "door open", "fan on", "low light", "retry")...)
		text = fmt.Appendf(text, " %x ", rnd.Uint32N(1<<20))
	}
	if len(text) > size-2 && size > 2 {
		text = text[:size-2]
	}
	return append(text, `"}`...)[:size]
}

func pick(rnd *rand.Rand, words ...string) string { return words[rnd.IntN(len(words))] }
