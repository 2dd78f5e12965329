package schema

// bookkeepingTables hold one row each, written when the database is created: MLflow's revision and the default workspace.
func bookkeepingTables() []table {
	return []table{
		{
			name: "alembic_version",
			columns: []column{
				required("version_num", varchar(32)),
			},
			primaryKey: named("alembic_version_pkc", "version_num"),
		},
		{
			name: "workspaces",
			columns: []column{
				required("name", varchar(63)),
				optional("description", text),
				optional("default_artifact_root", text),
				optional("trace_archival_location", text),
				optional("trace_archival_retention", varchar(32)),
			},
			primaryKey: named("workspaces_pk", "name"),
		},
	}
}
