package access_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/kapetan-io/querator-edge/agent/access"
	"github.com/kapetan-io/querator-edge/agent/config"
)

const own = 11000 // the user of the agent in these tests

// caller returns one of whom everything is known.
func caller(uid uint32, groups ...uint32) access.Caller {
	return access.Caller{UID: uid, GID: uid, Groups: groups, GroupsKnown: true, UnitKnown: true}
}

// rule writes one rule.
func rule(head, queues, verdict string) string {
	return "[[access]]\n" + strings.ReplaceAll(head, ", ", "\n") + "\nqueues = [" + queues + "]\n" + verdict + "\n"
}

const all = `allow = ["produce", "consume", "read", "admin"]`

func TestDecisions(t *testing.T) {
	camera := access.Caller{UID: 11002, GID: 11002, GroupsKnown: true, Unit: "camera.service", UnitKnown: true}
	unknownUnit := access.Caller{UID: 11002, GID: 11002, GroupsKnown: true}
	unknownGroups := access.Caller{UID: 11002, GID: 11002, UnitKnown: true}
	nobody := access.Caller{UID: 65534, GID: 65534, Groups: []uint32{65534}, GroupsKnown: true, UnitKnown: true}
	sensor := rule(`user = "sensor"`, `"readings"`, `allow = ["produce"]`)
	for _, test := range []struct {
		name  string
		rules string
		who   access.Caller
		op    access.Operation
		queue string
		want  string
	}{
		{"no rules", "", caller(11001), access.Admin, "readings", "allowed: there are no rules, and who can connect may do everything"},
		{"no rules, nobody", "", nobody, access.Admin, "", "allowed: there are no rules, and who can connect may do everything"},
		{"root", sensor, caller(0), access.Admin, "x", "allowed: root may do everything"},
		{"the agent's user", sensor, caller(own), access.Admin, "x", "allowed: the agent's own user may do everything"},
		{"open", sensor, caller(1), access.Open, "", "allowed: everybody who can connect may do it"},
		{"a call that nobody classified", rule("", `"*"`, all), caller(1), access.None, "x", "refused: no rule is about it"},

		{"user", sensor, caller(11001), access.Produce, "readings", "allowed by rule 1 (F:1)"},
		{"another operation", sensor, caller(11001), access.Consume, "readings", "refused: no rule is about it"},
		{"another queue", sensor, caller(11001), access.Produce, "readings2", "refused: no rule is about it"},
		{"another user", sensor, caller(11002), access.Produce, "readings", "refused: no rule is about it"},
		{"the agent as a whole", sensor, caller(11001), access.Produce, "", "refused: no rule is about it"},
		{"case", sensor, caller(11001), access.Produce, "Readings", "refused: no rule is about it"},
		{"escaped", sensor, caller(11001), access.Produce, "%72eadings", "refused: no rule is about it"},
		{"with a zero byte", sensor, caller(11001), access.Produce, "readings\x00", "refused: no rule is about it"},
		{"with a path", sensor, caller(11001), access.Produce, "./readings", "refused: no rule is about it"},
		{"look-alike", sensor, caller(11001), access.Produce, "re\u0430dings", "refused: no rule is about it"},
		{"root's group is not root", sensor, access.Caller{UID: 1, GID: 0, Groups: []uint32{0}, GroupsKnown: true, UnitKnown: true},
			access.Produce, "readings", "refused: no rule is about it"},

		{"user by number", rule(`user = "4711"`, `"*"`, all), caller(4711), access.Admin, "", "allowed by rule 1 (F:1)"},
		{"group", rule(`group = "video"`, `"*"`, all), caller(7, 12002), access.Read, "q", "allowed by rule 1 (F:1)"},
		{"first group", rule(`group = "video"`, `"*"`, all), access.Caller{UID: 7, GID: 12002, GroupsKnown: true, UnitKnown: true},
			access.Read, "q", "allowed by rule 1 (F:1)"},
		{"not in the group", rule(`group = "video"`, `"*"`, all), caller(7, 12001), access.Read, "q", "refused: no rule is about it"},
		{"user and group", rule(`user = "sensor", group = "video"`, `"*"`, all), caller(11001), access.Read, "q", "refused: no rule is about it"},
		{"groups unknown", rule(`group = "video"`, `"*"`, all), unknownGroups, access.Read, "q", "refused: no rule is about it"},
		{"unit", rule(`unit = "camera.service"`, `"*"`, all), camera, access.Read, "q", "allowed by rule 1 (F:1)"},
		{"unit by pattern", rule(`unit = "cam*.service"`, `"*"`, all), camera, access.Read, "q", "allowed by rule 1 (F:1)"},
		{"no unit", rule(`unit = "*.service"`, `"*"`, all), caller(1), access.Read, "q", "refused: no rule is about it"},
		{"unit unknown", rule(`unit = "camera.service"`, `"*"`, all), unknownUnit, access.Read, "q", "refused: no rule is about it"},
		{"everybody", rule("", `"*"`, all), nobody, access.Admin, "", "allowed by rule 1 (F:1)"},

		{"the first that fits", rule(`user = "sensor"`, `"a*"`, `deny = ["admin"]`) + rule("", `"*"`, all),
			caller(11001), access.Admin, "abc", "refused by rule 1 (F:1)"},
		{"the next one", rule(`user = "sensor"`, `"a*"`, `deny = ["admin"]`) + rule("", `"*"`, all),
			caller(11001), access.Read, "abc", "allowed by rule 2 (F:5)"},
		{"allowed before refused", rule("", `"*"`, all) + rule("", `"*"`, `deny = ["admin"]`),
			caller(11001), access.Admin, "abc", "allowed by rule 1 (F:1)"},
		{"unit unknown, in doubt refused", rule(`unit = "camera.service"`, `"*"`, `deny = ["read"]`) + rule("", `"*"`, all),
			unknownUnit, access.Read, "q", "refused by rule 1 (F:1)"},
		{"another unit is no doubt", rule(`unit = "camera.service"`, `"*"`, `deny = ["read"]`) + rule("", `"*"`, all),
			caller(1), access.Read, "q", "allowed by rule 2 (F:5)"},
		{"groups unknown, in doubt refused", rule(`group = "video"`, `"*"`, `deny = ["read"]`) + rule("", `"*"`, all),
			unknownGroups, access.Read, "q", "refused by rule 1 (F:1)"},
		{"in doubt about the group, but another user", rule(`user = "sensor", group = "video"`, `"*"`, `deny = ["read"]`) + rule("", `"*"`, all),
			unknownGroups, access.Read, "q", "allowed by rule 2 (F:6)"},
		{"overflow user, in doubt refused", rule(`user = "sensor"`, `"*"`, `deny = ["read"]`) + rule("", `"*"`, all),
			nobody, access.Read, "q", "refused by rule 1 (F:1)"},
		{"overflow group, in doubt refused", rule(`group = "video"`, `"*"`, `deny = ["read"]`) + rule("", `"*"`, all),
			nobody, access.Read, "q", "refused by rule 1 (F:1)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := compile(t, test.rules).Explain(test.who, own, test.op, test.queue)
			got := regexp.MustCompile(`\(.*:`).ReplaceAllString(d.String(), "(F:")
			if got != test.want || d.Allowed != strings.HasPrefix(got, "allowed") {
				t.Errorf("got %q (%t), want %q", got, d.Allowed, test.want)
			}
		})
	}
}

// Who runs as the overflow user is not the agent, even if the agent does too.
func TestOverflowUserIsNotTheAgent(t *testing.T) {
	r := compile(t, rule(`user = "sensor"`, `"*"`, all))
	if d := r.Explain(caller(65534), 65534, access.Read, "q"); d.Allowed {
		t.Errorf("got %q", d)
	}
}

func TestUnknownAccounts(t *testing.T) {
	_, err := tryCompile(t, lines(
		`[[access]]`,
		`user = "ghost"`,
		`queues = ["*"]`,
		`allow = ["read"]`,
		`[[access]]`,
		`queues = ["*"]`,
		`allow = ["read"]`,
		`group = "ghosts"`,
		`[[access]]`,
		`user = "nobody"`,
		`queues = ["*"]`,
		`allow = ["read"]`,
	))
	if !errors.Is(err, config.ErrConfig) {
		t.Fatalf("got %v, want a configuration error", err)
	}
	for _, want := range []string{
		`q.toml:2: access[0].user: there is no user "ghost"; create it, use a number, or write a rule by group or unit`,
		`q.toml:8: access[1].group: there is no group "ghosts"; create it, use a number, or write a rule by group or unit`,
		`q.toml:10: access[2].user: the number 65534 stands for everybody whom the kernel cannot name, so no rule can be about it`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
}

func TestOperationNames(t *testing.T) {
	for _, name := range config.Operations() {
		if op, ok := access.ParseOperation(name); !ok || op.String() != name {
			t.Errorf("%s: got %v, %t", name, op, ok)
		}
	}
	for _, name := range []string{"", "none", "open", "Produce", "all", "*"} {
		if op, ok := access.ParseOperation(name); ok {
			t.Errorf("%q is %v", name, op)
		}
	}
}
