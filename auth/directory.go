package auth

import (
	"context"
	"time"
)

// Directory is where users, tokens and permissions are kept.
type Directory interface {
	// IdentityState gives the revision of all that follows; it may be as old as a revocation may take to work.
	IdentityState(ctx context.Context) (State, error)
	// Account gives the user of a name; ok is false if there is none.
	Account(ctx context.Context, name string) (a Account, ok bool, err error)
	// APIToken gives the token of an id, revoked or not, with its user; ok is false if there is none.
	APIToken(ctx context.Context, id string) (t APIToken, ok bool, err error)
	// ExternalAccount gives the user that an external issuer knows as subject, and makes it, by that name, at the first
	// time; ok is false if the name belongs to another user.
	ExternalAccount(ctx context.Context, issuer, subject, name string) (a Account, ok bool, err error)
	// JWTRevoked tells whether a JWT was revoked by its id.
	JWTRevoked(ctx context.Context, issuer, id string) (bool, error)
	// Membership gives the groups of a user and all grants, also those of the groups and roles that a JWT names and that exist.
	Membership(ctx context.Context, userID int64, groups, roles []string) (Membership, error)
	// RoleGrants gives what a role holds; a role that is gone holds nothing.
	RoleGrants(ctx context.Context, roleID int64) (Grants, error)
	// NoteTokenUse remembers when a token was last used.
	NoteTokenUse(ctx context.Context, id string, at time.Time) error
	// RehashPassword replaces the hash of a user's password by another hash of the same password, unless it has changed.
	RehashPassword(ctx context.Context, userID int64, from, to string) error
	Attempts
}

// State is the version of the directory. Whatever was read at one revision holds as long as the revision does.
type State struct {
	Revision int64
	HasUsers bool
}

// Account is a user as a log-in sees it.
type Account struct {
	ID              int64
	Name            string
	PasswordHash    *string // nil: no log-in by password
	Admin, Disabled bool
	// Issuer is whose JWTs may name the user; "" for this server's own.
	Issuer  string
	Subject *string
	// ValidAfter is the time, in milliseconds since 1970, before which no JWT of the user was issued that still counts.
	ValidAfter int64
}

// APIToken is a long-lived token as it is kept: without its secret.
type APIToken struct {
	ID, SecretHash, Name string
	// RoleID is the role that narrows what the token may do, and Role its name; nil and "" for all that its user may.
	RoleID    *int64
	Role      string
	Revoked   bool
	ExpiresAt time.Time
	LastUsed  time.Time // zero for never
	Account   Account
}

// Membership is what a user belongs to and holds.
type Membership struct {
	Groups []string
	Grants Grants
}
