"""Clients that reach the bucket themselves, with an account of their own; the server lists and shows what lies there."""

import urllib.error
import urllib.parse
import urllib.request

import boto3
import mlflow
import pytest
import stores
from mlflow import MlflowClient
from mlflow.store.artifact import s3_artifact_repo
from sklearn.linear_model import LinearRegression


@pytest.fixture
def client(start_on, s3, as_client):
    server = start_on("s3-root")
    client = as_client(server, **s3.environment)
    client.server = server
    return client


def test_files_go_past_the_server(client, tmp_path):
    run = client.create_run(client.create_experiment("direct"))
    assert run.info.artifact_uri.startswith("s3://")
    (tmp_path / "a.txt").write_text("hello")
    client.log_artifact(run.info.run_id, str(tmp_path / "a.txt"), "docs")
    client.log_dict(run.info.run_id, {"a": 1}, "a.json")
    assert sorted(file.path for file in client.list_artifacts(run.info.run_id)) == ["a.json", "docs"]
    assert [(file.path, file.file_size) for file in client.list_artifacts(run.info.run_id, "docs")] == [("docs/a.txt", 5)]
    fetched = client.download_artifacts(run.info.run_id, "docs/a.txt", str(tmp_path))
    with open(fetched) as file:
        assert file.read() == "hello"
    assert len(stores.visible(client.server.artifacts)) == 2


def test_the_server_shows_them(client):
    run = client.create_run(client.create_experiment("direct"))
    client.log_text(run.info.run_id, "hello", "docs/a.txt")
    query = urllib.parse.urlencode({"run_id": run.info.run_id, "path": "docs/a.txt"})
    with urllib.request.urlopen(f"{client.server.uri}/get-artifact?{query}", timeout=300) as answer:
        assert answer.read() == b"hello"
        assert answer.headers["Content-Disposition"].startswith("attachment")
    query = urllib.parse.urlencode({"run_id": run.info.run_id, "path": "nope"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{client.server.uri}/get-artifact?{query}", timeout=300)
    assert refused.value.code == 404


def test_a_model_is_registered_and_loaded(client):
    experiment = client.create_experiment("direct")
    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
    with mlflow.start_run(experiment_id=experiment):
        mlflow.sklearn.log_model(model, name="model", registered_model_name="line")
    assert client.get_model_version_download_uri("line", "1").startswith("s3://")
    for uri in ("models:/line/1", "models:/line/latest"):
        assert mlflow.sklearn.load_model(uri).predict([[3.0]])[0] == pytest.approx(6.0)


def test_a_client_without_an_account_is_refused_by_the_bucket(client, monkeypatch, tmp_path):
    """The server gives nobody its own account."""
    run = client.create_run(client.create_experiment("direct"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a wrong one")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # It and the client that is made with it remember the right one.
    monkeypatch.setattr(s3_artifact_repo, "_cached_get_s3_client", s3_artifact_repo._cached_get_s3_client.__wrapped__)
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(Exception, match="SignatureDoesNotMatch"):
        MlflowClient().log_artifact(run.info.run_id, str(tmp_path / "a.txt"))
    assert stores.visible(client.server.artifacts) == {}
