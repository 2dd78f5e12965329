"""Greenroom and MLflow take over each other's databases: all reads the same and can be changed, and the other goes on from there."""

import pathlib
import subprocess

import pytest
import snapshot
import venvs

EVERYTHING = pathlib.Path(__file__).with_name("everything.py")


@pytest.fixture
def client(client_environment, tmp_path):
    """``client(server, "make")`` runs everything.py against the server."""

    def run(server, what):
        done = subprocess.run(
            [venvs.python(venvs.NEWEST), str(EVERYTHING), what],
            env=client_environment(server),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]

    return run


@pytest.mark.parametrize(("first", "second"), [("genuine", "ours"), ("ours", "genuine")])
def test_a_database_changes_hands_and_back(start_server, new_backend, database, client, tmp_path, first, second):
    backend = new_backend(database)

    maker = start_server(first, backend, folder=tmp_path)
    client(maker, "make")
    made = snapshot.read(maker)
    assert maker.stop() == 0

    heir = start_server(second, backend, folder=tmp_path)
    assert_same(made, snapshot.read(heir))
    client(heir, "change")
    changed = snapshot.read(heir)
    assert heir.stop() == 0

    back = start_server(first, backend, folder=tmp_path)
    assert_same(changed, snapshot.read(back))


def assert_same(before, after):
    different = {call: {"before": before.get(call), "after": after.get(call)} for call in before.keys() | after.keys() if before.get(call) != after.get(call)}
    assert not different
    assert len(before) > 100
