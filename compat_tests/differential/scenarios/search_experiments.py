"""experiments/search by GET and POST: filters, orders, views and pages over five experiments."""

from catalogue import experiment, scenario, tags
from known_differences import refused

ACCEPTED = [
    "name = '<u>a'",
    "name != '<u>a'",
    "name LIKE '<u>%'",
    "name LIKE '%A'",
    "name ILIKE '%A'",
    'name = "<u>b"',
    "attribute.name = '<u>a'",
    "name LIKE '<u>_'",
    "experiment_id = '<a>'",
    "experiment_id != '<a>'",
    "experiment_id IN ('<a>', '<b>')",
    "experiment_id NOT IN ('<a>', '<b>')",
    "creation_time > 0",
    "creation_time < 100",
    "last_update_time >= 0",
    "last_update_time != 5",
    "creation_time = 1.5",
    "tags.team = 'red'",
    "tag.team = 'red'",
    "tags.team != 'red'",
    "tags.team LIKE 'r%'",
    "tags.team ILIKE 'R%'",
    "tags.team IS NULL",
    "tags.team IS NOT NULL",
    "tags.`a b` = 'c'",
    "tags.a.b = 'dots'",
    "tags.team = 'red' AND tags.`a b` = 'c'",
    "tags.team = 'red' AND name LIKE '%b'",
]
REFUSED = [
    "attributes.name = '<u>a'",
    "name like 'x'",
    "name = x",
    "name = 5",
    "name > 'a'",
    "name IN ('a')",
    "name IS NULL",
    "experiment_id = 5",
    "experiment_id > '5'",
    "experiment_id = 'abc'",
    "experiment_id IN ('abc')",
    "experiment_id LIKE '1'",
    "creation_time = '5'",
    "creation_time LIKE '5'",
    "creation_time > 'x'",
    "lifecycle_stage = 'active'",
    "metrics.a > 1",
    "params.a = '1'",
    "foo = 'x'",
    "tags.team > 'a'",
    "tags.team = 5",
    "tags.team IN ('red')",
    "name = 'a' OR name = 'b'",
    "(name = 'a')",
    "name =",
    "name",
    "name = 'a' AND",
    "name = 'a'; name = 'b'",
    "gibberish here",
]


def _rows(c):
    experiment(c, "<u>a", keep="a", tags=tags(team="red"))
    experiment(c, "<u>b", keep="b", tags=tags(team="red", **{"a b": "c"}))
    experiment(c, "<u>A", keep="upper", tags=tags(team="Red"))
    experiment(c, "<u>c", keep="c", tags=tags(**{"a.b": "dots"}))
    experiment(c, "<u>d", keep="d", tags=tags(team="red"))
    c.post("experiments/delete", {"experiment_id": "<d>"})


def _mine(filter):
    """Other scenarios' experiments are kept out."""
    return filter + (" AND " if filter else "") + "name LIKE '<u>%'"


@scenario
def search_experiments_filters(c):
    _rows(c)
    for filter in ACCEPTED:
        c.post("experiments/search", {"filter": _mine(filter), "max_results": 100, "order_by": ["name"]})
    for filter in REFUSED:
        c.post("experiments/search", {"filter": filter, "max_results": 100})


@scenario
def search_experiments_orders_views_pages(c):
    _rows(c)
    for order_by in (["name"], ["name DESC"], ["name asc"], ["attribute.name DESC"], ["experiment_id DESC"], ["experiment_id"], ["creation_time ASC", "name"], ["last_update_time DESC", "name"], []):
        c.post("experiments/search", {"filter": _mine(""), "max_results": 100, "order_by": order_by})
    for order_by in (["foo"], ["tags.team"], ["name UP"], ["name, experiment_id"], ["attributes.name"], [""], ["lifecycle_stage"]):
        c.post("experiments/search", {"max_results": 100, "order_by": order_by})
    c.post("experiments/search", {"max_results": 100, "filter": _mine(""), "order_by": ["name", "name DESC"]})
    for view in ("ACTIVE_ONLY", "DELETED_ONLY", "ALL", 2):
        c.post("experiments/search", {"filter": _mine(""), "max_results": 100, "order_by": ["name"], "view_type": view})
    c.post("experiments/search", {"max_results": 1, "view_type": "FOO", "filter": "name = '<u>a'"}, **refused("unknown-enum-name", "FOO"))
    for max_results in (None, 0, -1, 50001, "abc", "2"):
        c.post("experiments/search", {"filter": _mine(""), "max_results": max_results, "order_by": ["name"]})
    for token in ("abc", "e30=", "eyJvZmZzZXQiOiAxMDB9"):
        c.post("experiments/search", {"filter": _mine(""), "max_results": 2, "page_token": token})
    page = {"filter": _mine(""), "max_results": 2, "order_by": ["name"]}
    c.post("experiments/search", page, keep={"page": "next_page_token"})
    c.post("experiments/search", {**page, "page_token": "<page>"})
    c.get("experiments/search", {**page, "view_type": "ALL"})
    c.get("experiments/search", {**page, "view_type": "deleted_only"}, **refused("unknown-enum-name", "deleted_only"))
    c.get("experiments/search", {**page, "order_by": ["name DESC", "experiment_id"]})
    c.get("experiments/search")
    c.get("experiments/search", {"max_results": "0"})
    c.get("experiments/search", {"max_results": 2, "filter": "bad"})
