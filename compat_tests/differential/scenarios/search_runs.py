"""runs/search: filters, orders, views and pages over six runs that differ in everything a filter can ask for."""

from catalogue import experiment, run, scenario, tags
from conversation import Ours
from known_differences import clearer, crashes, dropped, refused

ACCEPTED = [
    "",
    " ",
    "metrics.acc > 0.5",
    "metrics.acc >= 0.9",
    "metrics.acc < 0.9",
    "metrics.acc <= 0.5",
    "metrics.acc = 0.9",
    "metrics.acc != 0.9",
    "metric.acc = 0.5",
    "metrics.acc > -1",
    "metrics.acc > 1e-3",
    "metrics.acc = 1",
    "metrics.nope > 0",
    "metrics.nan > 0",
    "metrics.nan = 0",
    "metrics.nan != 3",
    "metrics.`val loss` < 1",
    'metrics."val loss" < 1',
    "metrics.a/b > 0",
    "metrics.`a/b` > 0",
    "metrics.acc > 0.4 AND metrics.acc < 0.8",
    "metrics.acc > 0.4 and params.lr = '0.1'",
    "params.lr = '0.1'",
    'params.lr = "0.1"',
    "params.lr != '0.1'",
    "params.lr LIKE '0.%'",
    "params.lr like '0.%'",
    "params.lr LIKE '0._'",
    "params.opt ILIKE 'ADAM'",
    "params.opt LIKE 'ADAM'",
    "param.opt ilike '%d%'",
    "parameter.opt = 'adam'",
    "parameters.opt = 'Adam'",
    "params.opt IS NULL",
    "params.opt IS NOT NULL",
    "params.opt is null",
    "params.empty = ''",
    "tags.env = 'prod'",
    "tag.env != 'prod'",
    "tags.env LIKE '%o%'",
    "tags.env ILIKE 'PROD'",
    "tags.env IS NULL",
    "tags.env IS NOT NULL AND metrics.acc > 0.5",
    "tags.`a b` = 'c'",
    'tags."a b" = \'c\'',
    "tags.a.b.c = 'dots'",
    "tags.mlflow.runName = 'r1'",
    "tags.`mlflow.user` = 'ann'",
    "tags.percent LIKE '100%'",
    "tags.percent = '100%'",
    "tags.quote = 'it''s'",
    'tags.quote = "it\'s"',
    "tags.uni = 'ünï 日本'",
    "attributes.status = 'FINISHED'",
    "attribute.status != 'FINISHED'",
    "attr.status LIKE 'F%'",
    "run.status = 'finished'",
    "status ILIKE 'finished'",
    "status = \"RUNNING\"",
    "attributes.run_name = 'r1'",
    "run_name LIKE 'r%'",
    "`run name` = 'r2'",
    "attributes.`Run name` = 'r2'",
    "attributes.`Run Name` = 'r2'",
    "attributes.user_id = 'ann'",
    "user_id != 'ann'",
    "user_id ILIKE 'A%'",
    "attributes.start_time > 1700000000002",
    "start_time <= 1700000000001",
    "created = 1700000000001",
    "Created != 1700000000001",
    "attributes.end_time > 0",
    "end_time < 1800000000000",
    "attributes.run_id = '<r1>'",
    "run_id != '<r1>'",
    "run_id IN ('<r1>', '<r3>')",
    "run_id NOT IN ('<r1>', '<r3>')",
    "attributes.run_id in ('<r2>')",
    "run_id IN ('<r1>',)",
    "run_id LIKE '%'",
    "artifact_uri LIKE '%artifacts'",
    "attributes.artifact_uri ILIKE '%ARTIFACTS'",
    "dataset.name = 'train'",
    "datasets.name LIKE 'tr%'",
    "dataset.digest = 'd2'",
    "dataset.context = 'eval'",
    "dataset.name IN ('train', 'test')",
    "dataset.name = 'train' AND dataset.context = 'training'",
    "dataset.name != 'train'",
    "metrics.acc>0.5",
    "metrics.acc > 0.5 AND tags.env = 'prod' AND params.lr = '0.1' AND status = 'FINISHED'",
    "tags.env = 'AND'",
    "tags.env = 'prod' AND tags.env = 'dev'",
]
REFUSED = [
    "metrics.acc > 0.5 OR metrics.acc < 0.1",
    "(metrics.acc > 0.5)",
    "NOT metrics.acc > 0.5",
    "metrics.acc > 'x'",
    "metrics.acc > '0.5'",
    "metrics.acc LIKE '0.5'",
    "metrics.acc IS NULL",
    "metrics.acc IN ('1')",
    "metrics.acc == 0.5",
    "metrics.acc <> 0.5",
    "metrics.acc >",
    "metrics.acc",
    "> 0.5",
    "0.5 < metrics.acc",
    "METRICS.acc > 0.5",
    "metrics > 0.5",
    "acc > 0.5",
    "foo.acc > 0.5",
    "params.lr = 0.1",
    "params.lr = abc",
    "params.lr > '0.1'",
    "params.lr IN ('0.1')",
    "params.lr = `0.1`",
    "params.lr BETWEEN '0' AND '1'",
    "tags.env = prod",
    "tags.env > 'a'",
    "tags.env IN ('prod')",
    "tags.env RLIKE 'p'",
    "tags.env IS 'prod'",
    "attributes.nope = 'x'",
    "attributes.lifecycle_stage = 'active'",
    "attributes.status = FINISHED",
    "attributes.status > 'FINISHED'",
    "attributes.status IS NULL",
    "status IN ('FINISHED')",
    "start_time = '1700000000000'",
    "start_time > 'x'",
    "start_time LIKE '17%'",
    "run_id = 5",
    "run_id > 'a'",
    "run_id IN (1, 2)",
    "run_id IN ()",
    "run_id IN '<r1>'",
    "run_id IN ('a', 5)",
    "dataset.foo = 'x'",
    "dataset.name = train",
    "dataset.name > 'a'",
    "metrics.acc > 0.5 AND",
    "AND metrics.acc > 0.5",
    "metrics.acc > 0.5 metrics.acc < 1",
    "metrics.acc > 0.5; metrics.acc < 1",
    "metrics.acc > 0.5,",
    "'x' = 'x'",
    "1 = 1",
    "tags.env = 'unterminated",
    "metrics.acc > 0x10",
    "a.b.c.d",
]
ORDERS = [
    ["metrics.acc"],
    ["metrics.acc ASC"],
    ["metrics.acc DESC"],
    ["metrics.acc desc"],
    ["metrics.nan DESC", "attributes.run_name"],
    ["metrics.nan ASC", "attributes.run_name"],
    ["metrics.`val loss` DESC", "run_name"],
    ["params.lr", "attributes.run_name DESC"],
    ["params.lr DESC", "attributes.run_name ASC"],
    ["param.opt", "run_name"],
    ["tags.env DESC", "attributes.run_name"],
    ["tags.`a b`", "run_name"],
    ["attributes.start_time"],
    ["attribute.start_time DESC"],
    ["start_time ASC"],
    ["end_time DESC", "run_name"],
    ["status", "run_name"],
    ["attributes.run_name DESC"],
    ["`run name` DESC"],
    ["user_id", "run_name"],
    ["Created DESC"],
    ["metrics.acc DESC", "params.lr ASC", "tags.env DESC", "start_time"],
    [],
]
ORDERS_REFUSED = [
    ["acc"],
    ["metrics.acc UP"],
    ["metrics.acc DESC ASC"],
    ["metrics.acc, params.lr"],
    ["foo.acc"],
    ["attributes.nope"],
    ["dataset.name"],
    ["metrics"],
    [""],
    ["metrics.acc > 1"],
    ["random text here"],
]


def _rows(c):
    experiment(c, "<u>")
    run(c, "r1", start_time=1700000000001, user_id="ann", tags=tags(env="prod", mlflow__user="ann", quote="it's", **{"a b": "c"}))
    run(c, "r2", start_time=1700000000002, user_id="Ann", tags=tags(env="Prod", percent="100%", **{"a.b.c": "dots"}))
    run(c, "r3", start_time=1700000000003, user_id="bob", tags=tags(env="dev", uni="ünï 日本", percent="1000"))
    run(c, "r4", start_time=1700000000004, tags=tags(percent="100\\%"))
    run(c, "r5", start_time=1700000000000, tags=tags(env="AND"))
    for name, acc, lr, more in (("r1", 0.9, "0.1", {"val loss": 0.3}), ("r2", 0.5, "0.01", {"a/b": 1, "val loss": 2}), ("r3", 0.7, "0.1", {"nan": "NaN"}), ("r4", 1, "1", {"nan": 3})):
        metrics = [{"key": k, "value": v, "timestamp": 1} for k, v in {"acc": acc, **more}.items()]
        opt = {"r1": "adam", "r2": "Adam", "r3": "sgd"}.get(name)
        params = [{"key": "lr", "value": lr}] + ([{"key": "opt", "value": opt}] if opt else [{"key": "empty", "value": ""}])
        c.post("runs/log-batch", {"run_id": f"<{name}>", "metrics": metrics, "params": params})
    c.post("runs/update", {"run_id": "<r1>", "status": "FINISHED", "end_time": 1700000009000})
    c.post("runs/update", {"run_id": "<r2>", "status": "FAILED", "end_time": 1700000008000})
    c.post("runs/update", {"run_id": "<r3>", "status": "FINISHED", "end_time": 1900000000000})
    for name, dataset, digest, context in (("r1", "train", "d1", "training"), ("r2", "train", "d2", "eval"), ("r3", "test", "d3", "eval")):
        data = {"name": dataset, "digest": digest, "source_type": "local", "source": "{}"}
        c.post("runs/log-inputs", {"run_id": f"<{name}>", "datasets": [{"dataset": data, "tags": tags(mlflow__data__context=context)}]})


def _search(c, **fields):
    options = fields.pop("options", {})
    return c.post("runs/search", {"experiment_ids": ["<exp>"], **fields}, **options)


@scenario
def search_runs_filters(c):
    _rows(c)
    for filter in ACCEPTED:
        _search(c, filter=filter, order_by=["run_name"])
    literal = {"differs": "backslash-in-like", "on": "postgresql", "genuine": 200, "ours": Ours(200)}
    _search(c, filter="tags.percent LIKE '100\\%'", order_by=["run_name"], options=literal)


@scenario
def search_runs_filters_refused(c):
    _rows(c)
    for filter in REFUSED:
        _search(c, filter=filter)
    for filter, says in (("random text", "'random text'"), ("tags.`env = 'x'", "'tags.`'"), ("metrics.acc > 0.5 # comment", "'#'")):
        _search(c, filter=filter, options=clearer("Invalid clause(s) in filter string: " + says))


@scenario
def search_runs_orders(c):
    _rows(c)
    for order_by in ORDERS:
        _search(c, order_by=order_by)
    for order_by in ORDERS_REFUSED:
        _search(c, order_by=order_by)
    _search(c, order_by=["metrics.acc", "metrics.acc DESC"], options=crashes("duplicate"))
    _search(c, order_by=["start_time", "attributes.start_time"], options=crashes("duplicate"))


@scenario
def search_runs_views_and_pages(c):
    _rows(c)
    c.post("runs/delete", {"run_id": "<r2>"})
    for view in ("ACTIVE_ONLY", "DELETED_ONLY", "ALL", 1, 2, 3):
        _search(c, run_view_type=view, order_by=["run_name"])
    _search(c, run_view_type="FOO", options=refused("unknown-enum-name", "FOO"))
    _search(c, run_view_type=9, options=refused("unknown-enum-name", "9"))
    c.post("runs/search", {"experiment_ids": ["<exp>"], "max_results": 2, "order_by": ["run_name"]}, keep={"page": "next_page_token"})
    c.post("runs/search", {"experiment_ids": ["<exp>"], "max_results": 2, "order_by": ["run_name"], "page_token": "<page>"})
    c.post("runs/search", {"experiment_ids": ["<exp>"], "max_results": 4, "order_by": ["run_name"]})
    c.post("runs/search", {"experiment_ids": ["<exp>"], "max_results": "2", "order_by": ["run_name"]})
    _search(c, max_results=50001, options=clearer("at most 50000"))
    _search(c, page_token="bm90IGpzb24=", options=clearer("Invalid page token"))
    for max_results in (0, -1, "x"):
        _search(c, max_results=max_results)
    for token in ("abc", "e30=", "eyJvZmZzZXQiOiAxMDB9"):
        _search(c, page_token=token)
    c.post("runs/search", {})
    c.post("runs/search", {"experiment_ids": []})
    c.post("runs/search", {"experiment_ids": ["999999"]})
    c.post("runs/search", {"experiment_ids": ["<exp>", "999999"], "order_by": ["run_name"]})
    c.post("runs/search", {"experiment_ids": ["abc"]})
    c.post("runs/search", {"experiment_ids": [0]}, **dropped("experiment_ids[0]"))
    c.post("runs/search", {"experiment_ids": "999"})
    c.post("runs/search", {"experimentIds": ["<exp>"], "maxResults": 1, "orderBy": ["run_name"], "runViewType": "ALL"})
    c.post("runs/search", {"experiment_ids": ["<exp>"], "filter": 5})
    c.post("runs/search", {"experiment_ids": ["<exp>"], "order_by": "run_name"})
