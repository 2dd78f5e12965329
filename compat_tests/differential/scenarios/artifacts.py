"""The artifact proxy: upload, download, ranges, lists, delete, odd names; and artifacts/list of a run."""

from catalogue import experiment, model, run, scenario, version
from conversation import ARTIFACTS, Ours
from known_differences import crashes, refused

ENVELOPE = refused("errors-are-json", "Artifact path", genuine=400)
ROOT = ARTIFACTS + "/<exp>/<run>/artifacts"


def _run(c):
    experiment(c, "<u>")
    run(c)


def _list(c, path, **more):
    return c.get(ARTIFACTS, {"path": "<exp>/<run>/artifacts" + path}, **more)


@scenario
def artifact_lives(c):
    _run(c)
    _list(c, "")
    c.get("artifacts/list", {"run_id": "<run>"})
    c.put(ROOT + "/a.txt", "hello")
    c.get(ROOT + "/a.txt")
    c.put(ROOT + "/a.txt", "hello again")
    c.get(ROOT + "/a.txt")
    c.put(ROOT + "/d/b.json", '{"a": 1}')
    c.put(ROOT + "/d/e/deep.bin", b"\x00\xff\x01")
    c.put(ROOT + "/d/empty", b"")
    c.get(ROOT + "/d/empty")
    _list(c, "")
    _list(c, "/d")
    _list(c, "/d/")
    _list(c, "/d/e")
    _list(c, "/a.txt")
    _list(c, "/nope")
    for path in (None, "", "d", "d/e", "d/", "nope", "a.txt", "/d", "..", "d/../..", "%2e%2e"):
        c.get("artifacts/list", {"run_id": "<run>", **({"path": path} if path is not None else {})})
    c.get(ROOT + "/nope")
    c.get(ROOT + "/d", **ENVELOPE)
    c.get(ROOT + "/a.txt/x")
    c.delete(ROOT + "/d/b.json")
    c.delete(ROOT + "/d/b.json")
    c.get(ROOT + "/d/b.json")
    c.delete(ROOT + "/d")
    _list(c, "")
    c.delete(ROOT + "/nope/nope")
    c.delete(ROOT)
    _list(c, "")


@scenario
def artifact_of_a_live_version(c):
    _run(c)
    model(c, "<u>")
    c.put(ROOT + "/model/MLmodel", "approved")
    version(c, "<u>", "mlflow-artifacts:/<exp>/<run>/artifacts/model", run_id="<run>")
    c.put(ROOT + "/model/MLmodel", "approved")
    for stage in ("Staging", "Production"):
        c.post("model-versions/transition-stage", {"name": "<u>", "version": "1", "stage": stage, "archive_existing_versions": False})
        frozen = refused("live-versions-are-frozen", "version 1 of registered model", status=409, code="RESOURCE_CONFLICT")
        c.put(ROOT + "/model/MLmodel", "approved", **frozen)
        c.put(ROOT + "/plot.png", "beside it")
        c.get(ROOT + "/model/MLmodel")
    c.delete(ROOT + "/model/MLmodel", **frozen)
    c.post("model-versions/transition-stage", {"name": "<u>", "version": "1", "stage": "Archived", "archive_existing_versions": False})
    c.delete(ROOT + "/model/MLmodel")


@scenario
def artifact_types(c):
    _run(c)
    for name in ("a.txt", "a.json", "a.yaml", "a.yml", "a.html", "a.htm", "a.svg", "a.png", "a.jpg", "a.csv", "a.md", "a.py", "a.js", "a.xml", "a.pkl", "a.bin", "a.ipynb", "MLmodel", "a.pdf", "a.zip", "a.tar", "a.log", "noext", "conda.yaml", "a.ini"):
        c.put(f"{ROOT}/{name}", "content")
        c.get(f"{ROOT}/{name}")
    c.put(ROOT + "/a.tar.gz", "content")
    c.get(ROOT + "/a.tar.gz", differs="content-types", genuine=200, ours=Ours(200))


@scenario
def artifact_ranges(c):
    _run(c)
    c.put(ROOT + "/r.txt", "0123456789")
    for range in ("bytes=0-3", "bytes=4-", "bytes=-3", "bytes=0-0", "bytes=9-100"):
        c.get(ROOT + "/r.txt", headers={"Range": range})
    c.call("HEAD", ROOT + "/r.txt")


@scenario
def artifact_names(c):
    _run(c)
    for name in ("sp%20ace.txt", "%E6%97%A5%E6%9C%AC.txt", "a%25b.txt", "a+b.txt", "a%2Bb.txt", "q%22uote.txt", "a'b.txt", "a;b.txt", "a&b=c.txt", ".hidden", "tilde~.txt", "-dash", "a%2Fb.txt"):
        c.put(f"{ROOT}/{name}", name)
        c.get(f"{ROOT}/{name}")
    _list(c, "")
    c.get("artifacts/list", {"run_id": "<run>"})
    for name in ("a%23b.txt", "..", "../x", "%2e%2e/x", "%252e%252e/x", "d/../../x", "a//b.txt"):
        c.get(f"{ROOT}/{name}")
        c.put(f"{ROOT}/{name}", "x")
    for name in ("a%3Fb.txt", "x%5Cb.txt", "C:%5Cx", "a%00b"):
        c.put(f"{ROOT}/{name}", "x", **refused("artifact-names", "Invalid path"))
        c.get(f"{ROOT}/{name}", **refused("artifact-names", "Invalid path", genuine=(200, 404)))
    for name in ("%2Fetc%2Fpasswd", "./x.txt", "file:%2F%2F%2Fetc%2Fpasswd"):
        c.get(f"{ROOT}/{name}", **refused("artifact-names", "No such artifact", genuine=404, status=404, code="RESOURCE_DOES_NOT_EXIST"))
        c.put(f"{ROOT}/{name}", "x", differs="artifact-names", genuine=500, ours=Ours(200))
    c.put(ROOT + "/dir/", "x", **ENVELOPE)
    for path in ("..", "<exp>/..", "/", "%2e%2e", "a/../..", "/etc", "file:///etc"):
        c.get(ARTIFACTS, {"path": path})
    for path in ("..", "%2e%2e", "%2e%2e%2f%2e%2e", "<exp>/../.."):
        c.delete(f"{ARTIFACTS}/{path}")


@scenario
def artifact_clashes(c):
    _run(c)
    c.put(ROOT + "/d/x", "x")
    c.put(ROOT + "/file", "x")
    c.put(ROOT + "/d", "x", **crashes())
    c.put(ROOT + "/file/x", "x", **crashes())
    _list(c, "")


@scenario
def artifact_store_is_not_wiped(c):
    _run(c)
    c.put(ROOT + "/keep.txt", "x")
    c.delete(ARTIFACTS + "/", **refused("delete-everything", genuine=404))
    c.get(ROOT + "/keep.txt")
    c.delete(ARTIFACTS + "/%2e", **refused("delete-everything", genuine=500))
    c.get(ROOT + "/keep.txt", differs="delete-everything", genuine=404, ours=Ours(200))
