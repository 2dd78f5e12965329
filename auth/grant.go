package auth

import (
	"strings"
)

// Kind is a type of objects that permissions are about.
type Kind string

// The kinds. Runs, logged models and artifacts are in the hands of their experiment's users; versions and aliases of their model's.
const (
	Experiment      Kind = "experiment"
	RegisteredModel Kind = "registered_model"
	// Workspace is the whole server; Use on it lets a user create experiments and models.
	Workspace Kind = "workspace"
)

// Object is one experiment or registered model. An experiment has an id besides its name, a registered model has none.
type Object struct {
	Kind     Kind
	ID, Name string
}

// Server is the one object of kind Workspace.
var Server = Object{Kind: Workspace}

func (o Object) String() string {
	switch {
	case o.Kind == Workspace:
		return "this server"
	case o.ID != "":
		return "experiment " + o.ID
	}
	return "registered model '" + o.Name + "'"
}

// Grant gives a level on the objects that its pattern matches.
type Grant struct {
	Kind Kind
	// Pattern is an experiment's id (digits), or a name in which * stands for any text.
	Pattern string
	// Exact says that Pattern is one experiment's id or one model's name, whatever its characters.
	Exact bool
	Level Level
	// Via tells through what the user holds it, such as "group ops, role deployer".
	Via string
}

// Covers tells whether the grant is about the object.
func (g Grant) Covers(o Object) bool {
	switch {
	case g.Kind != o.Kind:
		return false
	case o.Kind == Workspace:
		return true
	case g.ByID():
		return g.Pattern == o.ID
	case g.Exact:
		return g.Pattern == o.Name
	}
	return MatchName(g.Pattern, o.Name)
}

// ByID tells whether Pattern is an experiment's id.
func (g Grant) ByID() bool { return g.Kind == Experiment && (g.Exact || isNumber(g.Pattern)) }

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// MatchName compares a name with a pattern in which * stands for any text, the empty one included.
func MatchName(pattern, name string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, first)
	if !ok {
		return false
	}
	parts := strings.Split(rest, "*")
	last := len(parts) - 1
	for _, part := range parts[:last] {
		_, after, found := strings.Cut(name, part)
		if !found {
			return false
		}
		name = after
	}
	return strings.HasSuffix(name, parts[last])
}

// Grants are all that a user or a role holds.
type Grants []Grant

// Level is the level on an object and the grant that decides it: a Deny among those that cover it, else the highest. It is
// NoPermissions and no grant where none covers it.
func (gs Grants) Level(o Object) (level Level, by Grant) {
	for _, g := range gs {
		switch {
		case !g.Covers(o):
		case g.Level == Deny:
			return Deny, g
		case g.Level > level || by.Kind == "":
			level, by = g.Level, g
		}
	}
	return level, by
}

// levelOnAll is the level of the grants that cover every object of a kind; NoPermissions where a Deny may cover some.
func (gs Grants) levelOnAll(kind Kind) (level Level) {
	for _, g := range gs {
		switch {
		case g.Kind != kind:
		case g.Level == Deny:
			return NoPermissions
		case !g.Exact && strings.Trim(g.Pattern, "*") == "" && g.Pattern != "":
			level = max(level, g.Level)
		}
	}
	return level
}
