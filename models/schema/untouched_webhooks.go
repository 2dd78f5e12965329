package schema

// webhookTables are created for MLflow's webhooks, and stay empty.
func webhookTables() []table {
	return []table{
		{
			name: "webhooks",
			columns: []column{
				required("webhook_id", varchar(256)),
				required("name", varchar(256)),
				optional("description", varchar(1000)),
				required("url", varchar(500)),
				required("status", varchar(20)).withDefault("'ACTIVE'"),
				optional("secret", varchar(1000)),
				optional("creation_timestamp", bigint),
				optional("last_updated_timestamp", bigint),
				optional("deleted_timestamp", bigint),
				required("workspace", varchar(63)).withDefault("'default'"),
			},
			primaryKey: named("webhook_pk", "webhook_id"),
			indexes: []index{
				{name: "idx_webhooks_name", columns: cols("name")},
				{name: "idx_webhooks_status", columns: cols("status")},
				{name: "idx_webhooks_workspace", columns: cols("workspace")},
			},
		},
		{
			name: "webhook_events",
			columns: []column{
				required("webhook_id", varchar(256)),
				required("entity", varchar(50)),
				required("action", varchar(50)),
			},
			primaryKey: named("webhook_event_pk", "webhook_id", "entity", "action"),
			foreignKeys: []foreignKey{
				{columns: cols("webhook_id"), table: "webhooks", referred: cols("webhook_id"), onDelete: "CASCADE"},
			},
			indexes: []index{
				{name: "idx_webhook_events_action", columns: cols("action")},
				{name: "idx_webhook_events_entity", columns: cols("entity")},
				{name: "idx_webhook_events_entity_action", columns: cols("entity", "action")},
			},
		},
	}
}
