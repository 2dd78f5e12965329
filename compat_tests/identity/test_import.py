"""A team moves in from MLflow's app basic-auth: the users keep their passwords, and what they may do."""

import contextlib
import sqlite3
import subprocess

import people
import pytest
import servers
import venvs

GET = "/api/2.0/mlflow/"


@pytest.fixture
def moved(genuine_guarded, start_server, generation, tmp_path_factory):
    """Ours on the databases of a genuine server of that generation, whose users are imported."""
    theirs, folder = genuine_guarded(generation), tmp_path_factory.mktemp("moved")
    fill(theirs, generation)
    copy(theirs.backend_store_uri.removeprefix("sqlite:///"), folder / "mlflow.db")
    copy(theirs.artifacts.parent / "basic_auth.db", folder / "basic_auth.db")
    backend = f"sqlite:///{folder}/mlflow.db"
    if generation != venvs.NEWEST:
        run(venvs.python(venvs.NEWEST), "-m", "mlflow", "db", "upgrade", backend)
    ours = start_server("ours", backend, folder=folder)  # makes Greenroom's tables
    assert ours.stop() == 0
    said = run(servers.binary(), "user", "import", folder / "basic_auth.db", "--backend-store-uri", backend)
    assert "users" in said
    again = run(servers.binary(), "user", "import", folder / "basic_auth.db", "--backend-store-uri", backend)
    assert again.startswith("0 users, 0 roles, 0 role assignments and 0 grants"), again
    return start_server("ours", backend, folder=folder, arguments=["--auth", "--trusted-proxies", "127.0.0.1"])


def run(*command):
    done = subprocess.run(
        list(map(str, command)), env=servers.clean_environment(), capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy(source, target):
    """Copies a SQLite file that is in use."""
    with contextlib.closing(sqlite3.connect(source)) as old, contextlib.closing(sqlite3.connect(target)) as new:
        old.backup(new)


PASSWORDS = {name: f"the password of {name}" for name in ("imp-ann", "imp-bob", "imp-root")}


def fill(server, generation):
    """imp-root is an administrator; imp-ann made a model and an experiment; imp-bob may read the model, and no more."""
    admin = people.Administrator(server)
    for name, password in PASSWORDS.items():
        admin("POST", "2.0/mlflow/users/create", username=name, password=password)
    admin("PATCH", "2.0/mlflow/users/update-admin", username="imp-root", is_admin=True)
    if generation == venvs.NEWEST:
        role = admin("POST", "3.0/mlflow/roles/create", workspace="default", name="imp-creators")["role"]["id"]
        admin(
            *("POST", "3.0/mlflow/roles/permissions/add"),
            **{"role_id": role, "resource_type": "workspace", "resource_pattern": "*", "permission": "USE"},
        )
        admin("POST", "3.0/mlflow/roles/assign", username="imp-ann", role_id=role)
    ann = people.basic("imp-ann", PASSWORDS["imp-ann"])
    for path in ("registered-models/create", "experiments/create"):
        answer = people.send(server.uri, "POST", GET + path, {"name": "imported"}, ann)
        assert answer.status == 200, answer
    if generation == venvs.NEWEST:
        admin.grant("imp-bob", "registered_model", "imported", "READ")
    else:
        body = {"username": "imp-bob", "name": "imported", "permission": "READ"}
        admin("POST", "2.0/mlflow/registered-models/permissions/create", **body)


def test_who_moves_in_may_do_what_they_could(moved):
    def ask(method, path, body=None, **headers):
        return people.send(moved.uri, method, GET + path, body, headers).status

    ann, bob, root = (people.basic(name, password) for name, password in PASSWORDS.items())
    boss = people.basic(people.ADMIN, people.ADMIN_PASSWORD)
    for who in (ann, bob, root, boss):
        assert ask("GET", "users/current", **who) == 200
        assert ask("GET", "registered-models/get?name=imported", **who) == 200
    for name in PASSWORDS:
        assert ask("GET", "users/current", **people.basic(name, "the password of another"), **{"X-Forwarded-For": "10.3.0.1"}) == 401
    experiment = "experiments/get-by-name?experiment_name=imported"
    assert [ask("GET", experiment, **who) for who in (ann, root, boss)] == [200, 200, 200]
    assert ask("GET", experiment, **bob) in (403, 404)
    change = ("PATCH", "registered-models/update", {"name": "imported", "description": "moved"})
    assert [ask(*change, **who) for who in (bob, ann, root)] == [403, 200, 200]
    assert [ask("GET", "users/list", **who) for who in (ann, bob, root, boss)] == [403, 403, 200, 200]
    assert ask("DELETE", "registered-models/delete", {"name": "imported"}, **bob) == 403
    assert ask("DELETE", "registered-models/delete", {"name": "imported"}, **ann) == 200
