package access_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/access"
)

// What a request costs: without rules, and with many of them of which some are about the caller.
func BenchmarkCheck(b *testing.B) {
	needRoot(b)
	path, l := socket(b)
	var text strings.Builder
	for i := range 50 {
		fmt.Fprintf(&text, "[[access]]\nuser = \"%d\"\nqueues = [\"q%d-*\"]\nallow = [\"read\"]\n", 3000+i, i)
	}
	for i := range 4 {
		fmt.Fprintf(&text, "[[access]]\nuser = \"sensor\"\nqueues = [\"camera-*-%d\", \"other\"]\nallow = [\"consume\"]\n", i)
	}
	text.WriteString("[[access]]\ngroup = \"querator\"\nqueues = [\"readings-*\"]\nallow = [\"produce\"]\n")
	for _, bench := range []struct {
		name  string
		rules *access.Rules
	}{{"none", nil}, {"55-rules", compile(b, text.String())}} {
		b.Run(bench.name, func(b *testing.B) {
			g := access.New(access.Options{Rules: bench.rules, Shares: access.Shares{Connections: 100, WaitingLeases: 100}})
			c, err := connectAs(path, who{uid: 11001, gid: 1, groups: []uint32{5, 6, 12001}})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			p := accept(b, g, l)
			b.ReportAllocs()
			for b.Loop() {
				if err := g.Admit(p); err != nil {
					b.Fatal(err)
				}
				if err := g.Reserve(p, 100, 1<<20, true); err != nil {
					b.Fatal(err)
				}
				if err := g.Check(p, access.Produce, "readings-17"); err != nil {
					b.Fatal(err)
				}
				g.ReleaseBytes(p, 100, 0)
			}
		})
	}
}

// What a connection costs: credentials, and with rules its groups.
func BenchmarkGreet(b *testing.B) {
	path, l := socket(b)
	rules := compile(b, lines(`[[access]]`, `group = "video"`, `queues = ["*"]`, `allow = ["read"]`))
	for _, bench := range []struct {
		name  string
		rules *access.Rules
	}{{"no-rules", nil}, {"rules", rules}} {
		b.Run(bench.name, func(b *testing.B) {
			g := access.New(access.Options{Rules: bench.rules})
			c, err := connectAs(path, who{uid: 11001, gid: 1})
			if err != nil {
				b.Skip(err)
			}
			defer c.Close()
			conn, err := l.Accept()
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			b.ReportAllocs()
			for b.Loop() {
				p, err := g.Greet(conn)
				if err != nil {
					b.Fatal(err)
				}
				g.Decide(p, access.Read, "q")
				g.Leave(p)
			}
		})
	}
}
