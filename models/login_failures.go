package models

import (
	"context"
	"time"

	"greenroom/auth"
)

// What is here is no identity data: it leaves the revision alone, or every wrong password would empty all replicas' caches.

type loginFailures struct {
	Failures        int
	FirstAt, LastAt int64
}

func (f loginFailures) parse() auth.Failures {
	if f.Failures == 0 {
		return auth.Failures{}
	}
	return auth.Failures{Count: f.Failures, First: time.UnixMilli(f.FirstAt), Last: time.UnixMilli(f.LastAt)}
}

// LoginFailures gives the failed log-ins of an account or address, zero if there are none.
func (s *Store) LoginFailures(ctx context.Context, kind, subject string) (f auth.Failures, err error) {
	err = s.look(ctx, func(t *tx) error {
		row, _, err := pickOne[loginFailures](t, "SELECT failures, first_at, last_at FROM greenroom_login_failures WHERE kind = ? AND subject = ?", kind, subject)
		f = row.parse()
		return err
	})
	return f, err
}

// ChangeLoginFailures puts what change makes of the failed log-ins in their place; a count of 0 is forgotten. No two
// changes of a subject happen at one time, and an error of change leaves all as it is. change may be called more than once.
func (s *Store) ChangeLoginFailures(ctx context.Context, kind, subject string, change func(auth.Failures) (auth.Failures, error)) error {
	return s.update(ctx, func(t *tx) error {
		t.changesNothing()
		// One statement that makes the row or locks the one there is.
		row, _, err := pickOne[loginFailures](t, `INSERT INTO greenroom_login_failures (kind, subject, failures, first_at, last_at) VALUES (?, ?, 0, 0, 0)
			ON CONFLICT (kind, subject) DO UPDATE SET failures = greenroom_login_failures.failures RETURNING failures, first_at, last_at`, kind, subject)
		if err != nil {
			return err
		}
		f, err := change(row.parse())
		if err != nil {
			return err
		}
		if f.Count == 0 {
			_, err = t.exec("DELETE FROM greenroom_login_failures WHERE kind = ? AND subject = ?", kind, subject)
			return err
		}
		_, err = t.exec("UPDATE greenroom_login_failures SET failures = ?, first_at = ?, last_at = ? WHERE kind = ? AND subject = ?",
			f.Count, f.First.UnixMilli(), f.Last.UnixMilli(), kind, subject)
		return err
	})
}

// ForgetLoginFailures drops the accounts and addresses whose last failure was before a time.
func (s *Store) ForgetLoginFailures(ctx context.Context, before time.Time) error {
	return s.update(ctx, func(t *tx) error {
		t.changesNothing()
		_, err := t.exec("DELETE FROM greenroom_login_failures WHERE last_at < ?", before.UnixMilli())
		return err
	})
}
