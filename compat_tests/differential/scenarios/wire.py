"""How requests are read: content types, JSON, field names, numbers, queries; unknown routes and methods; the small routes."""

from catalogue import experiment, model, run, scenario, tags
from conversation import Ours
from known_differences import clearer, crashes, dropped, refused

JSON = {"Content-Type": "application/json"}
SERVER_INFO = {
    "differs": "features-not-served",
    "genuine": 200,
    "ours": Ours(200, body={"store_type": "SqlStore", "workspaces_enabled": False, "multipart_uploads_enabled": True, "multipart_downloads_enabled": True, "features_enabled": {"gateway": False}}),
}
CREATE = "experiments/create"


@scenario
def content_types(c):
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", "text/json", "multipart/form-data"):
        c.call("POST", CREATE, body='{"name": "<u>never"}', headers={"Content-Type": content_type})
    c.call("POST", CREATE, body='{"name": "<u>none"}')
    c.call("POST", CREATE, body='{"name": "<u>a"}', headers={"Content-Type": "application/json; charset=utf-8"})
    c.call("POST", CREATE, body='{"name": "<u>b"}', headers={"Content-Type": "application/json;charset=UTF-8"})
    c.call("POST", CREATE, body='{"name": "<u>c"}', headers={"Content-Type": "Application/JSON"}, differs="more-is-understood", genuine=400, ours=Ours(200))
    c.call("POST", CREATE, body='{"name": "<u>d"}', headers={"Content-Type": ""}, **clearer("Content-Type header is missing"))
    model(c, "<u>")
    c.call("PATCH", "registered-models/update", body='{"name": "<u>", "description": "d"}')
    c.call("PATCH", "registered-models/update", body='{"name": "<u>", "description": "e"}', headers={"Content-Type": "text/plain"})
    c.call("DELETE", "registered-models/delete-tag", body='{"name": "<u>", "key": "d"}')
    c.call("DELETE", "registered-models/delete", body='{"name": "<u>"}', headers={"Content-Type": "text/plain"})


@scenario
def bodies_that_are_not_an_object(c):
    for body in ("", " ", "{}", "null", '"{}"'):
        c.call("POST", CREATE, body=body, headers=JSON)
    for body in ("not json", '{"name": "<u>x"', '{"name": "<u>x",}', "{'name': 'x'}", '{"name": "<u>x"} trailing', "\x00"):
        c.call("POST", CREATE, body=body, headers=JSON, **refused("body-not-json", "not valid JSON", genuine=400))
    for body in ("[]", "[1]", "5", "true"):
        c.call("POST", CREATE, body=body, headers=JSON, **crashes("JSON object"))
    c.call("POST", CREATE, body='"{\\"name\\": \\"<u>twice encoded\\"}"', headers=JSON)
    c.call("POST", CREATE, body='{"name": "<u>one", "name": "<u>two"}', headers=JSON, **refused("duplicate-json-name", "name"))
    deep = '{"name": "<u>deep", "x": ' + "[" * 100 + "]" * 100 + "}"
    c.call("POST", CREATE, body=deep, headers=JSON, **refused("deep-json", "64"))
    c.call("POST", CREATE, body=b'{"name": "\xff\xfe"}', headers=JSON, **refused("body-not-json", genuine=(200, 400, 500)))


@scenario
def field_names(c):
    c.post(CREATE, {"name": "<u>camel", "artifactLocation": "s3://b/x"}, keep={"exp": "experiment_id"})
    c.get("experiments/get", {"experiment_id": "<exp>"})
    c.post(CREATE, {"name": "<u>both", "artifactLocation": "s3://b/x", "artifact_location": "s3://b/y"})
    c.post(CREATE, {"name": "<u>unknown", "nope": 1, "deep": {"a": [1, {"b": 2}]}})
    understood = {"differs": "more-is-understood", "genuine": 400, "ours": Ours(200)}
    c.post("experiments/update", {"experimentId": "<exp>", "newName": "<u>renamed"}, **understood)
    c.post("runs/create", {"experimentId": "<exp>", "runName": "r", "startTime": "5"}, keep={"run": "run.info.run_id"})
    c.get("runs/get", {"runId": "<run>"})
    c.get("runs/get", {"run_id": "<run>", "nope": "1"})
    c.get("runs/get", {"run_id": ["<run>", "<run>"]})
    c.post("runs/log-metric", {"runId": "<run>", "key": "m", "value": 1, "timestamp": 1}, **understood)
    c.post("runs/log-batch", {"runId": "<run>", "metrics": [{"key": "m", "value": 2, "timestamp": 2}]}, **understood)


@scenario
def get_with_a_body(c):
    experiment(c, "<u>")
    c.call("GET", "experiments/get", json={"experiment_id": "<exp>"})
    c.call("GET", "experiments/get", json={"experimentId": "<exp>"}, differs="more-is-understood", genuine=400, ours=Ours(200))
    c.call("GET", "experiments/get", query={"experiment_id": "<exp>"}, json={"experiment_id": "0"})
    c.call("GET", "experiments/get", body='{"experiment_id": "<exp>"}')
    c.call("GET", "experiments/search", json={"filter": "name = '<u>'", "max_results": 5})
    c.call("GET", "registered-models/get-latest-versions", json={"name": "<u>nope"})
    c.call("GET", "experiments/get", body="not json", headers=JSON, **refused("body-not-json", "not valid JSON", genuine=400))


@scenario
def numbers(c):
    experiment(c, "<u>")
    run(c)
    metric = {"run_id": "<run>", "key": "m", "value": 1, "timestamp": 1}
    for field, value in (("timestamp", 5), ("timestamp", "5"), ("timestamp", 5.0), ("timestamp", 1e3), ("step", "-5"), ("timestamp", None), ("value", False)):
        c.post("runs/log-metric", {**metric, "key": f"{field} {value}", field: value})
    run(c, "dropped")
    for value in (" 5", "5.0", True):
        c.post("runs/log-metric", {**metric, "run_id": "<dropped>", "step": value}, **dropped("step"))
    run(c, "beyond")
    metric = {**metric, "run_id": "<beyond>"}
    for value in (9223372036854775808, "9223372036854775808", 1e30):
        c.post("runs/log-metric", {**metric, "step": value}, **refused("number-beyond-64-bits", "step", genuine=(200, 400, 500)))
    c.get("runs/get", {"run_id": "<run>"})
    numbered = {"experiment_ids": ["<exp>"], "filter": "run_name = 'run'"}
    c.post("runs/search", {**numbered, "max_results": "1"})
    c.post("runs/search", {**numbered, "max_results": 1.0})
    c.post("experiments/search", {"filter": "name = '<u>'", "max_results": "5"})
    c.post("experiments/get", {"experiment_id": "<exp>"}, differs="errors-are-json", genuine=405, ours=Ours(405, "ENDPOINT_NOT_FOUND"))


@scenario
def nested_types(c):
    """Inside lists genuine checks nothing and drops what it can't read, with all that follows."""
    experiment(c, "<u>")
    run(c)
    batch = "runs/log-batch"
    c.post(batch, {"run_id": "<run>", "params": [{"key": "p", "value": 5}]}, **dropped("params[0].value"))
    c.post(batch, {"run_id": "<run>", "params": [5]}, **crashes("params[0]"))
    c.post(batch, {"run_id": "<run>", "tags": [{"key": "t", "value": 5}]}, **dropped("tags[0].value"))
    c.post(batch, {"run_id": "<run>", "tags": ["t"]}, **crashes("tags[0]"))
    c.post(batch, {"run_id": "<run>", "metrics": [{"key": "m", "value": "x", "timestamp": 1}]}, **dropped("metrics[0].value"))
    c.post(batch, {"run_id": "<run>", "metrics": [{"key": 5, "value": 1, "timestamp": 1}]}, **clearer("metrics[0].key"))
    c.post(batch, {"run_id": "<run>", "metrics": [None]}, **crashes("metrics[0]"))
    c.post(CREATE, {"name": "<u>tags", "tags": [{"key": "a", "value": 5}]}, **dropped("tags[0].value"))
    c.post(CREATE, {"name": "<u>tags2", "tags": [5]}, **clearer("tags[0]"))
    c.post("runs/create", {"experiment_id": "<exp>", "tags": [{"key": 5, "value": "x"}]}, **dropped("tags[0].key"))
    model(c, "<u>")
    c.post("registered-models/create", {"name": "<u>m", "tags": [{"key": "a", "value": 5}]}, **dropped("tags[0].value"))
    c.post("model-versions/create", {"name": "<u>", "source": "s3://b/x", "tags": [{"key": "a", "value": True}]}, **dropped("tags[0].value"))
    c.get("runs/get", {"run_id": "<run>"}, differs="wrong-type-dropped", genuine=200, ours=Ours(200, body={"run": {"data": {"tags": tags(mlflow__runName="run")}}}))


@scenario
def queries(c):
    experiment(c, "<u>")
    c.get("experiments/search", {"max_results": 1, "filter": "name = '<u>'", "nope": "x"})
    c.get("experiments/search", "max_results=1&filter=name+%3D+%27<u>%27")
    c.get("experiments/search", "max_results=1&filter=name%20=%20%27<u>%27&order_by=name&order_by=experiment_id")
    c.get("experiments/get", "experiment_id=<exp>&")
    c.get("experiments/get", "&&experiment_id=<exp>")
    c.get("experiments/get", "experiment_id=")
    c.get("experiments/get-by-name", "experiment_name=%E6%97%A5")
    c.get("registered-models/get", "name=a%2Fb")


@scenario
def routes_that_do_not_exist(c):
    unknown = {"differs": "errors-are-json", "genuine": 404, "ours": Ours(404, "ENDPOINT_NOT_FOUND")}
    c.get("nope", **unknown)
    c.post("nope", {}, **unknown)
    c.get("/api/2.0/nope", **unknown)
    c.get("/api/9.9/mlflow/experiments/get", {"experiment_id": "0"}, **unknown)
    c.get("/api/3.0/mlflow/experiments/get", {"experiment_id": "0"}, **unknown)
    wrong = {"differs": "errors-are-json", "genuine": 405, "ours": Ours(405, "ENDPOINT_NOT_FOUND")}
    c.get(CREATE, **wrong)
    c.call("DELETE", CREATE, **wrong)
    c.put("runs/create", "{}", **wrong)
    c.post("registered-models/delete", {"name": "x"}, **wrong)
    c.post("registered-models/update", {"name": "x"}, **wrong)
    c.patch("registered-models/create", {"name": "x"}, **wrong)


@scenario
def routes_of_old_clients(c):
    experiment(c, "<u>")
    c.get("experiments/list", {"view_type": "ALL"}, differs="dropped-by-mlflow-3", genuine=404, ours=Ours(200))
    c.get("registered-models/list", differs="dropped-by-mlflow-3", genuine=404, ours=Ours(200))
    for path in ("experiments/list", "experiments/get?experiment_id=<exp>", "registered-models/list", "registered-models/search", "experiments/get-by-name?experiment_name=<u>"):
        c.get("/api/2.0/preview/mlflow/" + path, differs="dropped-by-mlflow-3", genuine=404, ours=Ours(200))
    c.post("/api/2.0/preview/mlflow/registered-models/create", {"name": "<u>"}, differs="dropped-by-mlflow-3", genuine=404, ours=Ours(200))
    c.post("/api/2.0/preview/mlflow/runs/create", {"experiment_id": "<exp>"}, differs="dropped-by-mlflow-3", genuine=404, ours=Ours(200))


@scenario
def routes_of_the_ui(c):
    """Every call is served below /ajax-api too."""
    ajax = "/ajax-api/2.0/mlflow/"
    c.post(ajax + CREATE, {"name": "<u>"}, keep={"exp": "experiment_id"})
    c.get(ajax + "experiments/get", {"experiment_id": "<exp>"})
    c.post(ajax + "runs/create", {"experiment_id": "<exp>", "run_name": "r"}, keep={"run": "run.info.run_id"})
    c.post(ajax + "runs/search", {"experiment_ids": ["<exp>"]})
    c.post(ajax + "registered-models/create", {"name": "<u>"})
    c.get(ajax + "registered-models/get", {"name": "<u>"})
    c.post(ajax + "logged-models", {"experiment_id": "<exp>", "name": "m"}, keep={"lm": "model.info.model_id"})
    c.get(ajax + "logged-models/<lm>")
    c.put("/ajax-api/2.0/mlflow-artifacts/artifacts/<exp>/x.txt", "x")
    c.get("/ajax-api/2.0/mlflow-artifacts/artifacts/<exp>/x.txt")
    c.get("/ajax-api/2.0/mlflow-artifacts/artifacts", {"path": "<exp>"})
    c.delete("/ajax-api/2.0/mlflow-artifacts/artifacts/<exp>/x.txt")
    c.get("/ajax-api/3.0/mlflow/server-info", **SERVER_INFO)


@scenario
def small_routes(c):
    c.get("/health")
    c.get("/health", {"x": "1"})
    c.get("/version", differs="content-types", genuine=200, ours=Ours(200, says="3.17.2"))
    c.get("/version", {"x": "1"}, differs="content-types", genuine=200, ours=Ours(200, says="3.17.2"))
    c.get("/api/3.0/mlflow/server-info", **SERVER_INFO)
    c.get("/api/3.0/mlflow/server-info", {"x": "1"}, **SERVER_INFO)
