"""Experiments: create, read, rename, tags, delete and restore with their runs."""

from catalogue import experiment, run, scenario, tags
from known_differences import clearer, refused


@scenario
def experiment_lives(c):
    experiment(c, "<u>one", tags=tags(team="a", mlflow__note__content="hello"))
    c.get("experiments/get", {"experiment_id": "<exp>"})
    c.get("experiments/get-by-name", {"experiment_name": "<u>one"})
    c.post("experiments/update", {"experiment_id": "<exp>", "new_name": "<u>renamed"})
    c.get("experiments/get-by-name", {"experiment_name": "<u>one"})
    c.get("experiments/get-by-name", {"experiment_name": "<u>renamed"})
    c.post("experiments/delete", {"experiment_id": "<exp>"})
    c.get("experiments/get", {"experiment_id": "<exp>"})
    c.get("experiments/get-by-name", {"experiment_name": "<u>renamed"})
    c.post("experiments/delete", {"experiment_id": "<exp>"})
    c.post("experiments/update", {"experiment_id": "<exp>", "new_name": "x"}, **refused("rename-deleted-experiment", "non-active", genuine=500))
    c.post("experiments/set-experiment-tag", {"experiment_id": "<exp>", "key": "k", "value": "v"})
    c.post("experiments/delete-experiment-tag", {"experiment_id": "<exp>", "key": "team"})
    c.post("runs/create", {"experiment_id": "<exp>"})
    c.post("logged-models", {"experiment_id": "<exp>", "name": "m"})
    c.post("experiments/create", {"name": "<u>renamed"})
    c.post("experiments/restore", {"experiment_id": "<exp>"})
    c.post("experiments/restore", {"experiment_id": "<exp>"})
    c.get("experiments/get", {"experiment_id": "<exp>"})


@scenario
def experiment_default(c):
    c.get("experiments/get", {"experiment_id": "0"})
    c.get("experiments/get-by-name", {"experiment_name": "Default"})
    c.post("experiments/create", {"name": "Default"})
    c.post("runs/create", {"experiment_id": "0", "run_name": "in default"})


@scenario
def experiment_create_refused(c):
    experiment(c, "<u>taken")
    for body in (
        {"name": "<u>taken"},
        {},
        {"name": ""},
        {"name": None},
        {"name": 5},
        {"name": ["a"]},
        {"name": {"a": 1}},
        {"name": True},
        {"name": "<u>a", "artifact_location": 7},
        {"name": "<u>b", "tags": "x"},
        {"name": "<u>h", "artifact_location": "runs:/abc/x"},
        {"name": "<u>i", "artifact_location": "s3://b/x#frag"},
        {"name": "<u>j", "artifact_location": "s3://b/x?a=../.."},
        {"name": "<u>m", "tags": tags(**{"a$b": "1"})},
        {"name": "<u>p", "tags": [{"key": "k" * 251, "value": "v"}]},
        {"name": "<u>q", "tags": [{"key": "k", "value": "v" * 20001}]},
    ):
        c.post("experiments/create", body)
    for scheme in ("http", "https", "ftp", "hdfs", "mlflow-artifacts"):
        c.post("experiments/create", {"name": "<u>f", "artifact_location": scheme + "://host/x"}, **clearer(f"'artifact_location' cannot use the '{scheme}' scheme"))
    c.post("experiments/create", {"name": "<u>n", "tags": [{"key": "", "value": "v"}]}, **clearer("tags[0].key"))
    c.post("experiments/create", {"name": "<u>o", "tags": [{"value": "v"}]}, **clearer("tags[0].key"))
    c.post("experiments/create", {"name": "n" * 501}, **refused("over-long-names", "256", genuine=400))
    c.post("experiments/create", {"name": "<u>" + "n" * 250}, **refused("over-long-names", "256", genuine=(200, 400)))
    c.post("experiments/create", {"name": "<u>r", "artifact_location": "s3://b/" + "x" * 2048}, **refused("over-long-names", "256", genuine=400))


@scenario
def experiment_create_above_the_store(c):
    for location in ("mlflow-artifacts:/../x", "mlflow-artifacts:/a/%2e%2e/x", "file:///tmp/%2e%2e/etc"):
        name = "<u>" + location.replace("/", "")
        c.post("experiments/create", {"name": name, "artifact_location": location}, **refused("location-leads-upwards", "'..'"))


@scenario
def experiment_create_elsewhere(c):
    for location in ("s3://other/x", "gs://other/x", "dbfs:/other", "/etc", "file:///root/x", "//root", "s3://bucket2/x", "s3://Bucket/x"):
        name = "<u>" + location.replace("/", "")
        c.post("experiments/create", {"name": name, "artifact_location": location}, **refused("location-elsewhere", "not where this server keeps artifacts", genuine=200))


@scenario
def experiment_create_accepted(c):
    experiment(c, "<u>s3", artifact_location="s3://bucket/path")
    c.get("experiments/get", {"experiment_id": "<exp>"})
    experiment(c, "<u>ünï 日本", keep="uni", artifact_location="mlflow-artifacts:/else/where")
    c.get("experiments/get", {"experiment_id": "<uni>"})
    run(c, exp="<uni>")
    experiment(c, "<u>empty", keep="empty", artifact_location="", tags=[])
    c.get("experiments/get", {"experiment_id": "<empty>"})
    experiment(c, "<u>same key", keep="same", tags=[{"key": "k", "value": "1"}, {"key": "k2"}, {"key": "k3", "value": ""}])
    c.get("experiments/get", {"experiment_id": "<same>"})
    experiment(c, " <u>spaces ", keep="spaces")
    c.get("experiments/get", {"experiment_id": "<spaces>"})
    c.get("experiments/get-by-name", {"experiment_name": " <u>spaces "})
    c.get("experiments/get-by-name", {"experiment_name": "<u>S3"})
    experiment(c, "<u>" + "n" * 249, keep="long")
    experiment(c, "<u>/slash:colon", keep="slash")


@scenario
def experiment_read_refused(c):
    for id in ("999999", "abc", "", "-1", "1.5", "0x1"):
        c.get("experiments/get", {"experiment_id": id})
    c.get("experiments/get", {"experiment_id": "99999999999999999999"}, **refused("number-beyond-64-bits", "99999999999999999999", genuine=500, status=404, code="RESOURCE_DOES_NOT_EXIST"), on="sqlite")
    c.get("experiments/get")
    c.get("experiments/get", {"experimentId": "0"})
    c.get("experiments/get-by-name")
    c.get("experiments/get-by-name", {"experiment_name": ""})
    c.get("experiments/get-by-name", {"experiment_name": "<u>nope"})


@scenario
def experiment_change_refused(c):
    experiment(c, "<u>a")
    experiment(c, "<u>b", keep="other")
    c.post("experiments/update", {"experiment_id": "<exp>", "new_name": "<u>b"}, **refused("sql-text-in-errors", "already exists", genuine=400, code="RESOURCE_ALREADY_EXISTS"))
    c.post("experiments/update", {"experiment_id": "<exp>"})
    c.post("experiments/update", {"experiment_id": "<exp>", "new_name": ""})
    c.post("experiments/update", {"new_name": "x"})
    c.post("experiments/update", {"experiment_id": "999999", "new_name": "x"})
    c.post("experiments/update", {"experiment_id": "abc", "new_name": "x"})
    c.post("experiments/update", {"experiment_id": "<exp>", "new_name": "<u>a"})
    for path in ("experiments/delete", "experiments/restore"):
        c.post(path, {"experiment_id": "999999"})
        c.post(path, {"experiment_id": "abc"})
        c.post(path, {})


@scenario
def experiment_tags(c):
    experiment(c, "<u>tags", tags=tags(a="1"))
    tag = {"experiment_id": "<exp>", "key": "a"}
    c.post("experiments/set-experiment-tag", {**tag, "value": "2"})
    c.post("experiments/set-experiment-tag", {"experiment_id": "<exp>", "key": "no value"})
    c.post("experiments/set-experiment-tag", {"experiment_id": "<exp>", "key": "empty", "value": ""})
    c.post("experiments/set-experiment-tag", {"experiment_id": "<exp>", "key": "null", "value": None})
    c.post("experiments/set-experiment-tag", {"experiment_id": "<exp>", "key": "a/b", "value": "path"})
    c.get("experiments/get", {"experiment_id": "<exp>"})
    for body in (
        {**tag, "value": 5},
        {"experiment_id": "<exp>", "value": "x"},
        {"experiment_id": "<exp>", "key": "", "value": "x"},
        {"key": "a", "value": "x"},
        {"experiment_id": "999999", "key": "a", "value": "x"},
        {"experiment_id": "<exp>", "key": "a$", "value": "x"},
        {"experiment_id": "<exp>", "key": "a//b", "value": "x"},
        {"experiment_id": "<exp>", "key": "../a", "value": "x"},
        {"experiment_id": "<exp>", "key": "/a", "value": "x"},
        {"experiment_id": "<exp>", "key": ".", "value": "x"},
        {"experiment_id": "<exp>", "key": "k" * 251, "value": "x"},
        {"experiment_id": "<exp>", "key": "k", "value": "x" * 20001},
    ):
        c.post("experiments/set-experiment-tag", body)
    c.post("experiments/set-experiment-tag", {"experiment_id": "<exp>", "key": "k" * 250, "value": "x" * 20000})
    c.post("experiments/delete-experiment-tag", tag)
    c.post("experiments/delete-experiment-tag", tag)
    c.post("experiments/delete-experiment-tag", {"experiment_id": "<exp>"})
    c.post("experiments/delete-experiment-tag", {"key": "a"})
    c.post("experiments/delete-experiment-tag", {"experiment_id": "999999", "key": "a"})
    c.get("experiments/get", {"experiment_id": "<exp>"})


@scenario
def experiment_delete_takes_its_runs(c):
    experiment(c, "<u>runs")
    run(c, "first")
    run(c, "second")
    c.post("runs/delete", {"run_id": "<first>"})
    c.post("experiments/delete", {"experiment_id": "<exp>"})
    c.get("runs/get", {"run_id": "<first>"})
    c.get("runs/get", {"run_id": "<second>"})
    c.post("runs/search", {"experiment_ids": ["<exp>"]})
    c.post("runs/search", {"experiment_ids": ["<exp>"], "run_view_type": "ALL", "order_by": ["attributes.run_name"]})
    c.post("runs/log-parameter", {"run_id": "<second>", "key": "a", "value": "1"})
    c.post("experiments/restore", {"experiment_id": "<exp>"})
    c.get("runs/get", {"run_id": "<first>"})
    c.post("runs/search", {"experiment_ids": ["<exp>"], "order_by": ["attributes.run_name"]})
