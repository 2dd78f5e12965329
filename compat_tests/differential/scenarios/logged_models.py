"""Logged models: create, finalize, tags, params, metrics, delete, search; and the inputs and outputs of runs."""

from catalogue import experiment, logged_model, run, scenario, tags
from conversation import Ours
from known_differences import clearer, crashes, dropped, refused


@scenario
def logged_model_lives(c):
    experiment(c, "<u>")
    run(c)
    logged_model(c, model_type="agent", source_run_id="<run>", params=tags(p="1"), tags=tags(t="x"))
    c.get("logged-models/<lm>")
    c.patch("logged-models/<lm>", {"model_id": "<lm>", "status": "LOGGED_MODEL_READY"})
    c.patch("logged-models/<lm>/tags", {"model_id": "<lm>", "tags": tags(t="y", u="z")})
    c.patch("logged-models/<lm>/tags", {"tags": tags(v="1")})
    c.delete("logged-models/<lm>/tags/u")
    c.delete("logged-models/<lm>/tags/u")
    c.post("logged-models/<lm>/params", {"model_id": "<lm>", "params": tags(q="2")})
    c.get("logged-models/<lm>")
    c.post("runs/log-metric", {"run_id": "<run>", "key": "acc", "value": 0.7, "timestamp": 5, "step": 1, "model_id": "<lm>", "dataset_name": "ds", "dataset_digest": "dg"})
    c.post("runs/log-batch", {"run_id": "<run>", "metrics": [{"key": "loss", "value": 0.3, "timestamp": 5, "model_id": "<lm>"}, {"key": "free", "value": 1, "timestamp": 5}]})
    c.get("logged-models/<lm>")
    c.get("runs/get", {"run_id": "<run>"})
    c.patch("logged-models/<lm>", {"model_id": "<lm>", "status": "LOGGED_MODEL_UPLOAD_FAILED"})
    c.patch("logged-models/<lm>", {"model_id": "<lm>", "status": 1})
    c.delete("logged-models/<lm>")
    c.get("logged-models/<lm>")
    c.get("logged-models/<lm>", {"allow_deleted": "true"})
    c.get("logged-models/<lm>", {"allow_deleted": "false"})
    c.delete("logged-models/<lm>")
    c.patch("logged-models/<lm>/tags", {"model_id": "<lm>", "tags": tags(t="1")})
    c.patch("logged-models/<lm>", {"model_id": "<lm>", "status": "LOGGED_MODEL_READY"})
    c.post("logged-models/search", {"experiment_ids": ["<exp>"]})


@scenario
def logged_model_create(c):
    experiment(c, "<u>")
    c.post("logged-models", {"experiment_id": "<exp>"}, keep={"bare": "model.info.model_id"})
    c.get("logged-models/<bare>")
    logged_model(c, "same")
    logged_model(c, "twin", name="same")
    logged_model(c, "norun", source_run_id="f" * 32)
    for body in (
        {"experiment_id": "999999"},
        {"experiment_id": ""},
        {"experiment_id": None},
        {"experiment_id": "abc"},
        {"experiment_id": 5},
        {"name": "a/b"},
        {"name": "a:b"},
        {"name": "a.b"},
        {"name": "a%b"},
        {"name": 'a"b'},
        {"name": "a'b"},
        {"name": 5},
        {"name": ""},
        {"model_type": 5},
        {"source_run_id": 5},
        {"params": "x"},
        {"params": [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]},
        {"tags": [{"key": "ok", "value": "v" * 300}]},
    ):
        c.post("logged-models", {"experiment_id": "<exp>", "name": "m", **body})
    c.post("logged-models", {"experiment_id": "<exp>", "name": "m", "tags": "x"})
    c.post("logged-models", {"experiment_id": "<exp>", "name": "m", "params": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]}, **refused("sql-text-in-errors", "'a'", genuine=400))
    c.post("logged-models", {"experiment_id": "<exp>", "name": "n" * 501}, **refused("over-long-names", "500", genuine=(200, 400)))


@scenario
def logged_model_refused(c):
    experiment(c, "<u>")
    logged_model(c)
    none = "m-" + "0" * 32
    c.get(f"logged-models/{none}")
    c.delete(f"logged-models/{none}")
    c.patch(f"logged-models/{none}", {"model_id": none, "status": "LOGGED_MODEL_READY"})
    c.patch(f"logged-models/{none}/tags", {"model_id": none, "tags": tags(a="1")})
    c.delete(f"logged-models/{none}/tags/a")
    c.post(f"logged-models/{none}/params", {"model_id": none, "params": tags(a="1")})
    c.patch("logged-models/<lm>", {"model_id": "<lm>"})
    c.patch("logged-models/<lm>", {"model_id": "<lm>", "status": "FOO"}, **refused("unknown-enum-name", "FOO", genuine=(200, 400)))
    c.patch("logged-models/<lm>/tags", {"model_id": "<lm>", "tags": [{"key": "", "value": "1"}]}, **refused("nonsense-refused", "tags[0].key"))
    c.patch("logged-models/<lm>/tags", {"model_id": "<lm>", "tags": "x"})
    c.patch("logged-models/<lm>/tags", {"model_id": "<lm>"})
    c.post("logged-models/<lm>/params", {"model_id": "<lm>", "params": "x"})
    c.post("logged-models/<lm>/params", {"model_id": "<lm>"})
    c.post("logged-models/<lm>/params", {"model_id": "<lm>", "params": tags(a="1")})
    c.post("logged-models/<lm>/params", {"model_id": "<lm>", "params": tags(a="2")}, **refused("sql-text-in-errors", "'a'", genuine=400))
    info = {"model": {"info": {"status": "LOGGED_MODEL_PENDING"}, "data": {"params": tags(a="1")}}}
    c.get("logged-models/<lm>", differs="unknown-enum-name", genuine=200, ours=Ours(200, body=info))


FILTERS = [
    "name = 'one'",
    "attributes.name = 'one'",
    "name != 'one'",
    "name LIKE 'o%'",
    "name ILIKE 'O%'",
    "name IN ('one', 'two')",
    "name NOT IN ('one')",
    "model_type = 'agent'",
    "model_id = '<one>'",
    "source_run_id = '<run>'",
    "experiment_id = '<exp>'",
    "status = 2",
    "creation_timestamp > 0",
    "creation_time >= 0",
    "last_updated_timestamp < 5",
    "metrics.acc > 0.5",
    "metrics.acc <= 0.5",
    "metrics.acc != 0.5",
    "metrics.nope > 0",
    "params.lr = '0.1'",
    "params.lr LIKE '0.%'",
    "params.lr != '0.1'",
    "tags.env = 'prod'",
    "tags.env ILIKE 'PROD'",
    "tags.env IN ('prod', 'dev')",
    "tags.`a b` = 'c'",
    "metrics.acc > 0.5 AND tags.env = 'prod'",
    "name = 'one' AND metrics.acc > 0.5 AND params.lr = '0.1'",
]
FILTERS_REFUSED = [
    "metrics.acc LIKE '0.5'",
    "foo.acc > 1",
    "name = 'a' OR name = 'b'",
    "(name = 'a')",
    "name =",
    "name > 'a'",
    "tags.env > 'a'",
    "params.lr > '0.1'",
    "gibberish here",
    "name = 'one' AND",
]


@scenario
def search_logged_models(c):
    experiment(c, "<u>")
    experiment(c, "<u>2", keep="exp2")
    run(c)
    for name, kind, lr, env in (("one", "agent", "0.1", "prod"), ("two", "llm", "0.2", "Prod"), ("three", "", "0.1", "dev")):
        logged_model(c, name, model_type=kind, source_run_id="<run>", params=tags(lr=lr), tags=tags(env=env, **({"a b": "c"} if name == "two" else {})))
    c.patch("logged-models/<one>", {"model_id": "<one>", "status": "LOGGED_MODEL_READY"})
    for name, acc, dataset, digest in (("one", 0.9, "ds", "d1"), ("one", 0.8, "ds", "d2"), ("two", 0.5, "ds", "d1"), ("two", 0.95, "", "")):
        data = {"dataset_name": dataset, "dataset_digest": digest} if dataset else {}
        c.post("runs/log-metric", {"run_id": "<run>", "key": "acc", "value": acc, "timestamp": 5, "step": int(acc * 100), "model_id": f"<{name}>", **data})
    search = "logged-models/search"
    by_name = {"experiment_ids": ["<exp>"], "order_by": [{"field_name": "name"}]}
    for filter in FILTERS:
        c.post(search, {**by_name, "filter": filter})
    for filter in FILTERS_REFUSED:
        c.post(search, {**by_name, "filter": filter})
    for filter in ("nope = 'x'", "metrics.acc = 'x'", "metrics.acc > 'abc'"):
        c.post(search, {**by_name, "filter": filter}, **crashes("(at position"))
    c.post(search, {**by_name, "filter": "metrics.acc IS NULL"}, **clearer("Invalid comparison: acc IS NULL"))
    one = {"experiment_ids": ["<exp>"]}
    for order_by in ([{"field_name": ""}], [{}]):
        c.post(search, {**one, "order_by": order_by}, **clearer("`field_name`"))
    c.post(search, {**one, "order_by": [{"field_name": "nope"}]}, **clearer("Valid names are"))
    c.post(search, {**one, "order_by": ["name"]}, **clearer("order_by[0]"))
    c.post(search, {**one, "order_by": [{"field_name": "name", "ascending": "true"}]}, **dropped("order_by[0].ascending"))
    c.post(search, {**one, "order_by": [{"field_name": "metrics.acc", "dataset_digest": "d1"}]}, **refused("nonsense-refused", "dataset_name"))
    for field in ("attributes.name", "attributes.creation_timestamp"):
        c.post(search, {**one, "order_by": [{"field_name": field}]}, differs="more-is-understood", genuine=400, ours=Ours(200))
    for order_by in (
        [{"field_name": "name", "ascending": False}],
        [{"field_name": "metrics.acc"}],
        [{"field_name": "metrics.acc", "ascending": False}],
        [{"field_name": "metrics.acc", "dataset_name": "ds", "dataset_digest": "d1"}],
        [{"field_name": "metrics.acc", "ascending": False, "dataset_name": "ds"}],
        [{"field_name": "model_type"}, {"field_name": "name"}],
        [{"field_name": "creation_timestamp"}, {"field_name": "name"}],
        [{"field_name": "tags.env"}],
        [{"field_name": "params.lr"}],
        "name",
        [{"field_name": "name", "dataset_name": "ds"}],
    ):
        c.post(search, {"experiment_ids": ["<exp>"], "order_by": order_by})
    for datasets in (
        [{"dataset_name": "ds", "dataset_digest": "d1"}],
        [{"dataset_name": "ds", "dataset_digest": "d2"}],
        [{"dataset_name": "ds"}],
        [{"dataset_name": "nope"}],
        [{"dataset_digest": "d1"}],
        "ds",
    ):
        c.post(search, {**by_name, "datasets": datasets, "filter": "metrics.acc > 0.1"})
        c.post(search, {**by_name, "datasets": datasets})
    c.post(search, {"experiment_ids": []})
    c.post(search, {})
    c.post(search, {"experiment_ids": ["999999"]})
    c.post(search, {"experiment_ids": ["<exp>", "<exp2>"], "order_by": [{"field_name": "name"}]})
    c.post(search, {"experiment_ids": "999"})
    page = {**by_name, "max_results": 2}
    c.post(search, page, keep={"page": "next_page_token"})
    c.post(search, {**page, "page_token": "<page>"})
    c.post(search, {**page, "page_token": "<page>", "filter": "name = 'one'"}, **clearer("Filter string in the page token does not match"))
    c.post(search, {**page, "page_token": "<page>", "experiment_ids": ["<exp2>"]}, **clearer("Experiment IDs in the page token do not match"))
    c.post(search, {"experiment_ids": ["<exp>"], "page_token": "<page>"}, **clearer("Order by in the page token does not match"))
    c.post(search, {**page, "page_token": "abc"}, **crashes("page token"))
    c.post(search, {**page, "page_token": "e30="}, **clearer("page token"))
    c.post(search, {"experiment_ids": ["<exp>"], "order_by": [{"field_name": "metrics"}]}, **crashes("metrics"))
    c.post(search, {**by_name, "max_results": -1}, **refused("nonsense-refused", "max_results"))
    for max_results in (0, "2", "x", 51):
        c.post(search, {**by_name, "max_results": max_results})


@scenario
def inputs(c):
    experiment(c, "<u>")
    run(c)
    run(c, "second")
    logged_model(c)
    data = {"name": "ds", "digest": "abc", "source_type": "local", "source": '{"uri":"x"}', "schema": "{}", "profile": "{}"}
    log = "runs/log-inputs"
    c.post(log, {"run_id": "<run>", "datasets": [{"tags": tags(mlflow__data__context="training"), "dataset": data}]})
    c.get("runs/get", {"run_id": "<run>"})
    c.post(log, {"run_id": "<run>", "datasets": [{"tags": tags(mlflow__data__context="eval"), "dataset": data}]})
    c.get("runs/get", {"run_id": "<run>"})
    c.post(log, {"run_id": "<second>", "datasets": [{"dataset": {**data, "source": "other"}}, {"dataset": {**data, "name": "ds2", "schema": None, "profile": None}}]})
    c.get("runs/get", {"run_id": "<second>"})
    c.post(log, {"run_id": "<run>", "models": [{"model_id": "<lm>"}]})
    c.post(log, {"run_id": "<run>", "models": [{"model_id": "<lm>"}]})
    c.get("runs/get", {"run_id": "<run>"})
    c.post(log, {"run_id": "<run>"})
    c.post(log, {"run_id": "<run>", "datasets": []})
    for field, length in (("name", 501), ("digest", 37), ("source", 65536), ("schema", 1048576)):
        c.post(log, {"run_id": "<run>", "datasets": [{"dataset": {**data, field: "n" * length}}]}, **clearer(f"'datasets[0].dataset.{field}' exceeds"))
    for tag, where in (({"key": "k" * 256, "value": "v"}, "key"), ({"key": "k", "value": "v" * 501}, "value")):
        c.post(log, {"run_id": "<run>", "datasets": [{"tags": [tag], "dataset": data}]}, **clearer(f"'datasets[0].tags[0].{where}' exceeds"))
    for body in (
        {"datasets": "x"},
        {"run_id": "f" * 32, "datasets": [{"dataset": data}]},
        {"run_id": "$$", "datasets": [{"dataset": data}]},
        {"run_id": ""},
        {"run_id": None},
        {"models": "x"},
    ):
        c.post(log, {"run_id": "<run>", **body})
    c.get("runs/get", {"run_id": "<run>"})
    c.post("runs/search", {"experiment_ids": ["<exp>"], "order_by": ["run_name"]})
    c.post(log, {"run_id": "<run>", "datasets": [5]}, **dropped("datasets[0]"))
    c.post(log, {"run_id": "<run>", "datasets": [{"dataset": {"digest": "1", "source_type": "a", "source": "b"}}]}, **refused("nonsense-refused", "datasets[0].dataset.name"))
    c.post(log, {"run_id": "<run>", "datasets": [{"tags": []}]}, **refused("nonsense-refused", "datasets[0].dataset"))


@scenario
def outputs(c):
    experiment(c, "<u>")
    run(c)
    run(c, "second")
    logged_model(c)
    log = "runs/outputs"
    c.post(log, {"run_id": "<run>", "models": [{"model_id": "<lm>", "step": 2}]})
    c.get("runs/get", {"run_id": "<run>"})
    c.post(log, {"run_id": "<run>", "models": [{"model_id": "<lm>", "step": 2}]}, differs="blind-retry", genuine=400, ours=Ours(200, body={}))
    c.get("runs/get", {"run_id": "<run>"})
    c.post(log, {"run_id": "<second>", "models": [{"model_id": "<lm>"}]})
    c.get("runs/get", {"run_id": "<second>"})
    c.post(log, {"run_id": "<run>"})
    c.post(log, {"run_id": "<run>", "models": []})
    c.post(log, {"run_id": "f" * 32, "models": [{"model_id": "<lm>", "step": 0}]})
    c.post(log, {"run_id": "", "models": [{"model_id": "<lm>", "step": 0}]})
    c.post(log, {"models": [{"model_id": "<lm>", "step": 0}]})
    c.post(log, {"run_id": "<second>", "models": "x"})
    c.post("runs/search", {"experiment_ids": ["<exp>"], "order_by": ["run_name"]})
