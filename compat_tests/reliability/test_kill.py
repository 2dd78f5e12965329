"""The server is killed again and again while it writes: what it acknowledged stays, all else is whole or absent.

The unmodified client writes and keeps a journal. PostgreSQL itself goes on running."""

import collections
import contextlib
import random
import sqlite3
import threading

import pytest
from calls import DEADLINE, Caller
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

ROUNDS = 10
WRITERS = 4
ROWS = 5  # of one metric in a batch


class Journal:
    """What the writers tried and what the server acknowledged; ``wait_for`` waits until there is enough of it."""

    def __init__(self):
        self.runs, self.batches, self.versions = set(), set(), {}
        self.aliases = {}  # name: the versions it may be at: one, or two when a move was cut off; None before the first
        self.sources = set()  # of the versions that were tried
        self._acknowledged = 0
        self._grown = threading.Condition()

    def acknowledge(self):
        with self._grown:
            self._acknowledged += 1
            self._grown.notify_all()

    def wait_for(self, more):
        """Waits for that many more acknowledgements from now on."""
        with self._grown:
            enough = self._acknowledged + more
            assert self._grown.wait_for(lambda: self._acknowledged >= enough, DEADLINE), self._acknowledged


class Writer:
    """One thread that writes until the server dies."""

    def __init__(self, journal, name, uri, experiment, model, seed):
        self._journal, self._name, self._experiment, self._model = journal, name, experiment, model
        self._client = MlflowClient(uri)
        self._random = random.Random(seed)
        self._error = None
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def join(self):
        """Waits for the thread, once the server is dead; raises what the server answered wrongly before."""
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        if self._error:
            raise self._error

    def _write(self):
        try:
            run = self._client.create_run(self._experiment).info.run_id
            self._journal.runs.add(run)
            for number in range(10**6):
                write = self._random.choice((self._batch, self._version, self._alias))
                write(run, number)
                self._journal.acknowledge()
        except MlflowException as error:
            if "failed with exception" not in str(error):  # An answer, not the end of the connection.
                self._error = error
        except BaseException as error:
            self._error = error

    def _batch(self, run, number):
        self._client.log_batch(
            run,
            [Metric("all", float(row), number + 1, number) for row in range(ROWS)] + [Metric(f"m{number}", 1.0, 1, 0)],
            [Param(f"p{number}", "v")],
            [RunTag(f"t{number}", "v")],
        )
        self._journal.batches.add((run, number))

    def _version(self, run, number):
        source = f"s3://bucket/{run}/{number}"
        self._journal.sources.add(source)
        made = self._client.create_model_version(self._model, source, run_id=run, tags={"source": source})
        self._journal.versions[int(made.version)] = source

    def _alias(self, run, number):
        to = self._random.randint(1, WRITERS)
        self._journal.aliases.setdefault(self._name, {None}).add(to)
        self._client.set_registered_model_alias(self._model, self._name, to)
        self._journal.aliases[self._name] = {to}


@pytest.mark.parametrize("seed", [7])
def test_acknowledged_writes_survive_kills(start_server, new_backend, database, monkeypatch, seed, unique):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    backend, choices, journal = new_backend(database), random.Random(seed), Journal()
    server = start_server("ours", backend)
    client = MlflowClient(server.uri)
    experiment = client.create_experiment(unique)
    client.create_registered_model(unique)
    for number in range(1, WRITERS + 1):  # What aliases point to.
        source = f"s3://bucket/{number}"
        client.create_model_version(unique, source, tags={"source": source})
        journal.versions[number] = source
        journal.sources.add(source)
    for _ in range(ROUNDS):
        writers = [
            Writer(journal, f"w{i}", server.uri, experiment, unique, choices.random()) for i in range(WRITERS)
        ]
        journal.wait_for(choices.randint(5, 60))
        server.kill()
        for writer in writers:
            writer.join()
        server = start_server("ours", backend)
        check(Caller(server.uri), journal, unique)
        if database == "sqlite":
            check_file(backend.removeprefix("sqlite:///"))
    assert server.stop() == 0


def check(call, journal, model):
    for run in journal.runs:
        data = call.must("GET", "runs/get", run_id=run)["run"]["data"]
        rows = call.must("GET", "metrics/get-history", run_id=run, metric_key="all").get("metrics", [])
        acknowledged = {number for of, number in journal.batches if of == run}
        stored = {int(one["key"][1:]) for one in data.get("params", [])}
        assert acknowledged <= stored, (run, acknowledged - stored)
        assert len(stored - acknowledged) <= 1, (run, stored - acknowledged)
        assert {int(m["key"][1:]) for m in data.get("metrics", []) if m["key"] != "all"} == stored, run
        assert {int(t["key"][1:]) for t in data.get("tags", []) if not t["key"].startswith("mlflow.")} == stored, run
        assert collections.Counter(int(one["step"]) for one in rows) == dict.fromkeys(stored, ROWS), run
    versions = call.versions(model)
    sources = {int(one["version"]): one["source"] for one in versions}
    assert sorted(sources) == list(range(1, len(versions) + 1))
    assert sources == sources | journal.versions
    assert len(set(sources.values())) == len(versions)
    assert set(sources.values()) <= journal.sources
    for one in versions:
        assert {"key": "source", "value": one["source"]} in one["tags"], one
    for alias, possible in journal.aliases.items():
        status, answer = call("GET", "registered-models/alias", name=model, alias=alias)
        at = int(answer["model_version"]["version"]) if status == 200 else None
        assert at in possible, (alias, answer, possible)
        journal.aliases[alias] = {at}


def check_file(path):
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
