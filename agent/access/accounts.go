package access

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
)

// Accounts finds the numbers of users and groups. The zero value asks the system.
type Accounts struct {
	User  func(name string) (*user.User, error)
	Group func(name string) (*user.Group, error)
}

func (a Accounts) userID(name string) (id, error) {
	if name == "" {
		return id{}, nil
	}
	if number, ok := parseID(name); ok {
		return id{number, true}, nil
	}
	look := a.User
	if look == nil {
		look = user.Lookup
	}
	u, err := look(name)
	if err != nil {
		return id{}, fmt.Errorf("there is no user %q", name)
	}
	number, ok := parseID(u.Uid)
	if !ok {
		return id{}, fmt.Errorf("the user %q has no number, but %q", name, u.Uid)
	}
	return id{number, true}, nil
}

func (a Accounts) groupID(name string) (id, error) {
	if name == "" {
		return id{}, nil
	}
	if number, ok := parseID(name); ok {
		return id{number, true}, nil
	}
	look := a.Group
	if look == nil {
		look = user.LookupGroup
	}
	g, err := look(name)
	if err != nil {
		return id{}, fmt.Errorf("there is no group %q", name)
	}
	number, ok := parseID(g.Gid)
	if !ok {
		return id{}, fmt.Errorf("the group %q has no number, but %q", name, g.Gid)
	}
	return id{number, true}, nil
}

// noID is the number of no user and no group.
const noID = ^uint32(0)

// parseID reads a number of a user or group; -1 is none.
func parseID(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil && uint32(n) != noID
}

// FindCaller returns the caller that a process of the named user is: with the groups that the system's files give
// the user. A user of digits need not exist, and then has no groups. groups are added by name or number.
func (a Accounts) FindCaller(name string, groups []string, unit string) (Caller, error) {
	c := Caller{GroupsKnown: true, UnitKnown: true, Unit: unit}
	u, err := a.lookup(name)
	number, isNumber := parseID(name)
	switch {
	case err == nil:
		if err := c.fill(u); err != nil {
			return Caller{}, err
		}
	case isNumber:
		c.UID, c.GID = number, noID
	default:
		return Caller{}, fmt.Errorf("there is no user %q", name)
	}
	for _, g := range groups {
		gid, err := a.groupID(g)
		if err != nil {
			return Caller{}, err
		}
		c.Groups = append(c.Groups, gid.number)
	}
	return c, nil
}

func (a Accounts) lookup(name string) (*user.User, error) {
	if _, ok := parseID(name); ok {
		return user.LookupId(name)
	}
	if a.User != nil {
		return a.User(name)
	}
	return user.Lookup(name)
}

// fill takes the numbers of a user of the system.
func (c *Caller) fill(u *user.User) error {
	uid, okUser := parseID(u.Uid)
	gid, okGroup := parseID(u.Gid)
	if !okUser || !okGroup {
		return fmt.Errorf("the user %q has no numbers, but %q and %q", u.Username, u.Uid, u.Gid)
	}
	c.UID, c.GID = uid, gid
	ids, err := u.GroupIds()
	if err != nil {
		return errors.New("the groups of the user cannot be read: " + err.Error())
	}
	for _, text := range ids {
		if n, ok := parseID(text); ok {
			c.Groups = append(c.Groups, n)
		}
	}
	return nil
}
