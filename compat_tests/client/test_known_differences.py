"""Where the clients' user sees something else than with genuine MLflow, on purpose. Each case tells both answers."""

import urllib.error
import urllib.request

import pytest
from mlflow import MlflowClient


@pytest.fixture
def client(server, client_environment, monkeypatch):
    environment = client_environment(server)
    for name in environment:
        if name.startswith("MLFLOW_"):
            monkeypatch.setenv(name, environment[name])
    return MlflowClient(server.uri)


def test_a_repeated_creation_gives_the_version_already_made(client, server_kind, unique):
    """Clients repeat a POST whose answer was lost; genuine MLflow then makes a second version."""
    client.create_registered_model(unique)
    source = f"s3://models/{unique}"
    made = [int(client.create_model_version(unique, source, tags={"week": "36"}).version) for _ in range(2)]
    assert made == {"ours": [1, 1], "genuine": [1, 2]}[server_kind]
    other = client.create_model_version(unique, source, tags={"week": "37"})
    assert int(other.version) == made[-1] + 1


@pytest.mark.parametrize("path", ["experiments/list?max_results=1", "registered-models/list?max_results=1"])
def test_calls_that_mlflow_3_dropped_are_served(server, server_kind, path):
    assert status(server, f"/api/2.0/mlflow/{path}") == {"ours": 200, "genuine": 404}[server_kind]


def test_the_preview_paths_are_served(server, server_kind):
    path = "/api/2.0/preview/mlflow/registered-models/search?max_results=1"
    assert status(server, path) == {"ours": 200, "genuine": 404}[server_kind]


def status(server, path):
    try:
        with urllib.request.urlopen(server.uri + path, timeout=300) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
