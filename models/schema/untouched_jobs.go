package schema

// jobTables are created for MLflow's job runner, and stay empty.
func jobTables() []table {
	return []table{
		{
			name: "jobs",
			columns: []column{
				required("id", varchar(36)),
				required("creation_time", bigint),
				required("job_name", varchar(500)),
				required("params", text),
				optional("timeout", float),
				required("status", integer),
				optional("result", text),
				required("retry_count", integer),
				required("last_update_time", bigint),
				required("workspace", varchar(63)).withDefault("'default'"),
				optional("status_details", json),
				optional("creator", varchar(255)),
				optional("executor_backend", varchar(255)),
				optional("lease_expires_at", bigint),
				optional("status_message", text),
				optional("progress", json),
				optional("progress_updated_at", bigint),
				optional("token_hash", varchar(64)),
				optional("scoped_permissions", json),
				optional("next_attempt_at", bigint),
			},
			primaryKey: named("jobs_pk", "id"),
			indexes: []index{
				{name: "index_jobs_name_status_creation_time", columns: cols("job_name", "workspace", "status", "creation_time")},
				{name: "index_jobs_status_lease_expires_at", columns: cols("status", "lease_expires_at")},
			},
		},
		{
			name: "job_locks",
			columns: []column{
				required("lock_key", varchar(255)),
				required("job_id", varchar(36)),
				required("acquired_at", bigint),
			},
			primaryKey: named("job_locks_pk", "lock_key"),
			foreignKeys: []foreignKey{
				{name: "fk_job_locks_job_id", columns: cols("job_id"), table: "jobs", referred: cols("id"), onDelete: "CASCADE"},
			},
			indexes: []index{
				{name: "index_job_locks_job_id", columns: cols("job_id")},
			},
		},
		{
			name: "scheduler_leases",
			columns: []column{
				required("lease_key", varchar(255)),
				required("acquired_at", bigint),
				required("ttl_seconds", integer),
			},
			primaryKey: named("scheduler_leases_pk", "lease_key"),
		},
	}
}
