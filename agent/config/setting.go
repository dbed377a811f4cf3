package config

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// Origins that are no place in a file.
const (
	OriginDefault     = "default"
	OriginFlag        = "flag"
	OriginEnvironment = "environment"
)

// Setting is one value as `querator config check` lists it.
type Setting struct {
	// Key is the dotted key, such as socket.mode or partition-storage[0].name.
	Key string
	// Value is written as in a file: "64MiB" with its quotes, or 1000.
	Value string
	// Origin is file:line, or one of OriginDefault, OriginFlag, OriginEnvironment.
	Origin string
}

// Settings lists every value in the order of querator.toml. An array without elements is one setting, [].
func (l *Loaded) Settings() []Setting {
	return l.appendTable(nil, "", reflect.ValueOf(&l.Config).Elem())
}

// Origin returns where the value of a dotted key came from, as in Setting.
func (l *Loaded) Origin(key string) string {
	at, ok := l.places[key]
	switch {
	case !ok:
		return OriginDefault
	case at.line > 0:
		return at.source + ":" + strconv.Itoa(at.line)
	default:
		return at.source
	}
}

func (l *Loaded) appendTable(list []Setting, table string, src reflect.Value) []Setting {
	for _, f := range fields(src) {
		key := joinKey(table, f.name)
		switch {
		case f.value.Kind() == reflect.Struct:
			list = l.appendTable(list, key, f.value)
		case f.value.Kind() == reflect.Slice && !isTexts(f.value):
			if f.value.Len() == 0 {
				list = append(list, Setting{Key: key, Value: "[]", Origin: l.Origin(key)})
			}
			for i := range f.value.Len() {
				list = l.appendTable(list, indexKey(key, i), f.value.Index(i))
			}
		default:
			list = append(list, Setting{Key: key, Value: formatValue(f.value, f.mayBeEmpty), Origin: l.Origin(key)})
		}
	}
	return list
}

// Override sets the value of one dotted key, such as socket.path, from text without quotes; origin is
// OriginFlag or OriginEnvironment and takes the place of the file in errors. Arrays cannot be overridden. The
// error is Errors with every problem of the settings; after an error the settings are not to be used.
func (l *Loaded) Override(key, text, origin string) error {
	from := source{name: origin, rank: math.MaxInt32}
	table := reflect.ValueOf(&l.Config).Elem()
	for rest := key; ; {
		name, inner, nested := strings.Cut(rest, ".")
		f, ok := find(table, name)
		if !ok || f.value.Kind() == reflect.Slice || nested != (f.value.Kind() == reflect.Struct) {
			l.note(from, key, "unknown key", "known keys: see querator.toml")
			return l.check()
		}
		if nested {
			table, rest = f.value, inner
			continue
		}
		l.places[key] = place{source: from.name, rank: from.rank}
		if bad := setValue(f.value, fromText(f.value, text), f.mayBeEmpty); bad != nil {
			l.note(from, key, bad.msg, bad.hint)
		}
		return l.check()
	}
}

// find returns the field of a key in a table.
func find(table reflect.Value, name string) (field, bool) {
	for _, f := range fields(table) {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

// fromText is what the TOML library would read for the text of a flag.
func fromText(dst reflect.Value, text string) any {
	if _, whole := dst.Interface().(int); whole {
		if number, err := strconv.ParseInt(text, 10, 64); err == nil {
			return number
		}
	}
	return text
}

// String returns the settings as one line each, for tests and logs.
func (s Setting) String() string { return fmt.Sprintf("%s = %s # %s", s.Key, s.Value, s.Origin) }
