package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"unicode"

	"github.com/BurntSushi/toml"
)

// Bounds of a file. Time and stack of the TOML library grow faster than the text in nested arrays and long
// dotted keys; nothing that a person writes comes near these.
const (
	maxFileBytes = 256 << 10
	maxLineBytes = 4096
	maxNesting   = 100
	maxFiles     = 1000
)

// confDir is the folder beside the main file whose files are read after it.
const confDir = "conf.d"

// Loaded is what was read and where each value came from.
type Loaded struct {
	// Config holds the settings.
	Config Config
	// Files lists the files that were read, in order.
	Files []string

	places   map[string]place // By dotted key; a key that is absent has its default.
	problems Errors
}

// Load reads a configuration file and conf.d/*.toml beside it; with path "" it returns the defaults. It looks
// at neither the environment nor default places; see LoadAgent for those. The error is Errors.
func Load(path string) (*Loaded, error) {
	l := &Loaded{Config: Default(), places: map[string]place{}}
	if path != "" {
		l.readFile(path)
		for _, file := range l.confFiles(path) {
			l.readFile(file)
		}
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	return l, nil
}

// check returns all problems so far, with those of Validate: once a key, since a value that could not be read
// would only be reported again.
func (l *Loaded) check() error {
	all := append(Errors(nil), l.problems...)
	reported := map[string]bool{}
	for _, problem := range l.problems {
		reported[problem.Key] = problem.Key != ""
	}
	for _, problem := range l.Config.problems() {
		if !reported[problem.Key] && !reported[problem.also] {
			at := l.placeOf(problem.Key, problem.also)
			problem.File, problem.Line, problem.rank = at.source, at.line, at.rank
			all = append(all, problem)
		}
	}
	return all.asError()
}

// placeOf returns the place of the first of the keys that was set, else of the nearest table around the first.
func (l *Loaded) placeOf(keys ...string) place {
	for _, key := range keys {
		if at, ok := l.places[key]; ok {
			return at
		}
	}
	for key := parentKey(keys[0]); key != ""; key = parentKey(key) {
		if at, ok := l.places[key]; ok {
			return at
		}
	}
	return place{}
}

// confFiles lists conf.d/*.toml beside the main file in byte order. Hidden files are left out: editors keep
// their copies there.
func (l *Loaded) confFiles(path string) []string {
	dir := filepath.Join(filepath.Dir(path), confDir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	from := source{name: dir, rank: len(l.Files)}
	if err != nil {
		l.note(from, "", "cannot be listed: "+reason(err), "let the agent's user read it, or remove it")
		return nil
	}
	var files []string
	for _, entry := range entries {
		if name := entry.Name(); strings.HasSuffix(name, ".toml") && !strings.HasPrefix(name, ".") {
			files = append(files, filepath.Join(dir, name))
		}
	}
	if len(files) > maxFiles {
		l.note(from, "", fmt.Sprintf("has %d files", len(files)), fmt.Sprintf("allowed: up to %d", maxFiles))
		return nil
	}
	return files
}

// readFile puts the values of one file over those before it.
func (l *Loaded) readFile(path string) {
	from := source{name: path, rank: len(l.Files)}
	l.Files = append(l.Files, path)
	text, err := readBounded(path)
	if err != nil {
		l.note(from, "", "cannot be read: "+reason(err), "check the path and who may read it")
		return
	}
	if problem := guard(text); problem != nil {
		problem.File, problem.rank = path, from.rank
		l.problems = append(l.problems, problem)
		return
	}
	var values map[string]any
	if _, err := toml.Decode(text, &values); err != nil {
		l.problems = append(l.problems, syntaxError(from, err))
		return
	}
	from.lines = places(text)
	l.applyTable(from, "", reflect.ValueOf(&l.Config).Elem(), values)
}

// syntaxError turns an error of the TOML library into ours.
func syntaxError(from source, err error) *Error {
	e := &Error{File: from.name, Msg: "not TOML: " + err.Error(), Hint: "text values stand in double quotes", rank: from.rank}
	var parse toml.ParseError
	if errors.As(err, &parse) {
		msg := strings.TrimSuffix(parse.Message, ".")
		e.Line, e.Key, e.Msg = parse.Position.Line, parse.LastKey, "not TOML: "+oneLine(msg)
		if strings.Contains(msg, "already") {
			e.Msg, e.Hint = oneLine(msg), "a file may set a key once"
		}
	}
	return e
}

// guard refuses what would cost the TOML library more than a configuration is worth.
func guard(text string) *Error {
	if len(text) > maxFileBytes {
		return &Error{Msg: "the file is too large", Hint: fmt.Sprintf("allowed: up to %s", Size(maxFileBytes))}
	}
	line, depth, begin := 1, 0, 0
	for i := range len(text) {
		switch text[i] {
		case '\n':
			line, begin = line+1, i+1
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(0, depth-1)
		}
		if depth > maxNesting {
			return &Error{Line: line, Msg: "too many open brackets", Hint: fmt.Sprintf("allowed: up to %d", maxNesting)}
		}
		if i-begin >= maxLineBytes {
			return &Error{Line: line, Msg: "the line is too long", Hint: fmt.Sprintf("allowed: up to %d bytes", maxLineBytes)}
		}
	}
	return nil
}

// readBounded reads a file, and at most a byte more than is allowed.
func readBounded(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	return string(text), errors.Join(err, f.Close())
}

// reason strips the operation and the path from an error of a file, which the place names already.
func reason(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err.Error()
	}
	return oneLine(err.Error())
}

// oneLine keeps an error on one line whatever it quotes.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}
