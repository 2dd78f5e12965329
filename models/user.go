package models

import (
	"context"
	"unicode/utf8"

	"greenroom/auth"
)

// User is an account as its administrators see it.
type User struct {
	ID              int64
	Name            string
	Admin, Disabled bool
	// HasPassword is false for a user who can only log in with a token or a JWT.
	HasPassword bool
	// Issuer is whose JWTs name the user, "" for a user of this server alone; Subject is the user's name there, nil before the first log-in.
	Issuer    string
	Subject   *string
	CreatedAt int64 // milliseconds since 1970
}

const userColumns = "id, name, is_admin AS admin, disabled, password_hash IS NOT NULL AS has_password, issuer, subject, created_at"

// NewUser is what makes a user.
type NewUser struct {
	Name string
	// PasswordHash is what auth.Passwords.Hash gives; "" for a user without a password.
	PasswordHash string
	Admin        bool
	// Issuer is the external issuer whose first JWT of that name becomes the user's; "" for none.
	Issuer string
}

// maxIssuer and maxSubject are limits in characters.
const (
	maxIssuer  = 500
	maxSubject = 255
)

// CreateUser makes a user. The first one is an administrator in any case: nobody else could make another.
func (s *Store) CreateUser(ctx context.Context, n NewUser) (u *User, err error) {
	if err := auth.CheckUserName(n.Name); err != nil {
		return nil, Refuse(err)
	}
	if err := checkLength("issuer", n.Issuer, maxIssuer); err != nil {
		return nil, err
	}
	err = s.update(ctx, func(t *tx) error {
		id, err := t.changeIdentity()
		if err != nil {
			return err
		}
		t.about("user '%s'", n.Name)
		others, _, err := pickOne[bool](t, "SELECT EXISTS (SELECT 1 FROM greenroom_users)")
		if err != nil {
			return err
		}
		n := n // a transaction that runs again finds out anew
		n.Admin = n.Admin || !others
		t.note("admin", n.Admin)
		if n.Issuer != "" {
			t.note("issuer", n.Issuer)
		}
		made, err := t.insertUser(id, n, nil)
		if err != nil {
			return err
		}
		if !made {
			return t.userExists(n.Name)
		}
		u, err = t.user(n.Name)
		return err
	})
	return u, err
}

// insertUser makes a user unless the name is taken. JWTs of this server's own that were issued before are of an earlier user
// of the name; their time of issue is in whole seconds.
func (t *tx) insertUser(id int64, n NewUser, subject *string) (made bool, err error) {
	var hash *string
	if n.PasswordHash != "" {
		hash = &n.PasswordHash
	}
	validAfter := int64(0)
	if n.Issuer == "" {
		validAfter = t.now - t.now%1000
	}
	rows, err := t.exec(`INSERT INTO greenroom_users (id, name, password_hash, is_admin, disabled, issuer, subject, valid_after, created_at)
		VALUES (?, ?, ?, ?, FALSE, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, id, n.Name, hash, n.Admin, n.Issuer, subject, validAfter, t.now)
	return rows == 1, err
}

func (t *tx) userExists(name string) error {
	u, err := t.user(name)
	if err != nil {
		return err
	}
	if u.Disabled {
		return alreadyExists("User (username=%s) already exists, and is disabled. Enable that user again, or choose another name.", name)
	}
	return alreadyExists("User (username=%s) already exists.", name)
}

// User gives the user of a name.
func (s *Store) User(ctx context.Context, name string) (u *User, err error) {
	err = s.view(ctx, func(t *tx) error {
		u, err = t.user(name)
		return err
	})
	return u, err
}

// Users gives all users by name.
func (s *Store) Users(ctx context.Context) (users []*User, err error) {
	err = s.view(ctx, func(t *tx) error {
		users, err = t.users()
		return err
	})
	return users, err
}

func (t *tx) user(name string) (*User, error) {
	u, ok, err := pickOne[User](t, "SELECT "+userColumns+" FROM greenroom_users WHERE name = ?", name)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, notFound("User with username=%s not found", name)
	}
	return &u, nil
}

// changeUser changes a user in a transaction that no other change of identity runs beside.
func (s *Store) changeUser(ctx context.Context, name string, change func(*tx, *User) error) error {
	return s.update(ctx, func(t *tx) error {
		if _, err := t.changeIdentity(); err != nil {
			return err
		}
		t.about("user '%s'", name)
		u, err := t.user(name)
		if err != nil {
			return err
		}
		return change(t, u)
	})
}

// SetPassword gives a user another password, or none for an empty hash. JWTs that were issued to the user before count no
// more; API tokens go on, as each has an end and can be revoked by itself.
func (s *Store) SetPassword(ctx context.Context, name, hash string) error {
	return s.changeUser(ctx, name, func(t *tx, u *User) error {
		t.note("password", "replaced")
		var value *string
		if hash != "" {
			value = &hash
		}
		_, err := t.exec("UPDATE greenroom_users SET password_hash = ?, valid_after = ? WHERE id = ?", value, t.now, u.ID)
		return err
	})
}

// SetAdmin makes a user an administrator or an ordinary user. The last administrator stays one.
func (s *Store) SetAdmin(ctx context.Context, name string, admin bool) error {
	return s.changeUser(ctx, name, func(t *tx, u *User) error {
		t.note("admin", admin)
		if !admin {
			if err := t.checkNotLastAdmin(u); err != nil {
				return err
			}
		}
		_, err := t.exec("UPDATE greenroom_users SET is_admin = ? WHERE id = ?", admin, u.ID)
		return err
	})
}

// SetDisabled keeps a user from logging in with anything, or lets the user in again. JWTs issued before do not come back.
func (s *Store) SetDisabled(ctx context.Context, name string, disabled bool) error {
	return s.changeUser(ctx, name, func(t *tx, u *User) error {
		t.note("disabled", disabled)
		if disabled {
			if err := t.checkNotLastAdmin(u); err != nil {
				return err
			}
		}
		_, err := t.exec("UPDATE greenroom_users SET disabled = ?, valid_after = ? WHERE id = ?", disabled, t.now, u.ID)
		return err
	})
}

// DeleteUser removes a user with tokens, memberships, roles and grants. A user of an external issuer loses all this too,
// but stays known as disabled: the issuer's next JWT would make the user anew. kept tells so.
func (s *Store) DeleteUser(ctx context.Context, name string) (kept bool, err error) {
	err = s.changeUser(ctx, name, func(t *tx, u *User) error {
		if err := t.checkNotLastAdmin(u); err != nil {
			return err
		}
		if _, err := t.exec("DELETE FROM greenroom_roles WHERE workspace = ? AND name = ?", workspace, hiddenUserRole(u.ID)); err != nil {
			return err
		}
		kept = u.Issuer != ""
		if !kept {
			_, err := t.exec("DELETE FROM greenroom_users WHERE id = ?", u.ID) // the rest goes by the database's cascades
			return err
		}
		for _, table := range []string{"greenroom_group_members", "greenroom_role_users", "greenroom_tokens"} {
			if _, err := t.exec("DELETE FROM "+table+" WHERE user_id = ?", u.ID); err != nil {
				return err
			}
		}
		_, err := t.exec("UPDATE greenroom_users SET disabled = TRUE, is_admin = FALSE, password_hash = NULL, valid_after = ? WHERE id = ?", t.now, u.ID)
		return err
	})
	return kept, err
}

// checkNotLastAdmin keeps one administrator who can log in.
func (t *tx) checkNotLastAdmin(u *User) error {
	if !u.Admin || u.Disabled {
		return nil
	}
	other, _, err := pickOne[bool](t, "SELECT EXISTS (SELECT 1 FROM greenroom_users WHERE is_admin AND NOT disabled AND id <> ?)", u.ID)
	if err == nil && !other {
		return invalid("User '%s' is the last administrator: make another user an administrator first.", u.Name)
	}
	return err
}

// ExternalAccount gives the user that an issuer knows as subject. At the first time it is the user of that name who was made
// for this issuer beforehand, else a new user without any right; ok is false if the name is another user's, or can be none.
func (s *Store) ExternalAccount(ctx context.Context, issuer, subject, name string) (a auth.Account, ok bool, err error) {
	if issuer == "" || subject == "" || utf8.RuneCountInString(subject) > maxSubject || utf8.RuneCountInString(issuer) > maxIssuer {
		return a, false, nil
	}
	find := func(t *tx) (err error) {
		a, ok, err = pickOne[auth.Account](t, "SELECT "+accountColumns+" FROM greenroom_users u WHERE u.issuer = ? AND u.subject = ?", issuer, subject)
		return err
	}
	taken := false // looked at before a change, as every change empties the caches of log-ins
	err = s.view(ctx, func(t *tx) error {
		if err := find(t); err != nil || ok {
			return err
		}
		taken, _, err = pickOne[bool](t, "SELECT EXISTS (SELECT 1 FROM greenroom_users WHERE name = ? AND NOT (issuer = ? AND subject IS NULL))", name, issuer)
		return err
	})
	if err != nil || ok || taken || auth.CheckUserName(name) != nil {
		return a, ok, err
	}
	err = s.update(ctx, func(t *tx) error {
		id, err := t.changeIdentity()
		if err != nil {
			return err
		}
		// Another request of the user may have been first.
		if err := find(t); err != nil || ok {
			t.changesNothing()
			return err
		}
		t.about("user '%s'", name)
		t.note("issuer", issuer)
		bound, err := t.exec("UPDATE greenroom_users SET subject = ? WHERE name = ? AND issuer = ? AND subject IS NULL", subject, name, issuer)
		if err != nil {
			return err
		}
		if bound == 0 {
			made, err := t.insertUser(id, NewUser{Name: name, Issuer: issuer}, &subject)
			if err != nil {
				return err
			}
			if !made { // the name was taken meanwhile
				t.changesNothing()
				return nil
			}
		}
		t.by = &auth.Principal{Name: name, Credential: "jwt " + issuer}
		return find(t)
	})
	return a, ok, err
}

func (t *tx) users() ([]*User, error) {
	return pick[*User](t, "SELECT "+userColumns+" FROM greenroom_users ORDER BY name")
}
