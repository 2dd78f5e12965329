"""Artifacts in S3: through the server, in parts and by presigned URLs, and as a root that clients reach themselves."""

from catalogue import experiment, logged_model, on_s3, run
from conversation import ARTIFACTS, Ours
from known_differences import clearer, crashes, dropped, refused

PROXY = "/api/2.0/mlflow-artifacts"
PART = "x" * (5 << 20)  # S3's least, but for the last one
URLS = {"differs": "transfer-urls", "genuine": 200, "ours": Ours(200)}
WRONG_PARTS = refused("multipart-mistakes", "The parts make no file", genuine=500)
NO_UPLOAD = refused("multipart-mistakes", "No such multipart upload", genuine=500, code="RESOURCE_DOES_NOT_EXIST", status=404)
ABORTED = {"differs": "multipart-mistakes", "genuine": 500, "ours": Ours(200, body={})}
NOT_FOUND = {"differs": "clearer-message", "genuine": 404, "ours": Ours(404, "RESOURCE_DOES_NOT_EXIST", "No such artifact")}
MISSING = {"differs": "s3-through-the-server", "genuine": 500, "ours": Ours(404, "RESOURCE_DOES_NOT_EXIST", "No such artifact")}


def _served(c):
    """An experiment in what the server serves, and a run; its folder is <folder>."""
    experiment(c, "<u>", artifact_location="mlflow-artifacts:/<u>")
    run(c)
    return f"{ARTIFACTS}/<u>/<run>/artifacts", "<u>/<run>/artifacts"


@on_s3
def s3_files(c):
    root, folder = _served(c)
    for name in ("a.txt", "d/b.json", "d/e/deep.bin", "d/empty"):
        c.put(f"{root}/{name}", "" if name == "d/empty" else "0123456789")
        c.get(f"{root}/{name}")
    c.put(root + "/a.txt", "replaced")
    c.get(root + "/a.txt")
    for path in ("", "/d", "/d/", "/d/e", "/nope", "/a.txt"):
        c.get(ARTIFACTS, {"path": folder + path})
    for path in ("", "d", "d/e", "nope", "a.txt", ".."):
        c.get("artifacts/list", {"run_id": "<run>", "path": path})
    c.get(root + "/nope", **MISSING)
    c.get(root + "/d", **refused("s3-through-the-server", "Artifact path refers to a directory"))
    c.get(root + "/a.txt/x", **MISSING)
    for range in ("bytes=0-3", "bytes=4-", "bytes=-3"):
        c.get(root + "/d/b.json", headers={"Range": range}, differs="s3-through-the-server", genuine=200, ours=Ours(206))
    c.get(root + "/d/b.json", headers={"Range": "bytes=100-"}, differs="s3-through-the-server", genuine=200, ours=Ours(416))
    c.call("HEAD", root + "/a.txt")
    c.call("HEAD", root + "/nope", differs="s3-through-the-server", genuine=500, ours=Ours(404))
    c.get("/get-artifact", {"run_id": "<run>", "path": "a.txt"})
    c.get("/get-artifact", {"run_id": "<run>", "path": "nope"}, **MISSING)
    c.delete(root + "/d/b.json")
    c.delete(root + "/d/b.json")
    c.get(root + "/d/b.json", **MISSING)
    c.delete(root + "/d")
    c.get(ARTIFACTS, {"path": folder})
    c.delete(root)
    c.get(ARTIFACTS, {"path": folder})


@on_s3
def s3_names(c):
    root, folder = _served(c)
    for name in ("sp%20ace.txt", "%E6%97%A5%E6%9C%AC.txt", "a%25b.txt", "a+b.txt", "a'b.txt", "a;b.txt", "a&b=c.txt", ".hidden"):
        c.put(f"{root}/{name}", name)
        c.get(f"{root}/{name}")
        c.get(f"{PROXY}/presigned/{folder}/{name}", **URLS)
    c.get(ARTIFACTS, {"path": folder})
    for name in ("..", "../x", "%2e%2e/x", "a%23b.txt"):
        c.get(f"{root}/{name}")
        c.put(f"{root}/{name}", "x")
        c.get(f"{PROXY}/presigned/{folder}/{name}")
        c.post(f"{PROXY}/mpu/create/{folder}/{name}", {"path": "f", "num_parts": 1})


@on_s3
def s3_clashes(c):
    root, folder = _served(c)
    c.put(root + "/d/x", "x")
    c.put(root + "/file", "x")
    c.put(root + "/d", "x", **crashes("refers to a directory"))
    c.put(root + "/file/x", "x", **crashes("goes through a file"))
    c.get(ARTIFACTS, {"path": folder})


@on_s3
def s3_server_info(c):
    body = {"multipart_uploads_enabled": True, "multipart_downloads_enabled": True, "presigned_upload_run_id_supported": True, "presigned_upload_model_id_supported": True}
    c.get("/api/3.0/mlflow/server-info", differs="features-not-served", genuine=200, ours=Ours(200, body=body))


@on_s3
def s3_multipart(c):
    root, folder = _served(c)
    create, complete, abort = (f"{PROXY}/mpu/{step}/{folder}" for step in ("create", "complete", "abort"))
    keep = {"id": "upload_id", "url1": "credentials.0.url", "url2": "credentials.1.url"}
    c.post(create, {"path": "/home/ann/big.bin", "num_parts": 2}, keep=keep, **URLS)
    c.put("<url1>", PART, keep={"etag1": "header:etag"})
    c.put("<url2>", "end", keep={"etag2": "header:etag"})
    c.get(root + "/big.bin", **MISSING)
    parts = [{"part_number": 1, "etag": "<etag1>", "url": "<url1>"}, {"part_number": 2, "etag": "<etag2>", "url": "<url2>"}]
    c.post(complete, {"path": "other.bin", "upload_id": "<id>", "parts": parts}, **NO_UPLOAD)
    c.post(complete + "/elsewhere", {"path": "big.bin", "upload_id": "<id>", "parts": parts}, **NO_UPLOAD)
    c.post(complete, {"path": "big.bin", "upload_id": "<id>", "parts": parts[::-1]}, **WRONG_PARTS)
    c.post(complete, {"path": "big.bin", "upload_id": "<id>", "parts": [{**parts[0], "etag": '"00"'}]}, **WRONG_PARTS)
    c.post(complete, {"path": "big.bin", "upload_id": "<id>", "parts": [{**parts[0], "part_number": 7}]}, **WRONG_PARTS)
    c.post(complete, {"path": "big.bin", "upload_id": "<id>", "parts": []}, **WRONG_PARTS)
    c.post(complete, {"path": "big.bin", "upload_id": "<id>", "parts": parts})
    c.get(ARTIFACTS, {"path": folder})
    c.post(complete, {"path": "big.bin", "upload_id": "<id>", "parts": parts})
    c.post(abort, {"path": "big.bin", "upload_id": "<id>"}, **ABORTED)
    c.get(ARTIFACTS, {"path": folder})


@on_s3
def s3_multipart_aborted(c):
    _, folder = _served(c)
    create, complete, abort = (f"{PROXY}/mpu/{step}/{folder}/d" for step in ("create", "complete", "abort"))
    c.post(create, {"path": "big.bin", "num_parts": 1}, keep={"id": "upload_id", "url": "credentials.0.url"}, **URLS)
    c.put("<url>", "all", keep={"etag": "header:etag"})
    c.post(abort, {"path": "big.bin", "upload_id": "<id>"})
    c.post(abort, {"path": "big.bin", "upload_id": "<id>"}, **ABORTED)
    c.put("<url>", "all")
    c.post(complete, {"path": "big.bin", "upload_id": "<id>", "parts": [{"part_number": 1, "etag": "<etag>", "url": "<url>"}]}, **NO_UPLOAD)
    c.get(ARTIFACTS, {"path": folder})
    c.post(abort, {"path": "big.bin", "upload_id": "nope"}, **ABORTED)
    c.post(complete, {"path": "big.bin", "upload_id": "nope", "parts": [{"part_number": 1, "etag": "<etag>", "url": "<url>"}]}, **NO_UPLOAD)


@on_s3
def s3_multipart_requests(c):
    _, folder = _served(c)
    create, complete, abort = (f"{PROXY}/mpu/{step}/{folder}" for step in ("create", "complete", "abort"))
    for fields in ({}, {"path": ""}, {"path": 5, "num_parts": 1}, {"num_parts": 1}, {"path": "a", "num_parts": "many"}):
        c.post(create, fields)
    for number in ("2", 2):
        c.post(create, {"path": "../a", "num_parts": number}, **URLS)
    c.post(create, {"path": "a", "num_parts": 1.5}, **dropped("num_parts"))
    c.post(create, {"path": "a"}, **refused("multipart-mistakes", "num_parts"))
    for number in (0, -1, 10001):
        c.post(create, {"path": "a", "num_parts": number}, **refused("multipart-mistakes", "from 1 to 10000 parts"))
    c.post(create, {"path": "d/", "num_parts": 1}, **crashes("Invalid path"))
    c.post(create, {"path": "..", "num_parts": 1}, **refused("multipart-mistakes", "Invalid path"))
    for call in (complete, abort):
        for fields in ({}, {"upload_id": "x"}, {"path": "a", "upload_id": 5}):
            c.post(call, fields)
    c.post(complete, {"path": "a"}, **clearer("upload_id"))
    c.post(abort, {"path": "a"}, **refused("multipart-mistakes", "upload_id"))
    for parts, says in ((5, "parts"), ("x", "parts"), ({}, "parts"), ([5], "parts[0]"), ([{}], "part_number"), ([{"etag": "x"}], "part_number"), ([{"part_number": "x", "etag": "x"}], "part_number")):
        c.post(complete, {"path": "a", "upload_id": "nope", "parts": parts}, **crashes(says))
    c.post(complete, {"path": "a", "upload_id": "nope", "parts": [{"part_number": 1}]}, **NO_UPLOAD)


@on_s3
def s3_presigned_downloads(c):
    root, folder = _served(c)
    c.put(root + "/d/a.txt", "0123456789")
    c.get(f"{PROXY}/presigned/{folder}/d/a.txt", **URLS)
    c.get(f"{PROXY}/presigned/{folder}/d/a.txt", keep={"url": "url"}, **URLS)
    c.get("<url>")
    c.get("<url>", headers={"Range": "bytes=2-5"})
    c.get(f"{PROXY}/presigned/{folder}/nope", **NOT_FOUND)
    c.get(f"{PROXY}/presigned/{folder}/d", **NOT_FOUND)
    c.get(f"{PROXY}/presigned/", **{**NOT_FOUND, "differs": "errors-are-json"})
    c.delete(root + "/d/a.txt")
    c.get("<url>")


@on_s3
def s3_root_of_clients(c):
    """Artifacts that clients reach themselves: the server lists them and signs URLs for those without credentials."""
    experiment(c, "<u>")
    run(c)
    logged_model(c)
    for fields in ({"run_id": "<run>"}, {"model_id": "<lm>"}):
        c.post("artifacts/presigned-upload-url", {**fields, "path": "d/a.txt"})
        c.post("artifacts/presigned-upload-url", {**fields, "path": "d/a.txt", "expiration": 60}, keep={"put": "presigned_url"})
        c.put("<put>", "0123456789", headers={"Content-Type": "text/plain"})
        for path in ("noext", "a.json", "x/y.pkl"):
            c.post("artifacts/presigned-upload-url", {**fields, "path": path})
    c.get("artifacts/list", {"run_id": "<run>"})
    c.get("artifacts/list", {"run_id": "<run>", "path": "d"})
    c.get("/get-artifact", {"run_id": "<run>", "path": "d/a.txt"})
    c.get("/ajax-api/2.0/mlflow/logged-models/<lm>/artifacts/directories", {})
    c.post("artifacts/presigned-download-url", {"run_id": "<run>", "path": "d/a.txt"}, **URLS)
    c.post("artifacts/presigned-download-url", {"run_id": "<run>", "path": "d/a.txt", "expiration": 60}, keep={"get": "presigned_url"}, **URLS)
    c.get("<get>")
    c.post("artifacts/presigned-download-url", {"run_id": "<run>", "path": "nope"}, **NOT_FOUND)
    c.post("artifacts/presigned-download-url", {"run_id": "<run>", "path": "d"}, **NOT_FOUND)


@on_s3
def s3_presigned_requests(c):
    experiment(c, "<u>")
    run(c)
    logged_model(c)
    for call in ("artifacts/presigned-upload-url", "artifacts/presigned-download-url"):
        for fields in ({}, {"path": "a"}, {"run_id": "<run>"}, {"run_id": "<run>", "path": ""}, {"run_id": "<run>", "path": ".."}, {"run_id": "<run>", "path": "/etc/passwd"}, {"run_id": "0" * 32, "path": "a"}, {"run_id": 5, "path": "a"}, {"run_id": "<run>", "path": "a", "expiration": "soon"}):
            c.post(call, fields)
    c.post("artifacts/presigned-upload-url", {"run_id": "<run>", "model_id": "<lm>", "path": "a"})
    c.post("artifacts/presigned-upload-url", {"model_id": "m-" + "0" * 32, "path": "a"})
    for expiration in (0, -1, 604801):
        c.post("artifacts/presigned-download-url", {"run_id": "<run>", "path": "a", "expiration": expiration})
        c.post("artifacts/presigned-upload-url", {"run_id": "<run>", "path": "a", "expiration": expiration}, **refused("transfer-urls", "expiration"))
    experiment(c, "<u>2", keep="served", artifact_location="mlflow-artifacts:/<u>")
    run(c, keep="in_served", exp="<served>")
    for call in ("artifacts/presigned-upload-url", "artifacts/presigned-download-url"):
        c.post(call, {"run_id": "<in_served>", "path": "a"}, **clearer("through this server instead"))
