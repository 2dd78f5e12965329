"""Model versions: sources, numbers, stages, tags, deletion."""

from catalogue import experiment, logged_model, model, run, scenario, tags, version
from conversation import Ours
from known_differences import clearer, crashes, refused


@scenario
def version_lives(c):
    model(c, "<u>")
    version(c, "<u>", description="one", run_link="http://x/y", tags=tags(a="1", b="2"))
    c.get("model-versions/get", {"name": "<u>", "version": "1"})
    c.get("model-versions/get-download-uri", {"name": "<u>", "version": "1"})
    c.patch("model-versions/update", {"name": "<u>", "version": "1", "description": "changed"})
    c.patch("model-versions/update", {"name": "<u>", "version": "1"})
    c.get("model-versions/get", {"name": "<u>", "version": "1"})
    version(c, "<u>", "s3://b/2")
    c.delete("model-versions/delete", {"name": "<u>", "version": "2"})
    c.get("model-versions/get", {"name": "<u>", "version": "2"})
    c.get("model-versions/get-download-uri", {"name": "<u>", "version": "2"})
    c.delete("model-versions/delete", {"name": "<u>", "version": "2"})
    c.patch("model-versions/update", {"name": "<u>", "version": "2", "description": "d"})
    version(c, "<u>", "s3://b/3")
    c.get("registered-models/get", {"name": "<u>"})
    c.get("model-versions/search", {"filter": "name = '<u>'"})


@scenario
def version_refused(c):
    model(c, "<u>")
    version(c, "<u>")
    for query in ({"version": "99"}, {"version": "abc"}, {"version": ""}, {"version": "1.5"}, {"version": "-1"}, {"version": "0"}, {"name": "<u>nope", "version": "1"}, {"name": "", "version": "1"}):
        query = {"name": "<u>", **query}
        c.get("model-versions/get", query)
        c.get("model-versions/get-download-uri", query)
        c.delete("model-versions/delete", query)
        c.patch("model-versions/update", {**query, "description": "d"})
        c.post("model-versions/set-tag", {**query, "key": "k", "value": "v"})
        c.delete("model-versions/delete-tag", {**query, "key": "k"})
        c.post("model-versions/transition-stage", {**query, "stage": "Staging", "archive_existing_versions": False})
    c.get("model-versions/get", {"name": "<u>"})
    c.get("model-versions/get", {"version": "1"})
    c.delete("model-versions/delete", {"name": "<u>", "version": 1})
    c.patch("model-versions/update", {"name": "<u>", "version": 1, "description": "d"})
    c.patch("model-versions/update", {"name": "<u>", "version": "1", "description": 1})
    c.patch("model-versions/update", {"name": "<u>", "version": "1", "description": "d" * 5001}, **refused("over-long-names", "5000", genuine=(200, 400)))


@scenario
def version_sources(c):
    experiment(c, "<u>")
    run(c)
    run(c, "other")
    model(c, "<u>")
    artifacts = "mlflow-artifacts:/<exp>/<run>/artifacts"
    create = "model-versions/create"
    c.post(create, {"name": "<u>", "source": artifacts + "/model", "run_id": "<run>"})
    c.post(create, {"name": "<u>", "source": artifacts, "run_id": "<run>"})
    c.post(create, {"name": "<u>", "source": "runs:/<run>/model", "run_id": "<run>"})
    c.get("model-versions/get-download-uri", {"name": "<u>", "version": "3"})
    c.post(create, {"name": "<u>", "source": "models:/<u>/1"})
    c.get("model-versions/get", {"name": "<u>", "version": "4"})
    c.get("model-versions/get-download-uri", {"name": "<u>", "version": "4"})
    c.post(create, {"name": "<u>", "source": "models:/<u>/2", "run_id": "<run>"})
    for source in ("s3://b/x", "gs://b/x", "wasbs://c@a.blob.core.windows.net/x", "dbfs:/x/y", "s3://b/x y/ünï"):
        c.post(create, {"name": "<u>", "source": source})
    c.post(create, {"name": "<u>", "source": "s3://b/with run", "run_id": "f" * 32})
    c.post(create, {"name": "<u>", "source": artifacts + "/model"})
    for source, fields in (
        (artifacts + "/model", {"run_id": "<other>"}),
        (artifacts + "/model", {"run_id": "f" * 32}),
        (artifacts + "/model", {"run_id": ""}),
        (artifacts + "/../../other", {"run_id": "<run>"}),
        (artifacts + "/%2e%2e/x", {"run_id": "<run>"}),
        (artifacts + "other/model", {"run_id": "<run>"}),
        ("mlflow-artifacts:/", {"run_id": "<run>"}),
        ("mlflow-artifacts:/<exp>", {"run_id": "<run>"}),
        ("runs:/<run>/model", {}),
        ("runs:/<run>/model", {"run_id": "<other>"}),
        ("runs:/<run>/../model", {"run_id": "<run>"}),
        ("models:/<u>/99", {}),
        ("models:/<u>nope/1", {}),
        ("models:/<u>/1", {"run_id": "<other>"}),
        ("models:/m-" + "0" * 32, {}),
        ("models:/", {}),
        ("/local/path", {}),
        ("/local/path", {"run_id": "<run>"}),
        ("file:///local/path", {}),
        ("relative/path", {}),
        ("s3://b/../x", {}),
        ("s3://b/%2e%2e/x", {}),
        ("s3://b/%252e%252e/x", {}),
        ("", {}),
        (None, {}),
        (5, {}),
    ):
        c.post(create, {"name": "<u>", "source": source, **fields})
    none = "m-" + "0" * 32
    c.post(create, {"name": "<u>", "source": "models:/" + none, "model_id": none}, **crashes(none, status=404, code="RESOURCE_DOES_NOT_EXIST"))
    c.post(create, {"name": "<u>", "source": "file:///local/path", "run_id": "<run>"}, **clearer("'file:///local/path'"))
    c.get("model-versions/search", {"filter": "name = '<u>'"})


@scenario
def version_source_elsewhere(c):
    model(c, "<u>")
    for source in ("s3://other/x", "gs://other/x", "dbfs:/other", "s3://bucket2/x", "s3://Bucket/x", "s3://models-of-others/x"):
        c.post("model-versions/create", {"name": "<u>", "source": source}, **refused("location-elsewhere", "in the folder of the run or logged model", genuine=200))


@scenario
def version_create_refused(c):
    model(c, "<u>")
    good = {"name": "<u>", "source": "s3://b/x"}
    for body in (
        {"name": "<u>nope"},
        {"name": ""},
        {"name": None},
        {"name": 5},
        {"description": 5},
        {"run_id": 5},
        {"run_link": 5},
        {"tags": "x"},
        {"tags": [{"key": "a$", "value": "1"}]},
        {"tags": [{"key": "k" * 251, "value": "1"}]},
        {"model_id": 5},
    ):
        c.post("model-versions/create", {**good, **body})
    c.post("model-versions/create", {**good, "source": "s3://b/" + "x" * 500}, **refused("over-long-names", "500", genuine=(200, 400)))
    c.post("model-versions/create", {**good, "run_id": "f" * 33}, **refused("over-long-names", "32", genuine=(200, 400)))
    c.post("model-versions/create", {**good, "description": "d" * 5001}, **refused("over-long-names", "5000", genuine=(200, 400)))


@scenario
def version_create_repeated_by_a_blind_retry(c):
    model(c, "<u>")
    body = {"name": "<u>", "source": "s3://b/x", "tags": tags(a="1")}
    c.post("model-versions/create", body)
    c.post("model-versions/create", body, differs="blind-retry", genuine=200, ours=Ours(200, body={"model_version": {"version": "1"}}))
    c.post("model-versions/create", {**body, "source": "s3://b/y"}, differs="blind-retry", genuine=200, ours=Ours(200, body={"model_version": {"version": "2"}}))


@scenario
def version_of_logged_model(c):
    experiment(c, "<u>")
    run(c)
    logged_model(c, source_run_id="<run>")
    model(c, "<u>")
    c.post("model-versions/create", {"name": "<u>", "source": "models:/<lm>", "model_id": "<lm>"})
    c.get("model-versions/get", {"name": "<u>", "version": "1"})
    c.get("model-versions/get-download-uri", {"name": "<u>", "version": "1"})
    c.get("logged-models/<lm>")
    c.post("model-versions/create", {"name": "<u>", "source": "mlflow-artifacts:/<exp>/models/<lm>/artifacts", "model_id": "<lm>"})
    c.post("model-versions/create", {"name": "<u>", "source": "models:/<lm>"})
    c.post("model-versions/create", {"name": "<u>", "source": "models:/<lm>", "model_id": "m-" + "0" * 32})
    c.get("logged-models/<lm>")
    c.delete("registered-models/delete", {"name": "<u>"})


@scenario
def version_copies_survive_their_source(c):
    experiment(c, "<u>")
    run(c)
    model(c, "<u>src")
    model(c, "<u>dst")
    c.post("model-versions/create", {"name": "<u>src", "source": "mlflow-artifacts:/<exp>/<run>/artifacts/model", "run_id": "<run>"})
    c.post("model-versions/create", {"name": "<u>dst", "source": "models:/<u>src/1"})
    c.get("model-versions/get-download-uri", {"name": "<u>dst", "version": "1"})
    c.post("registered-models/rename", {"name": "<u>src", "new_name": "<u>src2"})
    c.get("model-versions/get", {"name": "<u>dst", "version": "1"})
    c.delete("registered-models/delete", {"name": "<u>src2"})
    c.get("model-versions/get-download-uri", {"name": "<u>dst", "version": "1"})
    c.get("model-versions/get", {"name": "<u>dst", "version": "1"})


@scenario
def version_tags(c):
    model(c, "<u>")
    version(c, "<u>")
    one = {"name": "<u>", "version": "1"}
    c.post("model-versions/set-tag", {**one, "key": "k", "value": "1"})
    c.post("model-versions/set-tag", {**one, "key": "k", "value": "2"})
    c.post("model-versions/set-tag", {**one, "key": "none"})
    c.post("model-versions/set-tag", {**one, "key": "a/b c", "value": "ünï"})
    c.get("model-versions/get", one)
    for body in ({"key": "a$"}, {"key": "a//b"}, {"key": ""}, {"key": None}, {"key": "k" * 251}, {"key": "k", "value": 5}, {"key": "k", "version": 1}):
        c.post("model-versions/set-tag", {**one, "value": "1", **body})
    refused = Ours(400, "INVALID_PARAMETER_VALUE", "is set by the server")
    c.post("model-versions/set-tag", {**one, "key": "greenroom.digest", "value": "v"}, differs="digest-tag", genuine=200, ours=refused)
    c.delete("model-versions/delete-tag", {**one, "key": "greenroom.digest"}, differs="digest-tag", genuine=200, ours=refused)
    c.delete("model-versions/delete-tag", {**one, "key": "k"})
    c.delete("model-versions/delete-tag", {**one, "key": "k"})
    c.delete("model-versions/delete-tag", one)
    c.get("model-versions/get", one)


@scenario
def stages(c):
    model(c, "<u>")
    for i in range(4):
        version(c, "<u>", f"s3://b/{i}")
    move = "model-versions/transition-stage"
    c.post(move, {"name": "<u>", "version": "1", "stage": "Staging", "archive_existing_versions": False})
    c.post(move, {"name": "<u>", "version": "1", "stage": "production", "archive_existing_versions": True})
    c.post(move, {"name": "<u>", "version": "2", "stage": "PRODUCTION", "archive_existing_versions": False})
    c.post("registered-models/get-latest-versions", {"name": "<u>"}, unordered="model_versions")
    c.post(move, {"name": "<u>", "version": "3", "stage": "Production", "archive_existing_versions": True})
    for number in "1234":
        c.get("model-versions/get", {"name": "<u>", "version": number})
    c.get("registered-models/get", {"name": "<u>"})
    c.post("registered-models/get-latest-versions", {"name": "<u>"}, unordered="model_versions")
    c.get("registered-models/get-latest-versions", {"name": "<u>"}, unordered="model_versions")
    c.get("registered-models/get-latest-versions", {"name": "<u>", "stages": ["Production", "None"]}, unordered="model_versions")
    c.post("registered-models/get-latest-versions", {"name": "<u>", "stages": ["archived"]})
    c.post("registered-models/get-latest-versions", {"name": "<u>", "stages": ["Staging"]})
    c.post("registered-models/get-latest-versions", {"name": "<u>", "stages": []}, unordered="model_versions")
    c.post("registered-models/alias", {"name": "<u>", "alias": "champion", "version": "3"})
    c.post("registered-models/get-latest-versions", {"name": "<u>", "stages": ["Production"]})
    c.post(move, {"name": "<u>", "version": "3", "stage": "None", "archive_existing_versions": False})
    c.post(move, {"name": "<u>", "version": "3", "stage": "Archived", "archive_existing_versions": False})
    c.post(move, {"name": "<u>", "version": "3", "stage": "Production"})
    c.post(move, {"name": "<u>", "version": "3", "stage": "Production", "archive_existing_versions": True})
    c.get("model-versions/search", {"filter": "name = '<u>'", "order_by": "version_number ASC"})


@scenario
def stages_refused(c):
    model(c, "<u>")
    version(c, "<u>")
    move = "model-versions/transition-stage"
    good = {"name": "<u>", "version": "1", "stage": "Production", "archive_existing_versions": True}
    for body in (
        {"stage": "PROD"},
        {"stage": ""},
        {"stage": None},
        {"stage": 5},
        {"stage": "Deleted_Internal"},
        {"version": "99"},
        {"version": 1},
        {"name": "<u>nope"},
        {"name": None},
        {"archive_existing_versions": "true"},
        {"archive_existing_versions": 1},
    ):
        c.post(move, {**good, **body})
    c.post(move, {**good, "version": "abc"}, **refused("sql-text-in-errors", "must be an integer, got 'abc'", genuine=400), on="postgresql")
    c.post(move, {**good, "stage": "Archived"}, **crashes("'Archived' is not an Active stage"))
    c.post(move, {**good, "stage": "None"}, **crashes("'None' is not an Active stage"))
    c.get("model-versions/get", {"name": "<u>", "version": "1"})
    latest = "registered-models/get-latest-versions"
    c.post(latest, {"name": "<u>nope"})
    c.post(latest, {"name": ""})
    c.post(latest, {})
    c.post(latest, {"name": "<u>", "stages": ["PROD"]})
    c.post(latest, {"name": "<u>", "stages": ["Production", "x"]})
    c.get(latest)
    c.get(latest, {"name": "<u>nope"})
    c.get(latest, {"name": "<u>", "stages": "PROD"})
