package config

import (
	"fmt"
	"io/fs"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// badValue says why a value does not fit its setting, and what does.
type badValue struct{ msg, hint string }

// setValue puts what the TOML library read (a string, an int64, ...) into the field of a setting. mayBeEmpty
// lets "" stand for the zero value.
func setValue(dst reflect.Value, v any, mayBeEmpty bool) *badValue {
	text, isText := v.(string)
	if isText && text == "" && mayBeEmpty {
		dst.SetZero()
		return nil
	}
	switch field := dst.Addr().Interface().(type) {
	case *Size:
		number, isNumber := v.(int64)
		size, ok := ParseSize(text)
		if !isNumber && !ok {
			return &badValue{show(v) + " is not a size", `use a number of bytes or a string such as "64MiB", "5MB" or "512KiB"`}
		}
		*field = size
		if isNumber {
			*field = Size(number)
		}
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return &badValue{show(v) + " is not a duration", `use a string with a unit, such as "30s", "500ms" or "1h30m"`}
		}
		*field = d
	case *fs.FileMode:
		mode, err := strconv.ParseUint(text, 8, 16)
		if err != nil {
			return &badValue{show(v) + " is not a permission", `use an octal string such as "0660"`}
		}
		*field = fs.FileMode(mode)
	case *int:
		number, ok := v.(int64)
		if !ok {
			return &badValue{show(v) + " is not a whole number", "use digits without quotes"}
		}
		// The same bound on every platform, so that a file means the same everywhere.
		if number < math.MinInt32 || number > math.MaxInt32 {
			return &badValue{fmt.Sprintf("%d is out of range", number), fmt.Sprintf("allowed: up to %d", math.MaxInt32)}
		}
		*field = int(number)
	case *bool:
		truth, ok := v.(bool)
		if !ok {
			return &badValue{show(v) + " is not true or false", "write true or false, without quotes"}
		}
		*field = truth
	case *[]string:
		list, ok := asTexts(v)
		if !ok {
			return &badValue{show(v) + " is not a list of strings", `write a list such as ["one", "two"]`}
		}
		*field = list
	case *string:
		if !isText {
			return &badValue{show(v) + " is not a string", "put the text in double quotes"}
		}
		*field = text
	default:
		panic(fmt.Sprintf("BUG: a setting of type %s", dst.Type()))
	}
	return nil
}

// asTexts reads an array of strings; an empty one is nil.
func asTexts(v any) ([]string, bool) {
	values, ok := v.([]any)
	if !ok {
		return nil, false
	}
	var list []string
	for _, value := range values {
		text, ok := value.(string)
		if !ok {
			return nil, false
		}
		list = append(list, text)
	}
	return list, true
}

// isTexts reports whether a setting is a list of strings, and not an array of tables.
func isTexts(v reflect.Value) bool {
	return v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.String
}

// formatValue writes the value of a setting as it stands in a file; setValue reads it.
func formatValue(src reflect.Value, mayBeEmpty bool) string {
	if mayBeEmpty && src.IsZero() {
		return `""`
	}
	switch v := src.Interface().(type) {
	case Size:
		return strconv.Quote(v.String())
	case time.Duration:
		return strconv.Quote(formatDuration(v))
	case fs.FileMode:
		return strconv.Quote(formatMode(v))
	case string:
		return strconv.Quote(v)
	case []string:
		quoted := make([]string, len(v))
		for i := range v {
			quoted[i] = strconv.Quote(v[i])
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	default:
		return fmt.Sprint(v)
	}
}

// formatDuration writes 1m rather than 1m0s.
func formatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func formatMode(mode fs.FileMode) string { return fmt.Sprintf("%04o", uint32(mode)) }

// show writes a value of a file for an error: short, and in one line.
func show(v any) string {
	const most = 60
	switch v := v.(type) {
	case string:
		if len(v) > most {
			return strconv.Quote(strings.ToValidUTF8(v[:most], "")) + "..."
		}
		return strconv.Quote(v)
	case map[string]any:
		return "a table"
	case []any, []map[string]any:
		return "an array"
	case time.Time:
		return "a date or time"
	default:
		return fmt.Sprint(v)
	}
}
