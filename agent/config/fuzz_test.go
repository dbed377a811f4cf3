package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/config"
)

// FuzzLoad holds for any file: no panic; an error is ErrConfig, names the file and prints a line a problem;
// what loads is valid, and each value that the file set has a line of it.
func FuzzLoad(f *testing.F) {
	text, err := os.ReadFile(shipped)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add("[[queue]]\nname = \"a\"\n[[queue]]\nname = \"b\"\nmax-attempts = 3\n")
	f.Add("queue = [{name = 'a', \"max-attempts\" = 1}, # c\n {name = '''b'''}]\n")
	f.Add("\uFEFFlimits . max-connections = 1 # [x]\r\n")
	f.Add("data-dir = \"\"\"\n/a\\\"\"\"\"\"\n[clock]\ntrust = '''ntp'''")
	f.Add("a.b.c = [[1, 2], [{x = {}}]]\n[ \"q\\u0041\" . '' ]\n")
	f.Add("memory-limit = 99999999999999999999")
	f.Fuzz(func(t *testing.T, text string) {
		path := write(t, t.TempDir(), "q.toml", text)
		l, err := config.Load(path)
		if err != nil {
			checkKind(t, err, path)
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, path+":") {
					t.Errorf("%q does not begin with the file", line)
				}
			}
			return
		}
		if err := l.Config.Validate(); err != nil {
			t.Errorf("loaded, but not valid: %v", err)
		}
		lines := strings.Count(text, "\n") + 1
		for _, s := range l.Settings() {
			if s.Origin == config.OriginDefault {
				continue
			}
			if line := lineOf(t, s); line < 1 || line > lines {
				t.Errorf("%s is in line %d of %d", s.Key, line, lines)
			}
		}
	})
}
