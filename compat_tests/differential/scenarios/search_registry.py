"""registered-models/search and model-versions/search."""

from catalogue import experiment, model, run, scenario, tags, version
from known_differences import clearer, crashes, refused

MODELS_ACCEPTED = [
    "",
    "name = '<u>a'",
    "name != '<u>a'",
    "name LIKE '<u>%'",
    "name LIKE '%A'",
    "name ILIKE '%A'",
    "name ilike '%A'",
    "attribute.name = '<u>a'",
    "name IN ('<u>a', '<u>b')",
    "name NOT IN ('<u>a', '<u>b')",
    "tags.team = 'red'",
    "tag.team != 'red'",
    "tags.team LIKE 'r%'",
    "tags.team ILIKE 'R%'",
    "tags.`a b` = 'c'",
    "tags.a.b = 'dots'",
    "tags.team = 'red' AND tags.`a b` = 'c'",
    "tags.`mlflow.prompt.is_prompt` = 'true'",
    "tags.`mlflow.prompt.is_prompt` != 'true'",
    "tag.`mlflow.prompt.is_prompt` = 'false'",
    "tag.`mlflow.prompt.is_prompt` != 'false'",
]
MODELS_REFUSED = [
    "name = a",
    "name = 5",
    "name > 'a'",
    "name = 'a' OR name = 'b'",
    "(name = 'a')",
    "name IN ('a', 5)",
    "name IN ()",
    "creation_timestamp > 5",
    "foo = 'x'",
    "foo.bar = 'x'",
    "metrics.a > 1",
    "tags.team > 'a'",
    "tags.team = 5",
    "tags.team IN ('red')",
    "name =",
    "name",
    "gibberish here",
    "name = 'a' AND",
    "run_id = 'x'",
]
VERSIONS_ACCEPTED = [
    "name = '<u>a'",
    "name != '<u>b'",
    "name LIKE '%a'",
    "name ILIKE '%A'",
    "name IN ('<u>a', '<u>b')",
    "name NOT IN ('<u>a')",
    "run_id = '<run>'",
    "run_id != '<run>'",
    "run_id IN ('<run>')",
    "run_id LIKE '%'",
    "source_path = 's3://b/1'",
    "source_path LIKE 's3://b/%'",
    "source_path != 's3://b/1'",
    "version_number = 1",
    "version_number > 1",
    "version_number <= 2",
    "version_number != 2",
    "version_number = '1'",
    "tags.stage = 'gold'",
    "tags.stage != 'gold'",
    "tags.stage LIKE 'g%'",
    "tags.stage ILIKE 'G%'",
    "tag.`a b` = 'c'",
    "attribute.version_number = 2",
    "tags.stage = 'gold' AND version_number > 1",
    "tags.`mlflow.prompt.is_prompt` = 'true'",
]
VERSIONS_REFUSED = [
    "name = a",
    "name > 'a'",
    "version_number = 1.5",
    "version_number = 'abc'",
    "version_number LIKE '1'",
    "version_number IN ('1')",
    "source_path IN ('a')",
    "source_path > 'a'",
    "run_id > 'a'",
    "run_id IN ()",
    "current_stage = 'Production'",
    "foo = 'x'",
    "tags.stage IN ('gold')",
    "tags.stage > 'a'",
    "name = 'a' OR name = 'b'",
    "name",
    "gibberish here",
    "creation_timestamp > 1",
]


def _rows(c):
    experiment(c, "<u>")
    run(c)
    model(c, "<u>a", tags=tags(team="red"))
    model(c, "<u>b", tags=tags(team="red", **{"a b": "c"}), description="b")
    model(c, "<u>A", tags=tags(team="Red"))
    model(c, "<u>c", tags=tags(**{"a.b": "dots"}))
    model(c, "<u>prompt", tags=tags(mlflow__prompt__is_prompt="true"))
    version(c, "<u>a", "s3://b/1", tags=tags(stage="gold"))
    version(c, "<u>a", "s3://b/2", tags=tags(stage="Gold", **{"a b": "c"}))
    version(c, "<u>a", "mlflow-artifacts:/<exp>/<run>/artifacts/m", run_id="<run>", tags=tags(stage="gold"))
    version(c, "<u>b", "s3://b/1")
    version(c, "<u>b", "s3://c/9", tags=tags(stage="tin"))
    version(c, "<u>prompt", "dummy-source", tags=tags(mlflow__prompt__is_prompt="true", mlflow__prompt__text="hi"))
    c.delete("model-versions/delete", {"name": "<u>b", "version": "2"})
    c.post("model-versions/transition-stage", {"name": "<u>a", "version": "1", "stage": "Production", "archive_existing_versions": False})
    c.post("registered-models/alias", {"name": "<u>a", "alias": "champion", "version": "2"})


def _mine(filter):
    return filter + (" AND " if filter else "") + "name LIKE '<u>%'"


@scenario
def search_models_filters(c):
    _rows(c)
    for filter in MODELS_ACCEPTED:
        c.get("registered-models/search", {"filter": _mine(filter), "max_results": 100})
    for filter in MODELS_REFUSED:
        c.get("registered-models/search", {"filter": filter})
    c.get("registered-models/search", {"filter": "name IS NULL"}, **crashes("IS NULL"))
    c.get("registered-models/search", {"filter": "tags.team IS NULL"}, **crashes("IS NULL"))
    c.get("registered-models/search", {"filter": "tags.team IS NOT NULL"}, **crashes("IS NOT NULL"))


@scenario
def search_models_orders_pages(c):
    _rows(c)
    for order_by in (["name"], ["name DESC"], ["timestamp", "name"], ["last_updated_timestamp DESC"], ["name asc"], []):
        c.get("registered-models/search", {"filter": _mine(""), "order_by": order_by})
    for order_by in (["foo"], ["creation_timestamp"], ["name UP"], ["name, timestamp"], ["tags.team"], [""], ["name DESC ASC"]):
        c.get("registered-models/search", {"filter": _mine(""), "order_by": order_by})
    for max_results in ("0", "-1"):
        c.get("registered-models/search", {"filter": _mine(""), "max_results": max_results}, **refused("nonsense-refused", "max_results"))
    c.get("registered-models/search", {"filter": _mine(""), "max_results": 1001}, **clearer("at most 1000"))
    for max_results in ("abc", "1000"):
        c.get("registered-models/search", {"filter": _mine(""), "max_results": max_results})
    c.get("registered-models/search", {"filter": _mine(""), "max_results": 2}, keep={"page": "next_page_token"})
    c.get("registered-models/search", {"filter": _mine(""), "max_results": 2, "page_token": "<page>"})
    c.get("registered-models/search", {"filter": _mine(""), "page_token": "abc"})
    c.get("registered-models/search", {"filter": _mine(""), "page_token": "e30="})


@scenario
def search_versions_filters(c):
    _rows(c)
    for filter in VERSIONS_ACCEPTED:
        c.get("model-versions/search", {"filter": _mine(filter), "order_by": ["name", "version_number"]})
    for filter in VERSIONS_REFUSED:
        c.get("model-versions/search", {"filter": filter})
    c.get("model-versions/search", {"filter": "version = 1"}, **clearer("Invalid attribute key 'version'"))
    c.get("model-versions/search", {"order_by": "version"}, **clearer("Invalid attribute key 'version'"))
    c.get("model-versions/search", {"filter": "tags.stage IS NULL"}, **crashes("IS NULL"))


@scenario
def search_versions_orders_pages(c):
    _rows(c)
    for order_by in (["name DESC", "version_number"], ["version_number DESC", "name"], ["creation_timestamp", "name", "version_number"], ["last_updated_timestamp ASC", "name", "version_number"]):
        c.get("model-versions/search", {"filter": _mine(""), "order_by": order_by})
    c.get("model-versions/search", {"filter": _mine("")})
    for order_by in (["foo"], ["name UP"], ["run_id"], [""], ["name, version_number"]):
        c.get("model-versions/search", {"filter": _mine(""), "order_by": order_by})
    for max_results, says in (("0", "positive"), ("-1", "positive"), ("200001", "at most 200000")):
        c.get("model-versions/search", {"filter": _mine(""), "max_results": max_results}, **clearer(says))
    for max_results in ("abc", "1"):
        c.get("model-versions/search", {"filter": _mine(""), "max_results": max_results, "order_by": ["name", "version_number"]})
    c.get("model-versions/search", {"filter": _mine(""), "max_results": 3, "order_by": ["name", "version_number"]}, keep={"page": "next_page_token"})
    c.get("model-versions/search", {"filter": _mine(""), "max_results": 3, "order_by": ["name", "version_number"], "page_token": "<page>"})
    c.get("model-versions/search", {"filter": _mine(""), "page_token": "abc"})
    c.get("model-versions/search", {"filter": _mine(""), "page_token": "e30="})
