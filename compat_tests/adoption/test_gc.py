"""greenroom gc beside genuine mlflow gc: on copies of one database and its files, both leave the same, but for what is said here."""

import json
import pathlib
import shutil
import subprocess

import conftest
import pytest
import schema_catalogue
import servers
import venvs

GARBAGE = pathlib.Path(__file__).with_name("garbage.py")


@pytest.fixture
def copies(start_server, new_backend, client_environment, request, database, tmp_path):
    """What garbage.py has deleted, and two copies of the database and the files, each (uri, folder)."""
    backend, folder = new_backend(database), tmp_path / "filled"
    folder.mkdir()
    filled = start_server("genuine", backend, folder=folder)
    done = subprocess.run(
        [venvs.python(venvs.NEWEST), str(GARBAGE)], env=client_environment(filled), capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    filled.stop()
    # Greenroom's own tables, so that both copies have them.
    prepared = start_server("ours", backend, folder=folder)
    assert prepared.stop() == 0

    def copy(name):
        shutil.copytree(folder, tmp_path / name)
        if database == "sqlite":
            target = tmp_path / name / "copy.db"
            shutil.copyfile(backend.removeprefix("sqlite:///"), target)
            return f"sqlite:///{target}", tmp_path / name
        cluster = request.getfixturevalue("postgres")
        return cluster.uri(cluster.create_database(template=backend.rpartition("/")[2])), tmp_path / name

    return json.loads(done.stdout.splitlines()[-1]), copy("genuine"), copy("ours")


def genuine_gc(start_server, client_environment, backend, folder, *arguments):
    server = start_server("genuine", backend, folder=folder)
    uri = conftest.backend_for("genuine", backend)
    done = subprocess.run(
        [venvs.python(venvs.NEWEST), "-m", "mlflow", "gc", "--backend-store-uri", uri, "--artifacts-destination", str(server.artifacts), *arguments],
        env=client_environment(server), capture_output=True, text=True, timeout=900, check=False,
    )
    server.stop()
    return done


def our_gc(backend, folder, *arguments):
    return subprocess.run(
        [servers.binary(), "gc", "--backend-store-uri", backend, "--artifacts-destination", str(folder / "artifacts"), *arguments],
        env=servers.clean_environment(), cwd=folder, capture_output=True, text=True, timeout=900, check=False,
    )


def rows(uri):
    return {
        table: sorted(map(repr, schema_catalogue.rows(uri, f"SELECT * FROM {table}")))
        for table in schema_catalogue.tables(uri)
        if not table.startswith("greenroom_")
    }


def files(folder):
    root = folder / "artifacts"
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_both_leave_the_same_but_for_what_ours_keeps_or_cleans(start_server, client_environment, copies):
    ids, (genuine, genuine_folder), (ours, our_folder) = copies
    done = genuine_gc(start_server, client_environment, genuine, genuine_folder)
    assert done.returncode == 0, done.stderr[-4000:]
    done = our_gc(ours, our_folder)
    assert done.returncode == 0, done.stderr
    assert f"kept run {ids['registered']}: version churn/1 points to it" in done.stdout

    left, ours_left = rows(genuine), rows(ours)
    for table in sorted(left.keys() | ours_left.keys()):
        genuine_only = set(left[table]) - set(ours_left[table])
        ours_only = set(ours_left[table]) - set(left[table])
        # Ours keeps the run that a version of a registered model points to; genuine deletes it, and the version's files with it.
        assert all(ids["registered"] in row for row in ours_only), (table, ours_only)
        # Ours also removes the links from deleted runs and logged models to datasets and models, which genuine leaves behind.
        assert table in ("inputs", "input_tags") or not genuine_only, (table, genuine_only)
        if table == "inputs":
            known = {row.split("'")[1] for name in ("runs", "logged_models") for row in ours_left[name]}
            assert all(any(id in row for id in known) for row in ours_left[table]), ours_left[table]
    # Genuine leaves the files of logged models that go with an experiment.
    ours_files, genuine_files = files(our_folder), files(genuine_folder)
    assert all(ids["registered"] in path for path in ours_files - genuine_files), ours_files - genuine_files
    assert all(path.startswith(f"{ids['experiment']}/models/") for path in genuine_files - ours_files), genuine_files - ours_files
    assert any(ids["registered"] in path for path in ours_files)


REFUSED = [
    ["--run-ids", "{kept[0]}"],
    ["--run-ids", "nobody"],
    ["--experiment-ids", "77"],
    ["--older-than", "1d", "--run-ids", "{deleted}"],
    ["--older-than", "1d", "--experiment-ids", "{experiment}"],
    ["--older-than", "soon"],
    ["--logged-model-ids", "{kept[1]}"],  # the last: genuine deletes everything else before it looks at this id
]


@pytest.mark.parametrize("database", ["sqlite"])
def test_both_refuse_the_same_and_ours_has_removed_nothing(start_server, client_environment, copies):
    ids, (genuine, genuine_folder), (ours, our_folder) = copies
    before = rows(ours), files(our_folder)
    for refused in REFUSED:
        arguments = [argument.format(**ids) for argument in refused]
        assert genuine_gc(start_server, client_environment, genuine, genuine_folder, *arguments).returncode != 0, refused
        done = our_gc(ours, our_folder, *arguments)
        assert done.returncode in (2, 3, 4), (refused, done.stdout, done.stderr)
    assert (rows(ours), files(our_folder)) == before
