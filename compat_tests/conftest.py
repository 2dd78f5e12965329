"""Options and fixtures of the compatibility tests; see README.md."""

import itertools
import os

import postgres as pg
import pytest
import s3 as s3_server
import servers
import stores
import venvs

DATABASES = ("sqlite", "postgresql")

_live = []  # servers that are running, so that a failing test can show their logs


def pytest_addoption(parser):
    group = parser.getgroup("greenroom")
    group.addoption("--server", choices=("ours", "genuine"), default="ours", help="which server the tests talk to")
    group.addoption("--databases", default=",".join(DATABASES), help="sqlite, postgresql, or both (default)")
    group.addoption(
        "--clients", default=venvs.NEWEST, help=f"MLflow versions separated by commas, or all: {' '.join(venvs.names())}"
    )


def _databases(config):
    chosen = config.getoption("--databases").split(",")
    unknown = set(chosen) - set(DATABASES)
    if unknown:
        raise pytest.UsageError(f"--databases: {', '.join(sorted(unknown))} is none of {', '.join(DATABASES)}")
    return chosen


def _clients(config):
    chosen = config.getoption("--clients")
    chosen = venvs.names() if chosen == "all" else chosen.split(",")
    unknown = set(chosen) - set(venvs.names())
    if unknown:
        raise pytest.UsageError(f"--clients: {', '.join(sorted(unknown))} is none of {', '.join(venvs.names())}")
    return chosen


def pytest_generate_tests(metafunc):
    # A test class or module may pin what it takes by parametrizing the name itself.
    own = {name for mark in metafunc.definition.iter_markers("parametrize") for name in str(mark.args[0]).split(",")}
    for name, values in (("client_version", _clients), ("database", _databases)):
        if name in metafunc.fixturenames and name not in own:
            metafunc.parametrize(name, values(metafunc.config), scope="session")


@pytest.fixture(scope="session")
def full_size(request):
    """Whether everything is run, at full size: with every client."""
    return request.config.getoption("--clients") == "all"


@pytest.fixture(scope="session")
def server_kind(request):
    """The kind of server under test: "ours" unless --server=genuine."""
    return request.config.getoption("--server")


@pytest.fixture(scope="session")
def postgres():
    """One PostgreSQL cluster for the session; ``create_database`` gives each server its own database."""
    cluster = pg.Cluster()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def s3():
    """One S3 server for the session; ``create_bucket`` gives each server its own bucket."""
    gateway = s3_server.Gateway()
    yield gateway
    gateway.stop()


@pytest.fixture(scope="session")
def new_backend(request, tmp_path_factory):
    """``new_backend(database, kind)`` makes an empty backend store and returns its URI, as that kind of server wants it."""

    def make(database, kind="ours"):
        if database == "sqlite":
            return f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/mlflow.db"
        cluster = request.getfixturevalue("postgres")
        return backend_for(kind, cluster.uri(cluster.create_database()))

    return make


def backend_for(kind, uri):
    """The same backend store as that kind of server wants its URI.

    Genuine MLflow on psycopg 3 refuses transitions that archive, so it gets psycopg2."""
    plain = uri.replace("postgresql+psycopg2://", "postgresql://")
    return plain.replace("postgresql://", "postgresql+psycopg2://") if kind == "genuine" else plain


def _starter(tmp_path_factory):
    """A function that starts servers, and one that ends them all."""
    started = []

    def start(kind, backend_store_uri, *, folder=None, **how):
        folder = folder or tmp_path_factory.mktemp(f"server-{kind}")
        server = servers.start(kind, backend_for(kind, backend_store_uri), folder, **how)
        started.append(server)
        _live.append(server)
        return server

    def stop_all():
        for server in started:
            server.stop()
            _live.remove(server)

    return start, stop_all


@pytest.fixture(scope="session")
def start_session_server(tmp_path_factory):
    """Like ``start_server``; the servers live until the session ends."""
    start, stop_all = _starter(tmp_path_factory)
    yield start
    stop_all()


@pytest.fixture
def start_server(tmp_path_factory):
    """``start_server(kind, backend_store_uri, folder=, arguments=, environment=, version=, destination=)`` returns a servers.Server.

    It is stopped when the test ends, if the test hasn't done so. Servers given the same folder share artifacts."""
    start, stop_all = _starter(tmp_path_factory)
    yield start
    stop_all()


@pytest.fixture
def start_on(start_server, new_backend, request):
    """``start_on(store, kind="ours", database="sqlite", …)``: a server of its own on one of stores.STORES; see stores.start."""

    def start(store, kind="ours", database="sqlite", **how):
        backend = how.pop("backend", None) or new_backend(database, kind)
        return stores.start(store, start_server, kind, backend, lambda: request.getfixturevalue("s3"), **how)

    return start


@pytest.fixture(scope="session")
def shared_servers(start_session_server, new_backend):
    """``shared_servers(kind, database)`` gives the one long-lived server of that kind and database."""
    running = {}

    def get(kind, database):
        if (kind, database) not in running:
            running[kind, database] = start_session_server(kind, new_backend(database, kind))
        return running[kind, database]

    return get


@pytest.fixture(scope="session")
def server(shared_servers, server_kind, database):
    """The server under test on the database the test is run for. Tests share it: use names of your own."""
    return shared_servers(server_kind, database)


@pytest.fixture(scope="session")
def genuine(shared_servers, database):
    """A genuine MLflow server on the same kind of database."""
    return shared_servers("genuine", database)


_numbers = itertools.count(1)


@pytest.fixture
def unique():
    """A name that no other test of the session uses."""
    return f"t{os.getpid()}n{next(_numbers)}"


@pytest.fixture(scope="session")
def client_python(client_version):
    """The interpreter of the client version the test is run for."""
    return venvs.python(client_version)


@pytest.fixture(scope="session")
def client_environment(tmp_path_factory):
    """``client_environment(server)``: the environment of a client process that uses the server.

    It retries nothing, so an answer 5xx fails the test at once."""
    home = tmp_path_factory.mktemp("home")

    def make(server, **more):
        return {
            **servers.clean_environment(),
            "HOME": str(home),
            "MLFLOW_TRACKING_URI": server.uri,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "GIT_PYTHON_REFRESH": "quiet",
            "MPLBACKEND": "Agg",
            # Autolog of old clients imports all of scikit-learn, and with it two distutils that don't get along.
            "SETUPTOOLS_USE_DISTUTILS": "stdlib",
            "PYTHONWARNINGS": "ignore",
            **more,
        }

    return make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for server in _live:
            report.sections.append((f"log of {server.kind} at {server.uri}", server.log_tail()))
    return report


def _forbidden(terminal):
    """What counts as not run. CI wants everything run."""
    if os.environ.get("CI", "").lower() not in ("true", "1"):
        return []
    return [report.nodeid for kind in ("skipped", "xfailed", "xpassed") for report in terminal.stats.get(kind, [])]


def pytest_sessionfinish(session):
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal and _forbidden(terminal) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    for nodeid in _forbidden(terminalreporter):
        terminalreporter.write_line(f"NOT RUN, which CI forbids: {nodeid}", red=True)
