package main_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// The rules of the source as a whole: which package may know which, and what no file has.

const (
	module   = "github.com/kapetan-io/querator-edge"
	root     = "../.."
	maxLines = 500
)

// source is one parsed Go file.
type source struct {
	path      string // from the root, with slashes
	dir       string
	test      bool
	generated bool
	lines     int
	ast       *ast.File
	fset      *token.FileSet
}

// at returns where a node is, for messages.
func (s *source) at(n ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.fset.Position(n.Pos()).Line)
}

// in reports whether the file is in a folder or below it.
func (s *source) in(dir string) bool {
	return s.dir == dir || strings.HasPrefix(s.dir, dir+"/")
}

// imports returns the import paths of the file.
func (s *source) imports() []string {
	var paths []string
	for _, i := range s.ast.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		paths = append(paths, path)
	}
	return paths
}

// sources parses every Go file of the module.
func sources(t *testing.T) []*source {
	t.Helper()
	var all []*source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); rel != "." && (name == "testdata" || name == "bin" || strings.HasPrefix(name, ".")) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		all = append(all, &source{
			path: rel, dir: filepath.ToSlash(filepath.Dir(rel)), test: strings.HasSuffix(rel, "_test.go"),
			generated: ast.IsGenerated(f), lines: bytes.Count(text, []byte("\n")), ast: f, fset: fset,
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("found %d Go files below %s; this test looks in the wrong place", len(all), root)
	}
	return all
}

// TestImportsPointDown checks: cmd knows agent, agent knows the stores and the engine, each of those the engine
// alone, and the engine nothing but the standard library.
func TestImportsPointDown(t *testing.T) {
	forbidden := map[string][]string{
		"queue":       {"agent", "badgerstore", "uplink", "cmd"},
		"badgerstore": {"agent", "uplink", "cmd"},
		"uplink":      {"agent", "badgerstore", "cmd"},
		"agent":       {"cmd"},
	}
	for _, s := range sources(t) {
		for _, path := range s.imports() {
			own := strings.TrimPrefix(path, module+"/")
			for folder, targets := range forbidden {
				top, _, _ := strings.Cut(own, "/")
				if s.in(folder) && own != path && slices.Contains(targets, top) {
					t.Errorf("%s imports %s; imports point down only", s.path, own)
				}
			}
			foreign := strings.Contains(strings.SplitN(path, "/", 2)[0], ".") && own == path
			switch {
			case s.in("queue") && path == "net/http":
				t.Errorf("%s imports %s; the engine knows no HTTP", s.path, path)
			case s.in("queue") && foreign && (s.test || s.in("queue/queuetest")):
				if path != "github.com/anishathalye/porcupine" {
					t.Errorf("%s imports %s; the engine's tests get by with the standard library and porcupine", s.path, path)
				}
			case s.in("queue") && foreign:
				t.Errorf("%s imports %s; the engine depends on the standard library only", s.path, path)
			case path == "github.com/dgraph-io/badger/v4" && !s.in("badgerstore"):
				t.Errorf("%s imports Badger; only badgerstore knows it", s.path)
			case strings.HasPrefix(path, "github.com/nats-io/nats-server/") && !s.test:
				t.Errorf("%s imports %s; the server is for tests only", s.path, path)
			case strings.HasPrefix(path, "github.com/nats-io/") && !s.in("uplink") && !s.test:
				t.Errorf("%s imports %s; only the uplink knows it", s.path, path)
			case path == "github.com/spf13/cobra" && !s.in("cmd"):
				t.Errorf("%s imports cobra; only the command line knows it", s.path)
			case path == "C":
				t.Errorf("%s uses cgo", s.path)
			}
		}
	}
}

// TestNoTestCodeInTheProgram checks that nothing that the program links imports testing.
func TestNoTestCodeInTheProgram(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.in("queue/queuetest") || s.in("agent/crashtest") {
			continue
		}
		for _, path := range s.imports() {
			if path == "testing" || strings.HasPrefix(path, "testing/") || strings.HasSuffix(path, "/queue/queuetest") {
				t.Errorf("%s imports %s; that belongs into a test", s.path, path)
			}
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	for _, s := range sources(t) {
		if !s.generated && s.lines > maxLines {
			t.Errorf("%s has %d lines, more than %d; it holds more than one thing", s.path, s.lines, maxLines)
		}
	}
}

// TestNoTestSleeps checks that tests wait for events. Inside testing/synctest a sleep takes no time and hopes
// for nothing; a test counts as inside where it stands in the arguments of synctest.Test or of a function of a file that
// uses synctest. A function that is no test may sleep when its file uses synctest, and call what does in any file, if
// no test calls it, or one that calls it, outside.
func TestNoTestSleeps(t *testing.T) {
	all := sources(t)
	bubbles := make(map[string]bool) // package.function
	for _, s := range all {
		for _, decl := range s.ast.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && usesSynctest(s) {
				bubbles[s.unit()+"."+f.Name.Name] = true
			}
		}
	}
	sleepers := make(map[string]bool) // package.function, package..method
	outside := func(s *source, decl ast.Node) []*ast.CallExpr {
		return sleepsOutside(decl, func(fun ast.Expr) bool {
			f, ok := fun.(*ast.Ident)
			return isSelector(fun, "synctest", "Test") || ok && bubbles[s.unit()+"."+f.Name]
		}, func(fun ast.Expr) bool {
			switch f := fun.(type) {
			case *ast.Ident:
				return sleepers[s.unit()+"."+f.Name]
			case *ast.SelectorExpr:
				return isSelector(fun, "time", "Sleep") || sleepers[s.unit()+".."+f.Sel.Name]
			}
			return false
		})
	}
	for known := -1; known < len(sleepers); {
		known = len(sleepers)
		for _, s := range all {
			for _, decl := range s.ast.Decls {
				f, ok := decl.(*ast.FuncDecl)
				if !ok || !s.test || isTest(f) || len(outside(s, f)) == 0 {
					continue
				}
				if f.Recv != nil {
					sleepers[s.unit()+".."+f.Name.Name] = true
				} else {
					sleepers[s.unit()+"."+f.Name.Name] = true
				}
			}
		}
	}
	for _, s := range all {
		for _, decl := range s.ast.Decls {
			f, ok := decl.(*ast.FuncDecl)
			isHelper := ok && !isTest(f)
			if !s.test || isHelper && usesSynctest(s) {
				continue
			}
			for _, n := range outside(s, decl) {
				if isHelper && !isSelector(n.Fun, "time", "Sleep") {
					continue
				}
				t.Errorf("%s sleeps, or calls what does; wait for what is to happen, or use testing/synctest", s.at(n))
			}
		}
	}
}

// unit names the package of a file: beside each there may be another for tests.
func (s *source) unit() string { return s.dir + " " + s.ast.Name.Name }

func isTest(f *ast.FuncDecl) bool { return f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") }

// sleepsOutside returns the calls that sleep and do not stand in the arguments of a bubble.
func sleepsOutside(n ast.Node, isBubble, sleeps func(fun ast.Expr) bool) (found []*ast.CallExpr) {
	ast.Inspect(n, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if sleeps(call.Fun) {
			found = append(found, call)
		}
		return !isBubble(call.Fun)
	})
	return found
}

func usesSynctest(s *source) bool { return slices.Contains(s.imports(), "testing/synctest") }

func isSelector(e ast.Expr, pkg, name string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == pkg
}

// TestNoPackageState checks that packages have no init functions, and that the variables of packages are tables
// and values that nobody changes. The linker may set main.version.
func TestNoPackageState(t *testing.T) {
	variables := make(map[string]string) // dir.name to where it is
	var rest []*source
	for _, s := range sources(t) {
		if s.generated || s.test {
			continue
		}
		rest = append(rest, s)
		for _, decl := range s.ast.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == "init" {
					t.Errorf("%s: a package has no init function", s.at(d))
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					v, ok := spec.(*ast.ValueSpec)
					if !ok || d.Tok != token.VAR {
						continue
					}
					for _, name := range v.Names {
						variables[s.dir+"."+name.Name] = s.at(name)
						if v.Values == nil && !embeds(d) {
							t.Errorf("%s: %s has no value, so somebody will change it; put it into a struct", s.at(name), name.Name)
						}
					}
				}
			}
		}
	}
	for _, s := range rest {
		for _, decl := range s.ast.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			for _, id := range changed(f) {
				if where, ok := variables[s.dir+"."+id.Name]; ok {
					t.Errorf("%s changes %s, a variable of the package (%s); put it into a struct", s.at(id), id.Name, where)
				}
			}
		}
	}
}

func embeds(d *ast.GenDecl) bool {
	return d.Doc != nil && slices.ContainsFunc(d.Doc.List, func(c *ast.Comment) bool {
		return strings.HasPrefix(c.Text, "//go:embed ")
	})
}

// changed returns the variables that a function assigns to, in whole or in part, or takes the address of, and
// that it does not declare.
func changed(f *ast.FuncDecl) []*ast.Ident {
	own := make(map[string]bool)
	var ids []*ast.Ident
	add := func(e ast.Expr) {
		for {
			switch x := e.(type) {
			case *ast.IndexExpr:
				e = x.X
			case *ast.SelectorExpr:
				e = x.X
			case *ast.ParenExpr:
				e = x.X
			case *ast.StarExpr:
				e = x.X
			case *ast.Ident:
				ids = append(ids, x)
				return
			default:
				return
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			for _, id := range n.Names {
				own[id.Name] = true
			}
		case *ast.ValueSpec:
			for _, id := range n.Names {
				own[id.Name] = true
			}
		case *ast.RangeStmt:
			for _, e := range []ast.Expr{n.Key, n.Value} {
				if id, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
					own[id.Name] = true
				}
			}
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				if id, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
					own[id.Name] = true
					continue
				}
				add(e)
			}
		case *ast.IncDecStmt:
			add(n.X)
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				add(n.X)
			}
		}
		return true
	})
	return slices.DeleteFunc(ids, func(id *ast.Ident) bool { return own[id.Name] || id.Name == "_" })
}

// TestWords checks names that are declared against the project's words: an item is produced, leased and
// completed; a deadline is a time and a timeout a duration.
func TestWords(t *testing.T) {
	banned := []string{"task", "tasks", "job", "jobs", "enqueue", "requeue", "ack", "acks", "nack", "visibility", "shard", "shards"}
	word := regexp.MustCompile(`^(?i)enqueue_?at`)
	for _, s := range sources(t) {
		if s.generated {
			continue
		}
		check := func(id *ast.Ident) {
			for _, w := range words(id.Name) {
				if slices.Contains(banned, w) && !word.MatchString(id.Name[strings.Index(strings.ToLower(id.Name), w):]) {
					t.Errorf("%s: %s has the word %q, which is not one of ours", s.at(id), id.Name, w)
				}
			}
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				check(n.Name)
			case *ast.TypeSpec:
				check(n.Name)
			case *ast.ValueSpec:
				for _, id := range n.Names {
					check(id)
				}
			case *ast.Field:
				for _, id := range n.Names {
					check(id)
					w := words(id.Name)
					last := w[len(w)-1]
					if isSelector(n.Type, "time", "Time") && last == "timeout" || isSelector(n.Type, "time", "Duration") && last == "deadline" {
						t.Errorf("%s: %s: a deadline is a time.Time, a timeout is a time.Duration", s.at(id), id.Name)
					}
				}
			}
			return true
		})
	}
}

// words returns the words of a name in lower case: EnqueueAt is enqueue, at.
func words(name string) []string {
	var all []string
	start := 0
	runes := []rune(name)
	for i := 1; i <= len(runes); i++ {
		end := i == len(runes) || runes[i] == '_' ||
			unicode.IsUpper(runes[i]) && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if end {
			all = append(all, strings.ToLower(strings.Trim(string(runes[start:i]), "_")))
			start = i
		}
	}
	return all
}

// TestDirectDependencies checks go.mod against the list of those that were chosen. One more costs memory, size
// and trust on every device; it is added here by a change that says why.
func TestDirectDependencies(t *testing.T) {
	chosen := []string{
		"github.com/BurntSushi/toml",        // the configuration
		"github.com/anishathalye/porcupine", // tests: linearizability
		"github.com/cespare/xxhash/v2",      // badgerstore: checksums
		"github.com/dgraph-io/badger/v4",    // badgerstore
		"github.com/google/flatbuffers",     // badgerstore: the index of Badger's tables; Badger asks for it, too
		"github.com/hanwen/go-fuse/v2",      // tests: power cuts
		"github.com/klauspost/compress",     // badgerstore: S2; uplink: zstd
		"github.com/nats-io/jwt/v2",         // tests: logins at the uplink's server
		"github.com/nats-io/nats-server/v2", // tests: the server of the uplink
		"github.com/nats-io/nats.go",        // uplink
		"github.com/nats-io/nkeys",          // tests: logins at the uplink's server
		"github.com/rs/zerolog",             // the agent's log
		"github.com/spf13/cobra",            // the command line
		"go.yaml.in/yaml/v3",                // tests: the OpenAPI description
		"golang.org/x/sys",                  // peer credentials, terminals
		"google.golang.org/protobuf",        // the API's second format
	}
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	direct := regexp.MustCompile(`(?m)^(?:require )?\t?([a-z][^ \n]*\.[^ \n]*/[^ \n]*) v[^ \n]*$`)
	var found []string
	for _, m := range direct.FindAllStringSubmatch(string(text), -1) {
		found = append(found, m[1])
	}
	slices.Sort(found)
	slices.Sort(chosen)
	if !slices.Equal(found, chosen) {
		t.Errorf("go.mod asks for\n  %s\nbut what was chosen is\n  %s", strings.Join(found, "\n  "), strings.Join(chosen, "\n  "))
	}
}
