"""Metrics: values in every spelling, what counts as the latest, histories, and log-batch."""

from catalogue import experiment, run, scenario, tags
from conversation import Ours
from known_differences import clearer, crashes, dropped, refused


@scenario
def metric_values(c):
    experiment(c, "<u>")
    run(c)
    values = (0, 1, -1.5, 1e-300, 1e308, 0.1, 123456789012345678, "1.5", "NaN", "Infinity", "-Infinity", "inf", "1e400", True, 1e22, 3.0, -0.0, 5e-324)
    for i, value in enumerate(values):
        c.post("runs/log-metric", {"run_id": "<run>", "key": f"m{i}", "value": value, "timestamp": 1})
    c.get("runs/get", {"run_id": "<run>"})
    for i in range(len(values)):
        c.get("metrics/get-history", {"run_id": "<run>", "metric_key": f"m{i}"})


@scenario
def metric_values_that_genuine_logs_as_zero(c):
    experiment(c, "<u>")
    run(c)
    body = '{"run_id": "<run>", "key": "m", "value": %s, "timestamp": %s}'
    json = {"Content-Type": "application/json"}
    zero = {"differs": "silent-zero", "genuine": 200}
    for spelling, value in (("nan", "NaN"), ("INFINITY", 1.7976931348623157e308), ("-inf", -1.7976931348623157e308)):
        c.post("runs/log-metric", {"run_id": "<run>", "key": "key " + spelling, "value": spelling, "timestamp": 1})
        seen = Ours(200, body={"metrics": [{"key": "key " + spelling, "value": value, "timestamp": 1, "step": 0}]})
        if "inf" in spelling.lower():
            c.get("metrics/get-history", {"run_id": "<run>", "metric_key": "key " + spelling})
        else:
            c.get("metrics/get-history", {"run_id": "<run>", "metric_key": "key " + spelling}, ours=seen, **zero)
    c.call("POST", "runs/log-metric", body=body % ("NaN", "1"), headers=json, **refused("silent-zero", "NaN"))
    c.call("POST", "runs/log-metric", body=body % ("Infinity", "1"), headers=json, **refused("silent-zero", "Infinity"))
    c.call("POST", "runs/log-metric", body=body % ("1", "1.5"), headers=json, **refused("silent-zero", "timestamp"))
    c.call("POST", "runs/log-metric", body=body % ("1", "true"), headers=json, **dropped("timestamp"))
    c.call("POST", "runs/log-metric", body=body % ('"abc"', "1"), headers=json)
    c.call("POST", "runs/log-metric", body=body % ("[1]", "1"), headers=json, **crashes("value"))
    c.call("POST", "runs/log-metric", body=body % ("1", '"x"'), headers=json)
    c.post("runs/log-batch", {"run_id": "<run>", "metrics": [{"key": "batch", "value": "nan", "timestamp": 7}]})
    c.get("metrics/get-history", {"run_id": "<run>", "metric_key": "batch"}, ours=Ours(200, body={"metrics": [{"key": "batch", "value": "NaN", "timestamp": 7, "step": 0}]}), **zero)
    c.post("runs/log-batch", {"run_id": "<run>", "metrics": [{"key": "b2", "value": 1, "timestamp": 1.5}]}, **refused("silent-zero", "metrics[0].timestamp"))
    c.post("runs/log-batch", {"run_id": "<run>", "metrics": [{"key": "b3", "value": 1, "timestamp": 1, "step": 0.5}]}, **dropped("metrics[0].step"))


@scenario
def metric_refused(c):
    experiment(c, "<u>")
    run(c)
    good = {"run_id": "<run>", "key": "m", "value": 1, "timestamp": 1}
    for body in (
        {"key": "a$b"},
        {"key": "a//b"},
        {"key": "k" * 251},
        {"key": ""},
        {"key": None},
        {"key": 5},
        {"value": None},
        {"value": ""},
        {"timestamp": None},
        {"timestamp": -1},
        {"step": "abc"},
        {"run_id": "f" * 32},
        {"run_id": ""},
        {"run_id": None},
        {"model_id": 5},
        {"dataset_name": 5},
    ):
        c.post("runs/log-metric", {**good, **body})
    c.post("runs/log-metric", {**good, "timestamp": ""}, **clearer("timestamp"))
    c.post("runs/log-metric", {**good, "step": [1]}, **crashes("step"))
    c.post("runs/log-metric", {**good, "model_id": "m-" + "0" * 32}, **refused("sql-text-in-errors", "m-" + "0" * 32, genuine=400))
    c.post("runs/log-metric", {**good, "key": "k" * 250})
    c.post("runs/log-metric", {**good, "key": "ünï a/b:c-d_e.f"})
    c.post("runs/log-metric", {**good, "step": "7", "timestamp": "123"})
    c.post("runs/log-metric", {**good, "step": -3})
    c.post("runs/log-metric", {**good, "timestamp": 0})
    c.post("runs/log-metric", {**good, "step": 9223372036854775807, "timestamp": 9223372036854775807, "key": "big"})
    c.get("runs/get", {"run_id": "<run>"})


@scenario
def metric_latest(c):
    """The latest value is the greatest (step, timestamp, value), not the last to arrive."""
    experiment(c, "<u>")
    run(c)
    for step, timestamp, value in ((5, 10, 0.5), (5, 10, 2.0), (5, 10, 1.0), (4, 99, 7.0), (5, 5, 9.0), (5, 10, 2.0), (-1, 1, 3)):
        c.post("runs/log-metric", {"run_id": "<run>", "key": "lat", "value": value, "timestamp": timestamp, "step": step})
    c.get("runs/get", {"run_id": "<run>"})
    c.get("metrics/get-history", {"run_id": "<run>", "metric_key": "lat"})
    c.post("runs/log-metric", {"run_id": "<run>", "key": "nan", "value": "NaN", "timestamp": 1})
    c.post("runs/log-metric", {"run_id": "<run>", "key": "nan", "value": -1, "timestamp": 1})
    c.post("runs/log-metric", {"run_id": "<run>", "key": "nan2", "value": -1, "timestamp": 1})
    c.post("runs/log-metric", {"run_id": "<run>", "key": "nan2", "value": "NaN", "timestamp": 1})
    c.post("runs/log-metric", {"run_id": "<run>", "key": "nan3", "value": 1, "timestamp": 1})
    c.post("runs/log-metric", {"run_id": "<run>", "key": "nan3", "value": "NaN", "timestamp": 1})
    c.get("runs/get", {"run_id": "<run>"})
    c.get("metrics/get-history", {"run_id": "<run>", "metric_key": "nan"})


@scenario
def metric_history(c):
    experiment(c, "<u>")
    run(c)
    points = [{"key": "h", "value": i * 0.5, "timestamp": 100 - i % 3, "step": i} for i in range(7)]
    c.post("runs/log-batch", {"run_id": "<run>", "metrics": points})
    history = {"run_id": "<run>", "metric_key": "h"}
    c.get("metrics/get-history", history)
    c.get("metrics/get-history", {**history, "max_results": 3}, keep={"page": "next_page_token"})
    c.get("metrics/get-history", {**history, "max_results": 3, "page_token": "<page>"}, keep={"page": "next_page_token"})
    c.get("metrics/get-history", {**history, "max_results": 3, "page_token": "<page>"})
    c.get("metrics/get-history", {**history, "max_results": 7})
    c.get("metrics/get-history", {**history, "max_results": 1000})
    c.get("metrics/get-history", {**history, "max_results": 2_000_000})
    c.get("metrics/get-history", {**history, "page_token": "eyJvZmZzZXQiOiAyfQ=="})
    c.get("metrics/get-history", {**history, "max_results": 0})
    c.get("metrics/get-history", {**history, "max_results": -1})
    c.get("metrics/get-history", {**history, "max_results": "x"}, **dropped("max_results"))
    c.get("metrics/get-history", {**history, "max_results": 2, "page_token": "abc"})
    c.get("metrics/get-history", {**history, "max_results": 2, "page_token": "e30="})
    c.get("metrics/get-history", {"run_id": "<run>", "metric_key": "nope"})
    c.get("metrics/get-history", {"run_id": "f" * 32, "metric_key": "h"})
    c.get("metrics/get-history", {"run_id": "<run>"})
    c.get("metrics/get-history", {"metric_key": "h"})
    c.get("metrics/get-history")


def _metrics(count):
    return [{"key": "z", "value": 1, "timestamp": 5, "step": i} for i in range(count)]


@scenario
def batch_accepted(c):
    experiment(c, "<u>")
    run(c)
    c.post("runs/log-batch", {"run_id": "<run>"})
    c.post(
        "runs/log-batch",
        {"run_id": "<run>", "metrics": [{"key": "b1", "value": 1.5, "timestamp": 5}, {"key": "b1", "value": 2, "timestamp": 6, "step": 1}], "params": tags(bp="1"), "tags": tags(bt="x", mlflow__runName="by batch")},
    )
    c.post("runs/log-batch", {"run_id": "<run>", "params": tags(bp="1", other="2"), "tags": tags(bt="y")})
    c.get("runs/get", {"run_id": "<run>"})
    c.post("runs/log-batch", {"run_id": "<run>", "metrics": _metrics(1000)})
    c.post("runs/log-batch", {"run_id": "<run>", "params": [{"key": f"p{i}", "value": str(i)} for i in range(100)]})
    c.post("runs/log-batch", {"run_id": "<run>", "tags": [{"key": f"t{i}", "value": str(i)} for i in range(100)]})
    c.post("runs/log-batch", {"run_id": "<run>", "metrics": [{"key": "same", "value": 1, "timestamp": 1}] * 2})
    c.post("runs/log-batch", {"run_id": "<run>", "tags": [{"key": "twice", "value": "1"}, {"key": "twice", "value": "2"}]})
    c.post("runs/log-batch", {"run_id": "<run>", "params": [{"key": "long", "value": "x" * 6001}], "tags": [{"key": "long", "value": "y" * 8001}]})
    c.post("runs/log-batch", {"run_id": "<run>", "metrics": [{"key": "nan", "value": "NaN", "timestamp": 1}, {"key": "inf", "value": "-Infinity", "timestamp": 1}]})
    c.get("runs/get", {"run_id": "<run>"})
    c.get("metrics/get-history", {"run_id": "<run>", "metric_key": "same"})
    c.get("metrics/get-history", {"run_id": "<run>", "metric_key": "inf"})


@scenario
def batch_refused_changes_nothing(c):
    experiment(c, "<u>")
    run(c)
    c.post("runs/log-batch", {"run_id": "<run>", "params": tags(bp="1")})
    good = {"metrics": [{"key": "m", "value": 1, "timestamp": 5}], "tags": tags(t="1")}
    for body in (
        {"params": tags(bp="2", newp="2")},
        {"params": [{"key": "dp", "value": "1"}, {"key": "dp", "value": "1"}]},
        {"params": [{"key": "dp", "value": "1"}, {"key": "dp", "value": "2"}, {"key": "dq", "value": "1"}, {"key": "dq", "value": "1"}]},
        {"params": [{"key": f"p{i}", "value": "1"} for i in range(101)]},
        {"tags": [{"key": f"t{i}", "value": "1"} for i in range(101)]},
        {"metrics": _metrics(1001)},
        {"metrics": _metrics(999), "params": tags(a="1", b="2")},
        {"metrics": [{"key": "a$b", "value": 1, "timestamp": 5}]},
        {"metrics": [{"key": "ok", "value": 1, "timestamp": 5}, {"key": "a//b", "value": 1, "timestamp": 5}]},
        {"metrics": [{"key": "k" * 251, "value": 1, "timestamp": 5}]},
        {"metrics": [{"key": "m", "timestamp": 5}]},
        {"metrics": [{"key": "m", "value": 1}]},
        {"metrics": [{"value": 1, "timestamp": 1}]},
        {"metrics": [{"key": "m", "value": 1, "timestamp": -5}]},
        {"params": [{"key": "a$b", "value": "1"}]},
        {"params": [{"key": "k" * 251, "value": "1"}]},
        {"params": [{"value": "1"}]},
        {"tags": [{"key": "a$b", "value": "1"}]},
        {"tags": [{"key": "k" * 251, "value": "1"}]},
        {"tags": [{"value": "1"}]},
        {"metrics": "x"},
        {"metrics": {"key": "m", "value": 1, "timestamp": 5}},
        {"params": 5},
        {"tags": "x"},
        {"run_id": "$$"},
        {"run_id": "f" * 32},
        {"run_id": ""},
        {"run_id": 5},
    ):
        c.post("runs/log-batch", {"run_id": "<run>", **good, **body})
    c.get("runs/get", {"run_id": "<run>"})
    unknown_model = {"metrics": [{"key": "m", "value": 1, "timestamp": 5, "model_id": "m-" + "0" * 32}], "params": tags(landed="?")}
    c.post("runs/log-batch", {"run_id": "<run>", **unknown_model}, **refused("sql-text-in-errors", "m-" + "0" * 32, genuine=400))
    params = {"run": {"data": {"params": tags(bp="1")}}}
    c.get("runs/get", {"run_id": "<run>"}, differs="half-landed-batch", genuine=200, ours=Ours(200, body=params))
