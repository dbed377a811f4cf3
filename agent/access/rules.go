package access

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/kapetan-io/querator-edge/agent/config"
)

// Rules are the rules of a configuration, compiled. They do not change, and may be used from any goroutine.
type Rules struct {
	list   []rule
	units  bool // some rule names a unit
	nobody nobody
}

// nobody are the numbers that the kernel shows for users and groups that have none in the agent's user namespace.
type nobody struct{ user, group uint32 }

func readNobody() nobody {
	read := func(name string) uint32 {
		const usual = 65534
		text, err := os.ReadFile("/proc/sys/kernel/" + name)
		if err != nil {
			return usual
		}
		if n, ok := parseID(strings.TrimSpace(string(text))); ok {
			return n
		}
		return usual
	}
	return nobody{user: read("overflowuid"), group: read("overflowgid")}
}

// rule is one [[access]].
type rule struct {
	number int // from 1
	origin string
	user   id
	group  id
	unit   string // a pattern; "" is any
	queues []string
	ops    uint8 // a bit for each operation
	allow  bool
}

// id is a user or a group; the zero value is any.
type id struct {
	number uint32
	set    bool
}

// Compile compiles the rules of a configuration. The error is config.Errors: a user or a group that does not exist,
// with its place.
func Compile(l *config.Loaded, accounts Accounts) (*Rules, error) {
	r := &Rules{nobody: readNobody()}
	var problems config.Errors
	for i := range l.Config.Access {
		key := "access[" + strconv.Itoa(i) + "]"
		compiled, bad := r.compile(l, key, &l.Config.Access[i], accounts)
		problems = append(problems, bad...)
		compiled.number, compiled.origin = i+1, l.Origin(key)
		r.units = r.units || compiled.unit != ""
		r.list = append(r.list, compiled)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return r, nil
}

func (r *Rules) compile(l *config.Loaded, key string, a *config.Access, accounts Accounts) (rule, config.Errors) {
	o := rule{unit: a.Unit, queues: slices.Clone(a.Queues), allow: len(a.Allow) > 0}
	for _, name := range slices.Concat(a.Allow, a.Deny) {
		if op, ok := ParseOperation(name); ok {
			o.ops |= 1 << op
		}
	}
	var problems config.Errors
	note := func(key string, err error) {
		if err != nil {
			problems = append(problems, l.Problem(key, err.Error(),
				"create it, use a number, or write a rule by group or unit"))
		}
	}
	var err error
	o.user, err = accounts.userID(a.User)
	note(key+".user", errors.Join(err, o.user.not(r.nobody.user)))
	o.group, err = accounts.groupID(a.Group)
	note(key+".group", errors.Join(err, o.group.not(r.nobody.group)))
	return o, problems
}

// not refuses the number that the kernel shows for all whom it cannot show.
func (i id) not(nobody uint32) error {
	if i.set && i.number == nobody {
		return fmt.Errorf("the number %d stands for everybody whom the kernel cannot name, so no rule can be about it", nobody)
	}
	return nil
}

// IsEmpty reports whether there are no rules, so that everybody may do everything.
func (r *Rules) IsEmpty() bool { return r == nil || len(r.list) == 0 }

// NamesUnits reports whether some rule is about a unit.
func (r *Rules) NamesUnits() bool { return r != nil && r.units }

// Len returns the number of rules.
func (r *Rules) Len() int {
	if r == nil {
		return 0
	}
	return len(r.list)
}

// wantsUnit reports whether some rule may be about a unit of this name.
func (r *Rules) wantsUnit(name string) bool {
	return slices.ContainsFunc(r.list, func(o rule) bool { return o.unit != "" && match(o.unit, name) })
}

// Reason says why something is allowed or refused.
type Reason uint8

// The reasons.
const (
	NoRuleFits Reason = iota // refused: no rule is about it
	ByRule                   // as a rule says
	NoRules                  // allowed: there are none
	IsRoot                   // allowed
	IsAgent                  // allowed: the agent's own user
	IsOpen                   // allowed: everybody may
)

// Decision is what was decided about one call.
type Decision struct {
	Allowed bool
	Reason  Reason
	// Rule is the number of the rule, from 1, and Origin its place (file:line), when the reason is ByRule.
	Rule   int
	Origin string
}

// String says it to a person.
func (d Decision) String() string {
	switch d.Reason {
	case ByRule:
		verb := "refused"
		if d.Allowed {
			verb = "allowed"
		}
		return fmt.Sprintf("%s by rule %d (%s)", verb, d.Rule, d.Origin)
	case NoRules:
		return "allowed: there are no rules, and who can connect may do everything"
	case IsRoot:
		return "allowed: root may do everything"
	case IsAgent:
		return "allowed: the agent's own user may do everything"
	case IsOpen:
		return "allowed: everybody who can connect may do it"
	}
	return "refused: no rule is about it"
}

// fitting returns the rules that are about the caller, in order. What is not known of the caller is in favour of
// refusing.
func (r *Rules) fitting(c *Caller) []*rule {
	var list []*rule
	for i := range r.list {
		o := &r.list[i]
		if f := r.fits(o, c); f == yes || f == maybe && !o.allow {
			list = append(list, o)
		}
	}
	return list
}

// fit says whether a rule is about a caller. Of several conditions the least counts.
type fit uint8

const (
	no fit = iota
	maybe
	yes
)

func fitOf(is, known bool) fit {
	switch {
	case is:
		return yes
	case !known:
		return maybe
	}
	return no
}

// fits reports whether a rule is about a caller.
func (r *Rules) fits(o *rule, c *Caller) fit {
	f := yes
	if o.user.set {
		f = min(f, fitOf(c.UID == o.user.number, c.UID != r.nobody.user))
	}
	if o.group.set {
		in := c.GID == o.group.number || slices.Contains(c.Groups, o.group.number)
		shown := c.GroupsKnown && c.GID != r.nobody.group && !slices.Contains(c.Groups, r.nobody.group)
		f = min(f, fitOf(in, shown))
	}
	if o.unit != "" {
		f = min(f, fitOf(c.UnitKnown && match(o.unit, c.Unit), c.UnitKnown))
	}
	return f
}

// decide goes through the rules that fit the caller.
func decide(list []*rule, op Operation, queue string) Decision {
	for _, o := range list {
		if o.ops&(1<<op) == 0 || !slices.ContainsFunc(o.queues, func(p string) bool { return match(p, queue) }) {
			continue
		}
		return Decision{Allowed: o.allow, Reason: ByRule, Rule: o.number, Origin: o.origin}
	}
	return Decision{}
}

// Caller is what rules go by.
type Caller struct {
	UID, GID uint32
	// Groups are the supplementary groups; GroupsKnown says that they are all.
	Groups      []uint32
	GroupsKnown bool
	// Unit is the system unit, "" if it is none that a rule names; UnitKnown says that this is so.
	Unit      string
	UnitKnown bool
}

// Explain decides for a caller whose every property is known beforehand. own is the agent's user.
func (r *Rules) Explain(c Caller, own uint32, op Operation, queue string) Decision {
	if d, ok := always(r, c.UID, own, op); ok {
		return d
	}
	return decide(r.fitting(&c), op, queue)
}

// always decides what needs no look at the rules.
func always(r *Rules, uid, own uint32, op Operation) (Decision, bool) {
	switch {
	case op == Open:
		return Decision{Allowed: true, Reason: IsOpen}, true
	case r.IsEmpty():
		return Decision{Allowed: true, Reason: NoRules}, true
	case uid == 0:
		return Decision{Allowed: true, Reason: IsRoot}, true
	case uid == own && uid != r.nobody.user:
		return Decision{Allowed: true, Reason: IsAgent}, true
	}
	return Decision{}, false
}
