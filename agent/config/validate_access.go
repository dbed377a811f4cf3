package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Bounds of the rules of access. Every request of a caller may go through all that fit the caller.
const (
	maxRules        = 1000
	maxRulePatterns = 100
	maxUnitName     = 255
)

// Operations lists what rules of access grant and refuse.
func Operations() []string {
	return []string{OperationProduce, OperationConsume, OperationRead, OperationAdmin}
}

// Problem returns an error about the value of a dotted key, such as access[0].user, with its place. It is for
// those who judge values further than Validate does.
func (l *Loaded) Problem(key, msg, hint string) *Error {
	at := l.placeOf(key)
	return &Error{File: at.source, Line: at.line, Key: key, Msg: msg, Hint: hint, rank: at.rank}
}

func (c *Config) checkAccess(k *checker) {
	if len(c.Access) > maxRules {
		k.add("access", fmt.Sprintf("there are %d rules", len(c.Access)), fmt.Sprintf("allowed: up to %d", maxRules))
	}
	for i := range c.Access {
		c.Access[i].check(k, "access["+strconv.Itoa(i)+"]")
	}
}

// check checks all but whether the user and the group exist, which depends on the device.
func (a *Access) check(k *checker, key string) {
	k.account(key+".user", a.User)
	k.account(key+".group", a.Group)
	a.checkUnit(k, key+".unit")
	switch {
	case len(a.Queues) == 0:
		k.add(key+".queues", "is empty", `name the queues that the rule is about, such as ["readings", "camera-*"], or ["*"] for all`)
	case len(a.Queues) > maxRulePatterns:
		k.add(key+".queues", fmt.Sprintf("has %d names", len(a.Queues)), fmt.Sprintf("allowed: up to %d", maxRulePatterns))
	}
	for i, name := range a.Queues {
		at := indexKey(key+".queues", i)
		if name == "" {
			k.add(at, "is empty", `write "*" for all queues`)
			continue
		}
		k.nameText(at, name, maxNameBytes)
	}
	if len(a.Allow) > 0 == (len(a.Deny) > 0) {
		k.add(key, "has to either allow or deny something", `add one of allow = ["produce"] and deny = ["produce"]`)
	}
	k.operations(key+".allow", a.Allow)
	k.operations(key+".deny", a.Deny)
}

func (a *Access) checkUnit(k *checker, key string) {
	_, kind, _ := strings.Cut(a.Unit, ".")
	switch {
	case a.Unit == "":
	case len(a.Unit) > maxUnitName || strings.ContainsFunc(a.Unit, isSpaceOrControl) || strings.Contains(a.Unit, "/"):
		k.add(key, show(a.Unit)+" is not a unit", `use the name of a system unit, such as "camera.service"`)
	case strings.HasSuffix(a.Unit, ".slice"):
		k.add(key, show(a.Unit)+" is a slice, which has no processes of its own", `use the name of a unit in it, such as "camera.service"`)
	case kind == "":
		k.add(key, show(a.Unit)+" has no type", fmt.Sprintf("did you mean %q?", a.Unit+".service"))
	}
}

// account checks the form of a user's or group's name; a name of digits is a number.
func (k *checker) account(key, v string) {
	if strings.ContainsFunc(v, isSpaceOrControl) || strings.ContainsAny(v, ":*") || strings.HasPrefix(v, "-") {
		k.add(key, show(v)+" is not a name", "use the name or the number of an account")
	}
}

func (k *checker) operations(key string, list []string) {
	for i, name := range list {
		at := indexKey(key, i)
		k.oneOf(at, name, Operations()...)
		if slices.Index(list, name) < i {
			k.add(at, show(name)+" stands there twice", "name each operation once")
		}
	}
}
