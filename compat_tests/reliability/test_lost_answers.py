"""The network loses answers, the unmodified client retries blindly: every write is there, and none is there twice.

Ours only: genuine MLflow makes a second version and refuses the second runs/outputs."""

import collections
import pathlib
import urllib.parse

import pytest
from calls import Caller
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, LoggedModelInput, LoggedModelOutput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from proxy import LossyProxy

STEPS = 20


@pytest.fixture
def retrying(monkeypatch):
    """The client of this process retries as it does by default, only without waiting."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "7")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")


@pytest.fixture
def proxy_to(retrying):
    """``proxy_to(server, seed)`` makes a proxy before the server."""

    def make(server, seed):
        address = urllib.parse.urlsplit(server.uri)
        return LossyProxy((address.hostname, address.port), seed)

    return make


@pytest.fixture
def ours(shared_servers, database):
    return shared_servers("ours", database)


@pytest.mark.parametrize("seed", [1, 2])
def test_what_runs_log_is_there_once(ours, proxy_to, unique, seed):
    direct, call = MlflowClient(ours.uri), Caller(ours.uri)
    experiment = direct.create_experiment(unique)
    run = direct.create_run(experiment).info.run_id
    models = [direct.create_logged_model(experiment, name=f"m{i}").model_id for i in range(STEPS)]
    with proxy_to(ours, seed) as proxy:
        client = MlflowClient(proxy.uri)
        for i, model in enumerate(models):
            client.log_metric(run, "one", float(i), step=i, timestamp=i + 1)
            client.log_param(run, f"one{i}", i)
            client.set_tag(run, f"one{i}", i)
            client.log_batch(
                run,
                [Metric("batch", float(i), i + 1, i), Metric("batch", -float(i), i + 1, i)],
                [Param(f"batch{i}", str(i))],
                [RunTag(f"batch{i}", str(i))],
            )
            client.log_inputs(run, [DatasetInput(Dataset("data", f"{i}", "local", "s"))], [LoggedModelInput(model)])
            client.log_outputs(run, [LoggedModelOutput(model, i)])
            client.finalize_logged_model(model, "READY")
            client.set_logged_model_tags(model, {"team": "growth"})
        assert proxy.lost >= STEPS
    stored = call.must("GET", "runs/get", run_id=run)["run"]
    data, steps = stored["data"], range(STEPS)
    params = collections.Counter((one["key"], one["value"]) for one in data["params"])
    assert params == {(f"{kind}{i}", str(i)): 1 for kind in ("one", "batch") for i in steps}
    tags = collections.Counter((t["key"], t["value"]) for t in data["tags"] if not t["key"].startswith("mlflow."))
    assert tags == params
    assert sorted(one["key"] for one in data["metrics"]) == ["batch", "one"]
    assert history(call, run, "one") == {(i, i + 1, float(i)): 1 for i in steps}
    batch = [(i, i + 1, value) for i in steps for value in {float(i), -float(i)}]
    assert history(call, run, "batch") == dict.fromkeys(batch, 1)
    inputs, outputs = stored["inputs"], stored["outputs"]["model_outputs"]
    assert sorted(int(one["dataset"]["digest"]) for one in inputs["dataset_inputs"]) == list(steps)
    assert sorted(one["model_id"] for one in inputs["model_inputs"]) == sorted(models)
    assert sorted((int(one["step"]), one["model_id"]) for one in outputs) == list(enumerate(models))
    for model in models:
        kept = direct.get_logged_model(model)
        assert (str(kept.status), kept.tags["team"]) == ("READY", "growth")


@pytest.mark.parametrize("seed", [3, 4])
def test_versions_are_there_once(ours, proxy_to, unique, seed):
    direct, call = MlflowClient(ours.uri), Caller(ours.uri)
    direct.create_registered_model(unique)
    with proxy_to(ours, seed) as proxy:
        client = MlflowClient(proxy.uri)
        for i in range(1, STEPS + 1):
            source, description = f"s3://bucket/{i}", f"week {i}"
            made = client.create_model_version(unique, source, tags={"week": str(i)}, description=description)
            assert int(made.version) == i
            client.set_model_version_tag(unique, i, "validation_status", "passed")
            client.set_registered_model_alias(unique, "champion", i)
            client.transition_model_version_stage(unique, i, "Production", archive_existing_versions=True)
        assert proxy.lost >= STEPS / 2
    versions = sorted(call.versions(unique), key=lambda one: int(one["version"]))
    assert [int(one["version"]) for one in versions] == list(range(1, STEPS + 1))
    for i, version in enumerate(versions, 1):
        assert (version["source"], version["description"]) == (f"s3://bucket/{i}", f"week {i}")
        tags = {one["key"]: one["value"] for one in version["tags"]}
        assert tags == {"week": str(i), "validation_status": "passed"}
        assert version["current_stage"] == ("Production" if i == STEPS else "Archived")
    assert int(direct.get_model_version_by_alias(unique, "champion").version) == STEPS


@pytest.mark.parametrize("seed", [5])
def test_files_are_there_whole(ours, proxy_to, unique, seed, tmp_path):
    experiment = MlflowClient(ours.uri).create_experiment(unique)
    run = MlflowClient(ours.uri).create_run(experiment).info.run_id
    file = tmp_path / "weights"
    with proxy_to(ours, seed) as proxy:
        client = MlflowClient(proxy.uri)
        for i in range(STEPS):
            file.write_bytes(b"%d " % i * 30_000)
            client.log_artifact(run, str(file), f"epoch{i}")
        assert proxy.lost >= STEPS / 4
        folder = pathlib.Path(client.download_artifacts(run, "", str(tmp_path)))
    for i in range(STEPS):
        assert (folder / f"epoch{i}" / "weights").read_bytes() == b"%d " % i * 30_000


@pytest.mark.parametrize("seed", [6])
def test_names_are_given_once(ours, proxy_to, unique, seed):
    """The client that lost the answer hears that the name is taken, as from MLflow, and the name is there."""
    direct, taken = MlflowClient(ours.uri), 0
    with proxy_to(ours, seed) as proxy:
        client = MlflowClient(proxy.uri)
        for i in range(STEPS):
            name = f"{unique}-{i}"
            for create in (client.create_experiment, client.create_registered_model):
                before = proxy.lost
                try:
                    create(name)
                    assert proxy.lost == before
                except MlflowException as error:
                    assert error.error_code == "RESOURCE_ALREADY_EXISTS", error
                    assert proxy.lost > before, error
                    taken += 1
    assert taken >= STEPS / 2
    assert len(direct.search_experiments(filter_string=f"name LIKE '{unique}-%'")) == STEPS
    assert len(direct.search_registered_models(f"name LIKE '{unique}-%'")) == STEPS


def history(call, run, key):
    """How often each row (step, timestamp, value) of a metric is there."""
    rows = call.must("GET", "metrics/get-history", run_id=run, metric_key=key)["metrics"]
    return collections.Counter((int(one["step"]), int(one["timestamp"]), float(one["value"])) for one in rows)
