package models

import (
	"context"
	"strings"
	"time"

	"greenroom/artifacts"
	"greenroom/search"
)

// ArtifactRecord is what the server knows of a file that it keeps. Times are in milliseconds since 1970.
type ArtifactRecord struct {
	Location string // as artifacts.Place.Location spells it
	Size     int64  // bytes
	ETag     string `gorm:"column:etag"`   // the store's, of the recorded content
	SHA256   string `gorm:"column:sha256"` // lower-case hex; empty until the file has been read
	StoredAt int64
	// DueAt is when the file may be read next, if its digest is missing; nil if it is not to be read by itself.
	DueAt *int64
}

const artifactColumns = "location, size, etag, COALESCE(sha256, '') AS sha256, stored_at, due_at"

// ArtifactRecord gives the record of one file; ok is false if there is none.
func (s *Store) ArtifactRecord(ctx context.Context, location string) (r ArtifactRecord, ok bool, err error) {
	err = s.look(ctx, func(t *tx) error {
		r, ok, err = t.artifactRecord(location)
		return err
	})
	return r, ok, err
}

func (t *tx) artifactRecord(location string) (ArtifactRecord, bool, error) {
	return pickOne[ArtifactRecord](t, "SELECT "+artifactColumns+" FROM greenroom_artifacts WHERE location = ?", location)
}

// ArtifactBefore is what was known of a location before a file is stored there.
type ArtifactBefore struct {
	Record    *ArtifactRecord // nil if there was none
	deletions int64
}

// PrepareArtifact makes a location ready for a file to be stored there: it removes the record of the one that is replaced, so
// that none contradicts its file, whatever breaks off then. RecordArtifact or ForgetArtifact has to follow.
func (s *Store) PrepareArtifact(ctx context.Context, location string) (before ArtifactBefore, err error) {
	err = s.look(ctx, func(t *tx) error {
		// The count first: a deletion that comes between the two is then seen as one that comes later.
		if before.deletions, err = t.artifactDeletions(""); err != nil {
			return err
		}
		r, ok, err := t.artifactRecord(location)
		if ok {
			before.Record = &r
		}
		return err
	})
	if err != nil || before.Record == nil {
		return before, err
	}
	return before, s.update(ctx, func(t *tx) error {
		t.changesNothing()
		return t.forgetArtifact(location, before.Record.ETag)
	})
}

// artifactDeletions is how many times records went that no new one follows. lock comes at the end of the query.
func (t *tx) artifactDeletions(lock string) (int64, error) {
	count, _, err := pickOne[int64](t, "SELECT count FROM greenroom_artifact_deletions"+lock)
	return count, err
}

func (t *tx) countArtifactDeletion() error {
	_, err := t.exec("UPDATE greenroom_artifact_deletions SET count = count + 1")
	return err
}

// RecordArtifact notes what a store has just told of a file. One that replaces another is for the audit log: one that
// appears is logging, one that is replaced may be a registered model's. Without a digest the file is read in the background.
//
// contested tells that somebody else may have stored or deleted the file since PrepareArtifact: then the caller has to look whether
// the store has what was recorded, and to forget it otherwise.
func (s *Store) RecordArtifact(ctx context.Context, location string, f artifacts.Stored, before ArtifactBefore, replaces bool) (contested bool, err error) {
	err = s.update(ctx, func(t *tx) error {
		if !replaces {
			t.changesNothing()
		}
		deletions, err := t.artifactDeletions(t.forShare()) // which no deletion changes before this is committed
		if err != nil {
			return err
		}
		added, err := t.recordArtifact(location, f, "DO NOTHING")
		if err == nil && added == 0 {
			_, err = t.recordArtifact(location, f, `(location) DO UPDATE
				SET size = excluded.size, etag = excluded.etag, sha256 = excluded.sha256, stored_at = excluded.stored_at, due_at = excluded.due_at`)
		}
		contested = added == 0 || deletions != before.deletions
		return err
	})
	if err == nil && f.SHA256 == "" {
		s.filesDue.tell()
	}
	return contested, err
}

// recordArtifact inserts the record of a file, and tells how many rows that has changed.
func (t *tx) recordArtifact(location string, f artifacts.Stored, onConflict string) (int64, error) {
	var sha256, due any = f.SHA256, nil
	if f.SHA256 == "" {
		sha256, due = nil, t.now
	}
	return t.exec("INSERT INTO greenroom_artifacts (location, size, etag, sha256, stored_at, due_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT "+onConflict,
		location, f.Size, f.ETag, sha256, t.now, due)
}

// NoteArtifact makes a file that was found without a record one that is to be read. A record that there is meanwhile stays.
func (s *Store) NoteArtifact(ctx context.Context, location string, size int64, etag string) error {
	return s.update(ctx, func(t *tx) error {
		_, err := t.recordArtifact(location, artifacts.Stored{Size: size, ETag: etag}, "DO NOTHING")
		return err
	})
}

// ForgetArtifact removes the record of one file, if it is of the content with an ETag.
func (s *Store) ForgetArtifact(ctx context.Context, location, etag string) error {
	return s.update(ctx, func(t *tx) error {
		t.changesNothing()
		if err := t.countArtifactDeletion(); err != nil {
			return err
		}
		return t.forgetArtifact(location, etag)
	})
}

func (t *tx) forgetArtifact(location, etag string) error {
	_, err := t.exec("DELETE FROM greenroom_artifacts WHERE location = ? AND etag = ?", location, etag)
	return err
}

// ForgetArtifacts removes the records of a file, or of a folder with all that is in it. Whoever deletes files calls it before, as
// a file that has no record is no false alarm, and after, for what was stored and recorded in the meantime.
func (s *Store) ForgetArtifacts(ctx context.Context, location string) error {
	return s.update(ctx, func(t *tx) error {
		t.changesNothing()
		return t.forgetArtifacts(location)
	})
}

// RecordDeletion leaves the audit log's entry for a file or folder that was deleted, and removes what was recorded of it in the meantime.
func (s *Store) RecordDeletion(ctx context.Context, location string) error {
	return s.update(ctx, func(t *tx) error { return t.forgetArtifacts(location) })
}

func (t *tx) forgetArtifacts(location string) error {
	if err := t.countArtifactDeletion(); err != nil {
		return err
	}
	from, to := inside(location)
	_, err := t.exec("DELETE FROM greenroom_artifacts WHERE location = ? OR location >= ? AND location < ?", location, from, to)
	return err
}

// inside gives the bounds of the locations in a folder, for location >= from AND location < to, which an index answers.
func inside(folder string) (from, to string) {
	folder = strings.TrimSuffix(folder, "/")
	return folder + "/", folder + "0" // the character after the slash
}

// unclaimed is the SQL that leaves rows alone which another replica is just about to claim.
func (t *tx) unclaimed() string {
	if t.s.dialect == search.PostgreSQL {
		return " FOR UPDATE SKIP LOCKED"
	}
	return ""
}

// FilesDue hears of files to be read in the background. Work of other replicas and of earlier runs is not told of.
func (s *Store) FilesDue() <-chan struct{} { return s.filesDue }

// VersionsDue hears of new versions, which have no digest yet, like FilesDue.
func (s *Store) VersionsDue() <-chan struct{} { return s.versionsDue }

// due has a value when there is work that nobody has looked for since.
type due chan struct{}

func (d due) tell() {
	select {
	case d <- struct{}{}:
	default: // somebody is about to look
	}
}

// ClaimArtifact gives a recorded file that is due to be read, and keeps other replicas off it for a time; ok is false if there is none.
func (s *Store) ClaimArtifact(ctx context.Context, lease time.Duration) (r ArtifactRecord, ok bool, err error) {
	const due = " FROM greenroom_artifacts WHERE due_at <= ? ORDER BY due_at LIMIT 1"
	err = s.claim(ctx, "SELECT 1"+due, func(t *tx) error {
		r, ok, err = pickOne[ArtifactRecord](t, "UPDATE greenroom_artifacts SET due_at = ? WHERE location = (SELECT location"+due+t.unclaimed()+") RETURNING "+artifactColumns,
			t.now+lease.Milliseconds(), t.now)
		return err
	})
	return r, ok, err
}

// claim runs fn if there is something due. The look before spares the database's one writer where there mostly is nothing.
func (s *Store) claim(ctx context.Context, anything string, fn func(*tx) error) error {
	found := false
	err := s.look(ctx, func(t *tx) (err error) {
		_, found, err = pickOne[int](t, anything, t.now)
		return err
	})
	if err != nil || !found {
		return err
	}
	return s.update(ctx, fn)
}

// PutOffArtifact lets a file that is due be read after a pause; without one never, unless it is asked for.
func (s *Store) PutOffArtifact(ctx context.Context, r ArtifactRecord, pause time.Duration) error {
	return s.update(ctx, func(t *tx) error {
		var due any
		if pause > 0 {
			due = t.now + pause.Milliseconds()
		}
		_, err := t.exec("UPDATE greenroom_artifacts SET due_at = ? WHERE location = ? AND etag = ? AND sha256 IS NULL", due, r.Location, r.ETag)
		return err
	})
}

// FillArtifactDigest adds the digest to the record of a file that has been read. The record of what is there now says so
// itself: nothing happens if it is of another content.
func (s *Store) FillArtifactDigest(ctx context.Context, r ArtifactRecord, sha256 string) error {
	return s.update(ctx, func(t *tx) error {
		_, err := t.exec("UPDATE greenroom_artifacts SET sha256 = ?, due_at = NULL WHERE location = ? AND etag = ? AND sha256 IS NULL", sha256, r.Location, r.ETag)
		return err
	})
}

// MoveArtifactRecord notes that the content of a record lies in the store under another ETag, as it does after a restore.
func (s *Store) MoveArtifactRecord(ctx context.Context, r ArtifactRecord, etag string) error {
	return s.update(ctx, func(t *tx) error {
		_, err := t.exec("UPDATE greenroom_artifacts SET etag = ? WHERE location = ? AND etag = ? AND sha256 = ?", etag, r.Location, r.ETag, r.SHA256)
		return err
	})
}

// ArtifactRecords gives up to limit records in the order of their locations, after one location.
func (s *Store) ArtifactRecords(ctx context.Context, after string, limit int) (found []ArtifactRecord, err error) {
	err = s.look(ctx, func(t *tx) error {
		found, err = pick[ArtifactRecord](t, "SELECT "+artifactColumns+" FROM greenroom_artifacts WHERE location > ? ORDER BY location LIMIT ?", after, limit)
		return err
	})
	return found, err
}

// RecordedArtifacts tells which of some locations are recorded.
func (s *Store) RecordedArtifacts(ctx context.Context, locations []string) (recorded map[string]bool, err error) {
	recorded = map[string]bool{}
	err = s.look(ctx, func(t *tx) error {
		rows, err := pick[string](t, "SELECT location FROM greenroom_artifacts WHERE location IN ?", locations)
		for _, location := range rows {
			recorded[location] = true
		}
		return err
	})
	return recorded, err
}
