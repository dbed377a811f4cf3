package config

import (
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes.
type Size int64

// Units of a size: powers of ten and of two.
const (
	KB  Size = 1000
	MB  Size = 1000 * KB
	GB  Size = 1000 * MB
	KiB Size = 1024
	MiB Size = 1024 * KiB
	GiB Size = 1024 * MiB
)

// unit is a name of a unit as it stands behind the number.
type unit struct {
	name  string
	bytes Size
}

// units returns the units from the largest to the smallest; "B" last, since the other names end in it.
func units() []unit {
	return []unit{{"GiB", GiB}, {"GB", GB}, {"MiB", MiB}, {"MB", MB}, {"KiB", KiB}, {"KB", KB}, {"kB", KB}, {"B", 1}}
}

// ParseSize reads a size such as "64MiB", "5MB" or "4096". It reports false for anything else, for fractions,
// and for what does not fit.
func ParseSize(text string) (Size, bool) {
	scale := Size(1)
	for _, u := range units() {
		if number, found := strings.CutSuffix(text, u.name); found {
			text, scale = number, u.bytes
			break
		}
	}
	if strings.HasPrefix(text, "+") {
		return 0, false
	}
	count, err := strconv.ParseInt(text, 10, 64)
	if err != nil || count > math.MaxInt64/int64(scale) || count < math.MinInt64/int64(scale) {
		return 0, false
	}
	return Size(count) * scale, true
}

// String returns the size in the largest unit that divides it, such as "64MiB" or "5MB"; ParseSize reads it.
func (s Size) String() string {
	for _, u := range units() {
		if s != 0 && s%u.bytes == 0 {
			return strconv.FormatInt(int64(s/u.bytes), 10) + u.name
		}
	}
	return "0B"
}
