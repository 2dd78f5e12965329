"""The server is killed again and again while files are uploaded: a file is absent, the old one or the new one, and never a part.

The unmodified client uploads, small files in one piece and large ones in parts, new ones and over old ones. A journal knows
what each path may hold."""

import hashlib
import http.client
import json
import random
import threading
import time
import urllib.parse

import pytest
import servers
import stores
from calls import DEADLINE
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
from requests.exceptions import RequestException

ROUNDS, ALL_ROUNDS = 8, 150  # of each store; the latter with every client
WRITERS = 4
ABSENT = None
SIZES = (300_000, 6 << 20, 11 << 20)  # one piece; one piece that goes to S3 in parts; parts
PROXY = "/api/2.0/mlflow-artifacts/artifacts"


class Journal:
    """``possible`` has, by path, the SHA-256 of each content that a file may have, with ABSENT for no file."""

    def __init__(self):
        self.possible = {}
        self._acknowledged = 0
        self._grown = threading.Condition()

    def acknowledge(self, path, digest):
        self.possible[path] = {digest}
        with self._grown:
            self._acknowledged += 1
            self._grown.notify_all()

    def wait_for(self, more):
        with self._grown:
            enough = self._acknowledged + more
            assert self._grown.wait_for(lambda: self._acknowledged >= enough, DEADLINE), self._acknowledged


class Writer:
    """One thread that uploads until the server dies; ``last`` is what it tried then."""

    def __init__(self, journal, name, repository, folder, seed):
        self._journal, self._name, self._repository, self._folder = journal, name, repository, folder
        self._random = random.Random(seed)
        self._error = None
        self._over = threading.Event()
        self.last = None
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def end(self):
        """Waits for the thread, once the server is dead; raises what went wrong otherwise."""
        self._over.set()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        if self._error:
            raise self._error

    def _write(self):
        try:
            while True:
                name = self._random.choice(("same", f"n{self._random.getrandbits(32):x}"))
                self.last = f"{self._name}/{name}.bin", self._random.randbytes(self._random.choice(SIZES))
                upload(self._repository, self._journal, self._folder, *self.last)
        except (MlflowException, RequestException) as error:
            if not self._over.wait(DEADLINE):
                self._error = error
        except BaseException as error:
            self._error = error


def upload(repository, journal, folder, path, content):
    digest = hashlib.sha256(content).hexdigest()
    journal.possible.setdefault(path, {ABSENT}).add(digest)
    file = folder / path
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    repository.log_artifact(str(file), path.partition("/")[0])
    journal.acknowledge(path, digest)


@pytest.mark.parametrize("store", ["local", "s3"])
@pytest.mark.parametrize("seed", [11])
def test_uploads_are_whole_or_absent(
    start_server, new_backend, request, tmp_path, monkeypatch, store, seed, full_size, unique
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(10 << 20))
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(5 << 20))
    place = {"folder": tmp_path / "server"}
    kept = place["folder"] / "artifacts"
    if store == "s3":
        gateway = request.getfixturevalue("s3")
        bucket = gateway.create_bucket()
        place["destination"], place["environment"] = f"s3://{bucket}/team", gateway.environment
        place["arguments"] = ["--presigned-urls=server"]  # parts pass the server, too
        kept = gateway.folder / bucket / "team"
    backend, choices, journal = new_backend("sqlite"), random.Random(seed), Journal()
    server = start_server("ours", backend, **place)
    client = MlflowClient(server.uri)
    run = client.create_run(client.create_experiment(unique)).info
    root = run.artifact_uri.removeprefix("mlflow-artifacts:")
    for _ in range(ALL_ROUNDS if full_size else ROUNDS):
        # MlflowClient would remember the server that it had first.
        repository = MlflowArtifactsRepository(run.artifact_uri, tracking_uri=server.uri)
        writers = [Writer(journal, f"w{i}", repository, tmp_path, choices.random()) for i in range(WRITERS)]
        journal.wait_for(choices.randint(1, 8))
        time.sleep(choices.uniform(0, 0.2))  # or else the kill would always follow an answer
        server.kill()
        for writer in writers:
            writer.end()
        server = start_server("ours", backend, **place)
        check(server, journal, root)
        repository = MlflowArtifactsRepository(run.artifact_uri, tracking_uri=server.uri)
        for writer in writers:  # A file whose upload was cut off can be uploaded again.
            upload(repository, journal, tmp_path, *writer.last)
        check(server, journal, root)
        assert {f"{root}/{path}" for path in journal.possible} >= {f"/{path}" for path in stores.visible(kept)}
    checked = servers.maintain(server, "verify")
    assert checked.returncode == 0, (checked.stdout, checked.stderr)
    assert server.stop() == 0


def check(server, journal, root):
    """Looks at every path, and from then on expects what is there."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(server.uri).netloc, timeout=DEADLINE)

    def get(path):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer, answer.read()

    for path, possible in journal.possible.items():
        answer, content = get(f"{PROXY}{root}/{path}")
        found = hashlib.sha256(content).hexdigest() if answer.status == 200 else ABSENT
        assert answer.status in (200, 404), (answer.status, path, content)
        assert found in possible, (path, len(content), possible)
        journal.possible[path] = {found}
        folder, _, name = path.partition("/")
        listed = json.loads(get(f"{PROXY}?path={root[1:]}/{folder}")[1]).get("files", [])
        sizes = {one["path"]: int(one.get("file_size", 0)) for one in listed}
        assert sizes.get(name) == (len(content) if found else None), (path, sizes)
