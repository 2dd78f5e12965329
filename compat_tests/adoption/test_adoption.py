"""Greenroom and MLflow take over each other's databases: all reads the same and can be changed, and the other goes on from there."""

import collections
import json
import pathlib
import re
import subprocess

import pytest
import schema_catalogue
import snapshot
import venvs

EVERYTHING = pathlib.Path(__file__).with_name("everything.py")

Filled = collections.namedtuple("Filled", "backend folder answers rows")


@pytest.fixture(scope="session")
def client(client_environment, tmp_path_factory):
    """``client(server, "make")`` runs everything.py against the server."""

    def run(server, what):
        done = subprocess.run(
            [venvs.python(venvs.NEWEST), str(EVERYTHING), what],
            env=client_environment(server),
            cwd=tmp_path_factory.mktemp("client"),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]

    return run


@pytest.fixture(scope="session")
def filled(start_session_server, new_backend, client, tmp_path_factory):
    """``filled(kind, database)``: a database that a server of that kind has made and filled; the server has ended."""
    made = {}

    def get(kind, database):
        if (kind, database) not in made:
            backend, folder = new_backend(database), tmp_path_factory.mktemp(f"made-by-{kind}")
            maker = start_session_server(kind, backend, folder=folder)
            client(maker, "make")
            answers = snapshot.read(maker)
            assert maker.stop() == 0
            made[kind, database] = Filled(backend, folder, answers, stored(backend))
        return made[kind, database]

    return get


@pytest.mark.parametrize(("first", "second"), [("genuine", "ours"), ("ours", "genuine")])
def test_a_database_changes_hands_and_back(start_server, filled, database, client, first, second):
    made = filled(first, database)

    heir = start_server(second, made.backend, folder=made.folder)
    assert_same(made.answers, snapshot.read(heir))
    client(heir, "change")
    changed = snapshot.read(heir)
    assert heir.stop() == 0

    back = start_server(first, made.backend, folder=made.folder)
    assert_same(changed, snapshot.read(back))


def test_the_same_calls_leave_the_same_rows(filled, database):
    genuine, ours = filled("genuine", database).rows, filled("ours", database).rows
    assert_same(genuine, ours)
    assert sum(map(len, ours.values())) > 100


def assert_same(before, after):
    for key in sorted(before.keys() | after.keys()):
        assert before.get(key) == after.get(key), key
    assert len(before) > 60


def stored(uri):
    """The rows of each table, without what is made anew each time: ids, times, names of nameless runs."""
    return {
        table: sorted(_masked(row) for row in schema_catalogue.rows(uri, f"SELECT * FROM {table}") if snapshot.DIGEST_TAG not in row)
        for table in schema_catalogue.tables(uri)
    }


def _masked(row):
    return repr([_masked_value(value) for value in row])


def _masked_value(value):
    if isinstance(value, str):
        if value.startswith(("{", "[")):
            try:
                value = json.dumps(json.loads(value), sort_keys=True)
            except ValueError:
                pass
        value = re.sub(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", value)
        return re.sub(r"^[a-z]+-[a-z]+-\d{1,3}$", "NAME", value)
    if isinstance(value, int) and value > 1_750_000_000_000 and value < 10_000_000_000_000:
        return "NOW"
    if value == 0 and isinstance(value, float):
        return 0.0  # genuine loses the sign of -0.0 on PostgreSQL
    return value
