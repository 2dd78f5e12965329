package models

import (
	"context"
	"strings"

	"greenroom/artifacts"
)

// ArtifactRecord is what the server knows of a file that it keeps. Times are in milliseconds since 1970.
type ArtifactRecord struct {
	Location string // as artifacts.Place.Location spells it
	Size     int64  // bytes
	ETag     string `gorm:"column:etag"`   // the store's, of the recorded content
	SHA256   string `gorm:"column:sha256"` // lower-case hex; empty until the file has been read
	StoredAt int64
}

const artifactColumns = "location, size, etag, COALESCE(sha256, '') AS sha256, stored_at"

// ArtifactRecord gives the record of one file; ok is false if there is none.
func (s *Store) ArtifactRecord(ctx context.Context, location string) (r ArtifactRecord, ok bool, err error) {
	err = s.look(ctx, func(t *tx) error {
		r, ok, err = pickOne[ArtifactRecord](t, "SELECT "+artifactColumns+" FROM greenroom_artifacts WHERE location = ?", location)
		return err
	})
	return r, ok, err
}

// RecordArtifact notes what a store has just told of a file. One that replaces another is for the audit log: one that
// appears is logging, one that is replaced may be a registered model's. Without a digest the file is read in the background.
func (s *Store) RecordArtifact(ctx context.Context, location string, f artifacts.Stored, replaces bool) error {
	return s.update(ctx, func(t *tx) error {
		if !replaces {
			t.changesNothing()
		}
		var sha256, due any = f.SHA256, nil
		if f.SHA256 == "" {
			sha256, due = nil, t.now
		}
		_, err := t.exec(`INSERT INTO greenroom_artifacts (location, size, etag, sha256, stored_at, due_at) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (location) DO UPDATE SET size = excluded.size, etag = excluded.etag, sha256 = excluded.sha256, stored_at = excluded.stored_at, due_at = excluded.due_at`,
			location, f.Size, f.ETag, sha256, t.now, due)
		return err
	})
}

// ForgetArtifact removes the record of one file, if it is of the content with an ETag.
func (s *Store) ForgetArtifact(ctx context.Context, location, etag string) error {
	return s.update(ctx, func(t *tx) error {
		t.changesNothing()
		_, err := t.exec("DELETE FROM greenroom_artifacts WHERE location = ? AND etag = ?", location, etag)
		return err
	})
}

// ForgetArtifacts removes the records of a file, or of a folder with all that is in it. Whoever deletes files calls it first:
// a file that has no record is no false alarm.
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
	from, to := inside(location)
	_, err := t.exec("DELETE FROM greenroom_artifacts WHERE location = ? OR location >= ? AND location < ?", location, from, to)
	return err
}

// inside gives the bounds of the locations in a folder, for location >= from AND location < to, which an index answers.
func inside(folder string) (from, to string) {
	folder = strings.TrimSuffix(folder, "/")
	return folder + "/", folder + "0" // the character after the slash
}
