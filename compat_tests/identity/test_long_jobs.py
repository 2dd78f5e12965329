"""A job of days lives on one credential, which is replaced, taken away or runs out while the job goes on.

What is taken away ends on every replica within SOON seconds: on PostgreSQL one server is told, and the other one asked."""

import contextlib
import functools
import json
import pathlib
import subprocess
import sys
import time

import database as database_of
import people
import pytest

JOB = pathlib.Path(__file__).with_name("job.py")
SOON = 90  # seconds: below the minutes of a client that retries, far above what a loaded machine takes
STEPS = 3  # that show a job going on
REPLICAS = {"sqlite": 1, "postgresql": 2}


@pytest.fixture(scope="session")
def all_replicas(start_guarded, new_backend):
    @functools.cache
    def make(database):
        backend = new_backend(database)
        return [start_guarded(backend) for _ in range(REPLICAS[database])]

    return make


@pytest.fixture
def replicas(all_replicas, database):
    """Servers on one database: what is told to the first shows on the last."""
    return all_replicas(database)


@pytest.fixture
def boss(replicas):
    """The administrator, on the first replica."""
    return people.Administrator(replicas[0])


class Job:
    """A running job; ``steps`` waits for it to go on, ``end`` for what ends it."""

    def __init__(self, run, folder, environment):
        self._process = subprocess.Popen(
            [sys.executable, str(JOB), run, str(folder)], env=environment, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def steps(self, count=STEPS):
        for _ in range(count):
            line = self._process.stdout.readline()
            assert line.startswith("step "), line

    def end(self):
        """What ended the job, and after how many seconds from now."""
        began = time.monotonic()
        last = [line for line in self._process.stdout if not line.startswith("step ")]
        return json.loads("".join(last)), time.monotonic() - began


@pytest.fixture
def start_job(replicas, client_environment, tmp_path):
    """``start_job(user, run, **environment)`` starts a job that talks to the last replica."""
    with contextlib.ExitStack() as running:

        def start(run, **credential):
            environment = client_environment(replicas[-1], **credential)
            del environment["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]  # as a user's client
            return running.enter_context(Job(run, tmp_path, environment))

        yield start


def make_run(replicas, headers, name):
    """A run in an experiment of the user's own."""

    def post(path, **fields):
        answer = people.send(replicas[-1].uri, "POST", "/api/2.0/mlflow/" + path, fields, headers)
        assert answer.status == 200, answer
        return answer.json

    experiment = post("experiments/create", name=name)["experiment_id"]
    return post("runs/create", experiment_id=experiment)["run"]["info"]["run_id"]


def current_user(server, headers):
    return people.send(server.uri, "GET", "/api/2.0/mlflow/users/current", headers=headers)


def wait_for(status, ask):
    """Asks until the answer has the status, for SOON seconds at most; gives that answer."""
    deadline = time.monotonic() + SOON
    while (answer := ask()).status != status:
        assert answer.status == 200, answer
        assert time.monotonic() < deadline, f"still allowed after {SOON} s"
        time.sleep(0.05)
    return answer


def replace(folder, token):
    """Gives a running job another token."""
    (folder / "new").write_text(token)
    (folder / "new").rename(folder / "token")


def test_a_job_goes_on_with_the_token_that_takes_the_old_ones_place(replicas, boss, start_job, tmp_path, unique):
    user = boss.add(unique, "editor")
    first, old = boss.token(user.name, "first")
    job = start_job(make_run(replicas, user.headers, unique), MLFLOW_TRACKING_TOKEN=old)
    job.steps()
    _, token = boss.token(user.name, "second")
    replace(tmp_path, token)
    job.steps()
    boss.revoke_token(first)
    wait_for(401, lambda: current_user(replicas[-1], people.bearer(old)))
    job.steps()
    (tmp_path / "stop").touch()
    assert job.end()[0] == {"type": None}


def test_a_job_ends_at_once_when_its_token_is_revoked(replicas, boss, start_job, unique):
    user = boss.add(unique, "editor")
    id, token = boss.token(user.name, "nightly")
    job = start_job(make_run(replicas, user.headers, unique), MLFLOW_TRACKING_TOKEN=token)
    job.steps()
    boss.revoke_token(id)
    end, seconds = job.end()
    assert (end["type"], end["code"]) == ("RestException", "CUSTOMER_UNAUTHORIZED")
    assert "'nightly' was revoked" in end["message"] and "MLFLOW_TRACKING_TOKEN" in end["message"]
    assert seconds < SOON


def test_a_job_is_told_when_its_token_has_expired(replicas, boss, start_job, tmp_path, unique):
    user = boss.add(unique, "editor")
    job = start_job(make_run(replicas, user.headers, unique), MLFLOW_TRACKING_TOKEN=boss.token(unique)[1])
    job.steps()
    id, token = boss.token(unique, "short")
    database_of.shorten(replicas[0].backend_store_uri, id, seconds=2)
    replace(tmp_path, token)
    assert_told_of_the_end(job)


def test_a_job_is_told_when_its_jwt_has_expired(replicas, issuer, start_job, tmp_path, unique):
    first = issuer.token(unique, roles=["editor"])
    job = start_job(make_run(replicas, people.bearer(first), unique), MLFLOW_TRACKING_TOKEN=first)
    job.steps()
    leeway = 30  # seconds that clocks may differ
    replace(tmp_path, issuer.token(unique, roles=["editor"], exp=int(time.time()) - leeway + 3))
    assert_told_of_the_end(job)


def assert_told_of_the_end(job):
    end, _ = job.end()
    assert (end["type"], end["code"]) == ("RestException", "CUSTOMER_UNAUTHORIZED")
    assert " expired at 20" in end["message"] and "set MLFLOW_TRACKING_TOKEN to it" in end["message"]


def disable(boss, user):
    boss("PATCH", "3.0/greenroom/users/update-disabled", username=user.name, disabled=True)


def delete(boss, user):
    boss("DELETE", "2.0/mlflow/users/delete", username=user.name)


def change_password(boss, user):
    boss("PATCH", "2.0/mlflow/users/update-password", username=user.name, password="another long password")


def revoke_all(boss, user):
    boss("POST", "3.0/greenroom/users/revoke-all", username=user.name)


def unassign_role(boss, user):
    boss("DELETE", "3.0/mlflow/roles/unassign", username=user.name, role_id=boss.role("editor"))


# What is taken away, which credential it was, and what the other replica answers then.
TAKEN_AWAY = [
    (disable, "token", 401),
    (disable, "password", 401),
    (delete, "token", 401),
    (delete, "password", 401),
    (change_password, "password", 401),
    (revoke_all, "token", 401),
    (revoke_all, "jwt", 401),
    (disable, "jwt", 401),
    (unassign_role, "token", 403),
    (unassign_role, "password", 403),
]


@pytest.mark.parametrize(
    ("take_away", "kind", "status"), TAKEN_AWAY, ids=[f"{one.__name__}-{kind}" for one, kind, _ in TAKEN_AWAY]
)
def test_what_is_taken_away_ends_on_every_replica(replicas, boss, issuer, take_away, kind, status, unique):
    if kind == "jwt":
        user, headers = people.User(unique, ""), people.bearer(issuer.token(unique))
        assert current_user(replicas[-1], headers).status == 200  # makes the user
    else:
        user = boss.add(unique, "editor")
        headers = user.headers if kind == "password" else people.bearer(boss.token(unique)[1])

    def ask():
        if status == 401:
            return current_user(replicas[-1], headers)
        path = "/api/2.0/mlflow/registered-models/get?name=" + unique
        return people.send(replicas[-1].uri, "GET", path, headers=headers)

    if status == 403:
        boss("POST", "2.0/mlflow/registered-models/create", name=unique)
    wait_for(200, ask)
    take_away(boss, user)
    answer = wait_for(status, ask)
    assert answer.code == {401: "CUSTOMER_UNAUTHORIZED", 403: "PERMISSION_DENIED"}[status]


def test_a_direct_permission_that_is_revoked_ends_on_every_replica(replicas, boss, unique):
    user, path = boss.add(unique), "/api/2.0/mlflow/registered-models/get?name=" + unique
    boss("POST", "2.0/mlflow/registered-models/create", name=unique)

    def ask():
        return people.send(replicas[-1].uri, "GET", path, headers=user.headers)

    boss.grant(unique, "registered_model", unique, "READ")
    deadline = time.monotonic() + SOON
    while ask().status == 403 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ask().status == 200
    boss.revoke(unique, "registered_model", unique)
    assert wait_for(403, ask).code == "PERMISSION_DENIED"


def test_a_known_issuer_that_is_down_does_not_stop_a_job(replicas, issuer, monkeypatch, unique):
    assert current_user(replicas[-1], people.bearer(issuer.token(unique))).status == 200
    monkeypatch.setattr(issuer, "off", True)
    assert current_user(replicas[-1], people.bearer(issuer.token(unique, jti="another"))).status == 200
