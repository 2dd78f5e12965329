"""Big files, and clients that handle them as big at a small size too."""

import time

import bigfiles
import mlflow
import pytest
from bigfiles import MIB, SMALL_THRESHOLDS

@pytest.fixture(scope="module")
def big_file(full_size, tmp_path_factory):
    """The one big file of a module, of more than a gigabyte at full size."""
    made = bigfiles.big_file(tmp_path_factory.mktemp("big") / "big.bin", full_size)
    yield made
    made.path.unlink()


@pytest.fixture(scope="module")
def smaller_file(tmp_path_factory):
    """The same of a few MiB, whatever is run; the client needs SMALL_THRESHOLDS."""
    made = bigfiles.big_file(tmp_path_factory.mktemp("big") / "big.bin", full_size=False)
    yield made
    made.path.unlink()


@pytest.fixture
def thresholds():
    """The environment of a client that takes smaller_file for big."""
    return SMALL_THRESHOLDS


@pytest.fixture
def as_client(client_environment, monkeypatch, full_size):
    """``as_client(server)`` makes this process a client of the server and returns an MlflowClient.

    At full size it has no setting at all but the server's address, and what more names."""

    def become(server, **more):
        environment = client_environment(server) | ({} if full_size else SMALL_THRESHOLDS)
        if full_size:
            del environment["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
        environment |= more
        for name in set(environment) - {"HOME"}:
            monkeypatch.setenv(name, environment[name])
        mlflow.set_tracking_uri(server.uri)
        return mlflow.MlflowClient()

    yield become
    mlflow.set_tracking_uri(None)


@pytest.fixture
def timed(record_property, capsys):
    """``with timed("upload", bytes):`` prints how fast it went; nothing is asserted of it."""

    class Timed:
        def __init__(self, what, size):
            self._what, self._size = what, size

        def __enter__(self):
            self._start = time.monotonic()
            return self

        def __exit__(self, error, *_):
            if error:
                return
            self.speed = self._size / MIB / (time.monotonic() - self._start)
            record_property(self._what, f"{self.speed:.0f} MiB/s")
            with capsys.disabled():
                print(f"\n    {self._what}: {self._size / MIB:.0f} MiB at {self.speed:.0f} MiB/s", end="", flush=True)

    return Timed
