package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/client"
	"github.com/kapetan-io/querator-edge/agent/config"
	"github.com/kapetan-io/querator-edge/queue"
)

// TestEveryKindHasAnExitCode compares the table with the kinds that package client declares.
func TestEveryKindHasAnExitCode(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../agent/client/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]error{
		"ErrInvalid": client.ErrInvalid, "ErrNotFound": client.ErrNotFound, "ErrLeaseLost": client.ErrLeaseLost,
		"ErrDuplicate": client.ErrDuplicate, "ErrEmpty": client.ErrEmpty, "ErrFull": client.ErrFull,
		"ErrTryAgain": client.ErrTryAgain, "ErrShutdown": client.ErrShutdown, "ErrUnavailable": client.ErrUnavailable,
		"ErrDenied": client.ErrDenied, "ErrUnsupported": client.ErrUnsupported, "ErrInternal": client.ErrInternal,
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Err") {
			return true
		}
		found++
		kind := kinds[spec.Names[0].Name]
		inTable := false
		for _, x := range exits {
			inTable = inTable || kind != nil && x.kind == kind
		}
		if !inTable {
			t.Errorf("client.%s has no exit code", spec.Names[0].Name)
		}
		return true
	})
	if found != len(kinds) {
		t.Errorf("package client declares %d kinds, the test knows %d", found, len(kinds))
	}
}

func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("any"), 1},
		{usagef("x"), 2},
		{fmt.Errorf("while: %w", client.ErrEmpty), 3},
		{client.ErrLeaseLost, 4},
		{client.ErrFull, 5},
		{client.ErrUnavailable, 69},
		{client.ErrTryAgain, 75},
		{client.ErrShutdown, 75},
		{fmt.Errorf("at start: %w", config.ErrConfig), 78},
		{&queue.Error{Kind: queue.ErrLocked}, 69},
		{&queue.Error{Kind: queue.ErrFull}, 69},
		{&queue.Error{Kind: queue.ErrUnavailable, Err: fs.ErrPermission}, 78},
		{&queue.Error{Kind: queue.ErrCorrupt, Err: fs.ErrPermission}, 78},
	} {
		if got := new(env).exitCode(test.err); got != test.want {
			t.Errorf("%v: exit %d, want %d", test.err, got, test.want)
		}
	}
	if got := (&env{usage: exitAgentUsage}).exitCode(usagef("x")); got != 64 {
		t.Errorf("usage of the agent: exit %d, want 64", got)
	}
}

func TestFullAgent(t *testing.T) {
	socket := serveAgent(t, 1<<20)
	command(t.Context(), socket, "", "create", "q")
	r := command(t.Context(), socket, strings.Repeat(strings.Repeat("x", 999)+"\n", 3000), "produce", "q", "--lines", "--batch", "100")
	if r.code != exitFull {
		t.Errorf("exit %d, want %d; %s", r.code, exitFull, r.stderr)
	}
	// What it says is stored is what is stored.
	said := regexp.MustCompile(`(?m)^(\d+) lines are stored`).FindStringSubmatch(r.stderr)
	if said == nil {
		t.Fatalf("it does not say how much is stored: %s", r.stderr)
	}
	r = command(t.Context(), socket, "", "items", "export", "q")
	if n := strings.Count(r.stdout, "\n"); strconv.Itoa(n) != said[1] || n == 0 {
		t.Errorf("%d items are stored, produce said %s", n, said[1])
	}
}
