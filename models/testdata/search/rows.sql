INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time, workspace) VALUES
 (1, 'churn', '/a/1', 'active', 1000, 5000, 'default'),
 (2, 'Churn', '/a/2', 'active', 2000, 4000, 'default'),
 (3, 'fraud_x', '/a/3', 'active', 2000, 3000, 'default'),
 (4, 'a\b', '/a/4', 'active', NULL, NULL, 'default');
INSERT INTO experiment_tags (key, value, experiment_id) VALUES
 ('team', 'red', 1), ('team', 'Blue', 2), ('a b', 'x', 2), ('mlflow.note', 'it''s', 3);
INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id, deleted_time) VALUES
 ('r1', 'one', 'LOCAL', '', '', 'ann', 'FINISHED', 100, 200, '', 'active', '/a/1/r1', 1, NULL),
 ('r2', 'two', 'LOCAL', '', '', 'Ann', 'RUNNING', 300, NULL, '', 'active', '/a/1/r2', 1, NULL),
 ('r3', 'Two', 'LOCAL', '', '', 'bob', 'FAILED', 200, 250, '', 'active', '/a/1/r3', 1, NULL),
 ('r4', '', 'LOCAL', '', '', NULL, 'FINISHED', 200, 100, '', 'active', '/a/1/r4', 1, NULL),
 ('r5', 'five%', 'LOCAL', '', '', 'c\d', 'KILLED', 50, 60, '', 'active', '/a/1/r5', 1, NULL);
INSERT INTO tags (key, value, run_uuid) VALUES
 ('mlflow.runName', 'one', 'r1'), ('mlflow.runName', 'two', 'r2'), ('mlflow.runName', 'Two', 'r3'), ('mlflow.runName', 'old', 'r4'), ('mlflow.runName', 'five%', 'r5'),
 ('env', 'prod', 'r1'), ('env', 'Prod', 'r2'), ('env', 'dev', 'r3'), ('a b', 'x', 'r1'), ('a.b', 'it''s', 'r2'), ('path', 'c\d', 'r5'), ('empty', '', 'r5');
INSERT INTO params (key, value, run_uuid) VALUES
 ('lr', '0.1', 'r1'), ('lr', '0.01', 'r2'), ('lr', '0.1', 'r3'), ('depth', '5', 'r1'), ('Depth', '6', 'r2'), ('opt', 'Adam', 'r4'), ('opt', 'adam', 'r5');
INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES
 ('loss', 0.5, 1, 0, false, 'r1'), ('loss', -1, 1, 0, false, 'r2'), ('loss', 0, 1, 0, true, 'r3'), ('loss', 1.7976931348623157e308, 1, 0, false, 'r4'),
 ('acc', 0, 1, 0, false, 'r1'), ('acc', 0, 1, 0, true, 'r2'), ('a b', 3, 1, 0, false, 'r5'), ('f1-score', 0.9, 1, 0, false, 'r5');
INSERT INTO datasets (dataset_uuid, experiment_id, name, digest, dataset_source_type, dataset_source) VALUES
 ('d1', 1, 'train', 'aa', 'local', 'x'), ('d2', 1, 'Eval', 'bb', 'local', 'y');
INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id, step) VALUES
 ('i1', 'DATASET', 'd1', 'RUN', 'r1', 0), ('i2', 'DATASET', 'd2', 'RUN', 'r1', 0), ('i3', 'DATASET', 'd1', 'RUN', 'r2', 0);
INSERT INTO input_tags (input_uuid, name, value) VALUES
 ('i1', 'mlflow.data.context', 'training'), ('i2', 'mlflow.data.context', 'eval');
INSERT INTO registered_models (name, creation_time, last_updated_time, description, workspace) VALUES
 ('churn', 1, 30, '', 'default'), ('Fraud', 2, 20, '', 'default'), ('fraud', 3, 20, '', 'default'), ('greet', 4, 40, '', 'default'), ('null', 5, NULL, '', 'default');
INSERT INTO registered_model_tags (key, value, name, workspace) VALUES
 ('team', 'red', 'churn', 'default'), ('team', 'Blue', 'fraud', 'default'), ('stage', 'x', 'churn', 'default'),
 ('mlflow.prompt.is_prompt', 'true', 'greet', 'default'), ('team', 'red', 'greet', 'default');
INSERT INTO model_versions (name, version, creation_time, last_updated_time, description, user_id, current_stage, source, run_id, status, status_message, run_link, storage_location, workspace) VALUES
 ('churn', 1, 1, 10, '', 'ann', 'None', '/src/a', 'r1', 'READY', '', '', NULL, 'default'),
 ('churn', 2, 2, 30, '', 'ann', 'None', '/src/B', 'r2', 'READY', '', '', NULL, 'default'),
 ('churn', 10, 3, 20, '', 'ann', 'None', '/src/c', NULL, 'READY', '', '', NULL, 'default'),
 ('fraud', 1, 4, 30, '', 'ann', 'None', '/SRC/a', 'r1', 'READY', '', '', NULL, 'default'),
 ('greet', 1, 5, 50, '', 'ann', 'None', 'dummy', NULL, 'READY', '', '', NULL, 'default'),
 ('greet', 2, 6, NULL, '', 'ann', 'None', 'dummy', NULL, 'READY', '', '', NULL, 'default');
INSERT INTO model_version_tags (key, value, name, version, workspace) VALUES
 ('team', 'red', 'churn', 1, 'default'), ('team', 'Red', 'churn', 2, 'default'), ('team', 'red', 'fraud', 1, 'default'), ('mlflow.prompt.is_prompt', 'true', 'greet', 1, 'default');
INSERT INTO logged_models (model_id, experiment_id, name, artifact_location, creation_timestamp_ms, last_updated_timestamp_ms, status, lifecycle_stage, model_type, source_run_id, status_message) VALUES
 ('m1', 1, 'docs', '/m/1', 10, 20, 2, 'active', 'Agent', 'r1', NULL),
 ('m2', 1, 'Docs', '/m/2', 20, 30, 1, 'active', NULL, NULL, NULL),
 ('m3', 1, 'xgb', '/m/3', 20, 10, 3, 'active', 'xgb', 'r2', NULL);
INSERT INTO logged_model_metrics (model_id, metric_name, metric_timestamp_ms, metric_step, metric_value, experiment_id, run_id, dataset_uuid, dataset_name, dataset_digest) VALUES
 ('m1', 'auc', 1, 0, 0.5, 1, 'r1', NULL, NULL, NULL), ('m1', 'auc', 2, 0, 0.7, 1, 'r1', 'd1', 'train', 'aa'),
 ('m2', 'auc', 1, 0, 0.9, 1, 'r1', NULL, 'train', 'cc'), ('m2', 'auc', 1, 1, 0.6, 1, 'r1', 'd2', 'Eval', 'bb'), ('m3', 'f1-score', 1, 1, 0.6, 1, 'r1', NULL, NULL, NULL);
INSERT INTO logged_model_params (model_id, experiment_id, param_key, param_value) VALUES ('m1', 1, 'lr', '0.1'), ('m2', 1, 'lr', '0.01');
INSERT INTO logged_model_tags (model_id, experiment_id, tag_key, tag_value) VALUES ('m1', 1, 'env', 'prod'), ('m2', 1, 'env', 'Prod'), ('m2', 1, 'a b', 'x');
