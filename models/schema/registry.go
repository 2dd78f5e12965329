package schema

// registryTables are the tables of registered models and their versions.
func registryTables() []table {
	return []table{
		{
			name: "registered_models",
			columns: []column{
				required("name", varchar(256)),
				optional("creation_time", bigint),
				optional("last_updated_time", bigint),
				optional("description", varchar(5000)),
				required("workspace", varchar(63)).withDefault("'default'"),
			},
			primaryKey: named("registered_model_pk", "workspace", "name"),
			indexes: []index{
				{name: "idx_registered_models_workspace", columns: cols("workspace")},
			},
		},
		{
			name: "registered_model_tags",
			columns: []column{
				required("key", varchar(250)),
				optional("value", varchar(5000)),
				required("name", varchar(256)),
				required("workspace", varchar(63)).withDefault("'default'"),
			},
			primaryKey: named("registered_model_tag_pk", "workspace", "key", "name"),
			foreignKeys: []foreignKey{
				{name: "fk_registered_model_tags_registered_models", columns: cols("workspace", "name"), table: "registered_models", referred: cols("workspace", "name"), onUpdate: "CASCADE"},
			},
			indexes: []index{
				{name: "idx_registered_model_tags_workspace_name", columns: cols("workspace", "name")},
			},
		},
		{
			name: "registered_model_aliases",
			columns: []column{
				required("alias", varchar(256)),
				required("version", integer),
				required("name", varchar(256)),
				required("workspace", varchar(63)).withDefault("'default'"),
			},
			primaryKey: named("registered_model_alias_pk", "workspace", "name", "alias"),
			foreignKeys: []foreignKey{
				{name: "fk_registered_model_aliases_registered_models", columns: cols("workspace", "name"), table: "registered_models", referred: cols("workspace", "name"), onDelete: "CASCADE", onUpdate: "CASCADE"},
			},
		},
		{
			name: "model_versions",
			columns: []column{
				required("name", varchar(256)),
				required("version", integer),
				optional("creation_time", bigint),
				optional("last_updated_time", bigint),
				optional("description", varchar(5000)),
				optional("user_id", varchar(256)),
				optional("current_stage", varchar(20)),
				optional("source", varchar(500)),
				optional("run_id", varchar(32)),
				optional("status", varchar(20)),
				optional("status_message", varchar(500)),
				optional("run_link", varchar(500)),
				optional("storage_location", varchar(500)),
				required("workspace", varchar(63)).withDefault("'default'"),
			},
			primaryKey: named("model_version_pk", "workspace", "name", "version"),
			foreignKeys: []foreignKey{
				{name: "fk_model_versions_registered_models", columns: cols("workspace", "name"), table: "registered_models", referred: cols("workspace", "name"), onUpdate: "CASCADE"},
			},
		},
		{
			name: "model_version_tags",
			columns: []column{
				required("key", varchar(250)),
				optional("value", text),
				required("name", varchar(256)),
				required("version", integer),
				required("workspace", varchar(63)).withDefault("'default'"),
			},
			primaryKey: named("model_version_tag_pk", "workspace", "key", "name", "version"),
			foreignKeys: []foreignKey{
				{name: "fk_model_version_tags_model_versions", columns: cols("workspace", "name", "version"), table: "model_versions", referred: cols("workspace", "name", "version"), onUpdate: "CASCADE"},
			},
			indexes: []index{
				{name: "idx_model_version_tags_workspace_name_version", columns: cols("workspace", "name", "version")},
			},
		},
	}
}
