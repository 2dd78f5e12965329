"""The network cuts a big transfer off. Users see an error or the right file, never a part of one, and a second try succeeds."""

import dataclasses

import pytest
import servers
import stores
from bigfiles import SMALL_THRESHOLDS
from cutter import DOWN, LOST, UNANSWERED, UP, Cutter
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from requests.exceptions import RequestException

POINTS = (0.05, 0.35, 0.80, 0.99)
IN_PARTS = ("local", "s3")
STORES = (*IN_PARTS, "s3-server-urls", "local-plain", "s3-plain")
OLD = b"what was there before"
FAILURES = (MlflowException, RequestException)
NO_RETRY = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0", "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0"}


class World:
    """A server behind a cutter, and one to cut its clients' way to the store, which is the same unless they go to S3 themselves."""

    def __init__(self, store, server, near, far, as_client, file, environment):
        self.store, self.server, self.near, self.far, self.file = store, server, near, far, file
        through = dataclasses.replace(server, uri=near.uri)
        self.client = as_client(through, **environment)
        self.run = self.client.create_run(self.client.create_experiment("cut")).info.run_id

    def upload(self):
        self.client.log_artifact(self.run, str(self.file.path), "models")

    def download(self, folder):
        folder.mkdir()
        return self.client.download_artifacts(self.run, "models/big.bin", str(folder))

    def cut(self, where, point):
        """Cuts the transfer when that much of the file has passed."""
        method = "PUT" if where == UP else "GET"
        target = {"s3": r"big\.bin\?", "local": "/transfer/", "s3-server-urls": "/transfer/"}.get(self.store, "/artifacts/.*big")
        self.far.cut(method, target, where, int(self.file.size * point))

    @property
    def kept(self):
        """The digests of what users see."""
        return [stores.sha256(path) for path in stores.visible(self.server.artifacts).values()]


@pytest.fixture
def world(start_on, s3, as_client, request, tmp_path):
    """``world(store, environment)``: see World. Stores that go in parts move a file of full size."""
    stack = []

    def make(store, environment=NO_RETRY):
        far = None
        if store == "s3":
            far = Cutter(s3.uri).__enter__()
            stack.append(far)
        server = start_on(store, s3_uri=far.uri if far else "")
        near = Cutter(server.uri).__enter__()
        stack.append(near)
        full = store in IN_PARTS
        file = request.getfixturevalue("big_file" if full else "smaller_file")
        environment = environment if full else {**SMALL_THRESHOLDS, **environment}
        return World(store, server, near, far or near, as_client, file, environment)

    yield make
    for cutter in stack:
        cutter.__exit__()


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("store", STORES)
def test_an_upload_is_cut_off(world, store, point, tmp_path):
    here = world(store)
    here.cut(UP, point)
    with pytest.raises(FAILURES):
        here.upload()
    assert here.far.done == 1
    assert here.kept == []
    assert here.client.list_artifacts(here.run, "models") == []
    check_second_try(here, tmp_path)


@pytest.mark.parametrize("store", STORES)
def test_an_upload_over_an_older_file_is_cut_off(world, store, tmp_path):
    here = world(store)
    (tmp_path / "big.bin").write_bytes(OLD)
    here.client.log_artifact(here.run, str(tmp_path / "big.bin"), "models")
    before = here.kept
    here.cut(UP, 0.8)
    with pytest.raises(FAILURES):
        here.upload()
    assert here.kept == before
    check_second_try(here, tmp_path)


@pytest.mark.parametrize("where", [UNANSWERED, LOST])
@pytest.mark.parametrize("store", STORES)
def test_the_last_answer_of_an_upload_does_not_arrive(world, store, where, tmp_path):
    here = world(store)
    here.near.cut(*("POST", "/mpu/complete/") if "plain" not in store else ("PUT", "/artifacts/.*big"), where)
    with pytest.raises(FAILURES):
        here.upload()
    assert here.near.done == 1
    assert here.kept in ([], [here.file.sha256])
    if where == LOST:
        assert here.kept == [here.file.sha256]
    check_second_try(here, tmp_path)


@pytest.mark.parametrize("where", [UNANSWERED, LOST])
@pytest.mark.parametrize("store", STORES)
def test_a_client_that_retries_does_not_notice(world, store, where):
    here = world(store, RETRIES)
    here.near.cut(*("POST", "/mpu/complete/") if "plain" not in store else ("PUT", "/artifacts/.*big"), where)
    here.upload()
    assert here.near.done == 1
    assert here.kept == [here.file.sha256]
    check_sweep(here)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("store", STORES)
def test_a_download_is_cut_off(world, store, point, tmp_path):
    here = world(store)
    here.upload()
    here.cut(DOWN, point)
    try:
        fetched = here.download(tmp_path / "first")
        assert stores.sha256(fetched) == here.file.sha256  # The client has fetched the lost range once more.
    except FAILURES:
        pass
    assert here.far.done == 1
    assert stores.sha256(here.download(tmp_path / "second")) == here.file.sha256


@pytest.mark.parametrize("store", [name for name in STORES if "plain" not in name])
def test_a_client_that_dies_leaves_nothing_for_long(world, store, tmp_path):
    """Nobody says that this upload was given up."""
    here = world(store)
    repository = get_artifact_repository(f"{here.client.get_run(here.run).info.artifact_uri}/models")
    begun = repository.create_multipart_upload(str(here.file.path), num_parts=2)
    repository._upload_part(begun.credentials[0], str(here.file.path), 5 << 20, 0)
    assert here.kept == []
    assert stores.left_over(here.server.artifacts) != []
    early = servers.maintain(here.server, "gc")  # which leaves uploads a day
    assert early.returncode == 0, early.stderr
    assert stores.left_over(here.server.artifacts) != []
    check_second_try(here, tmp_path)


def check_second_try(here, tmp_path):
    here.upload()
    assert here.kept == [here.file.sha256]
    assert stores.sha256(here.download(tmp_path / "after")) == here.file.sha256
    check_sweep(here)


def check_sweep(here):
    """Nothing is left of uploads that came to no end, and what did is still there."""
    swept = servers.maintain(here.server, "gc", "--uploads-older-than", "0s")
    assert swept.returncode == 0, swept.stderr
    assert stores.left_over(here.server.artifacts) == []
    assert here.kept == [here.file.sha256]
