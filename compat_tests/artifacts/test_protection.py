"""What keeps the files of registered versions as they are, seen from the genuine client and the command line."""

import hashlib
import json
import time
import urllib.request

import bigfiles
import boto3
import mlflow
import pytest
import requests
import servers
import stores
import traffic
from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from sklearn.linear_model import LinearRegression

STORES = ("local", "s3")
DIGEST_DEADLINE = 180


class World:
    """A server with version 1 of the model ``line``, a logged model, and a client that retries as it does by default."""

    def __init__(self, server, client):
        self.server, self.client = server, client
        self.experiment = client.create_experiment("protected")
        with mlflow.start_run(experiment_id=self.experiment) as run:
            model = LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
            info = mlflow.sklearn.log_model(model, name="model", registered_model_name="line")
        self.run, self.logged = run.info.run_id, info.model_id
        self.location = client.get_logged_model(self.logged).artifact_location
        self.repository = get_artifact_repository(self.location)

    def file(self, name):
        """Where a file of the version lies in the store."""
        (path,) = (path for key, path in stores.visible(self.server.artifacts).items() if self.logged in key and path.name == name)
        return path

    def change_in_secret(self, name, content):
        """Changes a file in the store itself, past the server; without content it is removed."""
        path = self.file(name)
        if not self.server.environment:
            path.unlink()
            if content is not None:
                path.write_bytes(content)
            return
        account = self.server.environment
        client = boto3.client(
            "s3",
            endpoint_url=account["MLFLOW_S3_ENDPOINT_URL"],
            aws_access_key_id=account["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=account["AWS_SECRET_ACCESS_KEY"],
            region_name=account["AWS_DEFAULT_REGION"],
        )
        place = {"Bucket": self.server.artifacts.name, "Key": str(path.relative_to(self.server.artifacts))}
        if content is None:
            client.delete_object(**place)
        else:
            client.put_object(**place, Body=content)

    def predict(self):
        return mlflow.sklearn.load_model("models:/line/1").predict([[3.0]])[0]

    def verify(self, *arguments):
        """The exit status of greenroom verify, and what it printed."""
        done = servers.maintain(self.server, "verify", *arguments)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def world(start_on, as_client):
    """``world(store)``: see World."""

    def make(store, **how):
        server = start_on(store, **how)
        client = as_client(server, **bigfiles.SMALL_THRESHOLDS, MLFLOW_HTTP_REQUEST_MAX_RETRIES="7")
        return World(server, client)

    return make


@pytest.mark.parametrize("stage", ["Staging", "Production"])
@pytest.mark.parametrize("store", STORES)
def test_a_live_version_is_not_overwritten(world, store, stage, smaller_file, tmp_path):
    here = world(store)
    here.client.transition_model_version_stage("line", 1, stage)
    before = {path: path.read_bytes() for path in stores.visible(here.server.artifacts).values()}
    (tmp_path / "MLmodel").write_text("something else")
    attempts = {
        "replace": lambda: here.repository.log_artifact(str(tmp_path / "MLmodel")),
        "add": lambda: here.repository.log_artifact(str(tmp_path / "MLmodel"), "more"),
        "add in parts": lambda: here.repository.log_artifact(str(smaller_file.path)),
        "delete a file": lambda: here.repository.delete_artifacts("MLmodel"),
        "delete all": lambda: here.repository.delete_artifacts(),
    }
    start = time.monotonic()
    for what, attempt in attempts.items():
        message = error_of(attempt)
        assert "RESOURCE_CONFLICT" in message, (what, message)
        assert f"version 1 of registered model 'line', which is in stage {stage}" in message, (what, message)
    assert refused_count(here.server) == len(attempts)
    assert time.monotonic() - start < 60  # The client waits minutes for what it tries again.
    assert {path: path.read_bytes() for path in stores.visible(here.server.artifacts).values()} == before
    assert here.predict() == pytest.approx(6.0)

    here.client.transition_model_version_stage("line", 1, "Archived")
    here.repository.log_artifact(str(tmp_path / "MLmodel"))
    assert here.file("MLmodel").read_text() == "something else"


def error_of(attempt):
    """What a user reads who tries it; "" if it succeeds."""
    try:
        attempt()
    except requests.HTTPError as error:
        return str(error)
    return ""


def refused_count(server):
    """How many requests were answered 409."""
    with urllib.request.urlopen(server.uri + "/metrics", timeout=300) as answer:
        return sum(int(number) for *_, status, number in traffic.COUNT.findall(answer.read().decode()) if status == "409")


def test_an_operator_lifts_the_rule(world, tmp_path):
    here = world("local", arguments=["--allow-live-artifact-changes"])
    here.client.transition_model_version_stage("line", 1, "Production")
    (tmp_path / "MLmodel").write_text("something else")
    here.repository.log_artifact(str(tmp_path / "MLmodel"))
    assert here.file("MLmodel").read_text() == "something else"


@pytest.mark.parametrize("store", STORES)
def test_a_version_tells_its_digest(world, store):
    here = world(store)
    digest = wait_for_digest(here.client)
    assert digest.startswith("sha256:")
    assert len(digest) == len("sha256:") + 64
    listed = "".join(f"{stores.sha256(path)}  {name}\n" for name, path in sorted(version_files(here).items()))
    assert digest == "sha256:" + hashlib.sha256(listed.encode()).hexdigest(), listed


def version_files(here):
    """The files of the version by their paths in it."""
    marker = f"{here.logged}/artifacts/"
    return {key.split(marker)[1]: path for key, path in stores.visible(here.server.artifacts).items() if marker in key}


def wait_for_digest(client):
    """The tag comes in the background, as registering must not wait for the store."""
    deadline = time.monotonic() + DIGEST_DEADLINE
    while "greenroom.digest" not in (tags := client.get_model_version("line", 1).tags):
        assert time.monotonic() < deadline, tags
        time.sleep(0.1)
    return tags["greenroom.digest"]


DAMAGES = {"altered": lambda content: bytes(reversed(content)), "truncated": lambda content: content[:-1], "missing": lambda _: None}


@pytest.mark.parametrize("word", DAMAGES)
@pytest.mark.parametrize("store", STORES)
def test_verify_names_what_is_damaged(world, store, word):
    here = world(store)
    wait_for_digest(here.client)
    status, output = here.verify()
    assert status == 0, output
    here.change_in_secret("MLmodel", DAMAGES[word](here.file("MLmodel").read_bytes()))
    status, output = here.verify()
    assert status != 0
    assert word in output, output
    assert "MLmodel" in output, output
    assert "conda.yaml" not in output, output


@pytest.mark.parametrize("store", STORES)
def test_gc_spares_what_is_registered(world, store):
    here = world(store)
    client = here.client
    with mlflow.start_run(experiment_id=here.experiment) as other:
        client.log_text(other.info.run_id, "of no use", "junk.txt")
    for run in (other.info.run_id, here.run):
        client.delete_run(run)
    client.delete_logged_model(here.logged)
    dry = servers.maintain(here.server, "gc", "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    assert other.info.run_id in json.dumps(json.loads(dry.stdout))
    assert any(path.name == "junk.txt" for path in stores.visible(here.server.artifacts).values())
    done = servers.maintain(here.server, "gc")
    assert done.returncode == 0, done.stderr
    assert not any(path.name == "junk.txt" for path in stores.visible(here.server.artifacts).values())
    assert here.predict() == pytest.approx(6.0)
    with pytest.raises(mlflow.MlflowException, match="RESOURCE_DOES_NOT_EXIST"):
        MlflowClient().get_run(other.info.run_id)
