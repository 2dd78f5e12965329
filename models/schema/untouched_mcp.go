package schema

// mcpTables are created for MLflow's registry of MCP servers, and stay empty.
func mcpTables() []table {
	return []table{
		{
			name: "mcp_servers",
			columns: []column{
				required("workspace", varchar(63)).withDefault("'default'"),
				required("name", varchar(256)),
				optional("display_name", varchar(256)),
				optional("description", text),
				optional("icons", json),
				optional("created_by", varchar(256)),
				optional("last_updated_by", varchar(256)),
				required("created_at", bigint),
				required("last_updated_at", bigint),
			},
			primaryKey: named("mcp_servers_pk", "workspace", "name"),
		},
		{
			name: "mcp_server_versions",
			columns: []column{
				required("workspace", varchar(63)).withDefault("'default'"),
				required("name", varchar(256)),
				required("version", varchar(128)),
				required("version_major", integer),
				required("version_minor", integer),
				required("version_patch", integer),
				required("version_prerelease_sort_key", varchar(512)),
				required("server_json", json),
				required("status", varchar(20)).withDefault("'draft'"),
				optional("tools", json),
				optional("source", varchar(512)),
				optional("connect_options", json),
				optional("created_by", varchar(256)),
				optional("last_updated_by", varchar(256)),
				required("created_at", bigint),
				required("last_updated_at", bigint),
			},
			primaryKey: named("mcp_server_versions_pk", "workspace", "name", "version"),
			foreignKeys: []foreignKey{
				{name: "mcp_server_versions_server_fkey", columns: cols("workspace", "name"), table: "mcp_servers", referred: cols("workspace", "name"), onDelete: "CASCADE", onUpdate: "CASCADE"},
			},
			indexes: []index{
				{name: "idx_mcp_server_versions_latest", columns: cols("workspace", "name", "status", "version_major DESC", "version_minor DESC", "version_patch DESC")},
			},
		},
		{
			name: "mcp_server_tags",
			columns: []column{
				required("workspace", varchar(63)).withDefault("'default'"),
				required("name", varchar(256)),
				required("key", varchar(250)),
				optional("value", varchar(5000)),
			},
			primaryKey: named("mcp_server_tags_pk", "workspace", "name", "key"),
			foreignKeys: []foreignKey{
				{name: "mcp_server_tags_server_fkey", columns: cols("workspace", "name"), table: "mcp_servers", referred: cols("workspace", "name"), onDelete: "CASCADE", onUpdate: "CASCADE"},
			},
		},
		{
			name: "mcp_server_version_tags",
			columns: []column{
				required("workspace", varchar(63)).withDefault("'default'"),
				required("name", varchar(256)),
				required("version", varchar(128)),
				required("key", varchar(250)),
				optional("value", varchar(5000)),
			},
			primaryKey: named("mcp_server_version_tags_pk", "workspace", "name", "version", "key"),
			foreignKeys: []foreignKey{
				{name: "mcp_server_version_tags_version_fkey", columns: cols("workspace", "name", "version"), table: "mcp_server_versions", referred: cols("workspace", "name", "version"), onDelete: "CASCADE", onUpdate: "CASCADE"},
			},
		},
		{
			name: "mcp_server_aliases",
			columns: []column{
				required("workspace", varchar(63)).withDefault("'default'"),
				required("name", varchar(256)),
				required("alias", varchar(256)),
				required("version", varchar(128)),
			},
			primaryKey: named("mcp_server_aliases_pk", "workspace", "name", "alias"),
			foreignKeys: []foreignKey{
				{name: "mcp_server_aliases_server_fkey", columns: cols("workspace", "name"), table: "mcp_servers", referred: cols("workspace", "name"), onDelete: "CASCADE", onUpdate: "CASCADE"},
			},
		},
		{
			name: "mcp_access_endpoints",
			columns: []column{
				required("id", varchar(36)),
				required("workspace", varchar(63)).withDefault("'default'"),
				required("server_name", varchar(256)),
				optional("server_version", varchar(128)),
				optional("server_alias", varchar(256)),
				required("url", varchar(2048)),
				required("transport_type", varchar(32)).withDefault("'streamable-http'"),
				optional("created_by", varchar(256)),
				optional("last_updated_by", varchar(256)),
				required("created_at", bigint),
				required("last_updated_at", bigint),
			},
			primaryKey: named("mcp_access_endpoints_pk", "id"),
			foreignKeys: []foreignKey{
				{name: "mcp_access_endpoints_server_fkey", columns: cols("workspace", "server_name"), table: "mcp_servers", referred: cols("workspace", "name"), onDelete: "CASCADE", onUpdate: "CASCADE"},
			},
			indexes: []index{
				{name: "ix_mcp_access_endpoints_alias", columns: cols("workspace", "server_name", "server_alias")},
				{name: "ix_mcp_access_endpoints_server_name", columns: cols("workspace", "server_name")},
				{name: "ix_mcp_access_endpoints_version", columns: cols("workspace", "server_name", "server_version")},
			},
		},
	}
}
