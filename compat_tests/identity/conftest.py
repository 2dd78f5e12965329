"""Servers that ask for log-ins, and who administers them."""

import functools

import issuer as issuers
import people
import pytest
import world

GENERATIONS = ("3.6.0", "3.17.2")  # the last with permissions of each kind of object, and the newest, with roles

SETTINGS = """[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:///{folder}/basic_auth.db
admin_username = {name}
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""


def pytest_generate_tests(metafunc):
    """The generations of MLflow's auth API that --clients names."""
    if "generation" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--clients")
        wanted = [one for one in GENERATIONS if chosen == "all" or one in chosen.split(",")]
        metafunc.parametrize("generation", wanted, scope="session")


@pytest.fixture(scope="session")
def issuer():
    """An issuer that the guarded servers trust, with keys of three kinds."""
    with issuers.Issuer("RS256", "ES256", "EdDSA") as one:
        yield one


@pytest.fixture(scope="session")
def start_guarded(start_session_server, issuer):
    """``start_guarded(backend, *arguments)`` starts ours so that everyone has to log in; it lives until the session ends.

    It takes a client's address from X-Forwarded-For, so that tests can guess from many addresses."""

    def start(backend, *arguments):
        arguments = ["--auth", "--log-level", "debug", "--trusted-proxies", "127.0.0.1", *issuer.arguments, *arguments]
        return start_session_server("ours", backend, arguments=arguments, environment=people.ADMIN_ENVIRONMENT)

    return start


# What lives for the session takes no database for a parameter: it would be made anew at each turn from one to the other.


@pytest.fixture(scope="session")
def guarded_servers(start_guarded, new_backend):
    """``guarded_servers(database)``: the one long-lived server of ours on which everyone has to log in."""
    return functools.cache(lambda database: start_guarded(new_backend(database)))


@pytest.fixture
def guarded(guarded_servers, database):
    """The server of ours on which everyone has to log in. Tests share it: use names of your own."""
    return guarded_servers(database)


@pytest.fixture
def admin(guarded):
    return people.Administrator(guarded)


@pytest.fixture(scope="session")
def all_worlds(start_guarded, new_backend):
    """``all_worlds(database, prefix)``: see ``worlds``."""

    @functools.cache
    def make(database, prefix):
        arguments = ["--static-prefix", prefix] if prefix else []
        return world.World(start_guarded(new_backend(database), *arguments), prefix)

    return make


@pytest.fixture
def worlds(all_worlds, database):
    """``worlds(prefix)``: what attacks are aimed at, on a server with this prefix of its paths."""
    return lambda prefix="": all_worlds(database, prefix)


@pytest.fixture(scope="session")
def genuine_guarded(start_session_server, tmp_path_factory):
    """``genuine_guarded(version)``: genuine MLflow with its app basic-auth, on SQLite."""

    @functools.cache
    def start(version):
        folder = tmp_path_factory.mktemp("basic-auth")
        settings = folder / "basic_auth.ini"
        settings.write_text(SETTINGS.format(folder=folder, name=people.ADMIN, password=people.ADMIN_PASSWORD))
        return start_session_server(
            "genuine",
            f"sqlite:///{folder}/mlflow.db",
            folder=folder,
            version=version,
            arguments=["--app-name", "basic-auth"],
            environment={"MLFLOW_AUTH_CONFIG_PATH": str(settings), "MLFLOW_FLASK_SERVER_SECRET_KEY": "a secret"},
        )

    return start
