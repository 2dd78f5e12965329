package models

import (
	"context"
	"strings"
	"time"
)

// TagDigest is the tag of a version that names its files as they were registered: sha256:<hex>, the digest of its manifest.
// Only the server sets it.
const TagDigest = "greenroom.digest"

const digestPrefix = "sha256:"

// VersionDigest tells how the value of TagDigest names a manifest's SHA-256 in hex.
func VersionDigest(sha256 string) string { return digestPrefix + sha256 }

func digestIsOurs() error {
	return invalid("The tag %s is set by the server, from the files of the version; it can't be set or deleted.", TagDigest)
}

// DueVersion is a version whose digest is to be made.
type DueVersion struct {
	Name     string
	Version  int64
	Attempts int // with this one
}

// digestDue makes a new version's digest due; a prompt has no files.
func (t *tx) digestDue(n NewModelVersion, version int64) error {
	if isPrompt(n.Tags) {
		return nil
	}
	return t.queue(`INSERT INTO greenroom_version_digests_due (name, version, attempts, due_at) VALUES ($1, $2, 0, $3)
		ON CONFLICT (name, version) DO UPDATE SET attempts = 0, due_at = excluded.due_at`, n.Name, version, t.now)
}

// renameDigestsDue lets what is due follow a model to its new name.
func (t *tx) renameDigestsDue(name, newName string) error {
	if err := t.dropDigestsDue(newName); err != nil {
		return err
	}
	_, err := t.exec("UPDATE greenroom_version_digests_due SET name = ? WHERE name = ?", newName, name)
	return err
}

func (t *tx) dropDigestsDue(name string) error {
	_, err := t.exec("DELETE FROM greenroom_version_digests_due WHERE name = ?", name)
	return err
}

func (t *tx) dropDigestDue(name string, version int64) error {
	_, err := t.exec("DELETE FROM greenroom_version_digests_due WHERE name = ? AND version = ?", name, version)
	return err
}

// ClaimVersion gives a version whose digest is due, and keeps other replicas off it for a time; ok is false if there is none.
func (s *Store) ClaimVersion(ctx context.Context, lease time.Duration) (v DueVersion, ok bool, err error) {
	const due = " FROM greenroom_version_digests_due WHERE due_at <= ? ORDER BY due_at LIMIT 1"
	err = s.claim(ctx, "SELECT 1"+due, func(t *tx) error {
		v, ok, err = pickOne[DueVersion](t, "UPDATE greenroom_version_digests_due SET attempts = attempts + 1, due_at = ? WHERE (name, version) = (SELECT name, version"+due+t.unclaimed()+
			") RETURNING name, version, attempts", t.now+lease.Milliseconds(), t.now)
		return err
	})
	return v, ok, err
}

// PutOffVersion lets a version's digest be tried again after a pause. attempts is how many are counted.
func (s *Store) PutOffVersion(ctx context.Context, v DueVersion, attempts int, pause time.Duration) error {
	return s.update(ctx, func(t *tx) error {
		_, err := t.exec("UPDATE greenroom_version_digests_due SET attempts = ?, due_at = ? WHERE name = ? AND version = ?", attempts, t.now+pause.Milliseconds(), v.Name, v.Version)
		return err
	})
}

// GiveUpVersion leaves a version without a digest.
func (s *Store) GiveUpVersion(ctx context.Context, v DueVersion) error {
	return s.update(ctx, func(t *tx) error { return t.dropDigestDue(v.Name, v.Version) })
}

// SetVersionDigest keeps a manifest and names it in the version's tag. That is no change of the version, whose time of its last
// update stays. A version that is gone by now gets none.
func (s *Store) SetVersionDigest(ctx context.Context, name string, version int64, sha256, manifest string) error {
	return s.update(ctx, func(t *tx) error {
		if _, err := t.lockModel(name); err != nil {
			return ignoreNotFound(err)
		}
		if err := t.dropDigestDue(name, version); err != nil {
			return err
		}
		if _, err := t.modelVersion(name, version); err != nil {
			return ignoreNotFound(err)
		}
		if _, err := t.exec("INSERT INTO greenroom_manifests (digest, content) VALUES (?, ?) ON CONFLICT DO NOTHING", sha256, manifest); err != nil {
			return err
		}
		return t.setVersionTags(name, version, []Tag{{TagDigest, VersionDigest(sha256)}})
	})
}

func ignoreNotFound(err error) error {
	if isNotFound(err) {
		return nil
	}
	return err
}

// Digest is the SHA-256 in hex of the manifest of a version's files; ok is false if it has none.
func (v *ModelVersion) Digest() (sha256 string, ok bool) {
	for _, tag := range v.Tags {
		if tag.Key == TagDigest {
			return strings.CutPrefix(tag.Value, digestPrefix)
		}
	}
	return "", false
}

// Manifest gives the files of a version by its digest, as sha256sum prints them; ok is false if it is not kept.
func (s *Store) Manifest(ctx context.Context, sha256 string) (content string, ok bool, err error) {
	err = s.look(ctx, func(t *tx) error {
		content, ok, err = pickOne[string](t, "SELECT content FROM greenroom_manifests WHERE digest = ?", sha256)
		return err
	})
	return content, ok, err
}

// Versions gives up to limit model versions in the order of their models' names and their numbers, after one of them, with their tags.
func (s *Store) Versions(ctx context.Context, name string, version int64, limit int) (found []*ModelVersion, err error) {
	err = s.view(ctx, func(t *tx) error {
		found, err = pick[*ModelVersion](t, "SELECT "+modelVersionColumns+" FROM model_versions WHERE workspace = ? AND current_stage <> ? AND (name > ? OR name = ? AND version > ?) ORDER BY name, version LIMIT ?",
			workspace, stageDeleted, name, name, version, limit)
		if err != nil {
			return err
		}
		return t.loadVersionTags(found)
	})
	return found, err
}

// FilesAt is where a version's files are; a runs:/ URI is followed to its run's folder, if that run is known here.
func (s *Store) FilesAt(ctx context.Context, v *ModelVersion) (location string, err error) {
	location = v.location()
	uri := splitURI(location)
	if uri.scheme != "runs" || uri.host != "" {
		return location, nil
	}
	id, folder, _ := strings.Cut(strings.Trim(uri.path, "/"), "/")
	err = s.look(ctx, func(t *tx) error {
		run, ok, err := pickOne[struct{ ArtifactURI *string }](t, "SELECT artifact_uri FROM runs WHERE run_uuid = ?", id)
		if root := deref(run.ArtifactURI); ok && root != "" {
			location = strings.TrimSuffix(appendToURI(root, folder), "/")
		}
		return err
	})
	return location, err
}

// VersionByURI finds the version that models:/NAME/VERSION, /NAME/STAGE, /NAME/latest or /NAME@ALIAS means.
func (s *Store) VersionByURI(ctx context.Context, uri string) (v *ModelVersion, err error) {
	ref, err := parseModelRef(uri, splitURI(uri))
	if err != nil || ref == nil || ref.name == "" {
		return nil, invalid("'%s' is not a model version: write models:/NAME/VERSION, models:/NAME/STAGE, models:/NAME/latest or models:/NAME@ALIAS", uri)
	}
	err = s.view(ctx, func(t *tx) error {
		v, err = t.versionByRef(ref)
		return err
	})
	return v, err
}
