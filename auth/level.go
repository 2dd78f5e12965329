package auth

import (
	"fmt"
	"slices"
	"strings"
)

// Level is what a user may do with an object; a higher one includes the lower ones. The names and their order are MLflow's.
type Level int

// The levels. Deny is an explicit "no" that no other grant overrules.
const (
	Deny          Level = iota - 1
	NoPermissions       // nothing
	Read                // see it
	Use                 // and call it; on a workspace, create experiments and models
	Edit                // and change it
	Manage              // and delete it, and grant it to others
)

var levelNames = []string{"DENY", "NO_PERMISSIONS", "READ", "USE", "EDIT", "MANAGE"}

func (l Level) String() string { return levelNames[l-Deny] }

// ParseLevel reads a level's name.
func ParseLevel(name string) (Level, error) {
	i := slices.Index(levelNames, name)
	if i < 0 {
		return NoPermissions, fmt.Errorf("invalid permission %q: it must be one of %s", name, strings.Join(levelNames, ", "))
	}
	return Level(i) + Deny, nil
}
