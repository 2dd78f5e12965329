package auth

import (
	"context"
	"strings"
	"time"
)

// Principal is who makes a request, and what they may do.
type Principal struct {
	// UserID is the user's number in the database; 0 for Anyone and for the operator on the database itself.
	UserID int64
	Name   string
	// Admin may do everything, also with users and roles.
	Admin bool
	// Credential tells with what the user logged in, without any secret: "password", "token ci (4f1c…)", "jwt https://issuer 81fa…".
	Credential string
	// Grants are what the user holds directly and through groups and roles.
	Grants Grants
	// Default is the least level on every experiment and registered model, but where a grant says Deny or NoPermissions.
	Default Level
	// Scope, when it is not nil, narrows Grants: the level on an object is the lower one of both. ScopeRole is the role that holds it.
	Scope     Grants
	ScopeRole string
	// Expires is when the credential ends; zero for a password.
	Expires time.Time
	// SetupHash is the hash of the set-up token with which the first administrator is about to be made; "" for users.
	SetupHash string
	// Groups are the names of the user's groups, from the database and from the JWT.
	Groups []string
}

// Anyone is everyone who connects to a server without authentication.
func Anyone() *Principal { return &Principal{Admin: true, Credential: "none"} }

// Level is what the principal may do with an object.
func (p *Principal) Level(o Object) Level {
	level, _ := p.Held(o)
	if p.Scope != nil {
		scope, _ := p.Scope.Level(o)
		level = min(level, scope)
	}
	return level
}

// Held is what the principal may do with an object but for Scope, and the grant that decides it: no grant for an
// administrator, and where Default is more than the grants give or none covers the object.
func (p *Principal) Held(o Object) (level Level, by Grant) {
	if p.Admin {
		return Manage, Grant{}
	}
	level, by = p.Grants.Level(o)
	if o.Kind == Workspace || by.Kind != "" && (level <= NoPermissions || level >= p.Default) {
		return level, by
	}
	return p.Default, Grant{}
}

// LevelOnAll is a level that the principal has on every object of a kind, whatever its name.
func (p *Principal) LevelOnAll(kind Kind) Level {
	level := Manage
	if !p.Admin {
		level = p.Grants.levelOnAll(kind)
	}
	if p.Scope != nil {
		level = min(level, p.Scope.levelOnAll(kind))
	}
	return level
}

// Unlimited tells that Level is Manage on every object.
func (p *Principal) Unlimited() bool { return p.Admin && p.Scope == nil }

// MayCreate tells whether the principal may create an object: with Use on the server, or with Edit on the name it will have.
func (p *Principal) MayCreate(o Object) bool {
	return p.Level(Server) >= Use && p.Level(o) != Deny || p.Level(o) >= Edit
}

// String names the principal in messages and logs.
func (p *Principal) String() string {
	if p.Name == "" {
		return "everyone"
	}
	return "user '" + p.Name + "'"
}

type principalKey struct{}

// With puts the principal of a request into its context.
func With(ctx context.Context, p *Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// Of gives the principal of a request. A context without one belongs to nobody, who may do nothing.
func Of(ctx context.Context) *Principal {
	if p, ok := ctx.Value(principalKey{}).(*Principal); ok {
		return p
	}
	return &Principal{Name: "nobody", Scope: Grants{}}
}

// ForbiddenError says that a user lacks a permission.
type ForbiddenError struct {
	By *Principal
	// Object is what the permission is missing on; its Kind is empty for a refusal that is about no object.
	Object Object
	Why    string
}

func (e *ForbiddenError) Error() string { return upperFirst(e.By.String()) + " " + e.Why + "." }

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// Forbid is a refusal for another reason than a level; why follows the user's name.
func (p *Principal) Forbid(why string) error { return &ForbiddenError{By: p, Why: why} }

// Require refuses the principal unless it has the level on the object.
func (p *Principal) Require(need Level, o Object) error {
	has := p.Level(o)
	if has >= need {
		return nil
	}
	why := "needs " + need.String() + " on " + o.String() + " (has " + has.String()
	if p.Scope != nil {
		if level, _ := p.Scope.Level(o); level == has {
			why += ": the token's role allows no more"
		}
	}
	return &ForbiddenError{By: p, Object: o, Why: why + ")"}
}
