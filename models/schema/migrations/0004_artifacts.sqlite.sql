-- What the server knows of the files it keeps, so that one that is lost, cut off or altered is found. Times are milliseconds since 1970.
CREATE TABLE greenroom_artifacts (
    location TEXT NOT NULL, -- such as mlflow-artifacts:/1/<run>/artifacts/model.pkl
    size BIGINT NOT NULL, -- bytes
    etag VARCHAR(255) NOT NULL, -- the store's, of the content that was recorded
    sha256 VARCHAR(64), -- NULL until the file has been read, if its bytes did not pass through the server
    stored_at BIGINT NOT NULL,
    due_at BIGINT, -- not to be read before; NULL if it is not to be read
    CONSTRAINT greenroom_artifacts_pk PRIMARY KEY (location)
);
CREATE INDEX greenroom_artifacts_due ON greenroom_artifacts (due_at) WHERE due_at IS NOT NULL;

-- How many times records of greenroom_artifacts were deleted for good: whoever stores a file meanwhile looks whether it is still there when it is recorded.
CREATE TABLE greenroom_artifact_deletions (count BIGINT NOT NULL);
INSERT INTO greenroom_artifact_deletions (count) VALUES (0);

-- The files of model versions as they were registered, by the digest that the version's tag greenroom.digest names. The content is
-- what sha256sum prints for the files, sorted by path, and the digest is its SHA-256.
CREATE TABLE greenroom_manifests (
    digest VARCHAR(64) NOT NULL,
    content TEXT NOT NULL,
    CONSTRAINT greenroom_manifests_pk PRIMARY KEY (digest)
);

-- Versions whose digest is still to be made.
CREATE TABLE greenroom_version_digests_due (
    name VARCHAR(256) NOT NULL,
    version INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    due_at BIGINT NOT NULL, -- not to be tried before
    CONSTRAINT greenroom_version_digests_due_pk PRIMARY KEY (name, version)
);
CREATE INDEX greenroom_version_digests_due_at ON greenroom_version_digests_due (due_at);

-- What greenroom gc has begun to delete for good, and nobody may restore any more.
CREATE TABLE greenroom_gc (
    kind VARCHAR(16) NOT NULL, -- run, logged_model or experiment
    id VARCHAR(64) NOT NULL,
    marked_at BIGINT NOT NULL,
    CONSTRAINT greenroom_gc_pk PRIMARY KEY (kind, id)
);

-- Keys that all replicas share, such as the one that signs the URLs of transfers.
CREATE TABLE greenroom_secrets (
    name VARCHAR(64) NOT NULL,
    value VARCHAR(128) NOT NULL, -- hex
    created_at BIGINT NOT NULL,
    CONSTRAINT greenroom_secrets_pk PRIMARY KEY (name)
);

-- Few of the versions are live; every upload asks for their folders.
CREATE INDEX greenroom_model_versions_live ON model_versions (current_stage) WHERE current_stage IN ('Staging', 'Production');
