"""A tour of what an MLflow client does, run by the interpreter of the client's own environment.

``python tour.py PREFIX`` runs every step against MLFLOW_TRACKING_URI and writes one JSON line per step:
``{"step": …, "outcome": "passed" | "failed" | "absent", "detail": …}``. Names it makes begin with PREFIX.

A step is absent only where its row says so, and then the API it names must really be missing from that client.
Runs on Python 3.8 and imports mlflow only inside the steps: the tests import this module for its list of steps.
"""

import collections
import functools
import importlib
import json
import math
import os
import sys
import tempfile
import time
import traceback

Step = collections.namedtuple("Step", "name run api since until")

STEPS = []

FOREVER = (99,)


def step(api, since=(1,), until=FOREVER):
    """Adds a step for clients in [since, until); api is the dotted name that those clients have and others don't."""

    def add(function):
        STEPS.append(Step(function.__name__, function, api, since, until))
        return function

    return add


def present(one, version):
    """Whether the step belongs to the client version, e.g. "2.9.2"."""
    return one.since <= tuple(int(part) for part in version.split(".")) < one.until


def has(api):
    """Whether this client has the dotted name."""
    parts = api.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            target = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        try:
            functools.reduce(getattr, parts[cut:], target)
            return True
        except AttributeError:
            return False
    return False


class Tour:
    """What steps share: the client, the model classes, names, and assertions that say what was seen."""

    def __init__(self, prefix):
        import mlflow
        from mlflow.tracking import MlflowClient

        self.prefix = prefix
        self.step = ""
        self.version = tuple(int(part) for part in mlflow.__version__.split("."))
        self.client = MlflowClient()
        self.folder = tempfile.mkdtemp(prefix="tour-")

    def name(self, what):
        return "{}-{}-{}".format(self.prefix, self.step, what)

    def experiment(self, what="exp"):
        return self.client.create_experiment(self.name(what))

    def run(self):
        """A run of a new experiment."""
        return self.client.create_run(self.experiment())

    def file(self, name, content):
        path = os.path.join(self.folder, self.step, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(content)
        return path

    def refuses(self, code, call, *arguments, **named):
        from mlflow.exceptions import MlflowException

        try:
            result = call(*arguments, **named)
        except MlflowException as error:
            equal(error.error_code, code, str(error))
            return str(error)
        raise AssertionError("expected {}, got {!r}".format(code, result))


def equal(got, want, context=""):
    if got != want:
        raise AssertionError("got {!r}, want {!r} {}".format(got, want, context).strip())


def true(condition, context):
    if not condition:
        raise AssertionError(context)


# Experiments


@step("mlflow.tracking.MlflowClient.create_experiment")
def experiment_life(t):
    name, renamed = t.name("a"), t.name("b")
    before = int(time.time() * 1000)
    id = t.client.create_experiment(name, tags={"team": "growth"})
    got = t.client.get_experiment(id)
    equal((got.experiment_id, got.name, got.lifecycle_stage, got.tags), (id, name, "active", {"team": "growth"}))
    equal(got.artifact_location, "mlflow-artifacts:/" + id)
    if t.version >= (1, 29):
        true(before - 1000 <= got.creation_time <= got.last_update_time, (before, got.creation_time))
    equal(t.client.get_experiment_by_name(name).experiment_id, id)
    t.client.rename_experiment(id, renamed)
    equal(t.client.get_experiment_by_name(name), None)
    equal(t.client.get_experiment(id).name, renamed)
    t.client.set_experiment_tag(id, "team", "core")
    t.client.set_experiment_tag(id, "ünï", "wörld 🌍")
    equal(t.client.get_experiment(id).tags, {"team": "core", "ünï": "wörld 🌍"})
    t.client.delete_experiment(id)
    equal(t.client.get_experiment(id).lifecycle_stage, "deleted")
    equal(t.client.get_experiment_by_name(renamed).lifecycle_stage, "deleted")
    t.client.restore_experiment(id)
    equal(t.client.get_experiment(id).lifecycle_stage, "active")


@step("mlflow.tracking.MlflowClient.create_experiment")
def experiment_errors(t):
    id = t.experiment()
    t.refuses("RESOURCE_ALREADY_EXISTS", t.client.create_experiment, t.name("exp"))
    t.refuses("RESOURCE_DOES_NOT_EXIST", t.client.get_experiment, "987654321")
    t.refuses("RESOURCE_DOES_NOT_EXIST", t.client.delete_experiment, "987654321")
    t.client.delete_experiment(id)
    t.refuses("INVALID_PARAMETER_VALUE", t.client.create_run, id)


@step("mlflow.tracking.MlflowClient.create_experiment")
def default_experiment(t):
    got = t.client.get_experiment("0")
    equal((got.name, got.lifecycle_stage), ("Default", "active"))


@step("mlflow.tracking.MlflowClient.search_experiments")
def experiment_search(t):
    from mlflow.entities import ViewType

    names = [t.name(str(i)) for i in range(5)]
    ids = {name: t.client.create_experiment(name, tags={"parity": "eo"[i % 2]}) for i, name in enumerate(names)}
    like = "name LIKE '{}%'".format(t.name(""))

    def found(**named):
        return [e.name for e in t.client.search_experiments(**named)]

    equal(found(filter_string=like, order_by=["name ASC"]), names)
    equal(found(filter_string=like, order_by=["name DESC"]), names[::-1])
    equal(found(filter_string=like), names[::-1])
    equal(found(filter_string=like + " AND tags.parity = 'e'", order_by=["name"]), names[::2])
    equal(found(filter_string="name ILIKE '{}%'".format(t.name("").upper()), order_by=["name"]), names)
    equal(found(filter_string="name = '{}'".format(names[3])), [names[3]])
    t.client.delete_experiment(ids[names[0]])
    equal(found(filter_string=like, order_by=["name"]), names[1:])
    equal(found(filter_string=like, view_type=ViewType.DELETED_ONLY), names[:1])
    equal(found(filter_string=like, view_type=ViewType.ALL, order_by=["name"]), names)
    paged, token = [], None
    while True:
        page = t.client.search_experiments(filter_string=like, order_by=["name"], max_results=3, page_token=token)
        paged += [[e.name for e in page]]
        token = page.token
        if not token:
            break
    equal(paged, [names[1:4], names[4:]])
    t.refuses("INVALID_PARAMETER_VALUE", t.client.search_experiments, filter_string="nme = 'x'")


@step("mlflow.tracking.MlflowClient.list_experiments", until=(2,))
def experiment_list(t):
    names = {t.name("a"), t.name("b")}
    for name in names:
        t.client.create_experiment(name)
    seen, token = [], None
    while True:
        page = t.client.list_experiments(max_results=2, page_token=token)
        seen += [e.name for e in page]
        token = page.token
        if not token:
            break
    true(names <= set(seen), seen)
    equal(len(seen), len(set(seen)))


@step("mlflow.tracking.MlflowClient.delete_experiment_tag", since=(3, 1))
def experiment_tag_deleted(t):
    id = t.client.create_experiment(t.name("a"), tags={"k": "v"})
    t.client.delete_experiment_tag(id, "k")
    equal(t.client.get_experiment(id).tags, {})
    t.refuses("RESOURCE_DOES_NOT_EXIST", t.client.delete_experiment_tag, id, "k")


# Runs


@step("mlflow.start_run")
def fluent_run(t):
    import mlflow

    experiment = mlflow.set_experiment(t.name("exp"))
    equal(mlflow.set_experiment(t.name("exp")).experiment_id, experiment.experiment_id)
    with mlflow.start_run(run_name="first", tags={"a": "1"}, description="a note") as run:
        mlflow.log_param("depth", 5)
        mlflow.log_params({"rate": 0.03, "name": "ünï"})
        mlflow.log_metric("auc", 0.5)
        mlflow.log_metric("auc", 0.75, step=3)
        mlflow.log_metrics({"f1": 0.25, "loss": -1.5}, step=2)
        mlflow.set_tag("b", "2")
        mlflow.set_tags({"c": 3})
        equal(t.client.get_run(run.info.run_id).info.status, "RUNNING")
    got = t.client.get_run(run.info.run_id)
    equal((got.info.status, got.info.experiment_id, got.info.lifecycle_stage), ("FINISHED", experiment.experiment_id, "active"))
    equal(got.info.run_name, "first")
    equal(got.info.artifact_uri, "mlflow-artifacts:/{}/{}/artifacts".format(experiment.experiment_id, run.info.run_id))
    true(got.info.start_time <= got.info.end_time, got.info)
    equal(got.data.params, {"depth": "5", "rate": "0.03", "name": "ünï"})
    equal(got.data.metrics, {"auc": 0.75, "f1": 0.25, "loss": -1.5})
    own = {key: value for key, value in got.data.tags.items() if not key.startswith("mlflow.")}
    equal(own, {"a": "1", "b": "2", "c": "3"})
    equal(got.data.tags["mlflow.runName"], "first")
    equal(got.data.tags["mlflow.note.content"], "a note")
    true("mlflow.user" in got.data.tags and "mlflow.source.name" in got.data.tags, got.data.tags)


@step("mlflow.start_run")
def nested_and_reopened_runs(t):
    import mlflow

    mlflow.set_experiment(t.name("exp"))
    with mlflow.start_run() as parent:
        with mlflow.start_run(nested=True) as child:
            mlflow.log_metric("m", 1)
    equal(t.client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"], parent.info.run_id)
    true(t.client.get_run(parent.info.run_id).info.run_name, "the server names a run that has no name")
    with mlflow.start_run(run_id=parent.info.run_id):
        mlflow.log_param("later", "yes")
        equal(t.client.get_run(parent.info.run_id).info.status, "RUNNING")
    got = t.client.get_run(parent.info.run_id)
    equal((got.info.status, got.data.params), ("FINISHED", {"later": "yes"}))
    try:
        with mlflow.start_run() as failed:
            raise KeyError("on purpose")
    except KeyError:
        pass
    equal(t.client.get_run(failed.info.run_id).info.status, "FAILED")
    found = t.client.search_runs([parent.info.experiment_id], "tags.mlflow.parentRunId = '{}'".format(parent.info.run_id))
    equal([run.info.run_id for run in found], [child.info.run_id])


@step("mlflow.get_parent_run", since=(2, 3))
def parent_run(t):
    import mlflow

    mlflow.set_experiment(t.name("exp"))
    with mlflow.start_run() as parent, mlflow.start_run(nested=True) as child:
        pass
    equal(mlflow.get_parent_run(child.info.run_id).info.run_id, parent.info.run_id)
    equal(mlflow.get_parent_run(parent.info.run_id), None)


@step("mlflow.tracking.MlflowClient.get_metric_history")
def metric_history(t):
    run = t.run().info.run_id
    logged = [(0.5, 1000, 0), (0.25, 3000, 2), (0.75, 2000, 1), (0.125, 2500, 2)]
    for value, timestamp, at in logged:
        t.client.log_metric(run, "loss", value, timestamp, at)
    got = [(m.value, m.timestamp, m.step) for m in t.client.get_metric_history(run, "loss")]
    equal(sorted(got), sorted(logged))
    equal(t.client.get_run(run).data.metrics, {"loss": 0.25})
    equal(list(t.client.get_metric_history(run, "no such metric")), [])
    t.refuses("RESOURCE_DOES_NOT_EXIST", t.client.log_metric, "0" * 32, "loss", 1.0)


@step("mlflow.log_metric")
def special_metrics(t):
    run = t.run().info.run_id
    biggest = sys.float_info.max
    for key, value in (("nan", math.nan), ("inf", math.inf), ("ninf", -math.inf), ("tiny", 5e-324), ("big", biggest)):
        t.client.log_metric(run, key, value)
    t.client.log_metric(run, "negative step/and spaces.-_", 1.0, step=-3)
    got = dict(t.client.get_run(run).data.metrics)
    true(math.isnan(got.pop("nan")), got)
    # The database has no infinities: the biggest numbers stand for them.
    equal(got, {"inf": biggest, "ninf": -biggest, "tiny": 5e-324, "big": biggest, "negative step/and spaces.-_": 1.0})
    (only,) = t.client.get_metric_history(run, "nan")
    true(math.isnan(only.value), only)
    (only,) = t.client.get_metric_history(run, "negative step/and spaces.-_")
    equal(only.step, -3)


@step("mlflow.tracking.MlflowClient.log_batch")
def log_batch(t):
    from mlflow.entities import Metric, Param, RunTag

    run = t.run().info.run_id
    metrics = [Metric("m{}".format(i % 10), float(i), 1000 + i, i) for i in range(900)]
    params = [Param("p{}".format(i), "v" * i) for i in range(90)]
    tags = [RunTag("t{}".format(i), str(i)) for i in range(90)]
    t.client.log_batch(run, metrics, params, tags)
    got = t.client.get_run(run).data
    equal(got.metrics, {"m{}".format(i): 890.0 + i for i in range(10)})
    equal(got.params, {p.key: p.value for p in params})
    equal({k: v for k, v in got.tags.items() if not k.startswith("mlflow.")}, {x.key: x.value for x in tags})
    equal(len(t.client.get_metric_history(run, "m3")), 90)
    t.client.log_batch(run, metrics[:10], params[:1], tags[:1])
    equal(len(t.client.get_metric_history(run, "m3")), 90, "a repeated batch adds nothing")
    t.client.log_batch(run)


@step("mlflow.tracking.MlflowClient.log_param")
def params_do_not_change(t):
    from mlflow.entities import Param

    run = t.run().info.run_id
    t.client.log_param(run, "depth", 5)
    t.client.log_param(run, "depth", 5)
    t.client.log_param(run, "empty", "")
    true("depth" in t.refuses("INVALID_PARAMETER_VALUE", t.client.log_param, run, "depth", 6), "the message names the param")
    t.refuses("INVALID_PARAMETER_VALUE", t.client.log_batch, run, params=[Param("new", "1"), Param("depth", "7")])
    equal(t.client.get_run(run).data.params, {"depth": "5", "empty": ""})
    t.refuses("RESOURCE_DOES_NOT_EXIST", t.client.log_param, "0" * 32, "k", "v")


@step("mlflow.tracking.MlflowClient.set_tag")
def run_tags(t):
    run = t.run().info.run_id
    t.client.set_tag(run, "k", "v")
    t.client.set_tag(run, "k", "w")
    t.client.set_tag(run, "long", "x" * 5000)
    tags = t.client.get_run(run).data.tags
    equal((tags["k"], len(tags["long"])), ("w", 5000))
    t.client.delete_tag(run, "k")
    true("k" not in t.client.get_run(run).data.tags, "the tag is gone")
    t.refuses("RESOURCE_DOES_NOT_EXIST", t.client.delete_tag, run, "k")


@step("mlflow.tracking.MlflowClient.create_run")
def run_life(t):
    from mlflow.entities import ViewType

    experiment = t.experiment()
    run = t.client.create_run(experiment, start_time=1700000000000, tags={"mlflow.user": "ann"}, run_name="one")
    id = run.info.run_id
    equal((run.info.status, run.info.start_time, run.info.run_name), ("RUNNING", 1700000000000, "one"))
    t.client.update_run(id, status="SCHEDULED", name="two")
    got = t.client.get_run(id)
    equal((got.info.status, got.info.run_name, got.data.tags["mlflow.runName"]), ("SCHEDULED", "two", "two"))
    t.client.set_terminated(id, "KILLED", 1700000005000)
    got = t.client.get_run(id)
    equal((got.info.status, got.info.end_time), ("KILLED", 1700000005000))
    t.client.log_metric(id, "after the end", 1.0)
    t.client.delete_run(id)
    equal(t.client.get_run(id).info.lifecycle_stage, "deleted")
    equal(len(t.client.search_runs([experiment])), 0)
    equal(len(t.client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY)), 1)
    t.refuses("INVALID_PARAMETER_VALUE", t.client.log_param, id, "k", "v")
    t.client.restore_run(id)
    equal(len(t.client.search_runs([experiment])), 1)
    t.refuses("RESOURCE_DOES_NOT_EXIST", t.client.get_run, "0" * 32)


@step("mlflow.tracking.MlflowClient.search_runs")
def run_search(t):
    import mlflow

    experiment, other = t.experiment(), t.experiment("other")
    ids = []
    for i in range(6):
        run = t.client.create_run(experiment, start_time=1700000000000 + i, run_name="run {}".format(i)).info.run_id
        t.client.log_metric(run, "auc", i / 10)
        t.client.log_param(run, "depth", str(i))
        t.client.set_tag(run, "team", "ab"[i % 2])
        t.client.set_terminated(run, "FINISHED" if i < 4 else "FAILED")
        ids.append(run)
    t.client.log_metric(t.client.create_run(other).info.run_id, "auc", 0.9)
    t.client.log_metric(ids[5], "space key", 1)

    def found(text, order=("start_time ASC",), experiments=(experiment,)):
        return [ids.index(run.info.run_id) for run in t.client.search_runs(list(experiments), text, order_by=list(order))]

    table = (
        ("", [0, 1, 2, 3, 4, 5]),
        ("metrics.auc > 0.25", [3, 4, 5]),
        ("metrics.auc >= 0.2 and metrics.auc < 0.4", [2, 3]),
        ("metrics.auc != 0.2", [0, 1, 3, 4, 5]),
        ("metrics.`space key` = 1", [5]),
        ("metrics.missing > 0", []),
        ("params.depth = '3'", [3]),
        ("params.depth != '3'", [0, 1, 2, 4, 5]),
        ("params.depth LIKE '%'", [0, 1, 2, 3, 4, 5]),
        ("tags.team = 'a' AND metrics.auc > 0.1", [2, 4]),
        ("tags.team ILIKE 'B'", [1, 3, 5]),
        ("attributes.status = 'FAILED'", [4, 5]),
        ("status != 'FAILED'", [0, 1, 2, 3]),
        ("attribute.start_time > 1700000000003", [4, 5]),
        ("run_name LIKE 'run %'", [0, 1, 2, 3, 4, 5]),
        ("run_id = '{}'".format(ids[2]), [2]),
        ("attributes.run_id IN ('{}', '{}')".format(ids[1], ids[3]), [1, 3]),
    )
    for text, want in table:
        equal(found(text), want, text)
    equal(found("", ["metrics.auc DESC"]), [5, 4, 3, 2, 1, 0])
    equal(found("", ["tags.team DESC", "params.depth ASC"]), [1, 3, 5, 0, 2, 4])
    equal(found(""), found("", experiments=(experiment, experiment)))
    pages, token = [], None
    while True:
        page = t.client.search_runs([experiment], max_results=4, order_by=["attributes.start_time DESC"], page_token=token)
        pages.append([ids.index(run.info.run_id) for run in page])
        token = page.token
        if not token:
            break
    equal(pages, [[5, 4, 3, 2], [1, 0]])
    frame = mlflow.search_runs([experiment], "metrics.auc > 0.35", order_by=["metrics.auc DESC"])
    equal(list(frame["run_id"]), [ids[5], ids[4]])
    equal(list(frame["metrics.auc"]), [0.5, 0.4])
    equal(len(t.client.search_runs([experiment, other], "metrics.auc > 0.45")), 2)
    for text in ("auc > 1", "metrics.auc > 'x'", "metrics.auc", "params.depth > 3", "params.depth = 3", "metrics.auc > 0 OR", "'"):
        t.refuses("INVALID_PARAMETER_VALUE", t.client.search_runs, [experiment], text)
    t.refuses("INVALID_PARAMETER_VALUE", t.client.search_runs, [experiment], order_by=["auc UPWARD"])


@step("mlflow.tracking.MlflowClient.list_run_infos", until=(2,))
def run_info_list(t):
    run = t.run()
    (only,) = t.client.list_run_infos(run.info.experiment_id)
    equal(only.run_id, run.info.run_id)


@step("mlflow.log_input", since=(2, 4))
def dataset_inputs(t):
    import mlflow
    import pandas as pd

    mlflow.set_experiment(t.name("exp"))
    frame = pd.DataFrame({"age": [30, 40], "churned": [0, 1]})
    data = mlflow.data.from_pandas(frame, source="/data/week36.csv", name="week36.csv", targets="churned")
    with mlflow.start_run() as run:
        mlflow.log_input(data, context="training", tags={"owner": "ann"})
        mlflow.log_input(data, context="training")
    (got,) = t.client.get_run(run.info.run_id).inputs.dataset_inputs
    equal((got.dataset.name, got.dataset.digest), ("week36.csv", data.digest))
    equal({tag.key: tag.value for tag in got.tags}, {"mlflow.data.context": "training", "owner": "ann"})
    equal(json.loads(got.dataset.source), {"uri": "/data/week36.csv"})
    for text in ("dataset.name = 'week36.csv'", "dataset.digest = '{}'".format(data.digest), "dataset.context = 'training'"):
        found = t.client.search_runs([run.info.experiment_id], text)
        equal([r.info.run_id for r in found], [run.info.run_id], text)
    equal(len(t.client.search_runs([run.info.experiment_id], "dataset.name = 'other'")), 0)


@step("mlflow.utils.async_logging.run_operations.RunOperations", since=(2, 9))
def async_logging(t):
    import mlflow

    mlflow.set_experiment(t.name("exp"))
    with mlflow.start_run() as run:
        waiting = [mlflow.log_metric("m", float(i), step=i, synchronous=False) for i in range(50)]
        waiting += [mlflow.log_params({"a": 1}, synchronous=False), mlflow.set_tags({"b": 2}, synchronous=False)]
        for one in waiting:
            one.wait()
    got = t.client.get_run(run.info.run_id).data
    equal((got.metrics, got.params, got.tags["b"]), ({"m": 49.0}, {"a": "1"}, "2"))
    equal(len(t.client.get_metric_history(run.info.run_id, "m")), 50)


# Artifacts


@step("mlflow.log_artifact")
def artifacts(t):
    import mlflow
    from mlflow.artifacts import download_artifacts

    mlflow.set_experiment(t.name("exp"))
    blob = bytes(range(256)) * 5000
    with mlflow.start_run() as run:
        id = run.info.run_id
        mlflow.log_artifact(t.file("blob.bin", blob))
        mlflow.log_artifact(t.file("empty", b""), "deep/er")
        t.file("tree/a.txt", b"a")
        t.file("tree/sub/b c ü.txt", b"b")
        mlflow.log_artifacts(os.path.join(t.folder, t.step, "tree"), "tree")
        mlflow.log_text("text ü", "notes/readme.md")
        mlflow.log_dict({"k": [1, 2]}, "notes/d.json")
        mlflow.log_text("first", "notes/again.txt")
        mlflow.log_text("second", "notes/again.txt")

    def listed(path=None):
        # An empty file's size may be left out of the answer.
        files = sorted(t.client.list_artifacts(id, path), key=lambda f: f.path)
        return [(f.path, f.is_dir, None if f.is_dir else f.file_size or 0) for f in files]

    top = [("blob.bin", False, len(blob)), ("deep", True, None), ("notes", True, None), ("tree", True, None)]
    equal(listed(), top)
    equal(listed("deep"), [("deep/er", True, None)])
    equal(listed("deep/er"), [("deep/er/empty", False, 0)])
    equal(listed("tree/sub"), [("tree/sub/b c ü.txt", False, 1)])
    equal(listed("no/such/folder"), [])

    def content(path):
        with open(download_artifacts(run_id=id, artifact_path=path), "rb") as file:
            return file.read()

    equal(content("blob.bin"), blob)
    equal(content("deep/er/empty"), b"")
    equal(content("tree/sub/b c ü.txt"), b"b")
    equal(content("notes/again.txt"), b"second")
    equal(mlflow.artifacts.load_text("runs:/{}/notes/readme.md".format(id)), "text ü")
    equal(mlflow.artifacts.load_dict("runs:/{}/notes/d.json".format(id)), {"k": [1, 2]})
    whole = download_artifacts(artifact_uri="runs:/{}/tree".format(id))
    equal(sorted(os.listdir(whole)), ["a.txt", "sub"])
    try:
        got = download_artifacts(run_id=id, artifact_path="no/such/file")
    except Exception as error:  # The class differs from version to version.
        true(any(text in str(error) for text in ("404", "No such", "Failed to download")), error)
    else:
        equal(got, None, "client 3.0 gives nothing where the others raise")


@step("mlflow.log_figure")
def figures_and_images(t):
    import matplotlib.pyplot
    import mlflow
    import numpy

    mlflow.set_experiment(t.name("exp"))
    figure, axes = matplotlib.pyplot.subplots()
    axes.plot([0, 1], [1, 0])
    with mlflow.start_run() as run:
        mlflow.log_figure(figure, "plots/confusion.png")
        mlflow.log_image(numpy.zeros((4, 4, 3), dtype=numpy.uint8), "plots/black.png")
    with open(mlflow.artifacts.download_artifacts("runs:/{}/plots/confusion.png".format(run.info.run_id)), "rb") as file:
        equal(file.read(8), b"\x89PNG\r\n\x1a\n")
    equal(len(t.client.list_artifacts(run.info.run_id, "plots")), 2)


@step("mlflow.log_table", since=(2, 4))
def tables(t):
    import mlflow

    mlflow.set_experiment(t.name("exp"))
    with mlflow.start_run() as run:
        mlflow.log_table({"feature": ["age"], "importance": [0.5]}, "importance.json")
        mlflow.log_table({"feature": ["plan"], "importance": [0.25]}, "importance.json")
    got = mlflow.load_table("importance.json", run_ids=[run.info.run_id])
    equal((list(got["feature"]), list(got["importance"])), (["age", "plan"], [0.5, 0.25]))


# The registry


def version_of(t, model, **named):
    """A new version of the model with a run of its own."""
    run = t.client.create_run("0")
    return t.client.create_model_version(model, run.info.artifact_uri + "/model", run.info.run_id, **named)


@step("mlflow.tracking.MlflowClient.create_registered_model")
def registered_model_life(t):
    name, renamed = t.name("a"), t.name("b")
    made = t.client.create_registered_model(name, tags={"team": "growth"}, description="Who will leave")
    equal((made.name, made.description, made.tags), (name, "Who will leave", {"team": "growth"}))
    t.refuses("RESOURCE_ALREADY_EXISTS", t.client.create_registered_model, name)
    t.client.set_registered_model_tag(name, "k", "v")
    t.client.set_registered_model_tag(name, "team", "core")
    t.client.delete_registered_model_tag(name, "k")
    t.client.update_registered_model(name, "Another text")
    got = t.client.get_registered_model(name)
    equal((got.description, got.tags, list(got.latest_versions)), ("Another text", {"team": "core"}, []))
    true(got.creation_timestamp <= got.last_updated_timestamp, got)
    version_of(t, name)
    t.client.rename_registered_model(name, renamed)
    t.refuses("RESOURCE_DOES_NOT_EXIST", t.client.get_registered_model, name)
    equal([v.name for v in t.client.get_registered_model(renamed).latest_versions], [renamed])
    equal(t.client.get_model_version(renamed, "1").name, renamed)
    t.client.delete_registered_model(renamed)
    t.refuses("RESOURCE_DOES_NOT_EXIST", t.client.get_registered_model, renamed)
    t.refuses("RESOURCE_DOES_NOT_EXIST", t.client.get_model_version, renamed, "1")


@step("mlflow.tracking.MlflowClient.search_registered_models")
def registered_model_search(t):
    names = [t.name(str(i)) for i in range(5)]
    for i, name in enumerate(names):
        t.client.create_registered_model(name, tags={"parity": "eo"[i % 2]})
    like = "name LIKE '{}%'".format(t.name(""))

    def found(text, **named):
        return [m.name for m in t.client.search_registered_models(text, **named)]

    equal(found(like), names)
    equal(found(like, order_by=["name DESC"]), names[::-1])
    equal(found("name = '{}'".format(names[2])), [names[2]])
    equal(found("name ILIKE '{}%'".format(t.name("").upper())), names)
    equal(found(like + " AND tags.parity = 'o'"), names[1::2])
    t.client.update_registered_model(names[1], "touched")
    equal(found(like, order_by=["last_updated_timestamp DESC"])[0], names[1])
    pages, token = [], None
    while True:
        page = t.client.search_registered_models(like, max_results=2, page_token=token)
        pages.append([m.name for m in page])
        token = page.token
        if not token:
            break
    equal(pages, [names[:2], names[2:4], names[4:]])
    t.refuses("INVALID_PARAMETER_VALUE", t.client.search_registered_models, "nonsense = 'x'")


@step("mlflow.tracking.MlflowClient.list_registered_models", until=(2,))
def registered_model_list(t):
    names = {t.name("a"), t.name("b")}
    for name in names:
        t.client.create_registered_model(name)
    seen, token = [], None
    while True:
        page = t.client.list_registered_models(max_results=2, page_token=token)
        seen += [m.name for m in page]
        token = page.token
        if not token:
            break
    true(names <= set(seen), seen)


@step("mlflow.tracking.MlflowClient.create_model_version")
def version_life(t):
    name = t.name("m")
    t.client.create_registered_model(name)
    run = t.client.create_run("0").info
    source = run.artifact_uri + "/model"
    made = t.client.create_model_version(name, source, run.run_id, tags={"a": "1"}, description="first")
    equal((made.name, str(made.version), made.current_stage, made.status), (name, "1", "None", "READY"))
    got = t.client.get_model_version(name, "1")
    equal((got.source, got.run_id, got.description, got.tags), (source, run.run_id, "first", {"a": "1"}))
    equal(t.client.get_model_version_download_uri(name, "1"), source)
    t.client.update_model_version(name, "1", "better")
    t.client.set_model_version_tag(name, "1", "b", "2")
    t.client.delete_model_version_tag(name, "1", "a")
    got = t.client.get_model_version(name, "1")
    equal((got.description, got.tags), ("better", {"b": "2"}))
    equal(str(version_of(t, name).version), "2")
    equal(str(version_of(t, name).version), "3")
    t.client.delete_model_version(name, "2")
    t.refuses("RESOURCE_DOES_NOT_EXIST", t.client.get_model_version, name, "2")
    t.refuses("RESOURCE_DOES_NOT_EXIST", t.client.delete_model_version, name, "2")
    equal(str(version_of(t, name).version), "4")
    t.refuses("RESOURCE_DOES_NOT_EXIST", version_of, t, t.name("nowhere"))
    t.refuses("INVALID_PARAMETER_VALUE", t.client.get_model_version, name, "one")


@step("mlflow.tracking.MlflowClient.search_model_versions")
def version_search(t):
    name, other = t.name("m"), t.name("o")
    for model in (name, other):
        t.client.create_registered_model(model)
    made = [version_of(t, name, tags={"parity": "eo"[i % 2]}) for i in range(4)] + [version_of(t, other)]

    def found(text, **named):
        return sorted((v.name, int(v.version)) for v in t.client.search_model_versions(text, **named))

    equal(found("name = '{}'".format(name)), [(name, i) for i in range(1, 5)])
    equal(found("run_id = '{}'".format(made[2].run_id)), [(name, 3)])
    equal(found("run_id IN ('{}', '{}')".format(made[0].run_id, made[4].run_id)), [(name, 1), (other, 1)])
    equal(found("source_path = '{}'".format(made[1].source)), [(name, 2)])
    if t.version >= (2,):
        equal(found("name = '{}' AND tags.parity = 'o'".format(name)), [(name, 2), (name, 4)])
        equal(found("name LIKE '{}%'".format(t.name(""))), [(name, i) for i in range(1, 5)] + [(other, 1)])
        ordered = t.client.search_model_versions("name = '{}'".format(name), order_by=["version_number ASC"], max_results=3)
        equal([int(v.version) for v in ordered], [1, 2, 3])
        rest = t.client.search_model_versions(
            "name = '{}'".format(name), order_by=["version_number ASC"], max_results=3, page_token=ordered.token
        )
        equal([int(v.version) for v in rest], [4])
    t.refuses("INVALID_PARAMETER_VALUE", t.client.search_model_versions, "nonsense = 'x'")


@step("mlflow.tracking.MlflowClient.transition_model_version_stage")
def stages(t):
    name = t.name("m")
    t.client.create_registered_model(name)
    for _ in range(4):
        version_of(t, name)

    def now():
        return [t.client.get_model_version(name, str(i)).current_stage for i in range(1, 5)]

    equal(now(), ["None"] * 4)
    moved = t.client.transition_model_version_stage(name, "1", "Production")
    equal((str(moved.version), moved.current_stage), ("1", "Production"))
    t.client.transition_model_version_stage(name, "2", "production", archive_existing_versions=True)
    equal(now(), ["Archived", "Production", "None", "None"])
    t.client.transition_model_version_stage(name, "3", "Staging", archive_existing_versions=True)
    t.client.transition_model_version_stage(name, "4", "Production", archive_existing_versions=False)
    equal(now(), ["Archived", "Production", "Staging", "Production"])

    def latest(*asked):
        return {v.current_stage: int(v.version) for v in t.client.get_latest_versions(name, list(asked) or None)}

    equal(latest(), {"Archived": 1, "Staging": 3, "Production": 4})
    equal(latest("Production"), {"Production": 4})
    equal(latest("None"), {})
    in_model = {v.current_stage: int(v.version) for v in t.client.get_registered_model(name).latest_versions}
    equal(in_model, {"Archived": 1, "Staging": 3, "Production": 4})
    t.client.transition_model_version_stage(name, "4", "None")
    equal(now(), ["Archived", "Production", "Staging", "None"])
    t.refuses("INVALID_PARAMETER_VALUE", t.client.transition_model_version_stage, name, "1", "Live")
    t.refuses("RESOURCE_DOES_NOT_EXIST", t.client.transition_model_version_stage, name, "9", "Staging")


@step("mlflow.tracking.MlflowClient.set_registered_model_alias", since=(2, 3))
def aliases(t):
    name = t.name("m")
    t.client.create_registered_model(name)
    version_of(t, name), version_of(t, name)
    t.client.set_registered_model_alias(name, "champion", "1")
    t.client.set_registered_model_alias(name, "challenger", "2")
    equal(str(t.client.get_model_version_by_alias(name, "champion").version), "1")
    t.client.set_registered_model_alias(name, "champion", "2")
    equal(str(t.client.get_model_version_by_alias(name, "champion").version), "2")
    equal({k: str(v) for k, v in t.client.get_registered_model(name).aliases.items()}, {"champion": "2", "challenger": "2"})
    equal(sorted(t.client.get_model_version(name, "2").aliases), ["challenger", "champion"])
    equal(list(t.client.get_model_version(name, "1").aliases), [])
    t.client.delete_registered_model_alias(name, "challenger")
    t.client.delete_registered_model_alias(name, "challenger")
    t.refuses("INVALID_PARAMETER_VALUE", t.client.get_model_version_by_alias, name, "challenger")
    t.refuses("RESOURCE_DOES_NOT_EXIST", t.client.set_registered_model_alias, name, "champion", "9")
    t.client.delete_model_version(name, "2")
    equal(t.client.get_registered_model(name).aliases, {})


@step("mlflow.tracking.MlflowClient.copy_model_version", since=(2, 8))
def copied_versions(t):
    name, target = t.name("m"), t.name("prod")
    t.client.create_registered_model(name)
    source = version_of(t, name)
    copied = t.client.copy_model_version("models:/{}/1".format(name), target)
    equal((copied.name, str(copied.version), copied.run_id), (target, "1", source.run_id))
    equal(copied.source, "models:/{}/1".format(name))
    equal(t.client.get_model_version_download_uri(target, "1"), source.source)


# Models


def trained():
    import numpy
    from sklearn.linear_model import LogisticRegression

    x = numpy.arange(20.0).reshape(10, 2)
    return LogisticRegression().fit(x, [0] * 5 + [1] * 5), x


def logged_model(t, model, **named):
    """Logs the model as this client version spells it and returns the model info."""
    import mlflow

    if t.version >= (3,):
        return mlflow.sklearn.log_model(model, name="model", serialization_format="cloudpickle", **named)
    return mlflow.sklearn.log_model(model, "model", **named)


def same(got, want):
    true((got == want).all(), (got, want))


@step("mlflow.sklearn.log_model")
def models_by_uri(t):
    import mlflow

    name = t.name("m")
    mlflow.set_experiment(t.name("exp"))
    model, x = trained()
    with mlflow.start_run() as run:
        logged_model(t, model, registered_model_name=name, input_example=x[:2])
    want = model.predict(x)
    made = t.client.get_model_version(name, "1")
    equal((made.run_id, made.status), (run.info.run_id, "READY"))
    t.client.transition_model_version_stage(name, "1", "Production")
    if t.version < (3,):
        history = json.loads(t.client.get_run(run.info.run_id).data.tags["mlflow.log-model.history"])
        equal([one["artifact_path"] for one in history], ["model"])
    uris = ["runs:/{}/model".format(run.info.run_id), "models:/{}/1".format(name), "models:/{}/Production".format(name)]
    uris.append("models:/{}/latest".format(name))
    if t.version >= (2, 3):
        t.client.set_registered_model_alias(name, "champion", "1")
        uris.append("models:/{}@champion".format(name))
    for uri in uris:
        same(mlflow.sklearn.load_model(uri).predict(x), want)
    same(mlflow.pyfunc.load_model(uris[2]).predict(x), want)
    registered = mlflow.register_model(uris[0], name + "-too")
    equal((str(registered.version), registered.run_id), ("1", run.info.run_id))
    same(mlflow.sklearn.load_model("models:/{}-too/1".format(name)).predict(x), want)


@step("mlflow.sklearn.autolog")
def autolog(t):
    import mlflow

    mlflow.set_experiment(t.name("exp"))
    mlflow.sklearn.autolog(log_models=False, silent=True)
    try:
        with mlflow.start_run() as run:
            trained()
    finally:
        mlflow.sklearn.autolog(disable=True)
    got = t.client.get_run(run.info.run_id)
    equal(got.data.params["C"], "1.0")
    true("training_score" in got.data.metrics or "training_accuracy_score" in got.data.metrics, got.data.metrics)
    equal(got.data.tags["estimator_name"], "LogisticRegression")
    true(any(f.path.endswith(".png") for f in t.client.list_artifacts(run.info.run_id)), "plots were logged")


@step("mlflow.tracking.MlflowClient.create_logged_model", since=(3,))
def logged_model_life(t):
    from mlflow.entities import Param

    run = t.run()
    experiment = run.info.experiment_id
    made = t.client.create_logged_model(
        experiment, name="churner", source_run_id=run.info.run_id, tags={"a": "1"}, params={"depth": "5"}, model_type="agent"
    )
    id = made.model_id
    equal((made.name, str(made.status), made.source_run_id, made.model_type), ("churner", "PENDING", run.info.run_id, "agent"))
    equal(made.artifact_location, "mlflow-artifacts:/{}/models/{}/artifacts".format(experiment, id))
    equal(str(t.client.finalize_logged_model(id, "READY").status), "READY")
    t.client.set_logged_model_tags(id, {"b": "2", "c": "3"})
    t.client.delete_logged_model_tag(id, "c")
    t.client.log_model_params(id, {"rate": "0.03"})
    t.client.log_metric(run.info.run_id, "auc", 0.875, step=1, model_id=id)
    got = t.client.get_logged_model(id)
    equal((got.tags, got.params), ({"a": "1", "b": "2"}, {"depth": "5", "rate": "0.03"}))
    equal([(m.key, m.value, m.step, m.model_id) for m in got.metrics], [("auc", 0.875, 1, id)])
    equal([m.model_id for m in t.client.get_run(run.info.run_id).inputs.model_inputs], [])
    second = t.client.create_logged_model(experiment, name="other")
    t.client.log_metric(run.info.run_id, "auc", 0.5, model_id=second.model_id)

    def found(text=None, **named):
        return [m.name for m in t.client.search_logged_models([experiment], text, **named)]

    equal(found(), ["other", "churner"])
    equal(found("metrics.auc > 0.6"), ["churner"])
    equal(found("tags.a = '1'"), ["churner"])
    equal(found("params.depth = '5' AND name = 'churner'"), ["churner"])
    equal(found("name LIKE '%e%'", order_by=[{"field_name": "metrics.auc", "ascending": True}]), ["other", "churner"])
    equal(found("source_run_id = '{}'".format(run.info.run_id)), ["churner"])
    first = t.client.search_logged_models([experiment], max_results=1)
    rest = t.client.search_logged_models([experiment], max_results=1, page_token=first.token)
    equal([m.name for m in list(first) + list(rest)], ["other", "churner"])
    t.refuses("INVALID_PARAMETER_VALUE", found, "nonsense > 1")
    t.client.delete_logged_model(second.model_id)
    equal(found(), ["churner"])
    t.refuses("RESOURCE_DOES_NOT_EXIST", t.client.get_logged_model, "m-" + "0" * 32)


@step("mlflow.tracking.MlflowClient.log_outputs", since=(3,))
def run_outputs(t):
    from mlflow.entities import LoggedModelOutput

    run = t.run()
    model = t.client.create_logged_model(run.info.experiment_id, name="m", source_run_id=run.info.run_id)
    t.client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, step=7)])
    got = t.client.get_run(run.info.run_id)
    equal([(m.model_id, m.step) for m in got.outputs.model_outputs], [(model.model_id, 7)])


@step("mlflow.initialize_logged_model", since=(3,))
def external_models(t):
    import mlflow

    mlflow.set_experiment(t.name("exp"))
    made = mlflow.create_external_model(name="elsewhere", params={"a": "1"}, tags={"k": "v"})
    equal((str(made.status), made.name), ("READY", "elsewhere"))
    begun = mlflow.initialize_logged_model(name="begun")
    equal(str(begun.status), "PENDING")
    equal(str(mlflow.finalize_logged_model(begun.model_id, "FAILED").status), "FAILED")
    equal(sorted(m.name for m in mlflow.search_logged_models(output_format="list")), ["begun", "elsewhere"])


@step("mlflow.register_prompt", since=(2, 21))
def prompts(t):
    import mlflow

    name = t.name("greeting")
    api = mlflow.genai if has("mlflow.genai.register_prompt") else mlflow
    first = api.register_prompt(name, "Hello {{who}}", commit_message="first")
    second = api.register_prompt(name, "Good day {{who}}", commit_message="second")
    equal((int(first.version), int(second.version)), (1, 2))
    got = api.load_prompt("prompts:/{}/1".format(name))
    equal((got.template, got.commit_message, got.format(who="Ann")), ("Hello {{who}}", "first", "Hello Ann"))
    t.client.set_prompt_alias(name, "best", 2)
    equal(api.load_prompt("prompts:/{}@best".format(name)).template, "Good day {{who}}")
    t.client.delete_prompt_alias(name, "best")
    equal([m.name for m in t.client.search_registered_models("name = '{}'".format(name))], [])


@step("mlflow.search_prompts", since=(3,))
def prompt_search(t):
    import mlflow

    name = t.name("greeting")
    mlflow.register_prompt(name, "Hello {{who}}", tags={"team": "growth"})
    equal([p.name for p in mlflow.search_prompts("name = '{}'".format(name))], [name])
    equal(list(mlflow.search_prompts("name = '{}'".format(t.name("other")))), [])


@step("mlflow.tracking.MlflowClient.set_prompt_tag", since=(3, 1))
def prompt_tags_and_deletion(t):
    import mlflow

    name = t.name("greeting")
    mlflow.genai.register_prompt(name, "Hello {{who}}")
    t.client.set_prompt_tag(name, "k", "v")
    t.client.set_prompt_tag(name, "l", "w")
    t.client.delete_prompt_tag(name, "l")
    tags = t.client.get_prompt(name).tags
    equal((tags.get("k"), tags.get("l")), ("v", None))
    t.client.set_prompt_version_tag(name, "1", "m", "x")
    equal(t.client.get_prompt_version(name, "1").tags["m"], "x")
    t.client.delete_prompt_version(name, "1")
    t.client.delete_prompt(name)
    equal(list(mlflow.genai.search_prompts("name = '{}'".format(name))), [])


# The command line


def command(*arguments):
    """What ``mlflow …`` prints. Runs in this process: starting the program takes seconds."""
    import click.testing
    import mlflow.cli

    done = click.testing.CliRunner().invoke(mlflow.cli.cli, arguments)
    if done.exit_code != 0:
        raise AssertionError("mlflow {}: {}".format(" ".join(arguments), done.output)) from done.exception
    return done.stdout


@step("mlflow.experiments.list_experiments", until=(2,))
def command_line_experiments_list(t):
    t.experiment()
    true(t.name("exp") in command("experiments", "list"), "the experiment is listed")


@step("mlflow.experiments.search_experiments", since=(2,))
def command_line_experiments_search(t):
    t.experiment()
    true(t.name("exp") in command("experiments", "search", "--view", "all"), "the experiment is found")


@step("mlflow.cli.cli")
def command_line(t):
    mlflow, name = command, t.name("exp")
    mlflow("experiments", "create", "--experiment-name", name)
    id = t.client.get_experiment_by_name(name).experiment_id
    run = t.client.create_run(id, run_name="by hand").info.run_id
    mlflow("experiments", "rename", "--experiment-id", id, "--new-name", name + "-b")
    equal(t.client.get_experiment(id).name, name + "-b")
    mlflow("experiments", "delete", "--experiment-id", id)
    equal(t.client.get_experiment(id).lifecycle_stage, "deleted")
    mlflow("experiments", "restore", "--experiment-id", id)
    true(run in mlflow("runs", "list", "--experiment-id", id), "runs list")
    equal(json.loads(mlflow("runs", "describe", "--run-id", run))["info"]["run_id"], run)
    mlflow("artifacts", "log-artifact", "--local-file", t.file("cli.txt", b"by hand"), "--run-id", run, "-a", "sub")
    equal([f["path"] for f in json.loads(mlflow("artifacts", "list", "--run-id", run))], ["sub"])
    path = mlflow("artifacts", "download", "--run-id", run, "-a", "sub/cli.txt").strip().splitlines()[-1]
    with open(path, "rb") as file:
        equal(file.read(), b"by hand")
    mlflow("runs", "delete", "--run-id", run)
    equal(t.client.get_run(run).info.lifecycle_stage, "deleted")
    mlflow("runs", "restore", "--run-id", run)
    equal(t.client.get_run(run).info.lifecycle_stage, "active")


def run_step(t, one):
    """The outcome and the detail of one step."""
    t.step = one.name.replace("_", "-")
    belongs = present(one, ".".join(map(str, t.version)))
    if has(one.api) != belongs:
        return "failed", "the table of steps says {} is {} {}".format(
            one.api, "in" if belongs else "not in", ".".join(map(str, t.version))
        )
    if not belongs:
        return "absent", one.api
    try:
        one.run(t)
    except Exception:
        return "failed", traceback.format_exc()
    return "passed", ""


def main(prefix):
    t = Tour(prefix)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Clients print to standard output; the results have it for themselves.
    for one in STEPS:
        began = time.time()
        outcome, detail = run_step(t, one)
        result = {"step": one.name, "outcome": outcome, "detail": detail, "seconds": round(time.time() - began, 2)}
        out.write(json.dumps(result) + "\n")
        out.flush()


if __name__ == "__main__":
    main(sys.argv[1])
