-- Who may use the server and what for. Ids are numbers that greenroom_identity.revision counts through: they are never
-- given twice, and whoever remembers a revision sees that something has changed. Times are milliseconds since 1970.
CREATE TABLE greenroom_identity (
    id INTEGER NOT NULL,
    revision BIGINT NOT NULL,
    setup_hash VARCHAR(64), -- SHA-256 of the set-up token that may make the first administrator
    setup_expires_at BIGINT,
    CONSTRAINT greenroom_identity_pk PRIMARY KEY (id)
);

CREATE TABLE greenroom_users (
    id BIGINT NOT NULL,
    name VARCHAR(255) NOT NULL,
    password_hash VARCHAR(255), -- NULL: cannot log in with a password
    is_admin BOOLEAN NOT NULL,
    disabled BOOLEAN NOT NULL,
    issuer VARCHAR(500) NOT NULL, -- whose JWTs may name this user; '' for this server's own
    subject VARCHAR(255), -- of an external issuer, from the first log-in on
    valid_after BIGINT NOT NULL, -- JWTs issued before are refused
    created_at BIGINT NOT NULL,
    CONSTRAINT greenroom_users_pk PRIMARY KEY (id),
    CONSTRAINT greenroom_users_name UNIQUE (name),
    CONSTRAINT greenroom_users_subject UNIQUE (issuer, subject)
);

CREATE TABLE greenroom_groups (
    id BIGINT NOT NULL,
    name VARCHAR(255) NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT greenroom_groups_pk PRIMARY KEY (id),
    CONSTRAINT greenroom_groups_name UNIQUE (name)
);

CREATE TABLE greenroom_group_members (
    group_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    CONSTRAINT greenroom_group_members_pk PRIMARY KEY (group_id, user_id),
    CONSTRAINT greenroom_group_members_group FOREIGN KEY (group_id) REFERENCES greenroom_groups (id) ON DELETE CASCADE,
    CONSTRAINT greenroom_group_members_user FOREIGN KEY (user_id) REFERENCES greenroom_users (id) ON DELETE CASCADE
);
CREATE INDEX greenroom_group_members_by_user ON greenroom_group_members (user_id);

-- What is granted to one user or group directly is held by a role of its own, as in MLflow: __user_17__, __group_18__.
CREATE TABLE greenroom_roles (
    id BIGINT NOT NULL,
    name VARCHAR(255) NOT NULL,
    workspace VARCHAR(63) NOT NULL,
    description VARCHAR(1024),
    CONSTRAINT greenroom_roles_pk PRIMARY KEY (id),
    CONSTRAINT greenroom_roles_name UNIQUE (workspace, name)
);

CREATE TABLE greenroom_role_permissions (
    id BIGINT NOT NULL,
    role_id BIGINT NOT NULL,
    resource_type VARCHAR(64) NOT NULL, -- experiment, registered_model or workspace
    resource_pattern VARCHAR(500) NOT NULL,
    is_exact BOOLEAN NOT NULL, -- the pattern is one experiment's id or one model's name, also if it has a *
    permission VARCHAR(32) NOT NULL,
    CONSTRAINT greenroom_role_permissions_pk PRIMARY KEY (id),
    CONSTRAINT greenroom_role_permissions_object UNIQUE (role_id, resource_type, resource_pattern, is_exact),
    CONSTRAINT greenroom_role_permissions_role FOREIGN KEY (role_id) REFERENCES greenroom_roles (id) ON DELETE CASCADE
);
CREATE INDEX greenroom_role_permissions_by_object ON greenroom_role_permissions (resource_type, resource_pattern);

CREATE TABLE greenroom_role_users (
    id BIGINT NOT NULL,
    role_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    CONSTRAINT greenroom_role_users_pk PRIMARY KEY (id),
    CONSTRAINT greenroom_role_users_once UNIQUE (role_id, user_id),
    CONSTRAINT greenroom_role_users_role FOREIGN KEY (role_id) REFERENCES greenroom_roles (id) ON DELETE CASCADE,
    CONSTRAINT greenroom_role_users_user FOREIGN KEY (user_id) REFERENCES greenroom_users (id) ON DELETE CASCADE
);
CREATE INDEX greenroom_role_users_by_user ON greenroom_role_users (user_id);

CREATE TABLE greenroom_role_groups (
    role_id BIGINT NOT NULL,
    group_id BIGINT NOT NULL,
    CONSTRAINT greenroom_role_groups_pk PRIMARY KEY (role_id, group_id),
    CONSTRAINT greenroom_role_groups_role FOREIGN KEY (role_id) REFERENCES greenroom_roles (id) ON DELETE CASCADE,
    CONSTRAINT greenroom_role_groups_group FOREIGN KEY (group_id) REFERENCES greenroom_groups (id) ON DELETE CASCADE
);
CREATE INDEX greenroom_role_groups_by_group ON greenroom_role_groups (group_id);

CREATE TABLE greenroom_tokens (
    id VARCHAR(32) NOT NULL, -- the public part of the token
    secret_hash VARCHAR(64) NOT NULL, -- SHA-256 of the secret part
    user_id BIGINT NOT NULL,
    name VARCHAR(255) NOT NULL,
    role_id BIGINT, -- the role that narrows what the token may do; NULL for all that the user may
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    last_used_at BIGINT, -- kept to the minute
    CONSTRAINT greenroom_tokens_pk PRIMARY KEY (id),
    CONSTRAINT greenroom_tokens_user FOREIGN KEY (user_id) REFERENCES greenroom_users (id) ON DELETE CASCADE,
    CONSTRAINT greenroom_tokens_role FOREIGN KEY (role_id) REFERENCES greenroom_roles (id) ON DELETE CASCADE
);
CREATE INDEX greenroom_tokens_by_user ON greenroom_tokens (user_id);

CREATE TABLE greenroom_revoked_jwts (
    issuer VARCHAR(500) NOT NULL,
    jti VARCHAR(255) NOT NULL,
    expires_at BIGINT NOT NULL, -- from then on the JWT is refused by itself
    CONSTRAINT greenroom_revoked_jwts_pk PRIMARY KEY (issuer, jti)
);

-- Failed log-ins of one account or from one address, for all replicas.
CREATE TABLE greenroom_login_failures (
    kind VARCHAR(10) NOT NULL, -- account or address
    subject VARCHAR(255) NOT NULL,
    failures INTEGER NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    CONSTRAINT greenroom_login_failures_pk PRIMARY KEY (kind, subject)
);

-- Who did what to which object, with which credential: a row of an allowed change is committed together with the change.
CREATE TABLE greenroom_audit (
    id VARCHAR(36) NOT NULL, -- a UUID of version 7: in the order of time
    at BIGINT NOT NULL,
    user_id BIGINT,
    user_name VARCHAR(255) NOT NULL,
    credential VARCHAR(500) NOT NULL,
    action VARCHAR(255) NOT NULL,
    object VARCHAR(1000) NOT NULL,
    outcome VARCHAR(10) NOT NULL, -- allowed or refused
    detail VARCHAR(2000) NOT NULL,
    request_id VARCHAR(64) NOT NULL,
    address VARCHAR(64) NOT NULL,
    CONSTRAINT greenroom_audit_pk PRIMARY KEY (id)
);
CREATE INDEX greenroom_audit_by_time ON greenroom_audit (at);

INSERT INTO greenroom_identity (id, revision) VALUES (1, 10);

-- Roles to begin with. workspace USE lets its holder create experiments and models.
INSERT INTO greenroom_roles (id, name, workspace, description) VALUES
    (1, 'viewer', 'default', 'reads everything'),
    (2, 'editor', 'default', 'reads, creates and changes everything, deletes nothing'),
    (3, 'manager', 'default', 'reads, creates, changes and deletes everything');
INSERT INTO greenroom_role_permissions (id, role_id, resource_type, resource_pattern, is_exact, permission) VALUES
    (1, 1, 'experiment', '*', FALSE, 'READ'),
    (2, 1, 'registered_model', '*', FALSE, 'READ'),
    (3, 2, 'experiment', '*', FALSE, 'EDIT'),
    (4, 2, 'registered_model', '*', FALSE, 'EDIT'),
    (5, 2, 'workspace', '*', FALSE, 'USE'),
    (6, 3, 'experiment', '*', FALSE, 'MANAGE'),
    (7, 3, 'registered_model', '*', FALSE, 'MANAGE'),
    (8, 3, 'workspace', '*', FALSE, 'USE');
