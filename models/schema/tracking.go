package schema

// trackingTables are the tables of experiments, runs and logged models.
func trackingTables() []table {
	return []table{
		{
			name: "experiments",
			columns: []column{
				required("experiment_id", serial),
				required("name", varchar(256)),
				optional("artifact_location", varchar(256)),
				optional("lifecycle_stage", varchar(32)),
				optional("creation_time", bigint),
				optional("last_update_time", bigint),
				required("workspace", varchar(63)).withDefault("'default'"),
			},
			primaryKey: named("experiment_pk", "experiment_id"),
			uniques: []key{
				named("uq_experiments_workspace_name", "workspace", "name"),
			},
			checks: []check{
				{name: "experiments_lifecycle_stage", expr: "lifecycle_stage IN ('active', 'deleted')"},
			},
			indexes: []index{
				{name: "idx_experiments_workspace", columns: cols("workspace")},
				{name: "idx_experiments_workspace_creation_time", columns: cols("workspace", "creation_time")},
			},
		},
		{
			name: "experiment_tags",
			columns: []column{
				required("key", varchar(250)),
				optional("value", text),
				required("experiment_id", integer),
			},
			primaryKey: named("experiment_tag_pk", "key", "experiment_id"),
			foreignKeys: []foreignKey{
				{columns: cols("experiment_id"), table: "experiments", referred: cols("experiment_id")},
			},
		},
		{
			name: "runs",
			columns: []column{
				required("run_uuid", varchar(32)),
				optional("name", varchar(250)),
				optional("source_type", varchar(20)),
				optional("source_name", varchar(500)),
				optional("entry_point_name", varchar(50)),
				optional("user_id", varchar(256)),
				optional("status", varchar(9)),
				optional("start_time", bigint),
				optional("end_time", bigint),
				optional("source_version", varchar(50)),
				optional("lifecycle_stage", varchar(20)),
				optional("artifact_uri", varchar(200)),
				optional("experiment_id", integer),
				optional("deleted_time", bigint),
			},
			primaryKey: named("run_pk", "run_uuid"),
			foreignKeys: []foreignKey{
				{columns: cols("experiment_id"), table: "experiments", referred: cols("experiment_id")},
			},
			checks: []check{
				{name: "runs_lifecycle_stage", expr: "lifecycle_stage IN ('active', 'deleted')"},
				{name: "source_type", expr: "source_type IN ('NOTEBOOK', 'JOB', 'LOCAL', 'UNKNOWN', 'PROJECT')"},
				{expr: "status IN ('SCHEDULED', 'FAILED', 'FINISHED', 'RUNNING', 'KILLED')"},
			},
		},
		{
			name: "tags",
			columns: []column{
				required("key", varchar(250)),
				optional("value", varchar(8000)),
				required("run_uuid", varchar(32)),
			},
			primaryKey: named("tag_pk", "key", "run_uuid"),
			foreignKeys: []foreignKey{
				{columns: cols("run_uuid"), table: "runs", referred: cols("run_uuid")},
			},
			indexes: []index{
				{name: "index_tags_run_uuid", columns: cols("run_uuid")},
			},
		},
		{
			name: "params",
			columns: []column{
				required("key", varchar(250)),
				required("value", varchar(8000)),
				required("run_uuid", varchar(32)),
			},
			primaryKey: named("param_pk", "key", "run_uuid"),
			foreignKeys: []foreignKey{
				{columns: cols("run_uuid"), table: "runs", referred: cols("run_uuid")},
			},
			indexes: []index{
				{name: "index_params_run_uuid", columns: cols("run_uuid")},
			},
		},
		{
			name: "metrics",
			columns: []column{
				required("key", varchar(250)),
				required("value", float),
				required("timestamp", bigint),
				required("run_uuid", varchar(32)),
				required("step", bigint).withDefault("'0'"),
				required("is_nan", boolean).withDefault("'0'"),
			},
			primaryKey: named("metric_pk", "key", "timestamp", "step", "run_uuid", "value", "is_nan"),
			foreignKeys: []foreignKey{
				{columns: cols("run_uuid"), table: "runs", referred: cols("run_uuid")},
			},
			checks: []check{
				{expr: "is_nan IN (0, 1)", sqliteOnly: true},
			},
			indexes: []index{
				{name: "index_metrics_run_uuid", columns: cols("run_uuid")},
				{name: "index_metrics_run_uuid_key_step", columns: cols("run_uuid", "key", "step")},
			},
		},
		{
			name: "latest_metrics",
			columns: []column{
				required("key", varchar(250)),
				required("value", float),
				optional("timestamp", bigint),
				required("step", bigint),
				required("is_nan", boolean),
				required("run_uuid", varchar(32)),
			},
			primaryKey: named("latest_metric_pk", "key", "run_uuid"),
			foreignKeys: []foreignKey{
				{columns: cols("run_uuid"), table: "runs", referred: cols("run_uuid")},
			},
			checks: []check{
				{expr: "is_nan IN (0, 1)", sqliteOnly: true},
			},
			indexes: []index{
				{name: "index_latest_metrics_run_uuid", columns: cols("run_uuid")},
			},
		},
		{
			name: "datasets",
			columns: []column{
				required("dataset_uuid", varchar(36)),
				required("experiment_id", integer),
				required("name", varchar(500)),
				required("digest", varchar(36)),
				required("dataset_source_type", varchar(36)),
				required("dataset_source", text),
				optional("dataset_schema", text),
				optional("dataset_profile", text),
			},
			primaryKey: named("dataset_pk", "experiment_id", "name", "digest"),
			foreignKeys: []foreignKey{
				{name: "fk_datasets_experiment_id_experiments", columns: cols("experiment_id"), table: "experiments", referred: cols("experiment_id"), onDelete: "CASCADE"},
			},
			indexes: []index{
				{name: "index_datasets_dataset_uuid", columns: cols("dataset_uuid")},
				{name: "index_datasets_experiment_id_dataset_source_type", columns: cols("experiment_id", "dataset_source_type")},
			},
		},
		{
			name: "inputs",
			columns: []column{
				required("input_uuid", varchar(36)),
				required("source_type", varchar(36)),
				required("source_id", varchar(36)),
				required("destination_type", varchar(36)),
				required("destination_id", varchar(36)),
				required("step", bigint).withDefault("'0'"),
			},
			primaryKey: named("inputs_pk", "source_type", "source_id", "destination_type", "destination_id"),
			indexes: []index{
				{name: "index_inputs_destination_type_destination_id_source_type", columns: cols("destination_type", "destination_id", "source_type")},
				{name: "index_inputs_input_uuid", columns: cols("input_uuid")},
			},
		},
		{
			name: "input_tags",
			columns: []column{
				required("input_uuid", varchar(36)),
				required("name", varchar(255)),
				required("value", varchar(500)),
			},
			primaryKey: named("input_tags_pk", "input_uuid", "name"),
		},
		{
			name: "logged_models",
			columns: []column{
				required("model_id", varchar(36)),
				required("experiment_id", integer),
				required("name", varchar(500)),
				required("artifact_location", varchar(1000)),
				required("creation_timestamp_ms", bigint),
				required("last_updated_timestamp_ms", bigint),
				required("status", integer),
				optional("lifecycle_stage", varchar(32)),
				optional("model_type", varchar(500)),
				optional("source_run_id", varchar(32)),
				optional("status_message", varchar(1000)),
			},
			primaryKey: named("logged_models_pk", "model_id"),
			foreignKeys: []foreignKey{
				{name: "fk_logged_models_experiment_id", columns: cols("experiment_id"), table: "experiments", referred: cols("experiment_id"), onDelete: "CASCADE"},
			},
			checks: []check{
				{name: "logged_models_lifecycle_stage_check", expr: "lifecycle_stage IN ('active', 'deleted')"},
			},
		},
		{
			name: "logged_model_metrics",
			columns: []column{
				required("model_id", varchar(36)),
				required("metric_name", varchar(500)),
				required("metric_timestamp_ms", bigint),
				required("metric_step", bigint),
				optional("metric_value", float),
				required("experiment_id", integer),
				required("run_id", varchar(32)),
				optional("dataset_uuid", varchar(36)),
				optional("dataset_name", varchar(500)),
				optional("dataset_digest", varchar(36)),
			},
			primaryKey: named("logged_model_metrics_pk", "model_id", "metric_name", "metric_timestamp_ms", "metric_step", "run_id"),
			foreignKeys: []foreignKey{
				{name: "fk_logged_model_metrics_experiment_id", columns: cols("experiment_id"), table: "experiments", referred: cols("experiment_id")},
				{name: "fk_logged_model_metrics_model_id", columns: cols("model_id"), table: "logged_models", referred: cols("model_id"), onDelete: "CASCADE"},
				{name: "fk_logged_model_metrics_run_id", columns: cols("run_id"), table: "runs", referred: cols("run_uuid"), onDelete: "CASCADE"},
			},
			indexes: []index{
				{name: "index_logged_model_metrics_model_id", columns: cols("model_id")},
			},
		},
		{
			name: "logged_model_params",
			columns: []column{
				required("model_id", varchar(36)),
				required("experiment_id", integer),
				required("param_key", varchar(255)),
				required("param_value", text),
			},
			primaryKey: named("logged_model_params_pk", "model_id", "param_key"),
			foreignKeys: []foreignKey{
				{name: "fk_logged_model_params_experiment_id", columns: cols("experiment_id"), table: "experiments", referred: cols("experiment_id")},
				{name: "fk_logged_model_params_model_id", columns: cols("model_id"), table: "logged_models", referred: cols("model_id"), onDelete: "CASCADE"},
			},
		},
		{
			name: "logged_model_tags",
			columns: []column{
				required("model_id", varchar(36)),
				required("experiment_id", integer),
				required("tag_key", varchar(255)),
				required("tag_value", text),
			},
			primaryKey: named("logged_model_tags_pk", "model_id", "tag_key"),
			foreignKeys: []foreignKey{
				{name: "fk_logged_model_tags_experiment_id", columns: cols("experiment_id"), table: "experiments", referred: cols("experiment_id")},
				{name: "fk_logged_model_tags_model_id", columns: cols("model_id"), table: "logged_models", referred: cols("model_id"), onDelete: "CASCADE"},
			},
		},
	}
}
