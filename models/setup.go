package models

import (
	"context"
	"time"

	"greenroom/auth"
)

// SetSetupToken lets the token of a hash make the first administrator until it expires; the one before ends. set is false
// if there is an administrator already.
func (s *Store) SetSetupToken(ctx context.Context, hash string, expires time.Time) (set bool, err error) {
	err = s.update(ctx, func(t *tx) error {
		n, err := t.exec("UPDATE greenroom_identity SET setup_hash = ?, setup_expires_at = ? WHERE id = 1 AND NOT "+hasAdmin, hash, expires.UnixMilli())
		set = n == 1
		return err
	})
	return set, err
}

// CheckSetupToken refuses the set-up token of a hash that UseSetupToken would refuse. Anybody can make one up, so it comes
// before what costs something.
func (s *Store) CheckSetupToken(ctx context.Context, hash string) error {
	if there, err := s.HasAdmin(ctx); err != nil || there {
		return orSetUp(err)
	}
	return s.view(ctx, func(t *tx) error { return t.checkSetupToken(hash) })
}

func (t *tx) checkSetupToken(hash string) error {
	kept, _, err := pickOne[struct {
		SetupHash      *string
		SetupExpiresAt *int64
	}](t, "SELECT setup_hash, setup_expires_at FROM greenroom_identity WHERE id = 1")
	if err == nil && (!auth.SameHash(deref(kept.SetupHash), hash) || deref(kept.SetupExpiresAt) <= t.now) {
		return &auth.UnauthenticatedError{InvalidToken: true, Message: "The set-up token is not the newest one, or has expired. The server prints a new one when it starts: restart it and use that."}
	}
	return err
}

// UseSetupToken makes the first administrator with the set-up token of a hash, which ends with it: of several requests at a
// time one wins. An administrator without a password gets the API token described, whose text is returned.
func (s *Store) UseSetupToken(ctx context.Context, hash string, n NewUser, token NewAPIToken) (u *User, text string, err error) {
	n.Admin, token.User = true, n.Name
	if err := auth.CheckUserName(n.Name); err != nil {
		return nil, "", Refuse(err)
	}
	if n.PasswordHash == "" {
		if err := checkNewToken(token); err != nil {
			return nil, "", err
		}
	}
	err = s.update(ctx, func(t *tx) error {
		id, there, err := t.changeFirstAdmin()
		if err != nil || there {
			return orSetUp(err)
		}
		if err := t.checkSetupToken(hash); err != nil {
			return err
		}
		if err := t.insertAdmin(id, n); err != nil {
			return err
		}
		if u, err = t.user(n.Name); err != nil || n.PasswordHash != "" {
			return err
		}
		text, _, err = t.createAPIToken(token)
		return err
	})
	return u, text, err
}

// orSetUp is the refusal of a second set-up, unless there is an error.
func orSetUp(err error) error {
	if err != nil {
		return err
	}
	return &auth.UnauthenticatedError{InvalidToken: true, Message: "The server is set up: it has an administrator, and the set-up token has ended. Log in as an administrator to make more users."}
}

// BootstrapAdmin makes the first administrator if there is none, and tells whether it did. Of several replicas that
// start at a time one does.
func (s *Store) BootstrapAdmin(ctx context.Context, name, passwordHash string) (made bool, err error) {
	if err := auth.CheckUserName(name); err != nil {
		return false, Refuse(err)
	}
	// Looked at before a change, as every change empties the caches of log-ins.
	if there, err := s.HasAdmin(ctx); err != nil || there {
		return false, err
	}
	err = s.update(ctx, func(t *tx) error {
		made = false
		id, there, err := t.changeFirstAdmin()
		if err != nil || there {
			t.changesNothing()
			return err
		}
		made = true
		return t.insertAdmin(id, NewUser{Name: name, PasswordHash: passwordHash, Admin: true})
	})
	return made && err == nil, err
}

// hasAdmin is the SQL that tells whether somebody can make other users. Those whom an external issuer brought are none.
const hasAdmin = "EXISTS (SELECT 1 FROM greenroom_users WHERE is_admin AND NOT disabled)"

// HasAdmin tells whether somebody can make other users.
func (s *Store) HasAdmin(ctx context.Context) (there bool, err error) {
	err = s.view(ctx, func(t *tx) error {
		there, _, err = pickOne[bool](t, "SELECT "+hasAdmin)
		return err
	})
	return there, err
}

// changeFirstAdmin is changeIdentity that tells whether there is an administrator; nobody makes one before this transaction ends.
func (t *tx) changeFirstAdmin() (id int64, there bool, err error) {
	if id, err = t.changeIdentity(); err != nil {
		return 0, false, err
	}
	there, _, err = pickOne[bool](t, "SELECT "+hasAdmin)
	return id, there, err
}

// insertAdmin makes the first administrator and ends the set-up token.
func (t *tx) insertAdmin(id int64, n NewUser) error {
	t.about("user '%s'", n.Name)
	t.note("admin", true)
	made, err := t.insertUser(id, n, nil)
	if err == nil && !made {
		err = t.userExists(n.Name)
	}
	if err != nil {
		return err
	}
	_, err = t.exec("UPDATE greenroom_identity SET setup_hash = NULL, setup_expires_at = NULL WHERE id = 1")
	return err
}
