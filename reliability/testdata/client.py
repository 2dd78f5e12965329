"""A default MLflow client that writes until its standard input ends, and keeps the journal that the Go tests read.

client.py URI SCOPE JOURNAL THREADS: the experiment and the registered model are named SCOPE. It prints a line per
acknowledged write, and ends with an error as soon as the client raises one."""

import json
import logging
import os
import pathlib
import random
import sys
import threading
import traceback
import warnings

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

warnings.simplefilter("ignore")
logging.getLogger("mlflow").setLevel(logging.ERROR)


class Journal:
    """Says what was attempted and what was acknowledged; each attempt is on disk before it is made."""

    def __init__(self, path):
        self._file = path.open("x")

    def attempt(self, identifier, facts=(), slot="", value=""):
        self._write(attempt={"id": identifier, "facts": list(facts), "slot": slot, "value": value})
        os.fsync(self._file.fileno())

    def acknowledge(self, identifier, number=""):
        self._write(acknowledged=identifier, number=number)
        sys.stdout.write(identifier + "\n")
        sys.stdout.flush()

    def _write(self, **line):
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


class Writer:
    """One thread's writes: a run of its own and versions of the model."""

    def __init__(self, uri, scope, journal, name):
        self._client = MlflowClient(uri)
        self._journal, self._scope, self._name = journal, scope, name
        self._experiment = self._client.get_experiment_by_name(scope).experiment_id
        self._random = random.Random(name)

    def work(self, stop):
        self._run(self._name + "n0")
        self._version(self._name + "n1")
        writes = [self._run, self._version, self._alias, self._stage, self._tag] + 2 * [self._metric] + 4 * [self._batch]
        number = 2
        while not stop.is_set():
            self._number = number
            self._random.choice(writes)(f"{self._name}n{number}")
            number += 1

    def _run(self, identifier):
        facts = [f"run {identifier} in {self._scope}", f"tag {identifier} first={identifier}"]
        self._journal.attempt(identifier, facts)
        run = self._client.create_run(self._experiment, run_name=identifier, tags={"first": identifier})
        self._run_id, self._run_name = run.info.run_id, identifier
        self._journal.acknowledge(identifier)

    def _version(self, identifier):
        source = f"mlflow-artifacts:/{self._experiment}/{self._run_id}/artifacts/{identifier}"
        facts = [f"version {self._scope} {source}", f"version-tag {source} first={identifier}"]
        self._journal.attempt(identifier, facts)
        made = self._client.create_model_version(self._scope, source, self._run_id, tags={"first": identifier})
        self._at, self._source = made.version, source
        self._journal.acknowledge(identifier, f"{self._scope}/{made.version} {source}")

    def _alias(self, identifier):
        self._journal.attempt(identifier, slot=f"alias {self._scope} {self._name}", value=str(self._at))
        self._client.set_registered_model_alias(self._scope, self._name, self._at)
        self._journal.acknowledge(identifier)

    def _stage(self, identifier):
        stage = self._random.choice(["Staging", "Production", "Archived"])
        self._journal.attempt(identifier, slot=f"stage {self._source}", value=stage)
        self._client.transition_model_version_stage(self._scope, self._at, stage)
        self._journal.acknowledge(identifier)

    def _tag(self, identifier):
        self._journal.attempt(identifier, slot=f"tag {self._run_name} last", value=identifier)
        self._client.set_tag(self._run_id, "last", identifier)
        self._journal.acknowledge(identifier)

    def _metric(self, identifier):
        self._journal.attempt(identifier, [self._point("single", self._number)])
        self._client.log_metric(self._run_id, "single", self._number, timestamp=self._number, step=self._number)
        self._journal.acknowledge(identifier)

    def _batch(self, identifier):
        self._journal.attempt(
            identifier,
            [
                self._point("all", self._number),
                f"param {self._run_name} p-{identifier}=v",
                f"tag {self._run_name} t-{identifier}=v",
            ],
        )
        self._client.log_batch(
            self._run_id,
            [Metric("all", self._number, self._number, self._number)],
            [Param("p-" + identifier, "v")],
            [RunTag("t-" + identifier, "v")],
        )
        self._journal.acknowledge(identifier)

    def _point(self, key, number):
        return f"metric {self._run_name} {key} step {number} at {number} = {number}"


def main(uri, scope, journal, threads):
    stop = threading.Event()

    def work(name):
        try:
            Writer(uri, scope, Journal(pathlib.Path(journal, f"{scope}-{name}.jsonl")), name).work(stop)
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    writers = [threading.Thread(target=work, args=(f"{scope}c{n}",)) for n in range(int(threads))]
    for writer in writers:
        writer.start()
    sys.stdin.read()
    stop.set()
    for writer in writers:
        writer.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
