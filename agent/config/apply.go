package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// source is the place that an applied value comes from.
type source struct {
	name  string         // The file as it was opened, or "flag" or "environment".
	rank  int            // The position in reading order, for sorting problems.
	lines map[string]int // The line of each key; nil without a file.
}

// place is where one value came from.
type place struct {
	source string
	rank   int
	line   int
}

// field is one key of a table: the place in the struct and how it may be written.
type field struct {
	name       string
	value      reflect.Value
	mayBeEmpty bool
}

// fields lists the keys of a table in the order of the struct.
func fields(table reflect.Value) []field {
	list := make([]field, table.NumField())
	for i := range list {
		name, option, _ := strings.Cut(table.Type().Field(i).Tag.Get("toml"), ",")
		list[i] = field{name: name, value: table.Field(i), mayBeEmpty: option == "empty"}
	}
	return list
}

// applyTable puts the values of a table of a file over those that dst holds. What does not fit is noted and
// left as it was.
func (l *Loaded) applyTable(from source, table string, dst reflect.Value, values map[string]any) {
	known := fields(dst)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		key := joinKey(table, name)
		i := slices.IndexFunc(known, func(f field) bool { return f.name == name })
		if i < 0 {
			l.note(from, key, "unknown key", suggest(name, known))
			continue
		}
		l.places[key] = place{source: from.name, rank: from.rank, line: from.lines[key]}
		kind := known[i].value.Kind()
		if isTexts(known[i].value) {
			kind = reflect.String // One value, as a text is.
		}
		switch kind {
		case reflect.Struct:
			if inner, ok := values[name].(map[string]any); ok {
				l.applyTable(from, key, known[i].value, inner)
			} else {
				l.note(from, key, show(values[name])+" is not a table", "write ["+key+"] and its keys below")
			}
		case reflect.Slice:
			l.applyArray(from, key, known[i].value, values[name])
		default:
			if bad := setValue(known[i].value, values[name], known[i].mayBeEmpty); bad != nil {
				l.note(from, key, bad.msg, bad.hint)
			}
		}
	}
}

// applyArray replaces an array of tables as a whole.
func (l *Loaded) applyArray(from source, key string, dst reflect.Value, v any) {
	tables, ok := asTables(v)
	if !ok {
		l.note(from, key, show(v)+" is not an array of tables", "write [["+key+"]] and its keys below")
		return
	}
	maps.DeleteFunc(l.places, func(k string, _ place) bool { return strings.HasPrefix(k, key+"[") })
	fresh := reflect.MakeSlice(dst.Type(), len(tables), len(tables))
	for i, table := range tables {
		element := indexKey(key, i)
		l.places[element] = place{source: from.name, rank: from.rank, line: from.lines[element]}
		switch e := fresh.Index(i).Addr().Interface().(type) {
		case *PartitionStorage:
			*e = DefaultPartitionStorage()
		case *Queue:
			*e = DefaultQueue()
		case *Downlink:
			*e = DefaultDownlink()
		}
		l.applyTable(from, element, fresh.Index(i), table)
	}
	dst.Set(fresh)
}

// asTables accepts [[key]] and key = [{...}].
func asTables(v any) ([]map[string]any, bool) {
	if tables, ok := v.([]map[string]any); ok {
		return tables, true
	}
	values, ok := v.([]any)
	tables := make([]map[string]any, len(values))
	for i := range values {
		if tables[i], ok = values[i].(map[string]any); !ok {
			return nil, false
		}
	}
	return tables, ok
}

// note records a problem of a value in a source.
func (l *Loaded) note(from source, key, msg, hint string) {
	l.problems = append(l.problems, &Error{File: from.name, Line: from.lines[key], Key: key, Msg: msg, Hint: hint, rank: from.rank})
}

// suggest names the key that was probably meant, else all that are known.
func suggest(name string, known []field) string {
	var all []string
	for _, f := range known {
		if distance(name, f.name) <= 2 {
			return "did you mean " + f.name + "?"
		}
		all = append(all, f.name)
	}
	return "known here: " + strings.Join(all, ", ")
}

// distance is the number of letters to add, drop or replace to make b of a; "_" counts as "-". Long names are
// cut, since only small distances matter.
func distance(a, b string) int {
	const most = 64
	a = strings.ReplaceAll(strings.ToLower(a[:min(len(a), most)]), "_", "-")
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
