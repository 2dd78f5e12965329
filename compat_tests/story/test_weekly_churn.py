"""A churn model is retrained every Monday: trained, validated, promoted, served, rolled back. So it goes on every artifact store.

The client is the unmodified newest one. What the story promises serving code is watched all the while: never a moment with no
Production version, or with two.
"""

import http.client
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot
import mlflow
import pandas
import pytest
import servers
from mlflow import MlflowClient
from ports import free_port
from sklearn.datasets import make_classification
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import f1_score, roc_auc_score
from stores import STORES

DATASET = "customer_data_2024_Week_36.csv"
NOTE = "Slight feature drift observed, but performance improved."
SERVE_DEADLINE = 600


def pytest_generate_tests(metafunc):
    """Both databases with files in a folder, and one of them with each way to keep files in S3: two ways, if not every client is run."""
    options = metafunc.config
    databases = options.getoption("--databases").split(",")
    stores = [name for name in STORES if name in ("s3", "s3-root") or options.getoption("--clients") == "all"]
    if options.getoption("--server") == "genuine":
        stores = [name for name in stores if not STORES[name].ours_only]
    pairs = [(database, "local") for database in databases] + [(databases[0], name) for name in stores if name != "local"]
    metafunc.parametrize("setting", pairs, ids="-".join)


@pytest.fixture
def churn_server(start_on, server_kind, setting):
    """A server of the story's own."""
    database, store = setting
    return start_on(store, server_kind, database)


@pytest.fixture
def environment(churn_server, setting, client_environment, monkeypatch, request):
    """What makes a process the server's client, as which this process has it, too."""
    _, store = setting
    account = request.getfixturevalue("s3").environment if STORES[store].root else {}
    environment = client_environment(churn_server, **account)
    for name in set(environment) - {"HOME"}:
        monkeypatch.setenv(name, environment[name])
    mlflow.set_tracking_uri(churn_server.uri)
    yield environment
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def customers():
    values, churned = make_classification(n_samples=300, n_features=5, random_state=36)
    frame = pandas.DataFrame(values, columns=["age", "tenure", "calls", "bill", "plan"])
    frame["churned"] = churned
    return frame


def test_weekly_churn(churn_server, customers, environment, tmp_path):
    client = MlflowClient()
    experiment = mlflow.set_experiment("weekly-churn").experiment_id
    features = customers.drop(columns="churned")
    old = train(customers, "churn_model_week_35", depth=2)
    make_earlier_versions(client, old)
    client.transition_model_version_stage("churn", 41, "Production", archive_existing_versions=True)
    client.set_registered_model_alias("churn", "champion", 41)

    new = train(customers, "churn_model_week_36", depth=5)
    check_what_was_recorded(client, experiment, new, customers)
    validate(client, new, customers)

    client.transition_model_version_stage("churn", 42, "Staging")
    client.set_model_version_tag("churn", 42, "validation_status", "passed")
    assert production_versions(client) == [41]
    with Readers(churn_server.uri):
        promote(client, 42)
        assert stage_of(client, 41) == "Archived"
        client.set_registered_model_alias("churn", "champion", 42)
        check_resolves_to(client, 42, new["model"], features)

    check_serving(environment, new["model"], features, tmp_path)
    check_command_line(environment, experiment, new, tmp_path)

    check_greenroom_reads(environment, new)

    with Readers(churn_server.uri):
        promote(client, 41)
        client.set_registered_model_alias("churn", "champion", 41)
        assert stage_of(client, 42) == "Archived"
        check_resolves_to(client, 41, old["model"], features)
        for _ in range(10):  # Next weeks' promotions and rollbacks, for the readers to catch one half done.
            promote(client, 42)
            promote(client, 41)
        check_greenroom_promotes(environment, client)
    check_found_by_its_facts(client, experiment, new)


def train(customers, name, depth):
    """Trains, logs and registers one week's model as a data scientist does; returns what the later steps compare."""
    features, churned = customers.drop(columns="churned"), customers["churned"]
    with mlflow.start_run(run_name=name) as run:
        mlflow.log_params({"max_depth": depth, "learning_rate": 0.03})
        model = GradientBoostingClassifier(max_depth=depth, learning_rate=0.03, n_estimators=10, random_state=0)
        model.fit(features, churned)
        mlflow.log_metrics({"roc_auc": 0.87 if depth == 5 else 0.85, "f1": 0.78})
        mlflow.log_metrics(
            {
                "train_roc_auc": roc_auc_score(churned, model.predict_proba(features)[:, 1]),
                "train_f1": f1_score(churned, model.predict(features)),
            }
        )
        dataset = mlflow.data.from_pandas(customers, source=f"/data/{DATASET}", name=DATASET, targets="churned")
        mlflow.log_input(dataset, context="training")
        for plot in ("confusion_matrix", "shap"):
            figure, axes = matplotlib.pyplot.subplots()
            axes.bar(range(5), model.feature_importances_)
            mlflow.log_figure(figure, f"plots/{plot}.png")
            matplotlib.pyplot.close(figure)
        importance = {"feature": list(features.columns), "importance": list(model.feature_importances_)}
        mlflow.log_table(importance, "importance.json")
        mlflow.set_tags({"weekly_run": "36", "churn": "yes", "v42": "yes", "team": "growth"})
        mlflow.set_tags({"mlflow.source.git.commit": "c1a9f7b", "mlflow.note.content": NOTE})
        info = mlflow.sklearn.log_model(
            model,
            name="model",
            registered_model_name="churn",
            input_example=features.head(2),
            serialization_format="cloudpickle",
        )
    return {"run": run.info.run_id, "model": model, "model_id": info.model_id, "digest": dataset.digest}


def make_earlier_versions(client, old):
    """The registered version becomes 41: it is registered anew after thirty-nine more, and version 1 stays what it was."""
    run = client.get_run(old["run"])
    for number in range(2, 41):
        source = f"{run.info.artifact_uri}/model"
        made = client.create_model_version("churn", source, old["run"], tags={"week": str(number)})
        assert int(made.version) == number
    made = mlflow.register_model(f"models:/{old['model_id']}", "churn", tags={"week": "41"})
    assert int(made.version) == 41


def check_what_was_recorded(client, experiment, new, customers):
    version = client.get_model_version("churn", 42)
    assert (version.run_id, version.current_stage, version.status) == (new["run"], "None", "READY")
    assert version.source == f"models:/{new['model_id']}"
    run = client.get_run(version.run_id)
    assert run.info.run_name == "churn_model_week_36"
    assert run.info.experiment_id == experiment
    assert run.data.params == {"max_depth": "5", "learning_rate": "0.03"}
    assert (run.data.metrics["roc_auc"], run.data.metrics["f1"]) == (0.87, 0.78)
    tags = run.data.tags
    assert (tags["weekly_run"], tags["v42"], tags["team"]) == ("36", "yes", "growth")
    assert (tags["mlflow.source.git.commit"], tags["mlflow.note.content"]) == ("c1a9f7b", NOTE)
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == (DATASET, new["digest"])
    assert [one.model_id for one in run.outputs.model_outputs] == [new["model_id"]]
    assert {file.path for file in client.list_artifacts(run.info.run_id, "plots")} == {
        "plots/confusion_matrix.png",
        "plots/shap.png",
    }
    assert list(mlflow.load_table("importance.json", run_ids=[run.info.run_id])["feature"]) == list(customers.columns[:5])
    logged = client.get_logged_model(new["model_id"])
    assert (str(logged.status), logged.source_run_id) == ("READY", new["run"])
    assert {metric.key for metric in logged.metrics} >= {"roc_auc", "f1"}
    registered = json.loads(logged.tags["mlflow.modelVersions"])
    assert {(one["name"], int(one["version"])) for one in registered} == {("churn", 42)}


def validate(client, new, customers):
    """The candidate against Production: by their runs' metrics, and by running both."""
    (production,) = client.get_latest_versions("churn", ["Production"])
    assert int(production.version) == 41
    before, after = (client.get_run(run).data.metrics for run in (production.run_id, new["run"]))
    assert after["roc_auc"] > before["roc_auc"]
    features = customers.drop(columns="churned").tail(20)
    current = mlflow.pyfunc.load_model("models:/churn/Production").predict(features)
    candidate = mlflow.pyfunc.load_model("models:/churn/42").predict(features)
    assert len(current) == len(candidate) == 20


def promote(client, version):
    moved = client.transition_model_version_stage("churn", version, "Production", archive_existing_versions=True)
    assert (int(moved.version), moved.current_stage) == (version, "Production")
    assert production_versions(client) == [version]


def production_versions(client):
    versions = client.search_model_versions("name = 'churn'")
    assert len(versions) in (41, 42)
    return [int(version.version) for version in versions if version.current_stage == "Production"]


def stage_of(client, version):
    return client.get_model_version("churn", version).current_stage


def check_resolves_to(client, version, model, features):
    (latest,) = client.get_latest_versions("churn", ["Production"])
    assert int(latest.version) == version
    assert int(client.get_model_version_by_alias("churn", "champion").version) == version
    for uri in ("models:/churn/Production", "models:/churn@champion"):
        # A tree of another depth gives other probabilities, so this tells the versions apart.
        got = mlflow.sklearn.load_model(uri).predict_proba(features)
        assert (got == model.predict_proba(features)).all(), uri
    requirements = mlflow.artifacts.download_artifacts("models:/churn/Production/requirements.txt")
    assert "scikit-learn" in pathlib.Path(requirements).read_text()


def check_serving(environment, model, features, folder):
    """``mlflow models serve`` finds the champion and answers as the model itself does."""
    port = free_port()
    log = folder / "serve.log"
    command = [mlflow_program(), "models", "serve", "-m", "models:/churn@champion", "--env-manager", "local"]
    with open(log, "wb") as output:
        serving = subprocess.Popen(
            [sys.executable, *command, "-h", "127.0.0.1", "-p", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            # Serving runs uvicorn by its name.
            env={**environment, "PATH": f"{os.path.dirname(sys.executable)}:{environment['PATH']}"},
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + SERVE_DEADLINE
        while not answers(f"http://127.0.0.1:{port}/ping"):
            assert serving.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps({"dataframe_split": features.head(5).to_dict(orient="split")}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            predictions = json.load(answer)["predictions"]
        assert predictions == list(model.predict(features.head(5)))
    finally:
        os.killpg(serving.pid, 15)
        serving.wait(300)


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status == 200
    except OSError:
        return False


def mlflow_program():
    return os.path.join(os.path.dirname(sys.executable), "mlflow")


def check_command_line(environment, experiment, new, folder):
    def run(*arguments):
        command = [sys.executable, mlflow_program(), *arguments]
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "weekly-churn" in run("experiments", "search")
    assert json.loads(run("runs", "describe", "--run-id", new["run"]))["data"]["params"]["max_depth"] == "5"
    run("artifacts", "download", "--artifact-uri", "models:/churn@champion", "-d", str(folder / "model"))
    assert (folder / "model" / "MLmodel").exists()


def greenroom(environment, *arguments, status=0):
    """What a CI job's ``greenroom … --json`` prints; it works with any MLflow server."""
    command = [servers.binary(), *arguments, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == status, (arguments, done.returncode, done.stderr)
    return json.loads(done.stdout) if status == 0 and done.stdout else done.stderr


def check_greenroom_reads(environment, new):
    (listed,) = greenroom(environment, "models", "list")
    shown = greenroom(environment, "models", "show", "churn")
    assert listed["name"] == shown["name"] == "churn"
    assert {one["alias"]: one["version"] for one in shown["aliases"]} == {"champion": "42"}
    versions = greenroom(environment, "models", "versions", "churn")
    assert [int(one["version"]) for one in versions] == list(range(42, 0, -1))
    (production,) = greenroom(environment, "models", "versions", "churn", "--stage", "Production")
    assert production["version"] == "42"
    for uri in ("models:/churn/Production", "models:/churn@champion", "models:/churn/42", "models:/churn/latest"):
        assert greenroom(environment, "models", "resolve", uri)["version"] == "42", uri
    (run,) = greenroom(environment, "runs", "list", "--experiment", "weekly-churn", "--filter", "params.max_depth = '5'")
    assert run["info"]["run_id"] == new["run"]
    assert greenroom(environment, "runs", "show", new["run"])["info"]["run_name"] == "churn_model_week_36"
    greenroom(environment, "models", "show", "no-such-model", status=3)
    greenroom(environment, "models", "resolve", "models:/churn/Staging", status=3)
    greenroom(environment, "models", "transition", "churn", "42", "Live", status=4)
    greenroom(environment, "models", "transition", "churn", status=2)


def check_greenroom_promotes(environment, client):
    for version in (42, 41):
        moved = greenroom(environment, "models", "transition", "churn", str(version), "Production", "--archive-existing")
        assert (moved["version"], moved["current_stage"]) == (str(version), "Production")
        assert production_versions(client) == [version]
        greenroom(environment, "models", "alias", "set", "churn", "champion", str(version))
        assert int(client.get_model_version_by_alias("churn", "champion").version) == version
        assert greenroom(environment, "models", "resolve", "models:/churn@champion")["version"] == str(version)
    greenroom(environment, "models", "alias", "set", "churn", "spare", "40")
    greenroom(environment, "models", "alias", "delete", "churn", "spare")
    greenroom(environment, "models", "resolve", "models:/churn@spare", status=3)


def check_found_by_its_facts(client, experiment, new):
    def found(text):
        return {run.info.run_id for run in client.search_runs([experiment], text)}

    for text in (
        "metrics.roc_auc > 0.86",
        "params.max_depth = '5'",
        "run_name = 'churn_model_week_36'",
        f"run_id = '{new['run']}'",
    ):
        assert found(text) == {new["run"]}, text
    for text in (f"dataset.name = '{DATASET}'", "tags.`mlflow.source.git.commit` = 'c1a9f7b'", "tags.team = 'growth'"):
        assert new["run"] in found(text), text
    versions = client.search_model_versions(f"run_id = '{new['run']}'")
    assert [int(version.version) for version in versions] == [42]
    tagged = client.search_model_versions("name = 'churn' AND tags.validation_status = 'passed'")
    assert [int(version.version) for version in tagged] == [42]


class Readers:
    """Two readers that ask all the while which versions are in Production.

    At the end each must have been told of one version at a time, and of both over time."""

    def __init__(self, uri):
        self._address = urllib.parse.urlsplit(uri).netloc
        self._stop = threading.Event()
        self._seen = {"search": set(), "latest": set()}
        self._asked = dict.fromkeys(self._seen, 0)
        self._answered = {name: threading.Event() for name in self._seen}
        self._failures = []
        self._threads = [threading.Thread(target=self._read, args=(name,)) for name in self._seen]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        for answered in self._answered.values():  # what was there before
            assert answered.wait(300)
        return self

    def __exit__(self, error_type, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if error_type:
            return
        assert not self._failures
        for name, seen in self._seen.items():
            assert seen == {("41",), ("42",)}, (name, seen)
            assert self._asked[name] > 20, name

    def _read(self, name):
        search = "/api/2.0/mlflow/model-versions/search?" + urllib.parse.urlencode(
            {"filter": "name = 'churn'", "max_results": 1000}
        )
        latest = "/api/2.0/mlflow/registered-models/get-latest-versions"
        connection = http.client.HTTPConnection(self._address, timeout=300)
        try:
            last = False
            while not last:
                last = self._stop.wait(0.002)  # and once more: what is there after
                if name == "search":
                    connection.request("GET", search)
                else:
                    body = json.dumps({"name": "churn", "stages": ["Production"]})
                    connection.request("POST", latest, body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                versions = json.load(answer).get("model_versions", [])
                assert answer.status == 200, versions
                in_production = (v["version"] for v in versions if v["current_stage"] == "Production")
                self._seen[name].add(tuple(in_production))
                self._asked[name] += 1
                self._answered[name].set()
        except Exception as error:
            self._failures.append(f"{name}: {error!r}")
        finally:
            self._answered[name].set()
            connection.close()
