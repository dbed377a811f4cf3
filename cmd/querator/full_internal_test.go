package main

// An internal test: it runs commands in this process. It holds the texts by which a full agent is recognised
// against those that the engine and the stores have.

import (
	"context"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestEveryFullExitsWith5 looks through the source for all errors of kind ErrFull, and has an agent answer with
// the text of each.
func TestEveryFullExitsWith5(t *testing.T) {
	texts := make(map[string]string) // to where it is
	for _, dir := range []string{"../../queue", "../../queue/memstore", "../../badgerstore"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", dir, err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				fullTexts(t, file, texts)
			}
		}
	}
	if len(texts) < 8 {
		t.Errorf("only %d errors were found: %v", len(texts), texts)
	}
	for _, text := range slices.Sorted(maps.Keys(texts)) {
		if code := exitAfter(t, text); code != exitFull {
			t.Errorf("%s: %q makes the command exit with %d, want %d; begin it in one of the ways that client.isFull knows",
				texts[text], text, code, exitFull)
		}
	}
	for text, want := range map[string]int{
		"the agent is busy: 60 bytes of requests are in flight, limit 100; try again":             exitTryAgain,
		"queue is overloaded; try again later":                                                    exitTryAgain,
		"partition not available; partition '0' is failing, retry again":                          exitTryAgain,
		"cannot open /the disk is full/too many":                                                  exitTryAgain,
		"the request is too large for this agent: 101 bytes, and at most 100 may be in flight; x": exitFailure,
		"request timeout; no items are in the queue, try again":                                   exitEmpty,
	} {
		if code := exitAfter(t, text); code != want {
			t.Errorf("%q makes the command exit with %d, want %d", text, code, want)
		}
	}
}

// fullTexts adds the texts of the errors of kind ErrFull in a file.
func fullTexts(t *testing.T, path string, texts map[string]string) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		values := assigned(f) // what each variable of the function may be
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok || !slices.ContainsFunc(possible(field(lit, "Kind"), values), isErrFull) {
				return true
			}
			found := 0
			for _, e := range possible(field(lit, "Msg"), values) {
				if text, ok := messageOf(e); ok {
					texts[text] = fset.Position(e.Pos()).String()
					found++
				}
			}
			if found == 0 {
				t.Errorf("%s: the text of this error cannot be read", fset.Position(lit.Pos()))
			}
			return true
		})
	}
}

// assigned returns the expressions that a function gives its variables.
func assigned(f *ast.FuncDecl) map[string][]ast.Expr {
	values := make(map[string][]ast.Expr)
	ast.Inspect(f, func(n ast.Node) bool {
		if a, ok := n.(*ast.AssignStmt); ok && len(a.Lhs) == len(a.Rhs) {
			for i := range a.Lhs {
				if id, ok := a.Lhs[i].(*ast.Ident); ok {
					values[id.Name] = append(values[id.Name], a.Rhs[i])
				}
			}
		}
		return true
	})
	return values
}

// possible returns what an expression may be: itself, or the values of the variable that it is.
func possible(e ast.Expr, values map[string][]ast.Expr) []ast.Expr {
	if id, ok := e.(*ast.Ident); ok && values[id.Name] != nil {
		return values[id.Name]
	}
	return []ast.Expr{e}
}

// field returns the value of a field in a literal of a struct, or nil.
func field(lit *ast.CompositeLit, name string) ast.Expr {
	for _, e := range lit.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			if id, ok := kv.Key.(*ast.Ident); ok && id.Name == name {
				return kv.Value
			}
		}
	}
	return nil
}

func isErrFull(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "ErrFull"
	case *ast.SelectorExpr:
		return e.Sel.Name == "ErrFull"
	}
	return false
}

// messageOf returns the text of a literal, or of a call that formats one, with something in place of the verbs.
func messageOf(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.CallExpr:
		if len(e.Args) == 0 {
			return "", false
		}
		format, ok := messageOf(e.Args[0])
		return regexp.MustCompile(`%[a-z]`).ReplaceAllString(format, "7"), ok
	case *ast.BinaryExpr:
		left, ok := messageOf(e.X)
		right, ok2 := messageOf(e.Y)
		return left + right, ok && ok2
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	}
	return "", false
}

// exitAfter returns the exit code of a produce to which the agent answers 454 with a text.
func exitAfter(t *testing.T, text string) int {
	t.Helper()
	dir, err := os.MkdirTemp("", "q") // Short: a socket's path is.
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(454)
		if err := json.NewEncoder(w).Encode(map[string]any{"code": 454, "code_text": "Retry Request", "message": text}); err != nil {
			t.Error(err)
		}
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.Serve(l)
	}()
	r := command(context.Background(), socket, "", "produce", "q", "x")
	server.Close()
	<-served
	if !strings.Contains(r.stderr, text) {
		t.Errorf("the command does not say %q: %s", text, r.stderr)
	}
	return r.code
}
