"""What the users of each client version read when the server refuses them."""

import json
import pathlib
import subprocess

import database
import people
import pytest
from mlflow import MlflowClient

MESSAGES = pathlib.Path(__file__).with_name("messages.py")
WHAT_TO_SET = "Set MLFLOW_TRACKING_TOKEN to a token, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"


_shown = {}


@pytest.fixture
def shown(guarded, admin, client_version, client_python, client_environment, tmp_path):
    """What the client raised, by situation; asked once of each version."""
    if (guarded.uri, client_version) not in _shown:
        environment, name = client_environment(guarded), f"messages-{client_version}"
        _shown[guarded.uri, client_version] = ask(guarded, admin, client_python, environment, tmp_path, name)
    return _shown[guarded.uri, client_version]


def ask(guarded, admin, client_python, environment, folder, name):
    admin.add(name)
    reader = admin.add(name + "-reader", "viewer")
    experiment = admin("POST", "2.0/mlflow/experiments/create", name=name)["experiment_id"]
    run = admin("POST", "2.0/mlflow/runs/create", experiment_id=experiment)["run"]["info"]["run_id"]
    admin("POST", "2.0/mlflow/registered-models/create", name=name)
    admin("POST", "2.0/mlflow/model-versions/create", name=name, source="s3://bucket/model")

    def token(title, **more):
        return {"MLFLOW_TRACKING_TOKEN": admin.token(reader.name, title, **more)[1]}

    revoked, ended = admin.token(reader.name, "old"), admin.token(reader.name, "ended")
    admin.revoke_token(revoked[0])
    database.shorten(guarded.backend_store_uri, ended[0], seconds=-60)
    nobody = people.User(name, "not the password")
    situations = {
        "no credential": [{}, "get_experiment", [experiment]],
        "wrong password": [nobody.environment, "get_experiment", [experiment]],
        "not a token": [{"MLFLOW_TRACKING_TOKEN": "greenroom_nonsense"}, "get_experiment", [experiment]],
        "revoked token": [{"MLFLOW_TRACKING_TOKEN": revoked[1]}, "get_experiment", [experiment]],
        "expired token": [{"MLFLOW_TRACKING_TOKEN": ended[1]}, "get_experiment", [experiment]],
        "no credential for an artifact": [{}, "list_artifacts", [run]],
        "reader logs": [reader.environment, "log_metric", [run, "loss", 0.5]],
        "reader deletes": [reader.environment, "delete_experiment", [experiment]],
        "reader creates": [reader.environment, "create_experiment", [name + "-2"]],
        "reader promotes": [token("ci"), "transition_model_version_stage", [name, "1", "Production"]],
        "reader uploads": [token("laptop"), "log_artifact", [run]],
        "reader reads": [token("fine"), "get_run", [run]],
    }
    file = folder / "shown.json"
    done = subprocess.run(
        [client_python, str(MESSAGES), str(file)],
        env=environment,
        input=json.dumps(situations),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return {**json.loads(file.read_text()), "name": name, "experiment": experiment}


@pytest.mark.parametrize(
    ("situation", "code", "says"),
    [
        ("no credential", "CUSTOMER_UNAUTHORIZED", "You are not logged in. " + WHAT_TO_SET),
        ("wrong password", "CUSTOMER_UNAUTHORIZED", "User name or password is wrong. " + WHAT_TO_SET),
        ("not a token", "CUSTOMER_UNAUTHORIZED", "The token is not valid. Set MLFLOW_TRACKING_TOKEN to a valid one."),
        ("revoked token", "CUSTOMER_UNAUTHORIZED", "The token 'old' was revoked. Get a new one"),
        ("expired token", "CUSTOMER_UNAUTHORIZED", "The token 'ended' expired at 20"),
        ("no credential for an artifact", "CUSTOMER_UNAUTHORIZED", "You are not logged in. " + WHAT_TO_SET),
        ("reader logs", "PERMISSION_DENIED", "User '{name}-reader' needs EDIT on experiment {experiment} (has READ)."),
        ("reader deletes", "PERMISSION_DENIED", "User '{name}-reader' needs MANAGE on experiment {experiment} (has READ)."),
        ("reader creates", "PERMISSION_DENIED", "User '{name}-reader' needs USE on the server"),
        ("reader promotes", "PERMISSION_DENIED", "User '{name}-reader' needs EDIT on registered model '{name}' (has READ)."),
    ],
)
def test_a_refusal_says_what_to_do(shown, situation, code, says):
    answer = shown[situation]
    assert answer is not None, "the call went through"
    assert (answer["type"], answer["code"]) == ("RestException", code), answer
    assert answer["message"].startswith(f"{code}: {says.format(**shown)}"), answer["message"]


def test_a_refused_upload_says_what_to_do(shown):
    answer = shown["reader uploads"]
    assert answer["type"] == "HTTPError", answer
    assert "403 Client Error" in answer["message"]
    assert "User '{name}-reader' needs EDIT on experiment {experiment} (has READ).".format(**shown) in answer["message"]


def test_a_reader_reads(shown):
    assert shown["reader reads"] is None


def test_a_client_waits_and_tries_again_after_too_many_wrong_passwords(guarded, admin, unique, monkeypatch):
    user = admin.add(unique, "viewer")
    path, wrong = "/api/2.0/mlflow/users/current", people.basic(unique, "not the password")
    answers = [people.send(guarded.uri, "GET", path, headers=wrong) for _ in range(5)]
    assert [one.status for one in answers] == [401] * 5
    while (limited := people.send(guarded.uri, "GET", path, headers=wrong)).status == 401:
        answers.append(limited)  # the last second was over before
    assert (limited.status, limited.code) == (429, "REQUEST_LIMIT_EXCEEDED")
    assert 1 <= int(limited.headers["Retry-After"]) <= 2 ** (len(answers) - 4)
    for name, value in user.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    assert MlflowClient(guarded.uri).get_experiment("0").name == "Default"
