package schema

// evaluationTables are created for MLflow's scorers and evaluation datasets, and stay empty.
func evaluationTables() []table {
	return []table{
		{
			name: "scorers",
			columns: []column{
				required("experiment_id", integer),
				required("scorer_name", varchar(256)),
				required("scorer_id", varchar(36)),
			},
			primaryKey: named("scorer_pk", "scorer_id"),
			foreignKeys: []foreignKey{
				{name: "fk_scorers_experiment_id", columns: cols("experiment_id"), table: "experiments", referred: cols("experiment_id"), onDelete: "CASCADE"},
			},
			indexes: []index{
				{name: "index_scorers_experiment_id_scorer_name", columns: cols("experiment_id", "scorer_name"), unique: true},
			},
		},
		{
			name: "scorer_versions",
			columns: []column{
				required("scorer_id", varchar(36)),
				required("scorer_version", integer),
				required("serialized_scorer", text),
				optional("creation_time", bigint),
			},
			primaryKey: named("scorer_version_pk", "scorer_id", "scorer_version"),
			foreignKeys: []foreignKey{
				{name: "fk_scorer_versions_scorer_id", columns: cols("scorer_id"), table: "scorers", referred: cols("scorer_id"), onDelete: "CASCADE"},
			},
			indexes: []index{
				{name: "index_scorer_versions_scorer_id", columns: cols("scorer_id")},
			},
		},
		{
			name: "online_scoring_configs",
			columns: []column{
				required("online_scoring_config_id", varchar(36)),
				required("scorer_id", varchar(36)),
				required("sample_rate", float),
				required("experiment_id", integer),
				optional("filter_string", text),
			},
			primaryKey: named("online_scoring_config_pk", "online_scoring_config_id"),
			foreignKeys: []foreignKey{
				{name: "fk_online_scoring_configs_scorer_id", columns: cols("scorer_id"), table: "scorers", referred: cols("scorer_id"), onDelete: "CASCADE"},
				{name: "fk_online_scoring_configs_experiment_id", columns: cols("experiment_id"), table: "experiments", referred: cols("experiment_id")},
			},
		},
		{
			name: "evaluation_datasets",
			columns: []column{
				required("dataset_id", varchar(36)),
				required("name", varchar(255)),
				optional("schema", text),
				optional("profile", text),
				optional("digest", varchar(64)),
				optional("created_time", bigint),
				optional("last_update_time", bigint),
				optional("created_by", varchar(255)),
				optional("last_updated_by", varchar(255)),
				required("workspace", varchar(63)).withDefault("'default'"),
			},
			primaryKey: named("evaluation_datasets_pk", "dataset_id"),
			indexes: []index{
				{name: "idx_evaluation_datasets_workspace", columns: cols("workspace")},
				{name: "index_evaluation_datasets_created_time", columns: cols("created_time")},
				{name: "index_evaluation_datasets_name", columns: cols("name")},
			},
		},
		{
			name: "evaluation_dataset_tags",
			columns: []column{
				required("dataset_id", varchar(36)),
				required("key", varchar(255)),
				optional("value", varchar(5000)),
			},
			primaryKey: named("evaluation_dataset_tags_pk", "dataset_id", "key"),
			foreignKeys: []foreignKey{
				{name: "fk_evaluation_dataset_tags_dataset_id", columns: cols("dataset_id"), table: "evaluation_datasets", referred: cols("dataset_id"), onDelete: "CASCADE"},
			},
			indexes: []index{
				{name: "index_evaluation_dataset_tags_dataset_id", columns: cols("dataset_id")},
			},
		},
		{
			name: "evaluation_dataset_records",
			columns: []column{
				required("dataset_record_id", varchar(36)),
				required("dataset_id", varchar(36)),
				required("inputs", json),
				optional("expectations", json),
				optional("tags", json),
				optional("source", json),
				optional("source_id", varchar(36)),
				optional("source_type", varchar(255)),
				optional("created_time", bigint),
				optional("last_update_time", bigint),
				optional("created_by", varchar(255)),
				optional("last_updated_by", varchar(255)),
				required("input_hash", varchar(64)),
				optional("outputs", json),
			},
			primaryKey: named("evaluation_dataset_records_pk", "dataset_record_id"),
			uniques: []key{
				named("unique_dataset_input", "dataset_id", "input_hash"),
			},
			foreignKeys: []foreignKey{
				{name: "fk_evaluation_dataset_records_dataset_id", columns: cols("dataset_id"), table: "evaluation_datasets", referred: cols("dataset_id"), onDelete: "CASCADE"},
			},
			indexes: []index{
				{name: "index_evaluation_dataset_records_dataset_id", columns: cols("dataset_id")},
			},
		},
	}
}
