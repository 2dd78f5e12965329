-- Remembers which request made a model version, so that a client's blind repetition of it gets the same version back.
-- It refers to no table of MLflow's, whose own migrations then need not know it.
CREATE TABLE greenroom_version_creations (
    fingerprint VARCHAR(64) NOT NULL,
    name VARCHAR(256) NOT NULL,
    version INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT greenroom_version_creations_pk PRIMARY KEY (fingerprint)
);
CREATE INDEX greenroom_version_creations_name ON greenroom_version_creations (name, created_at);
