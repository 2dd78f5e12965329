package schema_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"greenroom/models/modelstest"
	"greenroom/models/schema"
)

var options = schema.Options{ArtifactLocation: "mlflow-artifacts:/0", URI: "postgresql://ann:secret@db/mlflow"}

var allPending = []string{"0001_version_creations.sql", "0002_identity.sql", "0003_audit_append_only.sql", "0004_artifacts.sql", "0005_search.sql", "0006_stages.sql", "0007_leaders.sql"}

func TestMigrate_PreparesAnEmptyDatabase(t *testing.T) {
	modelstest.RunEmpty(t, func(t *testing.T, uri string) {
		db, d := modelstest.Open(t, uri)
		wantStatus(t, db, d, schema.Status{State: schema.Empty, Pending: allPending})
		migrate(t, db, d)
		wantStatus(t, db, d, schema.Status{State: schema.Current, Revision: schema.Revision, Level: 7})

		var got struct {
			Name, Location, Stage, Workspace string
			ID                               int
			Created, Updated                 int64
		}
		if err := db.QueryRow(`SELECT experiment_id, name, artifact_location, lifecycle_stage, workspace, creation_time, last_update_time FROM experiments`).
			Scan(&got.ID, &got.Name, &got.Location, &got.Stage, &got.Workspace, &got.Created, &got.Updated); err != nil {
			t.Fatal(err)
		}
		if got.Created == 0 || got.Created != got.Updated {
			t.Errorf("experiment 0 was created at %d and updated at %d", got.Created, got.Updated)
		}
		got.Created, got.Updated = 0, 0
		want := got
		want.Name, want.Location, want.Stage, want.Workspace, want.ID = "Default", "mlflow-artifacts:/0", "active", "default", 0
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("experiment 0 (-want +got):\n%s", diff)
		}
		wantValue(t, db, "SELECT description FROM workspaces WHERE name = 'default'", "Default workspace for legacy resources")

		// The first experiment that MLflow itself makes is number 1.
		exec(t, db, "INSERT INTO experiments (name) VALUES ('next')")
		wantValue(t, db, "SELECT experiment_id FROM experiments WHERE name = 'next'", int64(1))
	})
}

func TestMigrate_LeavesAReadyDatabaseAlone(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		db, d := modelstest.Open(t, uri)
		exec(t, db, "UPDATE experiments SET creation_time = 1, lifecycle_stage = 'deleted', artifact_location = 's3://elsewhere'")
		migrate(t, db, d)
		wantValue(t, db, "SELECT count(*) FROM experiments WHERE creation_time = 1 AND lifecycle_stage = 'deleted' AND artifact_location = 's3://elsewhere'", int64(1))
		wantValue(t, db, "SELECT count(*) FROM greenroom_migrations", int64(7))
	})
}

func TestMigrate_TogetherCreatesOnce(t *testing.T) {
	modelstest.RunEmpty(t, func(t *testing.T, uri string) {
		var together errgroup.Group
		for range 8 {
			db, d := modelstest.Open(t, uri) // each server has its own pool
			together.Go(func() error { return schema.Migrate(context.Background(), db, d, options) })
		}
		if err := together.Wait(); err != nil {
			t.Fatal(err)
		}
		db, d := modelstest.Open(t, uri)
		wantStatus(t, db, d, schema.Status{State: schema.Current, Revision: schema.Revision, Level: 7})
		wantValue(t, db, "SELECT count(*) FROM experiments", int64(1))
		wantValue(t, db, "SELECT count(*) FROM alembic_version", int64(1))
	})
}

func TestMigrate_AddsWhatADatabaseOfMLflowsLacks(t *testing.T) {
	var dropOurs strings.Builder
	for _, name := range []string{ // who refers to others first
		"audit", "login_failures", "revoked_jwts", "tokens", "role_groups", "role_users", "role_permissions", "roles", "group_members", "groups", "users", "identity",
		"version_creations", "migrations", "artifacts", "artifact_deletions", "manifests", "version_digests_due", "gc", "secrets",
	} {
		dropOurs.WriteString("DROP TABLE greenroom_" + name + ";")
	}
	dropOurs.WriteString("DROP INDEX greenroom_model_versions_live; DROP INDEX greenroom_runs_by_start; DROP INDEX greenroom_model_versions_by_stage; DROP INDEX greenroom_latest_metrics_by_value;")
	lacks := map[string]string{
		"our tables":               dropOurs.String(),
		"experiment 0":             "DELETE FROM experiments",
		"both":                     "DELETE FROM experiments; " + dropOurs.String(),
		"experiment 0's name only": "DELETE FROM experiments; INSERT INTO experiments (experiment_id, name) VALUES (0, 'renamed')",
		"experiment 0's id only":   "DELETE FROM experiments; INSERT INTO experiments (experiment_id, name) VALUES (7, 'Default')",
	}
	for name, without := range lacks {
		t.Run(name, func(t *testing.T) {
			modelstest.Run(t, func(t *testing.T, uri string) {
				db, d := modelstest.Open(t, uri)
				exec(t, db, without)
				migrate(t, db, d)
				wantStatus(t, db, d, schema.Status{State: schema.Current, Revision: schema.Revision, Level: 7})
				wantValue(t, db, "SELECT count(*) FROM experiments", int64(1))
			})
		})
	}
}

func TestMigrate_RefusesWhatItCannotServe(t *testing.T) {
	cases := map[string]struct {
		change string
		want   schema.Status
		says   []string
	}{
		"an older revision": {
			"UPDATE alembic_version SET version_num = 'b7e2c1a4d9f3'",
			schema.Status{State: schema.Older, Revision: "b7e2c1a4d9f3", Level: 7},
			[]string{"b7e2c1a4d9f3", schema.Revision, "mlflow db upgrade postgresql://ann:xxxxx@db/mlflow", "backup"},
		},
		"the oldest revision": {
			"UPDATE alembic_version SET version_num = '451aebb31d03'",
			schema.Status{State: schema.Older, Revision: "451aebb31d03", Level: 7},
			[]string{"451aebb31d03", "mlflow db upgrade"},
		},
		"a newer revision": {
			"UPDATE alembic_version SET version_num = 'ffffffffffff'",
			schema.Status{State: schema.Unknown, Revision: "ffffffffffff", Level: 7},
			[]string{"ffffffffffff", "serves " + schema.Revision + " (MLflow 3.17)"},
		},
		"two revisions": {
			"INSERT INTO alembic_version VALUES ('b7e2c1a4d9f3')",
			schema.Status{State: schema.Unknown, Revision: "b7e2c1a4d9f3," + schema.Revision, Level: 7},
			[]string{"b7e2c1a4d9f3," + schema.Revision},
		},
		"no revision": {
			"DELETE FROM alembic_version",
			schema.Status{State: schema.Foreign, Level: 7},
			[]string{"no revision", "empty database"},
		},
		"tables without alembic_version": {
			"DROP TABLE alembic_version",
			schema.Status{State: schema.Foreign, Level: 7},
			[]string{"empty database"},
		},
		"a table missing": {
			"DROP TABLE job_locks; DROP TABLE params",
			schema.Status{State: schema.Incomplete, Revision: schema.Revision, Level: 7, Missing: []string{"params", "job_locks"}},
			[]string{"lacks the tables params, job_locks", "backup"},
		},
		"a newer Greenroom's tables": {
			"INSERT INTO greenroom_migrations VALUES (9, '0009_later.sql', 0)",
			schema.Status{State: schema.NewerOwn, Revision: schema.Revision, Level: 9},
			[]string{"newer Greenroom", "migration 9"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			modelstest.Run(t, func(t *testing.T, uri string) {
				db, d := modelstest.Open(t, uri)
				exec(t, db, c.change)
				wantRefused(t, db, d, c.want, c.says...)
				wantStatus(t, db, d, c.want)
			})
		})
	}
}

func TestMigrate_RefusesAnotherProgramsDatabase(t *testing.T) {
	cases := map[string]string{
		"plain tables":      "CREATE TABLE users (id INTEGER)",
		"an alembic of its": "CREATE TABLE users (id INTEGER); CREATE TABLE alembic_version (version_num VARCHAR(32)); INSERT INTO alembic_version VALUES ('0123456789ab')",
	}
	for name, create := range cases {
		t.Run(name, func(t *testing.T) {
			modelstest.RunEmpty(t, func(t *testing.T, uri string) {
				db, d := modelstest.Open(t, uri)
				exec(t, db, create)
				s, err := schema.Inspect(context.Background(), db, d)
				if err != nil {
					t.Fatal(err)
				}
				if s.State != schema.Foreign {
					t.Errorf("state is %s, want foreign", s.State)
				}
				wantRefused(t, db, d, s, "not MLflow's", "empty database")
			})
		})
	}
}

func TestMigrate_CreatesOverAFailedUpgradesLeftover(t *testing.T) {
	modelstest.RunEmpty(t, func(t *testing.T, uri string) {
		db, d := modelstest.Open(t, uri)
		exec(t, db, "CREATE TABLE alembic_version (version_num VARCHAR(32))")
		migrate(t, db, d)
		wantStatus(t, db, d, schema.Status{State: schema.Current, Revision: schema.Revision, Level: 7})
	})
}

func TestMigrate_WithoutALocationLeavesExperiment0Out(t *testing.T) {
	modelstest.RunEmpty(t, func(t *testing.T, uri string) {
		db, d := modelstest.Open(t, uri)
		if err := schema.Migrate(context.Background(), db, d, schema.Options{}); err != nil {
			t.Fatal(err)
		}
		wantValue(t, db, "SELECT count(*) FROM experiments", int64(0))
		migrate(t, db, d)
		wantValue(t, db, "SELECT count(*) FROM experiments", int64(1))
	})
}

// The last steps fail here: a table of ours is in the way, so MLflow's tables have been created before.
func TestMigrate_FailureLeavesNothingBehind(t *testing.T) {
	modelstest.RunEmpty(t, func(t *testing.T, uri string) {
		db, d := modelstest.Open(t, uri)
		exec(t, db, "CREATE TABLE greenroom_version_creations (other INTEGER)")
		err := schema.Migrate(context.Background(), db, d, options)
		if err == nil || !strings.Contains(err.Error(), "apply 0001_version_creations.sql") {
			t.Fatalf("error is %v, want one that names the migration", err)
		}
		wantStatus(t, db, d, schema.Status{State: schema.Empty, Pending: allPending})

		exec(t, db, "DROP TABLE greenroom_version_creations")
		migrate(t, db, d)
		wantStatus(t, db, d, schema.Status{State: schema.Current, Revision: schema.Revision, Level: 7})
	})
}

func TestMigrate_CancelledLeavesNothingBehind(t *testing.T) {
	modelstest.RunEmpty(t, func(t *testing.T, uri string) {
		db, d := modelstest.Open(t, uri)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := schema.Migrate(ctx, db, d, options); !errors.Is(err, context.Canceled) {
			t.Fatalf("error is %v, want a cancellation", err)
		}
		wantStatus(t, db, d, schema.Status{State: schema.Empty, Pending: allPending})
	})
}

func TestSchema_TheAuditLogOnlyGrows(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		db, d := modelstest.Open(t, uri)
		exec(t, db, "INSERT INTO greenroom_audit VALUES ('1', 1, NULL, 'ann', 'password', 'users/delete', 'user bob', 'allowed', '{}', 'r', '127.0.0.1')")
		statements := []string{"UPDATE greenroom_audit SET user_name = 'bob'", "DELETE FROM greenroom_audit WHERE id = '1'"}
		if d == schema.PostgreSQL {
			statements = append(statements, "TRUNCATE greenroom_audit")
		}
		for _, statement := range statements {
			if _, err := db.Exec(statement); err == nil || !strings.Contains(err.Error(), "greenroom_audit is append-only") {
				t.Errorf("%s: %v", statement, err)
			}
		}
		wantValue(t, db, "SELECT count(*) FROM greenroom_audit WHERE user_name = 'ann'", int64(1))
	})
}

// docs/audit.md tells how to remove old entries; here it is done so.
func TestSchema_TheAuditLogIsPrunedAsDocumented(t *testing.T) {
	document, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	modelstest.Run(t, func(t *testing.T, uri string) {
		db, d := modelstest.Open(t, uri)
		_, after, found := strings.Cut(string(document), "On "+map[schema.Dialect]string{schema.SQLite: "SQLite", schema.PostgreSQL: "PostgreSQL"}[d]+":\n```sql\n")
		prune, _, closed := strings.Cut(after, "```")
		if !found || !closed {
			t.Fatal("the document has no statements")
		}
		const insert = "INSERT INTO greenroom_audit VALUES ('%s', %d, NULL, 'ann', 'password', 'users/delete', 'user bob', 'allowed', '{}', 'r', '127.0.0.1')"
		exec(t, db, fmt.Sprintf(insert, "old", time.Date(2023, 12, 31, 23, 59, 0, 0, time.UTC).UnixMilli()))
		exec(t, db, fmt.Sprintf(insert, "new", time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()))
		exec(t, db, prune)
		wantValue(t, db, "SELECT id FROM greenroom_audit", "new")
		for _, statement := range []string{"DELETE FROM greenroom_audit", "UPDATE greenroom_audit SET at = 0"} {
			if _, err := db.Exec(statement); err == nil {
				t.Errorf("afterwards %s works", statement)
			}
		}
	})
}

func TestSchema_KeepsASecretsName(t *testing.T) {
	modelstest.Run(t, func(t *testing.T, uri string) {
		db, _ := modelstest.Open(t, uri)
		exec(t, db, `INSERT INTO secrets (secret_id, secret_name, encrypted_value, wrapped_dek, kek_version, masked_value, created_at, last_updated_at)
			VALUES ('1', 'token', '', '', 1, '', 0, 0); UPDATE secrets SET description = 'mine'`)
		if _, err := db.Exec("UPDATE secrets SET secret_name = 'other'"); err == nil || !strings.Contains(err.Error(), "immutable") {
			t.Errorf("renaming a secret: error is %v, want it refused", err)
		}
	})
}

func migrate(t *testing.T, db *sql.DB, d schema.Dialect) {
	t.Helper()
	if err := schema.Migrate(context.Background(), db, d, options); err != nil {
		t.Fatal(err)
	}
}

func wantStatus(t *testing.T, db *sql.DB, d schema.Dialect, want schema.Status) {
	t.Helper()
	got, err := schema.Inspect(context.Background(), db, d)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

func wantRefused(t *testing.T, db *sql.DB, d schema.Dialect, want schema.Status, says ...string) {
	t.Helper()
	err := schema.Migrate(context.Background(), db, d, options)
	var refused *schema.RefusedError
	if !errors.As(err, &refused) {
		t.Fatalf("error is %v, want a refusal", err)
	}
	if diff := cmp.Diff(want, refused.Status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not say %q", err, s)
		}
	}
	if strings.Contains(err.Error(), "secret@") {
		t.Errorf("%q shows the password", err)
	}
}

func wantValue[T comparable](t *testing.T, db *sql.DB, query string, want T) {
	t.Helper()
	var got T
	if err := db.QueryRow(query).Scan(&got); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	if got != want {
		t.Errorf("%s: %v, want %v", query, got, want)
	}
}

func exec(t *testing.T, db *sql.DB, statements string) {
	t.Helper()
	if _, err := db.Exec(statements); err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
}
