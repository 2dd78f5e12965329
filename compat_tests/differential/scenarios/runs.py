"""Runs: create, read, update, delete, restore, tags, and what is refused."""

from catalogue import experiment, run, scenario, tags
from conversation import Ours
from known_differences import crashes, dropped, refused


@scenario
def run_lives(c):
    experiment(c, "<u>")
    run(c, user_id="bob", tags=tags(mlflow__user="bob", t="1"))
    c.get("runs/get", {"run_id": "<run>"})
    c.post("runs/update", {"run_id": "<run>", "status": "FINISHED", "end_time": 1700000009999})
    c.get("runs/get", {"run_id": "<run>"})
    c.post("runs/update", {"run_id": "<run>", "status": "RUNNING"})
    c.post("runs/update", {"run_id": "<run>", "run_name": "renamed"})
    c.get("runs/get", {"run_id": "<run>"})
    c.post("runs/update", {"run_id": "<run>"})
    c.post("runs/update", {"run_id": "<run>", "status": 4, "end_time": "1700000010000"})
    c.post("runs/delete", {"run_id": "<run>"})
    c.get("runs/get", {"run_id": "<run>"})
    c.post("runs/delete", {"run_id": "<run>"})
    c.post("runs/update", {"run_id": "<run>", "status": "KILLED"})
    c.post("runs/restore", {"run_id": "<run>"})
    c.post("runs/restore", {"run_id": "<run>"})
    c.get("runs/get", {"run_id": "<run>"})


@scenario
def run_create(c):
    experiment(c, "<u>")
    c.post("runs/create", {"experiment_id": "<exp>"}, keep={"bare": "run.info.run_id"})
    c.get("runs/get", {"run_id": "<bare>"})
    run(c, "named", tags=tags(mlflow__runName="named"))
    run(c, "by_tag", run_name="", tags=tags(mlflow__runName="from the tag"))
    run(c, "ints", start_time="1700000000123")
    run(c, "unicode", run_name="läuft 日本", tags=tags(ü="ß"))
    c.post("runs/create", {"experimentId": "<exp>", "runName": "camel", "startTime": 5, "userId": "u"})
    for body in (
        {"run_name": "a", "tags": tags(mlflow__runName="b")},
        {"start_time": "abc"},
        {"run_name": 5},
        {"experiment_id": "999999"},
        {"experiment_id": "abc"},
        {"experiment_id": 0},
    ):
        c.post("runs/create", {"experiment_id": "<exp>", **body})
    c.post("runs/create", {"experiment_id": "<exp>", "tags": [{"key": "a$", "value": "1"}]})
    c.post("runs/create", {"experiment_id": "<exp>", "start_time": [1]}, **crashes("start_time"))
    c.post("runs/create", {"experiment_id": "<exp>", "user_id": 5}, **dropped("user_id"))
    c.post("runs/create", {"experiment_id": "<exp>", "tags": {"a": 1}}, **dropped("tags"))
    c.post("runs/create", {"experiment_id": "<exp>", "tags": [{"value": "1"}]}, **dropped("tags[0].key"))
    c.post("runs/create", {"experiment_id": "<exp>", "tags": [{"key": "k" * 251, "value": "1"}]}, **refused("over-long-names", "250", genuine=(200, 400)))
    c.post("runs/create", {"experiment_id": "<exp>", "run_name": "n" * 251}, **refused("over-long-names", "250", genuine=(200, 400)))
    c.post("runs/create", {"experiment_id": "<exp>", "tags": [{"key": "k", "value": "1"}, {"key": "k", "value": "2"}]}, **refused("sql-text-in-errors", "['k']", genuine=400))


@scenario
def run_read_refused(c):
    for path in ("runs/get", "artifacts/list"):
        c.get(path, {"run_id": "f" * 32})
        c.get(path, {"run_id": "$$"})
        c.get(path, {"run_id": ""})
        c.get(path)
        c.get(path, {"runId": "f" * 32})
    for path in ("runs/delete", "runs/restore", "runs/update"):
        c.post(path, {"run_id": "f" * 32})
        c.post(path, {"run_id": ""})
        c.post(path, {})
        c.post(path, {"run_id": 5})


@scenario
def run_update_refused(c):
    experiment(c, "<u>")
    run(c)
    c.post("runs/update", {"run_id": "<run>", "end_time": "soon"})
    c.post("runs/update", {"run_id": "<run>", "end_time": 1.5}, **dropped("end_time"))
    c.post("runs/update", {"run_id": "<run>", "run_name": 7})
    c.post("runs/update", {"run_id": "<run>", "run_name": ""})
    c.post("runs/update", {"run_id": "<run>", "run_name": " "})
    c.post("runs/update", {"run_id": "<run>", "status": "FOO"}, **refused("unknown-enum-name", "FOO"))
    c.get("runs/get", {"run_id": "<run>"})


@scenario
def run_by_its_old_name(c):
    """run_uuid is what 1.x clients send; they send run_id as well."""
    experiment(c, "<u>")
    run(c)
    both = {"run_id": "<run>", "run_uuid": "<run>"}
    old = {"run_uuid": "<run>"}
    c.get("runs/get", both)
    c.get("runs/get", old)
    c.post("runs/log-metric", {**old, "key": "m", "value": 1, "timestamp": 1})
    c.post("runs/log-parameter", {**old, "key": "p", "value": "1"})
    c.post("runs/set-tag", {**old, "key": "t", "value": "1"})
    c.post("runs/set-tag", {**both, "key": "t", "value": "2"})
    c.post("runs/update", {**old, "status": "FINISHED", "end_time": 1700000000001})
    c.get("artifacts/list", old)
    c.get("metrics/get-history", {**old, "metric_key": "m"})
    c.get("runs/get", {"run_id": "<run>"})
    c.post("runs/log-batch", old)
    two = refused("two-runs-named", "different values")
    c.get("runs/get", {"run_id": "<run>", "run_uuid": "other"}, **two)
    c.post("runs/set-tag", {"run_id": "<run>", "run_uuid": "other", "key": "t", "value": "3"}, **two)
    either = {"differs": "run-uuid-everywhere", "genuine": 404, "ours": Ours(200, body={})}
    c.post("runs/delete", old, **either)
    c.post("runs/restore", old, **either)
    c.post("runs/delete-tag", {**old, "key": "t"}, **either)


@scenario
def run_tags(c):
    experiment(c, "<u>")
    run(c)
    c.post("runs/set-tag", {"run_id": "<run>", "key": "a", "value": "1"})
    c.post("runs/set-tag", {"run_id": "<run>", "key": "a", "value": "2"})
    c.post("runs/set-tag", {"run_id": "<run>", "key": "no value"})
    c.post("runs/set-tag", {"run_id": "<run>", "key": "empty", "value": ""})
    c.post("runs/set-tag", {"run_id": "<run>", "key": "ünï/a:b-c_d.e", "value": "日本\n\"quoted\" \U0001f600"})
    c.post("runs/set-tag", {"run_id": "<run>", "key": "mlflow.runName", "value": "renamed by tag"})
    c.post("runs/set-tag", {"run_id": "<run>", "key": "mlflow.note.content", "value": "note"})
    c.get("runs/get", {"run_id": "<run>"})
    c.post("runs/set-tag", {"run_id": "<run>", "key": "long", "value": "x" * 8001})
    c.get("runs/get", {"run_id": "<run>"})
    for body in (
        {"key": "a$b", "value": "1"},
        {"key": "a//b", "value": "1"},
        {"key": "./a", "value": "1"},
        {"key": "..", "value": "1"},
        {"key": "a/../b", "value": "1"},
        {"key": "a/", "value": "1"},
        {"key": "k" * 251, "value": "1"},
        {"key": "", "value": "1"},
        {"value": "1"},
        {"key": 1, "value": "1"},
        {"key": "a", "value": 1},
        {"key": "a", "value": {"b": 1}},
        {"key": "a", "value": "1", "run_id": "f" * 32},
    ):
        c.post("runs/set-tag", {"run_id": "<run>", **body})
    c.post("runs/set-tag", {"run_id": "<run>", "key": "k" * 250, "value": "1"})
    c.post("runs/delete-tag", {"run_id": "<run>", "key": "a"})
    c.post("runs/delete-tag", {"run_id": "<run>", "key": "a"})
    c.post("runs/delete-tag", {"run_id": "<run>"})
    c.post("runs/delete-tag", {"key": "a"})
    c.post("runs/delete-tag", {"run_id": "f" * 32, "key": "a"})
    c.get("runs/get", {"run_id": "<run>"})


@scenario
def run_params(c):
    experiment(c, "<u>")
    run(c)
    c.post("runs/log-parameter", {"run_id": "<run>", "key": "lr", "value": "0.1"})
    c.post("runs/log-parameter", {"run_id": "<run>", "key": "lr", "value": "0.1"})
    c.post("runs/log-parameter", {"run_id": "<run>", "key": "lr", "value": "0.2"})
    c.post("runs/log-parameter", {"run_id": "<run>", "key": "empty", "value": ""})
    c.post("runs/log-parameter", {"run_id": "<run>", "key": "none"})
    c.post("runs/log-parameter", {"run_id": "<run>", "key": "long", "value": "x" * 6001})
    c.post("runs/log-parameter", {"run_id": "<run>", "key": "long", "value": "x" * 6000})
    c.post("runs/log-parameter", {"run_id": "<run>", "key": "long", "value": "x" * 5999})
    c.post("runs/log-parameter", {"run_id": "<run>", "key": "quote's", "value": "1"})
    c.post("runs/log-parameter", {"run_id": "<run>", "key": "q", "value": "it's"})
    c.post("runs/log-parameter", {"run_id": "<run>", "key": "q", "value": "its"})
    for body in (
        {"key": "a$b", "value": "1"},
        {"key": "a//b", "value": "1"},
        {"key": "k" * 251, "value": "1"},
        {"key": "", "value": "1"},
        {"value": "1"},
        {"key": "a", "value": 1},
        {"key": "a", "value": True},
        {"key": "a", "value": "1", "run_id": "f" * 32},
        {"key": "a", "value": "1", "run_id": ""},
    ):
        c.post("runs/log-parameter", {"run_id": "<run>", **body})
    c.get("runs/get", {"run_id": "<run>"})


@scenario
def run_deleted_refuses_writes(c):
    experiment(c, "<u>")
    run(c, tags=tags(a="1"))
    c.post("runs/delete", {"run_id": "<run>"})
    c.post("runs/log-metric", {"run_id": "<run>", "key": "m", "value": 1, "timestamp": 1})
    c.post("runs/log-parameter", {"run_id": "<run>", "key": "p", "value": "1"})
    c.post("runs/set-tag", {"run_id": "<run>", "key": "a", "value": "2"})
    c.post("runs/delete-tag", {"run_id": "<run>", "key": "a"})
    c.post("runs/log-batch", {"run_id": "<run>", "tags": tags(a="2")})
    c.post("runs/log-batch", {"run_id": "<run>"})
    c.post("runs/update", {"run_id": "<run>", "run_name": "x"})
    c.post("runs/log-inputs", {"run_id": "<run>", "datasets": [{"dataset": {"name": "d", "digest": "1", "source_type": "s", "source": "s"}}]})
    c.post("runs/outputs", {"run_id": "<run>", "models": [{"model_id": "m-" + "0" * 32, "step": 0}]})
    c.post("runs/log-model", {"run_id": "<run>", "model_json": '{"artifact_path":"m","flavors":{},"utc_time_created":"x","run_id":"<run>"}'})
    c.get("artifacts/list", {"run_id": "<run>"})
    c.get("runs/get", {"run_id": "<run>"})


@scenario
def run_log_model(c):
    experiment(c, "<u>")
    run(c)
    good = '{"artifact_path": "%s", "flavors": {"python_function": {}}, "utc_time_created": "2020-01-01 00:00:00.000000", "run_id": "<run>"}'
    c.post("runs/log-model", {"run_id": "<run>", "model_json": good % "model"})
    c.get("runs/get", {"run_id": "<run>"})
    c.post("runs/log-model", {"run_id": "<run>", "model_json": good % "second"})
    c.get("runs/get", {"run_id": "<run>"})
    c.post("runs/log-model", {"run_id": "<run>", "model_json": "not json"})
    c.post("runs/log-model", {"run_id": "<run>", "model_json": "{}"})
    c.post("runs/log-model", {"run_id": "<run>", "model_json": '{"artifact_path": "m"}'})
    c.post("runs/log-model", {"run_id": "<run>", "model_json": "[]"}, **crashes("Malformed model info"))
    c.post("runs/log-model", {"run_id": "<run>", "model_json": '"text"'}, **crashes("Malformed model info"))
    c.post("runs/log-model", {"run_id": "<run>", "model_json": {"artifact_path": "m"}})
    c.post("runs/log-model", {"run_id": "<run>"})
    c.post("runs/log-model", {"model_json": "{}"})
    c.post("runs/log-model", {"run_id": "f" * 32, "model_json": good % "m"})
