package api

// An internal test: the table of codes is not for other packages.

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/queue"
)

// sentinels are all the kinds of error of package queue, by name, with the code
// that clients are promised.
var sentinels = map[string]struct {
	kind error
	code int
}{
	"ErrInvalid":     {queue.ErrInvalid, 400},
	"ErrNotFound":    {queue.ErrNotFound, 400},
	"ErrNotLeased":   {queue.ErrNotLeased, 400},
	"ErrDuplicate":   {queue.ErrDuplicate, 400},
	"ErrEmpty":       {queue.ErrEmpty, 454},
	"ErrOverloaded":  {queue.ErrOverloaded, 454},
	"ErrFull":        {queue.ErrFull, 454},
	"ErrUnavailable": {queue.ErrUnavailable, 454},
	"ErrClosed":      {queue.ErrClosed, 453},
	"ErrCorrupt":     {queue.ErrCorrupt, 500},
	"ErrFormat":      {queue.ErrFormat, 500},
	"ErrLocked":      {queue.ErrLocked, 500},
}

func TestEveryKindOfErrorHasACode(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../queue/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.VAR {
			continue
		}
		for _, spec := range gen.Specs {
			name := spec.(*ast.ValueSpec).Names[0].Name
			if !strings.HasPrefix(name, "Err") {
				continue
			}
			found++
			want, ok := sentinels[name]
			if !ok {
				t.Errorf("queue.%s has no code: add it to kinds and to this test", name)
				continue
			}
			inTable := 0
			for _, k := range kinds {
				if k.kind == want.kind {
					inTable++
				}
			}
			if inTable != 1 {
				t.Errorf("queue.%s is %d times in kinds, want once", name, inTable)
			}
			code, _ := answer(fmt.Errorf("wrapped: %w", &queue.Error{Kind: want.kind, Msg: "text"}))
			if code != want.code {
				t.Errorf("queue.%s answers %d, want %d", name, code, want.code)
			}
		}
	}
	if found != len(sentinels) || found != len(kinds) {
		t.Errorf("queue has %d kinds of error, the test %d, the table %d", found, len(sentinels), len(kinds))
	}
}

func TestCausesStayInside(t *testing.T) {
	cause := errors.New("/var/lib/secret: input/output error")
	for _, err := range []error{
		cause,
		&queue.Error{Kind: queue.ErrCorrupt, Msg: "block 7 is damaged", Err: cause},
		&queue.Error{Kind: queue.ErrUnavailable, Msg: "failing, retry again", Err: cause},
	} {
		if _, msg := answer(err); strings.Contains(msg, "secret") || strings.Contains(msg, "block") {
			t.Errorf("a client gets %q", msg)
		}
	}
	if code, msg := answer(cause); code != 500 || msg != "Internal Error" {
		t.Errorf("an unknown error answers %d %q", code, msg)
	}
	if code, _ := answer(context.DeadlineExceeded); code != 454 {
		t.Errorf("a timeout answers %d, want 454", code)
	}
}

func TestCodeTexts(t *testing.T) {
	for code, want := range map[int]string{
		200: "", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 453: "Request Failed", 454: "Retry Request",
		455: "Client Content Error", 500: "Internal Service Error", 501: "Not Implemented",
	} {
		if got := codeText(code); got != want {
			t.Errorf("code %d is %q, want %q", code, got, want)
		}
	}
}
