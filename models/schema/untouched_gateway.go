package schema

// gatewayTables are created for MLflow's AI gateway, and stay empty. They refer to evaluationTables.
func gatewayTables() []table {
	return []table{
		{
			name: "secrets",
			columns: []column{
				required("secret_id", varchar(36)),
				required("secret_name", varchar(255)),
				required("encrypted_value", blob),
				required("wrapped_dek", blob),
				required("kek_version", integer),
				required("masked_value", varchar(500)),
				optional("provider", varchar(64)),
				optional("auth_config", text),
				optional("description", text),
				optional("created_by", varchar(255)),
				required("created_at", bigint),
				optional("last_updated_by", varchar(255)),
				required("last_updated_at", bigint),
				required("workspace", varchar(63)).withDefault("'default'"),
			},
			primaryKey: named("secrets_pk", "secret_id"),
			uniques: []key{
				named("uq_secrets_workspace_secret_name", "workspace", "secret_name"),
			},
			trigger: secretsTrigger(),
			indexes: []index{
				{name: "idx_secrets_workspace", columns: cols("workspace")},
			},
		},
		{
			name: "endpoints",
			columns: []column{
				required("endpoint_id", varchar(36)),
				optional("name", varchar(255)),
				optional("created_by", varchar(255)),
				required("created_at", bigint),
				optional("last_updated_by", varchar(255)),
				required("last_updated_at", bigint),
				optional("routing_strategy", varchar(64)),
				optional("fallback_config_json", text),
				optional("experiment_id", integer),
				required("usage_tracking", boolean).withDefault("'0'"),
				required("workspace", varchar(63)).withDefault("'default'"),
			},
			primaryKey: named("endpoints_pk", "endpoint_id"),
			uniques: []key{
				named("uq_endpoints_workspace_name", "workspace", "name"),
			},
			foreignKeys: []foreignKey{
				{name: "fk_endpoints_experiment_id", columns: cols("experiment_id"), table: "experiments", referred: cols("experiment_id"), onDelete: "SET NULL"},
			},
			indexes: []index{
				{name: "idx_endpoints_workspace", columns: cols("workspace")},
			},
		},
		{
			name: "model_definitions",
			columns: []column{
				required("model_definition_id", varchar(36)),
				required("name", varchar(255)),
				optional("secret_id", varchar(36)),
				required("provider", varchar(64)),
				required("model_name", varchar(256)),
				optional("created_by", varchar(255)),
				required("created_at", bigint),
				optional("last_updated_by", varchar(255)),
				required("last_updated_at", bigint),
				required("workspace", varchar(63)).withDefault("'default'"),
			},
			primaryKey: named("model_definitions_pk", "model_definition_id"),
			uniques: []key{
				named("uq_model_definitions_workspace_name", "workspace", "name"),
			},
			foreignKeys: []foreignKey{
				{name: "fk_model_definitions_secret_id", columns: cols("secret_id"), table: "secrets", referred: cols("secret_id"), onDelete: "SET NULL"},
			},
			indexes: []index{
				{name: "idx_model_definitions_workspace", columns: cols("workspace")},
				{name: "index_model_definitions_provider", columns: cols("provider")},
				{name: "index_model_definitions_secret_id", columns: cols("secret_id")},
			},
		},
		{
			name: "endpoint_model_mappings",
			columns: []column{
				required("mapping_id", varchar(36)),
				required("endpoint_id", varchar(36)),
				required("model_definition_id", varchar(36)),
				required("weight", float),
				optional("created_by", varchar(255)),
				required("created_at", bigint),
				required("linkage_type", varchar(64)).withDefault("'PRIMARY'"),
				optional("fallback_order", integer),
			},
			primaryKey: named("endpoint_model_mappings_pk", "mapping_id"),
			foreignKeys: []foreignKey{
				{name: "fk_endpoint_model_mappings_endpoint_id", columns: cols("endpoint_id"), table: "endpoints", referred: cols("endpoint_id"), onDelete: "CASCADE"},
				{name: "fk_endpoint_model_mappings_model_definition_id", columns: cols("model_definition_id"), table: "model_definitions", referred: cols("model_definition_id")},
			},
			indexes: []index{
				{name: "index_endpoint_model_mappings_endpoint_id", columns: cols("endpoint_id")},
				{name: "index_endpoint_model_mappings_model_definition_id", columns: cols("model_definition_id")},
				{name: "unique_endpoint_model_linkage_mapping", columns: cols("endpoint_id", "model_definition_id", "linkage_type"), unique: true},
			},
		},
		{
			name: "endpoint_bindings",
			columns: []column{
				required("endpoint_id", varchar(36)),
				required("resource_type", varchar(50)),
				required("resource_id", varchar(255)),
				required("created_at", bigint),
				optional("created_by", varchar(255)),
				required("last_updated_at", bigint),
				optional("last_updated_by", varchar(255)),
				optional("display_name", varchar(255)),
			},
			primaryKey: named("endpoint_bindings_pk", "endpoint_id", "resource_type", "resource_id"),
			foreignKeys: []foreignKey{
				{name: "fk_endpoint_bindings_endpoint_id", columns: cols("endpoint_id"), table: "endpoints", referred: cols("endpoint_id"), onDelete: "CASCADE"},
			},
		},
		{
			name: "endpoint_tags",
			columns: []column{
				required("key", varchar(250)),
				optional("value", varchar(5000)),
				required("endpoint_id", varchar(36)),
			},
			primaryKey: named("endpoint_tag_pk", "key", "endpoint_id"),
			foreignKeys: []foreignKey{
				{name: "fk_endpoint_tags_endpoint_id", columns: cols("endpoint_id"), table: "endpoints", referred: cols("endpoint_id"), onDelete: "CASCADE"},
			},
			indexes: []index{
				{name: "index_endpoint_tags_endpoint_id", columns: cols("endpoint_id")},
			},
		},
		{
			name: "budget_policies",
			columns: []column{
				required("budget_policy_id", varchar(36)),
				required("budget_unit", varchar(32)),
				required("budget_amount", float),
				required("duration_unit", varchar(32)),
				required("duration_value", integer),
				required("target_scope", varchar(32)),
				required("budget_action", varchar(32)),
				optional("created_by", varchar(255)),
				required("created_at", bigint),
				optional("last_updated_by", varchar(255)),
				required("last_updated_at", bigint),
				required("workspace", varchar(63)).withDefault("'default'"),
				optional("target_value", varchar(255)),
			},
			primaryKey: named("budget_policies_pk", "budget_policy_id"),
			indexes: []index{
				{name: "idx_budget_policies_target_value", columns: cols("target_value")},
				{name: "idx_budget_policies_workspace", columns: cols("workspace")},
			},
		},
		{
			name: "guardrails",
			columns: []column{
				required("guardrail_id", varchar(36)),
				required("name", varchar(255)),
				required("scorer_id", varchar(36)),
				required("scorer_version", integer),
				required("stage", varchar(32)),
				required("action", varchar(32)),
				optional("action_endpoint_id", varchar(36)),
				optional("created_by", varchar(255)),
				required("created_at", bigint),
				optional("last_updated_by", varchar(255)),
				required("last_updated_at", bigint),
				required("workspace", varchar(63)).withDefault("'default'"),
			},
			primaryKey: named("guardrails_pk", "guardrail_id"),
			foreignKeys: []foreignKey{
				{name: "fk_guardrails_scorer_version", columns: cols("scorer_id", "scorer_version"), table: "scorer_versions", referred: cols("scorer_id", "scorer_version")},
				{name: "fk_guardrails_action_endpoint_id", columns: cols("action_endpoint_id"), table: "endpoints", referred: cols("endpoint_id"), onDelete: "SET NULL"},
			},
			indexes: []index{
				{name: "idx_guardrails_scorer", columns: cols("scorer_id", "scorer_version")},
				{name: "idx_guardrails_workspace", columns: cols("workspace")},
			},
		},
		{
			name: "guardrail_configs",
			columns: []column{
				required("endpoint_id", varchar(36)),
				required("guardrail_id", varchar(36)),
				optional("execution_order", integer),
				optional("created_by", varchar(255)),
				required("created_at", bigint),
				required("workspace", varchar(63)).withDefault("'default'"),
			},
			primaryKey: named("guardrail_configs_pk", "endpoint_id", "guardrail_id"),
			foreignKeys: []foreignKey{
				{name: "fk_guardrail_configs_endpoint_id", columns: cols("endpoint_id"), table: "endpoints", referred: cols("endpoint_id"), onDelete: "CASCADE"},
				{name: "fk_guardrail_configs_guardrail_id", columns: cols("guardrail_id"), table: "guardrails", referred: cols("guardrail_id"), onDelete: "CASCADE"},
			},
			indexes: []index{
				{name: "idx_guardrail_configs_endpoint_id", columns: cols("endpoint_id")},
				{name: "idx_guardrail_configs_guardrail_id", columns: cols("guardrail_id")},
			},
		},
	}
}

// secretsTrigger keeps a secret's id and name unchanged: they are authenticated with its ciphertext.
func secretsTrigger() *trigger {
	const message = "secret_id and secret_name are immutable (used as AAD in encryption)"
	return &trigger{
		sqlite: `CREATE TRIGGER prevent_secrets_aad_mutation BEFORE UPDATE ON secrets FOR EACH ROW
WHEN (OLD.secret_id, OLD.secret_name) <> (NEW.secret_id, NEW.secret_name)
BEGIN SELECT RAISE(ABORT, '` + message + `'); END;
`,
		postgres: `CREATE FUNCTION prevent_secrets_aad_mutation() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF (OLD.secret_id, OLD.secret_name) <> (NEW.secret_id, NEW.secret_name) THEN RAISE EXCEPTION '` + message + `'; END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER prevent_secrets_aad_mutation BEFORE UPDATE ON secrets FOR EACH ROW EXECUTE FUNCTION prevent_secrets_aad_mutation();
`,
	}
}
