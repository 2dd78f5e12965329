"""The database that Greenroom makes is the one that MLflow makes, down to the names of constraints."""

import json
import subprocess

import conftest
import pytest
import schema_catalogue
import servers
import venvs

REVISION = "dc11669786a5"
OLDER = "b7e2c1a4d9f3"


def mlflow(*arguments):
    return _run([venvs.python(venvs.NEWEST), "-m", "mlflow", *arguments])


def greenroom(*arguments):
    return _run([servers.binary(), *arguments])


def _run(command):
    environment = {**servers.clean_environment(), "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)


def succeed(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def genuine_backends(new_backend):
    """``genuine_backends(database)`` is an empty database that MLflow has made, once for the session."""
    made = {}

    def get(database):
        if database not in made:
            made[database] = new_backend(database, "genuine")
            succeed(mlflow("db", "upgrade", made[database]))
        return made[database]

    return get


@pytest.fixture
def ours(new_backend, database):
    """An empty database that Greenroom has made."""
    uri = new_backend(database)
    succeed(greenroom("db", "upgrade", "--backend-store-uri", uri))
    return uri


def test_the_catalogues_are_equal(genuine_backends, ours, database):
    genuine, own = schema_catalogue.read(genuine_backends(database)), schema_catalogue.read(ours)
    differ = {
        name: {"genuine": genuine.get(name), "ours": own.get(name)}
        for name in genuine.keys() | own.keys()
        if genuine.get(name) != own.get(name)
    }
    assert not differ
    tables = [name for kind, name in own if kind == "table" or kind == "relation" and own[kind, name][0] == "r"]
    assert len(tables) == 65


def test_the_first_rows_are_equal(genuine_backends, ours, database):
    for table in ("alembic_version", "workspaces", "experiments"):
        query = f"SELECT * FROM {table}"
        assert schema_catalogue.rows(ours, query) == schema_catalogue.rows(genuine_backends(database), query)


def test_only_greenrooms_tables_are_prefixed(ours, database):
    tables = {
        "sqlite": "SELECT name FROM sqlite_master WHERE name LIKE 'greenroom%' AND type = 'table'",
        "postgresql": "SELECT tablename FROM pg_tables WHERE tablename LIKE 'greenroom%'",
    }[database]
    names = {name.removeprefix("greenroom_") for (name,) in schema_catalogue.rows(ours, tables)}
    assert names == {
        *("artifact_deletions", "artifacts", "gc", "manifests", "secrets", "version_digests_due"),
        *("audit", "group_members", "groups", "identity", "login_failures", "migrations", "revoked_jwts", "role_groups"),
        *("role_permissions", "role_users", "roles", "tokens", "users", "version_creations"),
    }


def test_mlflow_db_upgrade_finds_nothing_to_do(ours):
    before = schema_catalogue.read(ours)
    succeed(mlflow("db", "upgrade", conftest.backend_for("genuine", ours)))
    assert schema_catalogue.read(ours) == before
    assert schema_catalogue.rows(ours, "SELECT version_num FROM alembic_version") == [(REVISION,)]


def test_a_database_of_mlflow_gets_only_greenrooms_tables(new_backend, database):
    backend = new_backend(database, "genuine")
    succeed(mlflow("db", "upgrade", backend))
    before = schema_catalogue.read(backend)
    succeed(greenroom("db", "upgrade", "--backend-store-uri", backend))
    assert schema_catalogue.read(backend) == before
    assert status(backend)["greenroom_pending"] == []


def test_an_older_database_is_refused_with_the_command_that_helps(new_backend, database):
    backend = new_backend(database, "genuine")
    # What MLflow does for an empty database, up to an older revision.
    script = """
import sys
from alembic import command
from mlflow.store.db.utils import _get_alembic_config, create_sqlalchemy_engine
from mlflow.store.tracking.dbmodels.initial_models import Base
engine = create_sqlalchemy_engine(sys.argv[1])
Base.metadata.create_all(engine)
command.upgrade(_get_alembic_config(sys.argv[1]), sys.argv[2])
"""
    succeed(_run([venvs.python(venvs.NEWEST), "-c", script, backend, OLDER]))
    before = schema_catalogue.read(backend)
    uri = conftest.backend_for("ours", backend)

    for command in (["db", "upgrade"], ["db", "status"], ["server", "--port", "0"]):
        refused = greenroom(*command, "--backend-store-uri", uri)
        assert refused.returncode == 1
        assert OLDER in refused.stderr
        assert f"mlflow db upgrade {uri}" in refused.stderr
    assert status(uri, code=1)["state"] == "older"
    assert schema_catalogue.read(backend) == before

    succeed(mlflow("db", "upgrade", backend))
    succeed(greenroom("db", "upgrade", "--backend-store-uri", uri))
    assert status(uri)["state"] == "current"


def test_a_newer_database_is_refused(ours):
    schema_catalogue.execute(ours, "UPDATE alembic_version SET version_num = 'fedcba987654'")
    for command in (["db", "upgrade"], ["db", "status"], ["server", "--port", "0"]):
        refused = greenroom(*command, "--backend-store-uri", ours)
        assert refused.returncode == 1
        assert "fedcba987654" in refused.stderr
        assert REVISION in refused.stderr
    assert status(ours, code=1)["state"] == "unknown"


def test_another_programs_database_is_left_alone(new_backend, database):
    backend = new_backend(database)
    schema_catalogue.execute(backend, "CREATE TABLE customers (id INTEGER)")
    before = schema_catalogue.read(backend)
    refused = greenroom("db", "upgrade", "--backend-store-uri", backend)
    assert refused.returncode == 1
    assert "empty database" in refused.stderr
    assert status(backend, code=1)["state"] == "foreign"
    assert schema_catalogue.read(backend) == before


def status(uri, code=0):
    done = greenroom("db", "status", "--json", "--backend-store-uri", uri)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)
