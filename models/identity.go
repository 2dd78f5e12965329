package models

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/singleflight"

	"greenroom/auth"
	"greenroom/panics"
)

const (
	// identityFresh is how long a replica trusts the revision it has read, and so how long a revocation takes to reach it.
	identityFresh = time.Second
	// identityTime is how long the database may take to give the revision. Everyone waits for it.
	identityTime = 10 * time.Second
)

// identityState is the state that was last read, until it is older than identityFresh or this process changes it.
type identityState struct {
	flights singleflight.Group // by changes: what was asked before a change says nothing about it

	mu      sync.Mutex
	changes int64 // of this process
	state   auth.State
	readAt  time.Time // zero for not at all
}

func (i *identityState) forget() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.readAt = time.Time{}
	i.changes++
}

// get gives the state if it is fresh, and otherwise the number of changes so far.
func (i *identityState) get(now time.Time) (state auth.State, fresh bool, changes int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.state, !i.readAt.IsZero() && now.Sub(i.readAt) < identityFresh, i.changes
}

// set keeps a state that was read when there had been so many changes.
func (i *identityState) set(state auth.State, readAt time.Time, changes int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if changes == i.changes {
		i.state, i.readAt = state, readAt
	}
}

// IdentityState gives the revision of users, tokens and permissions. What another replica changes is seen within identityFresh.
func (s *Store) IdentityState(ctx context.Context) (auth.State, error) {
	now := s.opts.Now()
	state, fresh, changes := s.identity.get(now)
	if fresh {
		return state, nil
	}
	flight := s.identity.flights.DoChan(strconv.FormatInt(changes, 10), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), identityTime)
		defer cancel()
		state, err := panics.Result(func() (auth.State, error) { return s.readIdentity(ctx) })
		if err == nil {
			s.identity.set(state, now, changes)
		}
		return state, err
	})
	select {
	case <-ctx.Done():
		return auth.State{}, ctx.Err()
	case result := <-flight:
		return result.Val.(auth.State), result.Err
	}
}

func (s *Store) readIdentity(ctx context.Context) (state auth.State, err error) {
	err = s.look(ctx, func(t *tx) error {
		var ok bool
		state, ok, err = pickOne[auth.State](t, "SELECT revision, EXISTS (SELECT 1 FROM greenroom_users) AS has_users FROM greenroom_identity WHERE id = 1")
		if err == nil && !ok {
			err = errNoIdentity
		}
		return err
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.Join(&Error{TemporarilyUnavailable, "The database does not answer; try again."}, err)
	}
	return state, err
}

// RereadIdentity makes the next IdentityState ask the database, whatever was read a moment ago.
func (s *Store) RereadIdentity() { s.identity.forget() }

// changeIdentity says that users, tokens or permissions change in this transaction, and gives a number that no other
// change has: the id of what is new.
func (t *tx) changeIdentity() (int64, error) {
	t.identityChanged = true
	revision, ok, err := pickOne[int64](t, "UPDATE greenroom_identity SET revision = revision + 1 WHERE id = 1 RETURNING revision")
	if err == nil && !ok {
		err = errNoIdentity
	}
	return revision, err
}

// errNoIdentity stops everything: to guess that there are no users would let everyone in.
var errNoIdentity = errors.New("greenroom_identity has no row: restore the database from a backup")

const accountColumns = "u.id, u.name, u.password_hash, u.is_admin AS admin, u.disabled, u.issuer, u.subject, u.valid_after"

// Account gives the user of a name; ok is false if there is none. The name is a stranger's, and of any bytes.
func (s *Store) Account(ctx context.Context, name string) (a auth.Account, ok bool, err error) {
	if !utf8.ValidString(name) || strings.ContainsRune(name, 0) { // which PostgreSQL takes for no text
		return a, false, nil
	}
	err = s.look(ctx, func(t *tx) error {
		a, ok, err = pickOne[auth.Account](t, "SELECT "+accountColumns+" FROM greenroom_users u WHERE u.name = ?", name)
		return err
	})
	return a, ok, err
}

// APIToken gives the token of an id, revoked or not, with its user; ok is false if there is none.
func (s *Store) APIToken(ctx context.Context, id string) (found auth.APIToken, ok bool, err error) {
	err = s.look(ctx, func(t *tx) error {
		type row struct {
			TokenID, SecretHash, TokenName string
			Role                           string
			RoleID, RevokedAt, LastUsedAt  *int64
			ExpiresAt                      int64
			auth.Account
		}
		var r row
		r, ok, err = pickOne[row](t, `SELECT t.id AS token_id, t.secret_hash, t.name AS token_name, t.role_id, COALESCE(r.name, '') AS role, t.revoked_at, t.last_used_at, t.expires_at, `+accountColumns+`
			FROM greenroom_tokens t JOIN greenroom_users u ON u.id = t.user_id LEFT JOIN greenroom_roles r ON r.id = t.role_id WHERE t.id = ?`, id)
		found = auth.APIToken{
			ID: r.TokenID, SecretHash: r.SecretHash, Name: r.TokenName, RoleID: r.RoleID, Role: r.Role, Revoked: r.RevokedAt != nil,
			ExpiresAt: time.UnixMilli(r.ExpiresAt), Account: r.Account,
		}
		if r.LastUsedAt != nil {
			found.LastUsed = time.UnixMilli(*r.LastUsedAt)
		}
		return err
	})
	return found, ok, err
}

// NoteTokenUse remembers when a token was last used.
func (s *Store) NoteTokenUse(ctx context.Context, id string, at time.Time) error {
	return s.update(ctx, func(t *tx) error {
		t.changesNothing()
		_, err := t.exec("UPDATE greenroom_tokens SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at < ?)", at.UnixMilli(), id, at.UnixMilli())
		return err
	})
}

// RehashPassword replaces the hash of a user's password by another hash of the same password, unless it has changed.
func (s *Store) RehashPassword(ctx context.Context, userID int64, from, to string) error {
	return s.update(ctx, func(t *tx) error {
		t.changesNothing()
		_, err := t.exec("UPDATE greenroom_users SET password_hash = ? WHERE id = ? AND password_hash = ?", to, userID, from)
		return err
	})
}

// JWTRevoked tells whether a JWT was revoked by its id.
func (s *Store) JWTRevoked(ctx context.Context, issuer, id string) (revoked bool, err error) {
	err = s.look(ctx, func(t *tx) error {
		revoked, _, err = pickOne[bool](t, "SELECT EXISTS (SELECT 1 FROM greenroom_revoked_jwts WHERE issuer = ? AND jti = ?)", issuer, id)
		return err
	})
	return revoked, err
}

// Membership gives the groups of a user and all grants, also those of the groups and roles that a JWT names and that exist here.
func (s *Store) Membership(ctx context.Context, userID int64, groups, roles []string) (m auth.Membership, err error) {
	err = s.view(ctx, func(t *tx) error {
		m, err = t.membership(userID, groups, roles)
		return err
	})
	return m, err
}

func (t *tx) membership(userID int64, groups, roles []string) (m auth.Membership, err error) {
	m.Groups, err = pick[string](t, `SELECT g.name FROM greenroom_groups g
		WHERE g.id IN (SELECT group_id FROM greenroom_group_members WHERE user_id = ?) OR g.name IN ? ORDER BY g.name`, userID, groups)
	if err != nil {
		return m, err
	}
	held, err := pick[struct {
		RoleID      int64
		Role, Group string
	}](t, `SELECT r.id AS role_id, r.name AS role, '' AS "group" FROM greenroom_roles r JOIN greenroom_role_users h ON h.role_id = r.id WHERE h.user_id = ?
		UNION SELECT r.id, r.name, g.name FROM greenroom_roles r JOIN greenroom_role_groups h ON h.role_id = r.id JOIN greenroom_groups g ON g.id = h.group_id WHERE g.name IN ?
		UNION SELECT r.id, r.name, '' FROM greenroom_roles r WHERE r.workspace = ? AND r.name IN ? AND substr(r.name, 1, 2) <> '__'
		ORDER BY 2, 3`, userID, m.Groups, workspace, roles)
	if err != nil {
		return m, err
	}
	ids := make([]int64, len(held))
	for i, h := range held {
		ids[i] = h.RoleID
	}
	permissions, err := t.permissionsOf(ids)
	if err != nil {
		return m, err
	}
	for _, h := range held {
		via := "role " + h.Role
		switch {
		case isHiddenRole(h.Role) && h.Group != "":
			via = "group " + h.Group
		case isHiddenRole(h.Role):
			via = "the user"
		case h.Group != "":
			via = "group " + h.Group + ", role " + h.Role
		}
		m.Grants = append(m.Grants, grantsVia(via, permissions[h.RoleID])...)
	}
	return m, nil
}

// RoleGrants gives what a role holds; a role that is gone holds nothing.
func (s *Store) RoleGrants(ctx context.Context, roleID int64) (grants auth.Grants, err error) {
	err = s.view(ctx, func(t *tx) error {
		permissions, err := t.permissionsOf([]int64{roleID})
		grants = grantsVia("the token's role", permissions[roleID])
		return err
	})
	return grants, err
}
