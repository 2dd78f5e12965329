"""The tour of each client version, logged in in each of the ways that there are. Nobody is an administrator."""

import json
import pathlib
import subprocess
import time

import pytest
import tour

TOUR = pathlib.Path(tour.__file__)
REFRESHED = pathlib.Path(__file__).with_name("refreshed_tour.py")
DEADLINE = 1800
FETCH_PAUSE = 36  # seconds: it is 30 after a fetch has ended that a server asks an issuer again for a key that it does not know


class Rotation:
    """Gives a token for each step of a tour, signed by one key after the other; the last by a key that is published then."""

    NEW_KEY = len(tour.STEPS) - 5

    def __init__(self, issuer):
        self._issuer, self._keys, self._given = issuer, list(issuer.keys), 0

    def __call__(self, user):
        if self._given == self.NEW_KEY:
            time.sleep(max(0, self._issuer.fetches[-1] + FETCH_PAUSE - time.monotonic()))
            self._issuer.add("ES256")
        key = self._issuer.keys[-1] if self._given >= self.NEW_KEY else self._keys[self._given % len(self._keys)]
        self._given += 1
        return self._issuer.token(user, key=key, roles=["manager"])


# The ways to log in: each gives the script to run, its arguments, and what it finds in the environment.


@pytest.fixture
def token(admin, unique):
    user = admin.add(unique, "manager")
    return [TOUR, unique], {"MLFLOW_TRACKING_TOKEN": admin.token(user.name)[1]}


@pytest.fixture
def password(admin, unique):
    return [TOUR, unique], admin.add(unique, "manager").environment


@pytest.fixture
def token_as_password(admin, unique):
    # A client that has both sends name and password, and no Bearer.
    user = admin.add(unique, "manager")
    return [TOUR, unique], {
        "MLFLOW_TRACKING_USERNAME": user.name,
        "MLFLOW_TRACKING_PASSWORD": admin.token(user.name)[1],
        "MLFLOW_TRACKING_TOKEN": "not a token",
    }


@pytest.fixture
def rotated_keys(issuer, unique, monkeypatch):
    monkeypatch.setattr(issuer, "give", Rotation(issuer))
    yield [REFRESHED, unique, f"{issuer.uri}/token/{unique}"], {}
    assert len(issuer.fetches) >= 2


WAYS = {"sqlite": ("token", "rotated_keys"), "postgresql": ("password", "token_as_password")}


def pytest_generate_tests(metafunc):
    """A tour takes long: with one client each database has two of the four ways to log in, with several it has all."""
    several = "," in (chosen := metafunc.config.getoption("--clients")) or chosen == "all"
    metafunc.parametrize("turn", range(4 if several else 2))


def test_tour(request, guarded, database, turn, client_version, client_python, client_environment, tmp_path):
    ways = WAYS[database] + WAYS[{"sqlite": "postgresql", "postgresql": "sqlite"}[database]]
    arguments, environment = request.getfixturevalue(ways[turn])
    done = subprocess.run(
        [client_python, *map(str, arguments)],
        env=client_environment(guarded, **environment),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    results = {line["step"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert set(results) == {step.name for step in tour.STEPS}, f"{ways[turn]}: it ended early:\n{done.stderr[-4000:]}"
    failed = {
        step.name: results[step.name]["detail"]
        for step in tour.STEPS
        if results[step.name]["outcome"] != ("passed" if tour.present(step, client_version) else "absent")
    }
    assert not failed, "\n".join(f"{ways[turn]}: {name}:\n{detail}" for name, detail in failed.items())
