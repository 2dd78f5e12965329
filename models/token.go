package models

import (
	"context"
	"strings"
	"time"
	"unicode"

	"greenroom/auth"
)

// APIToken is a long-lived token as its owner and administrators see it: without anything of its secret. Times are
// milliseconds since 1970.
type APIToken struct {
	ID, Name, User string
	// Role is the role that narrows what the token may do; "" for all that its user may.
	Role                  string
	CreatedAt, ExpiresAt  int64
	RevokedAt, LastUsedAt *int64
}

// NewAPIToken is what makes a token.
type NewAPIToken struct {
	User, Name string
	Role       string // "" for all that the user may
	Lifetime   time.Duration
}

const (
	maxTokenName     = 255 // characters
	maxTokenLifetime = 366 * 24 * time.Hour
	// endedTokenKept is how long a token is listed after its end, and a log-in with it told what happened.
	endedTokenKept = 30 * 24 * time.Hour
	// revokedJWTKept goes beyond any leeway that a JWT is given after its end.
	revokedJWTKept = time.Hour
	maxJWTID       = 255 // characters
)

const apiTokenColumns = `t.id, t.name, u.name AS "user", COALESCE(r.name, '') AS role, t.created_at, t.expires_at, t.revoked_at, t.last_used_at
	FROM greenroom_tokens t JOIN greenroom_users u ON u.id = t.user_id LEFT JOIN greenroom_roles r ON r.id = t.role_id`

// CreateAPIToken makes a token of a user. Only here is its text known.
func (s *Store) CreateAPIToken(ctx context.Context, n NewAPIToken) (text string, made *APIToken, err error) {
	if err := checkNewToken(n); err != nil {
		return "", nil, err
	}
	err = s.update(ctx, func(t *tx) error {
		if _, err := t.changeIdentity(); err != nil {
			return err
		}
		text, made, err = t.createAPIToken(n)
		t.about("user '%s'", n.User)
		return err
	})
	return text, made, err
}

func checkNewToken(n NewAPIToken) error {
	switch {
	case strings.TrimSpace(n.Name) != n.Name || n.Name == "":
		return invalid("Invalid token name %s: give one without blanks around it, such as what the token is for.", Quote(n.Name))
	case strings.ContainsFunc(n.Name, unicode.IsControl):
		return invalid("Invalid token name %s: leave out the control characters.", Quote(n.Name))
	case n.Lifetime <= 0 || n.Lifetime > maxTokenLifetime:
		return invalid("A token must expire within %d days: give a shorter lifetime, such as 90d.", maxTokenLifetime/(24*time.Hour))
	}
	return checkLength("name", n.Name, maxTokenName)
}

func (t *tx) createAPIToken(n NewAPIToken) (text string, made *APIToken, err error) {
	u, err := t.user(n.User)
	if err != nil {
		return "", nil, err
	}
	if u.Disabled {
		return "", nil, invalid("User '%s' is disabled: enable the user before making a token.", u.Name)
	}
	var role *int64
	if n.Role != "" {
		if role, err = t.roleForToken(n.Role); err != nil {
			return "", nil, err
		}
	}
	if _, err := t.exec("DELETE FROM greenroom_tokens WHERE expires_at < ?", t.now-endedTokenKept.Milliseconds()); err != nil {
		return "", nil, err
	}
	text, id, hash := auth.NewToken()
	made = &APIToken{ID: id, Name: n.Name, User: u.Name, Role: n.Role, CreatedAt: t.now, ExpiresAt: t.now + n.Lifetime.Milliseconds()}
	t.note("token", id)
	t.note("token_name", n.Name)
	if n.Role != "" {
		t.note("role", n.Role)
	}
	t.note("expires_at", made.ExpiresAt)
	_, err = t.exec("INSERT INTO greenroom_tokens (id, secret_hash, user_id, name, role_id, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
		id, hash, u.ID, n.Name, role, made.CreatedAt, made.ExpiresAt)
	return text, made, err
}

func (t *tx) roleForToken(name string) (*int64, error) {
	if isHiddenRole(name) {
		return nil, invalid("Role %s holds what is granted to one user or group; a token needs another role, such as viewer or editor.", Quote(name))
	}
	id, ok, err := pickOne[int64](t, "SELECT id FROM greenroom_roles WHERE workspace = ? AND name = ?", workspace, name)
	if err == nil && !ok {
		err = notFound("Role with name=%s not found: make it first, or take viewer, editor or manager.", name)
	}
	return &id, err
}

// APITokens gives the tokens of a user, or of all for "", by user and age, those that ended included.
func (s *Store) APITokens(ctx context.Context, user string) (found []APIToken, err error) {
	err = s.view(ctx, func(t *tx) error {
		if user == "" {
			found, err = pick[APIToken](t, "SELECT "+apiTokenColumns+" ORDER BY u.name, t.created_at, t.id")
			return err
		}
		u, err := t.user(user)
		if err != nil {
			return err
		}
		found, err = pick[APIToken](t, "SELECT "+apiTokenColumns+" WHERE t.user_id = ? ORDER BY t.created_at, t.id", u.ID)
		return err
	})
	return found, err
}

// RevokeAPIToken ends a token of a user, or of anyone for "". One that has ended already stays as it is.
func (s *Store) RevokeAPIToken(ctx context.Context, id, user string) (revoked *APIToken, err error) {
	err = s.update(ctx, func(t *tx) error {
		found, ok, err := pickOne[APIToken](t, "SELECT "+apiTokenColumns+" WHERE t.id = ?", id)
		if err != nil {
			return err
		}
		if !ok || user != "" && found.User != user {
			return notFound("API token with id=%s not found: the list of tokens shows their ids.", id)
		}
		revoked = &found
		t.about("user '%s'", found.User)
		t.note("token", id)
		t.note("token_name", found.Name)
		if found.RevokedAt != nil {
			t.changesNothing()
			return nil
		}
		if _, err := t.changeIdentity(); err != nil {
			return err
		}
		found.RevokedAt = &t.now
		_, err = t.exec("UPDATE greenroom_tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", t.now, id)
		return err
	})
	return revoked, err
}

// RevokeJWT ends one JWT before its time: the one that an issuer gave the id, which would expire by itself at a time.
func (s *Store) RevokeJWT(ctx context.Context, issuer, id string, expires time.Time) error {
	if err := checkLength("issuer", issuer, maxIssuer); err != nil {
		return err
	}
	if err := checkLength("jti", id, maxJWTID); err != nil {
		return err
	}
	return s.update(ctx, func(t *tx) error {
		if expires.UnixMilli() <= t.now {
			return invalid("The JWT has expired by itself: expires_at must be in the future, in milliseconds since 1970 (a JWT's exp is in seconds).")
		}
		if _, err := t.changeIdentity(); err != nil {
			return err
		}
		if _, err := t.exec("DELETE FROM greenroom_revoked_jwts WHERE expires_at < ?", t.now-revokedJWTKept.Milliseconds()); err != nil {
			return err
		}
		t.about("jwt %s", id)
		t.note("issuer", issuer)
		_, err := t.exec(`INSERT INTO greenroom_revoked_jwts (issuer, jti, expires_at) VALUES (?, ?, ?)
			ON CONFLICT (issuer, jti) DO UPDATE SET expires_at = excluded.expires_at WHERE greenroom_revoked_jwts.expires_at < excluded.expires_at`,
			issuer, id, expires.UnixMilli())
		return err
	})
}

// RevokeAll ends all API tokens of a user, and all JWTs that were issued to the user before now; it tells how many API
// tokens. The password stays.
func (s *Store) RevokeAll(ctx context.Context, user string) (tokens int64, err error) {
	err = s.changeUser(ctx, user, func(t *tx, u *User) error {
		if _, err := t.exec("UPDATE greenroom_users SET valid_after = ? WHERE id = ?", t.now, u.ID); err != nil {
			return err
		}
		tokens, err = t.exec("UPDATE greenroom_tokens SET revoked_at = ? WHERE user_id = ? AND revoked_at IS NULL AND expires_at > ?", t.now, u.ID, t.now)
		t.note("tokens", tokens)
		return err
	})
	return tokens, err
}
