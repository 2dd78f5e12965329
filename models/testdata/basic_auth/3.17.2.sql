-- What MLflow 3.17.2's own server with --app-name basic-auth has written for requests of its auth API, as the sqlite3 shell dumps it;
-- the booleans are spelled so that PostgreSQL takes them too. Every password is longpassword1234.
CREATE TABLE alembic_version_auth (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_auth_pkc PRIMARY KEY (version_num)
);
INSERT INTO alembic_version_auth VALUES('f1a2b3c4d5e6');
CREATE TABLE users (
	id INTEGER NOT NULL, 
	username VARCHAR(255), 
	password_hash VARCHAR(255), 
	is_admin BOOLEAN, 
	PRIMARY KEY (id), 
	UNIQUE (username)
);
INSERT INTO users VALUES(1,'admin','scrypt:32768:8:1$tYit4gIi3H5q1GXe$38236ecfc6ba3f2c7f83bc45773bf725d9e05e8cbbd144033ff1231ef83a1ca77927998fdfdfc68ec28009f675130d6dea9d88812cac84275d1da1ab86fde0e5',TRUE);
INSERT INTO users VALUES(2,'bob','scrypt:32768:8:1$WXajn2DbfLi9VU47$46a4956bbe3dc824e00ef4ff2e013aff69896474db909a04c7938a130afa2509893f344046878589bf96b4d070f69444c1488460c3f73e166dae4f49cc36fb38',FALSE);
INSERT INTO users VALUES(3,'carl','scrypt:32768:8:1$wd2x6HDPNJ6zc26Y$29e3dc94787125e7d1343394df551907916cea6e0b3a80b1712b307fea249cfa1dd57b541004c2794f0ac89389ab63c3dc948669445924cfcb41b0eff27f80b2',FALSE);
INSERT INTO users VALUES(4,'dora','scrypt:32768:8:1$4FLM51yPj5HzLxX6$c8f6fd80ccfa21499a091f95bf4497aca50910fb190b452e07b659ba597bd926b30f7a56d038ba14173bf4bb0ed98a2b2a1413218d7abd1e852bf710d65dae83',TRUE);
INSERT INTO users VALUES(5,'x:y','scrypt:32768:8:1$xyBa8PMh9SlbqLjG$421a992270fcf7465029ef4c3afb349063dd7d30a42a49253ca8bd6afe83f18bfaee44a2a02971dabb0cd7ff45dfaabb52dd8e360711b339625a6cefec17288e',FALSE);
CREATE TABLE experiment_permissions (
	id INTEGER NOT NULL, 
	experiment_id VARCHAR(255) NOT NULL, 
	user_id INTEGER NOT NULL, 
	permission VARCHAR(255), 
	PRIMARY KEY (id), 
	CONSTRAINT fk_user_id FOREIGN KEY(user_id) REFERENCES users (id), 
	CONSTRAINT unique_experiment_user UNIQUE (experiment_id, user_id)
);
CREATE TABLE scorer_permissions (
	id INTEGER NOT NULL, 
	experiment_id VARCHAR(255) NOT NULL, 
	scorer_name VARCHAR(256) NOT NULL, 
	user_id INTEGER NOT NULL, 
	permission VARCHAR(255), 
	PRIMARY KEY (id), 
	CONSTRAINT fk_scorer_perm_user_id FOREIGN KEY(user_id) REFERENCES users (id), 
	CONSTRAINT unique_scorer_user UNIQUE (experiment_id, scorer_name, user_id)
);
CREATE TABLE gateway_secret_permissions (
	id INTEGER NOT NULL, 
	secret_id VARCHAR(255) NOT NULL, 
	user_id INTEGER NOT NULL, 
	permission VARCHAR(255), 
	PRIMARY KEY (id), 
	CONSTRAINT fk_gateway_secret_perm_user_id FOREIGN KEY(user_id) REFERENCES users (id), 
	CONSTRAINT unique_secret_user UNIQUE (secret_id, user_id)
);
CREATE TABLE gateway_endpoint_permissions (
	id INTEGER NOT NULL, 
	endpoint_id VARCHAR(255) NOT NULL, 
	user_id INTEGER NOT NULL, 
	permission VARCHAR(255), 
	PRIMARY KEY (id), 
	CONSTRAINT fk_gateway_endpoint_perm_user_id FOREIGN KEY(user_id) REFERENCES users (id), 
	CONSTRAINT unique_endpoint_user UNIQUE (endpoint_id, user_id)
);
CREATE TABLE gateway_model_definition_permissions (
	id INTEGER NOT NULL, 
	model_definition_id VARCHAR(255) NOT NULL, 
	user_id INTEGER NOT NULL, 
	permission VARCHAR(255), 
	PRIMARY KEY (id), 
	CONSTRAINT fk_gateway_model_def_perm_user_id FOREIGN KEY(user_id) REFERENCES users (id), 
	CONSTRAINT unique_model_def_user UNIQUE (model_definition_id, user_id)
);
CREATE TABLE workspace_permissions (
	workspace VARCHAR(63) NOT NULL, 
	user_id INTEGER NOT NULL, 
	permission VARCHAR(32) NOT NULL, 
	CONSTRAINT workspace_permissions_pk PRIMARY KEY (workspace, user_id), 
	FOREIGN KEY(user_id) REFERENCES users (id)
);
CREATE TABLE IF NOT EXISTS "registered_model_permissions" (
	id INTEGER NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	user_id INTEGER NOT NULL, 
	permission VARCHAR(255), 
	workspace VARCHAR(63) DEFAULT 'default' NOT NULL, 
	PRIMARY KEY (id), 
	CONSTRAINT fk_user_id FOREIGN KEY(user_id) REFERENCES users (id), 
	CONSTRAINT unique_workspace_name_user UNIQUE (workspace, name, user_id)
);
CREATE TABLE roles (
	id INTEGER NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	workspace VARCHAR(63) NOT NULL, 
	description VARCHAR(1024), 
	PRIMARY KEY (id), 
	CONSTRAINT unique_workspace_role_name UNIQUE (workspace, name)
);
INSERT INTO roles VALUES(1,'__user_2__','default',NULL);
INSERT INTO roles VALUES(2,'__user_1__','default',NULL);
INSERT INTO roles VALUES(5,'y','other',NULL);
INSERT INTO roles VALUES(6,'__user_3__','default',NULL);
INSERT INTO roles VALUES(7,'deployer','default','made for deployer');
INSERT INTO roles VALUES(8,'viewer','default','made for viewer');
INSERT INTO roles VALUES(9,'manager','default','made for manager');
INSERT INTO roles VALUES(10,'ops','default','made for ops');
INSERT INTO roles VALUES(11,'guest','research','made for guest');
CREATE TABLE role_permissions (
	id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	resource_type VARCHAR(64) NOT NULL, 
	resource_pattern VARCHAR(255) NOT NULL, 
	permission VARCHAR(255) NOT NULL, 
	PRIMARY KEY (id), 
	CONSTRAINT unique_role_resource_perm UNIQUE (role_id, resource_type, resource_pattern), 
	FOREIGN KEY(role_id) REFERENCES roles (id)
);
INSERT INTO role_permissions VALUES(1,1,'experiment','1','MANAGE');
INSERT INTO role_permissions VALUES(2,1,'registered_model','bobmodel','MANAGE');
INSERT INTO role_permissions VALUES(3,2,'registered_model','adminmodel','MANAGE');
INSERT INTO role_permissions VALUES(4,6,'experiment','1','READ');
INSERT INTO role_permissions VALUES(5,6,'registered_model','bobmodel','DENY');
INSERT INTO role_permissions VALUES(6,6,'prompt','greeting','EDIT');
INSERT INTO role_permissions VALUES(7,7,'registered_model','churn','EDIT');
INSERT INTO role_permissions VALUES(8,7,'registered_model','a*b','READ');
INSERT INTO role_permissions VALUES(9,7,'experiment','*','READ');
INSERT INTO role_permissions VALUES(10,7,'workspace','*','USE');
INSERT INTO role_permissions VALUES(11,7,'run','*','DENY');
INSERT INTO role_permissions VALUES(12,7,'prompt','*','READ');
INSERT INTO role_permissions VALUES(13,7,'gateway_endpoint','chat','USE');
INSERT INTO role_permissions VALUES(14,8,'experiment','*','EDIT');
INSERT INTO role_permissions VALUES(15,9,'experiment','*','MANAGE');
INSERT INTO role_permissions VALUES(16,9,'registered_model','*','MANAGE');
INSERT INTO role_permissions VALUES(17,9,'workspace','*','USE');
INSERT INTO role_permissions VALUES(18,10,'workspace','*','MANAGE');
INSERT INTO role_permissions VALUES(19,11,'experiment','*','READ');
CREATE TABLE user_role_assignments (
	id INTEGER NOT NULL, 
	user_id INTEGER NOT NULL, 
	role_id INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	CONSTRAINT unique_user_role UNIQUE (user_id, role_id), 
	FOREIGN KEY(user_id) REFERENCES users (id), 
	FOREIGN KEY(role_id) REFERENCES roles (id)
);
INSERT INTO user_role_assignments VALUES(1,2,1);
INSERT INTO user_role_assignments VALUES(2,1,2);
INSERT INTO user_role_assignments VALUES(3,3,6);
INSERT INTO user_role_assignments VALUES(4,3,7);
INSERT INTO user_role_assignments VALUES(5,3,8);
INSERT INTO user_role_assignments VALUES(6,2,9);
INSERT INTO user_role_assignments VALUES(7,4,10);
INSERT INTO user_role_assignments VALUES(8,3,11);
