"""Registered models: create, read, update, rename, delete, tags, aliases."""

from catalogue import model, scenario, tags, version
from known_differences import refused


@scenario
def model_lives(c):
    model(c, "<u>", description="first", tags=tags(team="a", k="v"))
    c.get("registered-models/get", {"name": "<u>"})
    c.patch("registered-models/update", {"name": "<u>", "description": "second"})
    c.get("registered-models/get", {"name": "<u>"})
    c.patch("registered-models/update", {"name": "<u>"})
    c.get("registered-models/get", {"name": "<u>"})
    c.patch("registered-models/update", {"name": "<u>", "description": ""})
    version(c, "<u>")
    version(c, "<u>", description="two", tags=tags(a="b"))
    c.post("registered-models/alias", {"name": "<u>", "alias": "champion", "version": "2"})
    c.get("registered-models/get", {"name": "<u>"})
    c.post("registered-models/rename", {"name": "<u>", "new_name": "<u>new"})
    c.get("registered-models/get", {"name": "<u>"})
    c.get("registered-models/get", {"name": "<u>new"})
    c.get("model-versions/get", {"name": "<u>new", "version": "2"})
    c.get("registered-models/alias", {"name": "<u>new", "alias": "champion"})
    c.delete("registered-models/delete", {"name": "<u>new"})
    c.get("registered-models/get", {"name": "<u>new"})
    c.get("model-versions/get", {"name": "<u>new", "version": "1"})
    c.get("registered-models/alias", {"name": "<u>new", "alias": "champion"})
    c.delete("registered-models/delete", {"name": "<u>new"})
    model(c, "<u>new")
    version(c, "<u>new")
    c.get("registered-models/get", {"name": "<u>new"})


@scenario
def model_create(c):
    model(c, "<u>")
    model(c, "<u>", description="again")
    model(c, "<u> Spaces ünï 日本")
    c.get("registered-models/get", {"name": "<u> Spaces ünï 日本"})
    model(c, "<u>twice", tags=[{"key": "k", "value": "1"}, {"key": "k", "value": "2"}])
    c.get("registered-models/get", {"name": "<u>twice"})
    model(c, "<u>bare tag", tags=[{"key": "k"}])
    c.get("registered-models/get", {"name": "<u>bare tag"})
    model(c, "<u>" + "n" * 249)
    for body in (
        {},
        {"name": ""},
        {"name": None},
        {"name": 5},
        {"name": "<u>a/b"},
        {"name": "<u>a:b"},
        {"name": ".."},
        {"name": "."},
        {"name": "<u>x", "description": 5},
        {"name": "<u>x", "tags": "k"},
        {"name": "<u>x", "tags": [{"key": "a$", "value": "1"}]},
        {"name": "<u>x", "tags": [{"key": "k" * 251, "value": "1"}]},
    ):
        c.post("registered-models/create", body)
    for name in ("<u>m%31", "<u>m ", " <u>m", "<u>m\x01", "<u>e\u0301", "<u>m\u200b"):
        c.post("registered-models/create", {"name": name}, **refused("confusing-model-name", "Invalid model name"))
    c.post("registered-models/create", {"name": "<u>" + "n" * 250}, **refused("over-long-names", "256", genuine=(200, 400)))
    c.post("registered-models/create", {"name": "<u>long description", "description": "d" * 5001}, **refused("over-long-names", "5000", genuine=(200, 400)))
    c.post("registered-models/create", {"name": "<u>tag value", "tags": [{"key": "k", "value": "v" * 5001}]}, **refused("over-long-names", "5000", genuine=(200, 400)))


@scenario
def model_refused(c):
    model(c, "<u>")
    model(c, "<u>other")
    for name in ("<u>nope", "", None, "<u>a/b"):
        c.get("registered-models/get", {"name": name} if name is not None else None)
        c.patch("registered-models/update", {"name": name, "description": "d"})
        c.delete("registered-models/delete", {"name": name})
        c.post("registered-models/rename", {"name": name, "new_name": "<u>x"})
    for new_name in ("<u>other", "", None, "<u>a/b", "<u>a:b", ".", 5):
        c.post("registered-models/rename", {"name": "<u>", "new_name": new_name})
    c.post("registered-models/rename", {"name": "<u>", "new_name": "<u>"})
    c.patch("registered-models/update", {"name": "<u>", "description": 5})
    c.delete("registered-models/delete?name=<u>")
    c.get("registered-models/get", {"name": "<u>"})


@scenario
def model_tags(c):
    model(c, "<u>")
    model(c, "<u>long")
    c.post("registered-models/set-tag", {"name": "<u>", "key": "k", "value": "1"})
    c.post("registered-models/set-tag", {"name": "<u>", "key": "k", "value": "2"})
    c.post("registered-models/set-tag", {"name": "<u>", "key": "none"})
    c.post("registered-models/set-tag", {"name": "<u>", "key": "empty", "value": ""})
    c.get("registered-models/get", {"name": "<u>"})
    for body in (
        {"key": "a$", "value": "1"},
        {"key": "a//b", "value": "1"},
        {"key": "", "value": "1"},
        {"value": "1"},
        {"key": "k" * 251, "value": "1"},
        {"key": "k", "value": 5},
        {"name": "<u>nope", "key": "k", "value": "1"},
        {"name": "", "key": "k", "value": "1"},
    ):
        c.post("registered-models/set-tag", {"name": "<u>", **body})
    for length in (5001, 100001):
        c.post("registered-models/set-tag", {"name": "<u>long", "key": "k", "value": "v" * length}, **refused("over-long-names", "5000", genuine=(200, 400)))
    c.delete("registered-models/delete-tag", {"name": "<u>", "key": "k"})
    c.delete("registered-models/delete-tag", {"name": "<u>", "key": "k"})
    c.delete("registered-models/delete-tag", {"name": "<u>"})
    c.delete("registered-models/delete-tag", {"key": "k"})
    c.delete("registered-models/delete-tag", {"name": "<u>nope", "key": "k"})
    c.delete("registered-models/delete-tag", {"name": "<u>", "key": "a$"})
    c.get("registered-models/get", {"name": "<u>"})


@scenario
def aliases(c):
    model(c, "<u>")
    for _ in range(3):
        version(c, "<u>", "s3://b/" + str(_))
    c.post("registered-models/alias", {"name": "<u>", "alias": "champion", "version": "1"})
    c.get("registered-models/alias", {"name": "<u>", "alias": "champion"})
    c.post("registered-models/alias", {"name": "<u>", "alias": "champion", "version": "2"})
    c.get("registered-models/alias", {"name": "<u>", "alias": "champion"})
    c.post("registered-models/alias", {"name": "<u>", "alias": "second", "version": "2"})
    c.get("model-versions/get", {"name": "<u>", "version": "2"})
    c.get("model-versions/get", {"name": "<u>", "version": "1"})
    c.get("registered-models/get", {"name": "<u>"})
    c.post("registered-models/alias", {"name": "<u>", "alias": "Champion", "version": "3"})
    c.get("registered-models/alias", {"name": "<u>", "alias": "Champion"})
    c.post("registered-models/alias", {"name": "<u>", "alias": "123", "version": "3"})
    c.post("registered-models/alias", {"name": "<u>", "alias": "a-b_c", "version": "3"})
    c.get("registered-models/alias", {"name": "<u>", "alias": "latest"})
    c.get("registered-models/alias", {"name": "<u>", "alias": "LATEST"})
    for body in (
        {"alias": "latest", "version": "1"},
        {"alias": "Latest", "version": "1"},
        {"alias": "v1", "version": "1"},
        {"alias": "V22", "version": "1"},
        {"alias": "a b", "version": "1"},
        {"alias": "a.b", "version": "1"},
        {"alias": "a@b", "version": "1"},
        {"alias": "", "version": "1"},
        {"version": "1"},
        {"alias": "x" * 256, "version": "1"},
        {"alias": "x", "version": "99"},
        {"alias": "x", "version": "abc"},
        {"alias": "x", "version": 1},
        {"alias": "x", "version": ""},
        {"alias": "x"},
        {"alias": 5, "version": "1"},
        {"alias": "x", "version": "1", "name": "<u>nope"},
        {"alias": "x", "version": "1", "name": ""},
    ):
        c.post("registered-models/alias", {"name": "<u>", **body})
    c.post("registered-models/alias", {"name": "<u>", "alias": "x" * 255, "version": "1"})
    c.get("registered-models/alias", {"name": "<u>", "alias": "nope"})
    c.get("registered-models/alias", {"name": "<u>", "alias": "CHAMPION"})
    c.get("registered-models/alias", {"name": "<u>nope", "alias": "champion"})
    c.get("registered-models/alias", {"name": "<u>nope", "alias": "latest"})
    c.get("registered-models/alias", {"name": "<u>"})
    c.get("registered-models/alias", {"alias": "champion"})
    c.delete("registered-models/alias", {"name": "<u>", "alias": "champion"})
    c.delete("registered-models/alias", {"name": "<u>", "alias": "champion"})
    c.get("registered-models/alias", {"name": "<u>", "alias": "champion"})
    c.delete("registered-models/alias", {"name": "<u>"})
    c.delete("registered-models/alias", {"name": "<u>nope", "alias": "champion"})
    c.delete("registered-models/alias", {"name": "<u>", "alias": "a b"})
    c.delete("model-versions/delete", {"name": "<u>", "version": "2"})
    c.get("registered-models/alias", {"name": "<u>", "alias": "second"})
    c.get("registered-models/get", {"name": "<u>"})
