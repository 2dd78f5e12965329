-- What MLflow 3.6.0's own server with --app-name basic-auth has written for requests of its auth API, as the sqlite3 shell dumps it;
-- the booleans are spelled so that PostgreSQL takes them too. Every password is longpassword1234.
CREATE TABLE alembic_version_auth (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_auth_pkc PRIMARY KEY (version_num)
);
INSERT INTO alembic_version_auth VALUES('8606fa83a998');
CREATE TABLE users (
	id INTEGER NOT NULL, 
	username VARCHAR(255), 
	password_hash VARCHAR(255), 
	is_admin BOOLEAN, 
	PRIMARY KEY (id), 
	UNIQUE (username)
);
INSERT INTO users VALUES(1,'admin','scrypt:32768:8:1$GYGtQvzVVlmPHumk$3a7804a771ff6ac09ed95d90ed820e3e4684d494281c2f7a443ca2870ab328c22f868ff0223834da76f2695ded474808df3c8e6b7b44e5cdaa3cbb2634315a8d',TRUE);
INSERT INTO users VALUES(2,'bob','scrypt:32768:8:1$nJajgVrIFLKA3Hbu$620ff76f54c13471fc6134272c0739fc64a7eb2f8fe6643b57bc2a15ae888e86ade04642387b78e09f90d20ce5b3fa7e5935d6fcc40f9b98b6e749a8e489c741',FALSE);
INSERT INTO users VALUES(3,'carl','scrypt:32768:8:1$verkwuzfdCHB7eb6$6ca914c249e9ccca0897a9d5d4e8aebc132bffc95007bf62b1e4653e6a4f219904f6b3c17ba679c9327b040d4fa951d70bb3c6b6077906b703faa74dc532cb35',FALSE);
INSERT INTO users VALUES(4,'dora','scrypt:32768:8:1$hTmh9LS7wjApxWBQ$9871ea15f65a95977cd7dbded8a7b2acbf0438296ed62545bfa336857a442194620cb86daec8731255d942f8cdf23986a7f2c2dd6ef4703fcf4b9d5781e55a0a',TRUE);
INSERT INTO users VALUES(5,'x:y','scrypt:32768:8:1$XaurH4zsL1tb3ngy$a7210cd25455a61f59a421579accf7cac7fd1c24cd1ecc45aefbd5c821d28565ce9e91271743da4d6b51ccf459d3a4be91439d4ad72812559e28ff2301a8a18f',FALSE);
CREATE TABLE experiment_permissions (
	id INTEGER NOT NULL, 
	experiment_id VARCHAR(255) NOT NULL, 
	user_id INTEGER NOT NULL, 
	permission VARCHAR(255), 
	PRIMARY KEY (id), 
	CONSTRAINT fk_user_id FOREIGN KEY(user_id) REFERENCES users (id), 
	CONSTRAINT unique_experiment_user UNIQUE (experiment_id, user_id)
);
INSERT INTO experiment_permissions VALUES(1,'1',2,'MANAGE');
INSERT INTO experiment_permissions VALUES(2,'1',3,'READ');
INSERT INTO experiment_permissions VALUES(3,'myexperiment',3,'EDIT');
CREATE TABLE registered_model_permissions (
	id INTEGER NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	user_id INTEGER NOT NULL, 
	permission VARCHAR(255), 
	PRIMARY KEY (id), 
	CONSTRAINT fk_user_id FOREIGN KEY(user_id) REFERENCES users (id), 
	CONSTRAINT unique_name_user UNIQUE (name, user_id)
);
INSERT INTO registered_model_permissions VALUES(1,'bobmodel',2,'MANAGE');
INSERT INTO registered_model_permissions VALUES(2,'adminmodel',1,'MANAGE');
INSERT INTO registered_model_permissions VALUES(3,'bobmodel',3,'NO_PERMISSIONS');
